#include "inspect/fsck.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "flush/text.h"
#include "inspect/mend.h"
#include "inspect/piece_reader.h"
#include "meta/namespace_look.h"

namespace mayfly {
namespace {

std::string NumberOf(InodeId id) { return fmt::format("{}:{}", id.home().value, id.sequence()); }

class Checker {
 public:
  Checker(const FsckInput& input, FsckSink* sink) : input_(input), sink_(*sink) {
    complete_ = std::all_of(input.shards.begin(), input.shards.end(),
                            [](const SalvageShard& shard) { return shard.tables != nullptr; });
  }

  FsckCounts Run() {
    Root();
    for (const SalvageShard& shard : input_.shards) {
      if (shard.tables == nullptr) continue;
      for (const InodeId dir : NamespaceLook(shard.tables->names()).Parts()) parted_.insert(dir);
    }
    for (const SalvageShard& shard : input_.shards) {
      if (shard.tables != nullptr) Entries(*shard.tables);
    }
    for (const SalvageShard& shard : input_.shards) {
      if (shard.tables != nullptr) Inodes(*shard.tables);
    }
    Circles();
    for (uint32_t i = 0; i < input_.shards.size(); ++i) {
      if (input_.shards[i].tables != nullptr) Data(ShardId(i));
    }
    return counts_;
  }

 private:
  bool Has(ShardId shard) const {
    return shard.value < input_.shards.size() && input_.shards[shard.value].tables != nullptr;
  }
  const Inode* Find(InodeId id) const { return input_.shards[id.home().value].tables->names().FindInode(id); }
  void Report(FindingKind kind, ShardId shard, InodeId inode, std::string text, Mend mend) {
    ++counts_.findings[static_cast<size_t>(kind)];
    sink_.OnFinding({kind, shard, inode, std::move(text), std::move(mend)});
  }

  void Root();
  void Entries(const ShardTables& tables);
  void Entry(ShardId shard, InodeId dir, std::string_view name, InodeId inode, FileType type);
  void Part(const ShardTables& tables, InodeId dir);
  void Inodes(ShardTables& tables);
  void InodeOf(ShardId shard, const Inode& inode);
  void Opens(ShardTables& tables);
  void Circles();
  void Circle(InodeId first);
  void Data(ShardId shard);
  bool IsKept(ShardId shard, InodeId file);
  void Pieces(ShardId shard, InodeId file, const Inode* inode);
  void Blocks(ShardId shard, std::vector<StoredRun> runs);
  void ReportRun(ShardId shard, const StoredRun& run, std::string text);

