#include "inspect/guess.h"

#include <algorithm>
#include <filesystem>

#include "meta/namespace_look.h"
#include "store/store_look.h"

namespace mayfly {
namespace {

constexpr std::string_view kNoHost = "host not known";
// Fewer could lie right by chance.
constexpr uint64_t kAgreeingMin = 64;
// What such a ring takes is some megabytes; more shards are nobody's whose charters are all lost.
constexpr uint32_t kShardsMax = 1u << 16;

uint32_t FirstOf(const MemberPlace& place) { return place.shards.front().shard.value; }
uint32_t EndOf(const MemberPlace& place) { return place.shards.back().shard.value + 1; }

// `shards` that nobody has a directory of, dealt out to that many members.
void AddMissing(uint32_t shards, uint32_t count, std::vector<Member>* members) {
  for (uint32_t i = 0; i < count; ++i) {
    Member member;
    member.shards = shards / count + (i < shards % count ? 1 : 0);
    members->push_back(std::move(member));
  }
}

// How many members had the shards behind the last directory's: as many as if all had as many as those that are there.
uint32_t MembersBehind(uint32_t shards, const std::vector<Member>& members) {
  const uint32_t each = members.front().shards;
  const auto other = [each](const Member& member) { return member.shards != each; };
  return std::any_of(members.begin(), members.end(), other) || shards % each != 0 ? 1 : shards / each;
}

class Trial {
 public:
  Trial(const Placement& placement, const std::vector<SettleShard>& shards) : placement_(placement), shards_(shards) {}

  bool Holds(uint64_t* agreed) {
    for (const SettleShard& shard : shards_) {
      if (shard.tables == nullptr) continue;
      Names(shard.tables->self(), NamespaceLook(shard.tables->names()));
      if (right_) Chunks(*shard.tables);
    }
    *agreed = agreed_;
    return right_ && agreed_ >= kAgreeingMin;
  }

 private:
  void Try(ShardId is, ShardId would_be) {
    right_ = right_ && is == would_be;
    ++agreed_;
  }
  void Names(ShardId shard, const NamespaceLook& look) {
    for (const InodeId dir : look.Parts()) {
      look.ForEachEntry(
          dir, [&](std::string_view name, InodeId, FileType) { Try(shard, placement_.DentryShard(dir, name)); });
    }
  }
  void Chunks(const ShardTables& tables) {
    const StoreLook look(&tables.store());
    tables.store().ForEachFile([&](InodeId file) {
      if (file.home().value >= shards_.size() || shards_[file.home().value].tables == nullptr) return;
      const Inode* inode = shards_[file.home().value].tables->names().FindInode(file);
      StoredPiece piece;
      if (inode == nullptr || inode->type != FileType::kFile || !look.Next(file, 0, &piece)) return;
      const ChunkIndex chunk(static_cast<uint32_t>(piece.begin >> inode->chunk_bits));
      Try(tables.self(), placement_.ChunkShard(file.home(), chunk));
    });
  }

  const Placement& placement_;
  const std::vector<SettleShard>& shards_;
  bool right_ = true;
  uint64_t agreed_ = 0;
};

}  // namespace

std::optional<NodeMap> MapOf(const MemberPlace& member, uint32_t uid) {
  if (!member.uuid || member.session_directory.empty()) return std::nullopt;
  Outcome<NodeMap> map = NodeMap::Open(member.session_directory + "/map", uid);
  if (!map.ok() || map->session() != *member.uuid) return std::nullopt;
  return std::move(*map);
}

Outcome<Layout> GuessLayout(std::vector<MemberPlace>* places, uint32_t shards) {
  std::erase_if(*places, [](const MemberPlace& place) { return place.shards.empty(); });
  for (MemberPlace& place : *places) {
    std::sort(place.shards.begin(), place.shards.end(),
              [](const ShardPlace& a, const ShardPlace& b) { return a.shard < b.shard; });
  }
  std::sort(places->begin(), places->end(),
            [](const MemberPlace& a, const MemberPlace& b) { return FirstOf(a) < FirstOf(b); });
  std::vector<Member> members;
  uint32_t next = 0;
  for (MemberPlace& place : *places) {
    if (FirstOf(place) < next) {
      return Fail(Code::kInvalid, "shard {} is there twice, in {} too: give one of them", FirstOf(place),
                  place.directory);
    }
    const uint32_t missing = FirstOf(place) - next;
    const auto number = MemberOfStorage(std::filesystem::path(place.directory).filename().string());
    const uint32_t between = number && number->value > members.size() ? number->value - members.size() : 0;
    if (between != 0 && missing != 0) {
      AddMissing(missing, std::min(between, missing), &members);
    } else if (missing != 0 && number && !members.empty()) {
      members.back().shards += missing;  // its last ones are gone
    } else if (missing != 0) {
      AddMissing(missing, 1, &members);
    }
    place.member = MemberId(static_cast<uint16_t>(members.size()));
    Member member;
    member.host = place.host;
    member.shards = EndOf(place) - FirstOf(place);
    members.push_back(std::move(member));
    next = EndOf(place);
  }
  if (members.empty()) return Fail(Code::kNoEntry, "none of the directories holds a shard's: give one that does");
  if (shards > next) AddMissing(shards - next, MembersBehind(shards - next, members), &members);
  for (size_t i = 0; i < members.size(); ++i) {
    members[i].id = MemberId(static_cast<uint16_t>(i));
    if (members[i].host.empty()) members[i].host = kNoHost;
  }
  Result<Layout> layout = Layout::Build(std::move(members));
  if (!layout.ok()) return Fail(layout.code(), "the directories that were given make no session");
  return std::move(*layout);
}

uint32_t ShardsSpokenOf(ShardTables* tables) {
  uint32_t greatest = tables->self().value;
  const auto note = [&greatest](ShardId shard) { greatest = std::max(greatest, shard.value); };
  tables->names().ForEachInode([&](Inode& inode) {
    if (inode.extra == nullptr) return;
    for (const ShardId shard : inode.extra->shards) note(shard);
    if (inode.type == FileType::kDirectory) note(inode.extra->parent.home());
  });
  const NamespaceLook look(tables->names());
  for (const InodeId dir : look.Parts()) {
    note(dir.home());
    look.ForEachEntry(dir, [&](std::string_view, InodeId inode, FileType) { note(inode.home()); });
  }
  tables->store().ForEachFile([&](InodeId file) { note(file.home()); });
  return greatest + 1;
}

std::optional<InodeId> FindRoot(const std::vector<SettleShard>& shards) {
  std::optional<InodeId> root;
  const auto note = [&root](InodeId id) {
    if (!root && id.sequence() == Placement::kRootInodeSequence) root = id;
  };
  for (const SettleShard& shard : shards) {
    if (shard.tables == nullptr) continue;
    shard.tables->names().ForEachInode([&](Inode& inode) {
      note(inode.id);
      if (inode.type == FileType::kDirectory && inode.extra != nullptr) note(inode.extra->parent);
    });
    for (const InodeId dir : NamespaceLook(shard.tables->names()).Parts()) note(dir);
  }
  return root;
}

std::optional<Placement> GuessPlacement(const Layout& layout, const std::vector<SettleShard>& shards,
                                        uint64_t* agreed) {
  *agreed = 0;
  if (layout.shard_count() > kShardsMax) return std::nullopt;
  Result<Placement> placement = Placement::Build(layout);
  if (!placement.ok() || !Trial(*placement, shards).Holds(agreed)) return std::nullopt;
  return std::move(*placement);
}

}  // namespace mayfly