  const FsckInput& input_;
  FsckSink& sink_;
  bool complete_ = false;  // all shards are there
  FsckCounts counts_;
  absl::flat_hash_map<InodeId, uint32_t> names_;   // how many, of each inode
  absl::flat_hash_map<InodeId, InodeId> parents_;  // of directories, as their entries say
  absl::flat_hash_set<InodeId> parted_;            // directories of which there are parts
};

// ---- names ----

bool IsDirectory(const Inode* inode) {
  return inode != nullptr && inode->type == FileType::kDirectory && inode->nlink != 0;
}

void Checker::Root() {
  const InodeId root = input_.placement->RootInode();
  if (!Has(root.home()) || IsDirectory(Find(root))) return;
  Report(FindingKind::kInode, root.home(), root, "there is no root directory", {.kind = MendKind::kRevive});
}

void Checker::Entries(const ShardTables& tables) {
  const NamespaceLook look(tables.names());
  for (const InodeId dir : look.Parts()) {
    Part(tables, dir);
    look.ForEachEntry(dir, [&](std::string_view name, InodeId inode, FileType type) {
      Entry(tables.self(), dir, name, inode, type);
    });
    sink_.OnProgress(counts_);
  }
}

// A directory's home knows who has entries of it.
void Checker::Part(const ShardTables& tables, InodeId dir) {
  if (!input_.layout->Has(dir.home())) {
    return Report(FindingKind::kName, tables.self(), dir, "a directory of a shard that there is not",
                  {.kind = MendKind::kDropPart});
  }
  if (!Has(dir.home())) return;  // K2
  const Inode* home = Find(dir);
  const uint64_t entries = tables.names().PartOf(dir).entries;
  const DirRights& rights = *tables.names().Rights(dir);
  if (!IsDirectory(home)) {
    if (dir == input_.placement->RootInode()) return;  // Root has said it
    if (entries != 0) {
      Report(FindingKind::kName, tables.self(), dir, fmt::format("{} names in a directory that is not there", entries),
             {.kind = home == nullptr ? MendKind::kRevive : MendKind::kDropPart});
    } else if (rights.version == 0) {
      Report(FindingKind::kName, tables.self(), dir, "a part of a directory that is not there",
             {.kind = MendKind::kDropPart});
    }
    return;
  }
  const bool other = home->permissions != rights.permissions || home->uid != rights.uid || home->gid != rights.gid;
  if (rights.version == 0 || (dir.home() == tables.self() && other)) {
    Report(FindingKind::kName, tables.self(), dir, "a part of a directory that has not the rights of its home",
           {.kind = MendKind::kSetRights});
  }
  const auto& shards = home->extra->shards;
  if (entries == 0 || std::find(shards.begin(), shards.end(), tables.self()) != shards.end()) return;
  Report(FindingKind::kName, tables.self(), dir,
         fmt::format("{} names of a directory whose home does not know that they are here", entries),
         {.kind = MendKind::kJoin});
}

void Checker::Entry(ShardId shard, InodeId dir, std::string_view name, InodeId inode, FileType type) {
  ++counts_.names;
  const auto say = [&](std::string_view what, MendKind kind) {
    Mend mend{.kind = kind, .dir = dir, .name = std::string(name)};
    Report(FindingKind::kName, shard, inode,
           fmt::format("the name \"{}\" in the directory {} {}", flush_internal::Printable(name), NumberOf(dir), what),
           std::move(mend));
  };
  const ShardId right = input_.placement->DentryShard(dir, name);
  if (right != shard) say(fmt::format("belongs to shard {}", right.value), MendKind::kRemoveName);
  ++names_[inode];
  if (type == FileType::kDirectory && !parents_.emplace(inode, dir).second) {
    say("is a second one of a directory", MendKind::kRemoveName);
  }
  if (!input_.layout->Has(inode.home())) return say("is of a shard that there is not", MendKind::kRemoveName);
  if (!Has(inode.home())) return;  // K2
  const Inode* there = Find(inode);
  if (there == nullptr) {
    const bool has_parts = type == FileType::kDirectory && parted_.contains(inode);
    return say(fmt::format("is of inode {}, which is not there", NumberOf(inode)),
               has_parts ? MendKind::kRevive : MendKind::kRemoveName);
  }
  if (there->type != type)
    say(fmt::format("is of inode {}, which is of another kind", NumberOf(inode)), MendKind::kSetType);
}

// ---- inodes ----

void Checker::Inodes(ShardTables& tables) {
  tables.names().ForEachInode([&](Inode& inode) { InodeOf(tables.self(), inode); });
  Opens(tables);
}

// What no recovery takes.
void Checker::Opens(ShardTables& tables) {
  NamespaceLook(tables.names()).ForEachOpen([&](InodeId inode, ClientId process) {
    if (tables.names().FindInode(inode) != nullptr) return;
    Report(FindingKind::kInode, tables.self(), inode, "open by a program, and not there",
           {.kind = MendKind::kForgetOpen, .process = process});
  });
}

void Checker::InodeOf(ShardId shard, const Inode& inode) {
  const auto found = names_.find(inode.id);
  const uint32_t names = found == names_.end() ? 0 : found->second;
  if (inode.nlink == 0) {
    ++(inode.opens != 0 ? counts_.nameless_open : counts_.to_bury);  // K1
    if (names == 0) return;
    const ShardTables& tables = *input_.shards[inode.id.home().value].tables;
    const bool goes = inode.type == FileType::kDirectory || tables.DropBegunFor(inode.id);
    Report(FindingKind::kLinks, shard, inode.id, fmt::format("removed, and has {} names", names),
           {.kind = goes ? MendKind::kRemoveNames : MendKind::kSetLinks, .links = names});
    return;
  }
  if (inode.type == FileType::kDirectory) {
    ++counts_.directories;
    const bool root = inode.id == input_.placement->RootInode();
    if (names == 0 && !root && complete_) {
      Report(FindingKind::kInode, shard, inode.id, "a directory without a name", {.kind = MendKind::kAdopt});
    }
    const auto parent = parents_.find(inode.id);
    if (parent != parents_.end() && parent->second != inode.extra->parent) {
      Report(FindingKind::kName, shard, inode.id,
             fmt::format("a directory in {} that says it is in {}", NumberOf(parent->second),
                         NumberOf(inode.extra->parent)),
             {.kind = MendKind::kSetParent, .dir = parent->second});
    }
    return;
  }
  ++(inode.type == FileType::kFile ? counts_.files : counts_.symlinks);
  if (names == inode.nlink || input_.in_doubt || (names < inode.nlink && !complete_)) return;  // K2
  const std::string text = fmt::format("{} links, and {} name{}", inode.nlink, names, names == 1 ? "" : "s");
  Report(names == 0 ? FindingKind::kInode : FindingKind::kLinks, shard, inode.id, text,
         {.kind = names == 0 ? MendKind::kAdopt : MendKind::kSetLinks, .links = names});
}

// Directories that lie in each other have names, all of them, and nobody finds one.
void Checker::Circles() {
  absl::flat_hash_map<InodeId, uint64_t> walked;  // by which walk upwards
  std::vector<InodeId> circles;                   // one of each
  uint64_t walk = 0;
  // The one that has no place there is the root, or any: that of the lowest number.
  const auto sooner = [root = input_.placement->RootInode()](InodeId a, InodeId b) {
    return a != b && (a == root || (b != root && a < b));
  };
  for (const auto& [dir, parent] : parents_) {
    ++walk;
    InodeId at = dir;
    for (auto up = parents_.find(at); up != parents_.end() && walked.emplace(at, walk).second; up = parents_.find(at)) {
      at = up->second;
    }
    const auto met = walked.find(at);
    if (met == walked.end() || met->second != walk) continue;
    InodeId first = at;
    for (InodeId i = parents_.at(at); i != at; i = parents_.at(i)) first = std::min(first, i, sooner);
    circles.push_back(first);
  }
  std::sort(circles.begin(), circles.end());
  for (const InodeId first : circles) Circle(first);
}

void Checker::Circle(InodeId first) {
  const InodeId dir = parents_.at(first);
  for (const SalvageShard& shard : input_.shards) {
    if (shard.tables == nullptr) continue;
    NamespaceLook(shard.tables->names()).ForEachEntry(dir, [&](std::string_view name, InodeId inode, FileType) {
      if (inode != first) return;
      Report(FindingKind::kName, shard.tables->self(), first,
             fmt::format("the name \"{}\" in the directory {} puts a directory into itself",
                         flush_internal::Printable(name), NumberOf(dir)),
             {.kind = MendKind::kRemoveName, .dir = dir, .name = std::string(name)});
    });
  }
}

// ---- bytes ----

void Checker::Data(ShardId shard) {
  const ShardTables& tables = *input_.shards[shard.value].tables;
  std::vector<InodeId> files;
  tables.store().ForEachFile([&files](InodeId file) { files.push_back(file); });
  std::sort(files.begin(), files.end());
  std::vector<StoredRun> runs;
  for (const InodeId file : files) {
    StoreLook(&tables.store()).RunsOf(file, &runs);
    if (!IsKept(shard, file)) continue;
    Pieces(shard, file, Has(file.home()) ? Find(file) : nullptr);
    sink_.OnProgress(counts_);
  }
  Blocks(shard, std::move(runs));
}

// False: it was said, or a recovery drops it.
bool Checker::IsKept(ShardId shard, InodeId file) {
  if (input_.layout->Has(file.home()) && !Has(file.home())) return true;  // K2
  const Inode* inode = Has(file.home()) ? Find(file) : nullptr;
  const FileFigures figures = input_.shards[shard.value].tables->store().Figures(file);
  if (inode == nullptr || inode->type != FileType::kFile) {
    // K1: its home will do it.
    if (Has(file.home()) && input_.shards[file.home().value].tables->DropBegunFor(file)) return false;
    if (figures.slices == 0) return false;
    counts_.leaked_bytes += figures.allocated_bytes;
    Report(FindingKind::kLeaked, shard, file, fmt::format("{} bytes of a file that is gone", figures.allocated_bytes),
           {.kind = MendKind::kDropBytes});
    return false;
  }
  if (shard == file.home() || figures.slices == 0) return true;
  const bool joined = inode->extra != nullptr && std::find(inode->extra->shards.begin(), inode->extra->shards.end(),
                                                           shard) != inode->extra->shards.end();
  if (!joined) {
    Report(FindingKind::kData, shard, file, "bytes of a file whose home does not know that they are here",
           {.kind = MendKind::kJoin});
  }
  return joined;
}

void Checker::Pieces(ShardId shard, InodeId file, const Inode* inode) {
  const StoreLook look(&input_.shards[shard.value].tables->store());
  std::vector<uint8_t> buffer(input_.with_data ? PieceReader::kReadBytesMax : 0);
  Gaps gaps;
  StoredPiece piece;
  Mend misplaced{.kind = MendKind::kCutBytes};
  for (uint64_t at = 0; look.Next(file, at, &piece); at = piece.end()) {
    if (inode != nullptr) {
      const ChunkIndex chunk(static_cast<uint32_t>(piece.begin >> inode->chunk_bits));
      const bool right = input_.placement->ChunkShard(file.home(), chunk) == shard;
      if (!right) misplaced.ranges.emplace_back(piece.begin, piece.end());
    }
    if (!input_.with_data) continue;
    for (uint64_t from = piece.begin; from < piece.end();) {
      const uint32_t bytes = PieceReader::Stretch(piece, from);
      input_.shards[shard.value].bytes->Read(piece, from, MutableBytes(buffer).first(bytes), &gaps);
      counts_.bytes_checked += bytes;
      from += bytes;
    }
  }
  if (!misplaced.ranges.empty()) {
    Report(FindingKind::kData, shard, file, "bytes of a chunk that belongs to another shard", std::move(misplaced));
  }
  SortGaps(&gaps);
  for (const Gap& gap : gaps) {
    Report(FindingKind::kBytes, shard, file,
           fmt::format("bytes {} to {} {}", gap.begin, gap.end - 1,
                       gap.kind == GapKind::kCorrupt ? "do not match their checksum" : "cannot be read"),
           {});
  }
}

void Checker::Blocks(ShardId shard, std::vector<StoredRun> runs) {
  std::sort(runs.begin(), runs.end(), [](const StoredRun& a, const StoredRun& b) { return a.serial < b.serial; });
  const auto same = [](const StoredRun& a, const StoredRun& b) { return a.serial == b.serial; };
  runs.erase(std::unique(runs.begin(), runs.end(), same), runs.end());
  counts_.extents += runs.size();
  std::erase_if(runs, [](const StoredRun& run) { return run.first == 0; });
  std::sort(runs.begin(), runs.end(), [](const StoredRun& a, const StoredRun& b) { return a.first < b.first; });
  const uint64_t end = input_.chunk_file_blocks[shard.value];
  const StoredRun* last = nullptr;  // that reaches the farthest
  for (const StoredRun& run : runs) {
    if (last != nullptr && run.first < last->first + last->blocks) {
      // Whoever came later had the blocks given to it.
      ReportRun(shard, run.serial < last->serial ? run : *last,
                fmt::format("block {} of the chunk file belongs to two extents", run.first));
    }
    if (last == nullptr || run.first + run.blocks > last->first + last->blocks) last = &run;
    if (end != 0 && run.first + run.blocks > end) {
      ReportRun(shard, run,
                fmt::format("an extent lies in blocks up to {} of a chunk file of {}", run.first + run.blocks, end));
    }
  }
}

void Checker::ReportRun(ShardId shard, const StoredRun& run, std::string text) {
  const StoreLook look(&input_.shards[shard.value].tables->store());
  Mend mend{.kind = MendKind::kCutBytes};
  mend.ranges = look.RangesIn(run.file, run.serial);
  Report(FindingKind::kBlocks, shard, run.file, std::move(text), std::move(mend));
}

}  // namespace

uint64_t FsckCounts::all_findings() const {
  return std::accumulate(std::begin(findings), std::end(findings), uint64_t{0});
}

FsckCounts Fsck(const FsckInput& input, FsckSink* sink) {
  MAYFLY_CHECK(input.shards.size() == input.layout->shard_count());
  MAYFLY_CHECK(input.chunk_file_blocks.size() == input.shards.size());
  return Checker(input, sink).Run();
}

std::string_view Text(FindingKind kind) {
  switch (kind) {
    case FindingKind::kName:
      return "name";
    case FindingKind::kLinks:
      return "links";
    case FindingKind::kInode:
      return "inode";
    case FindingKind::kData:
      return "data";
    case FindingKind::kLeaked:
      return "leaked";
    case FindingKind::kBlocks:
      return "blocks";
    case FindingKind::kBytes:
      return "bytes";
  }
  return "";
}

std::string LineOf(const Finding& finding) {
  const std::string inode = finding.inode.valid()
                                ? fmt::format("inode {}:{}: ", finding.inode.home().value, finding.inode.sequence())
                                : std::string();
  const std::string_view mend = TextOf(finding.mend.kind);
  return fmt::format("{}: shard {}: {}{}{}{}", Text(finding.kind), finding.shard.value, inode, finding.text,
                     mend.empty() ? "" : "; --repair: ", mend);
}

}  // namespace mayfly
