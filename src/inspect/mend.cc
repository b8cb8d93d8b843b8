#include "inspect/mend.h"

#include <fmt/format.h>

#include <algorithm>

#include "meta/images.h"
#include "meta/namespace_look.h"

namespace mayfly {
namespace {

constexpr std::string_view kLostAndFound = "lost+found";

}  // namespace

std::string_view TextOf(MendKind kind) {
  switch (kind) {
    case MendKind::kNone:
      return "";
    case MendKind::kRemoveName:
      return "the name is removed";
    case MendKind::kRemoveNames:
      return "its names are removed";
    case MendKind::kSetType:
      return "the name says what its inode is";
    case MendKind::kDropPart:
      return "they are removed";
    case MendKind::kRevive:
      return "the directory is made again, with what is in it";
    case MendKind::kJoin:
      return "its home is told";
    case MendKind::kSetRights:
      return "it gets them";
    case MendKind::kSetParent:
      return "it says where it is";
    case MendKind::kSetLinks:
      return "the count is set to the names";
    case MendKind::kAdopt:
      return "it gets a name in /lost+found, or goes if it is empty";
    case MendKind::kForgetOpen:
      return "it is not open any more";
    case MendKind::kDropBytes:
      return "their space is given back";
    case MendKind::kCutBytes:
      return "the file has a hole there";
  }
  return "";
}

Mender::Mender(const FsckInput* input, Nanos now, std::vector<TlvWriter>* images)
    : input_(*input), now_(now), images_(*images) {
  MAYFLY_CHECK(images_.size() == input_.shards.size());
}

void Mender::Add(const Finding& finding) {
  const Mend& mend = finding.mend;
  switch (mend.kind) {
    case MendKind::kNone:
      return;
    case MendKind::kRemoveName:
      return PutImage(Out(finding.shard), EntryGoneImage{mend.dir, 0, mend.name});
    case MendKind::kRemoveNames:
      unnamed_.insert(finding.inode);
      return;
    case MendKind::kSetType:
      return SetType(finding);
    case MendKind::kDropPart:
      return PutImage(Out(finding.shard), PartGoneImage{finding.inode});
    case MendKind::kRevive: {
      std::optional<InodeId>& parent = revived_[finding.inode];
      if (mend.dir.valid() && !parent) parent = mend.dir;
      return;
    }
    case MendKind::kJoin:
      return Join(finding.inode, finding.shard);
    case MendKind::kSetRights:
      return PutPart(finding.shard, names(finding.inode.home()).RightsOf(*Find(finding.inode)));
    case MendKind::kSetParent:
      changes_[finding.inode].parent = mend.dir;
      return;
    case MendKind::kSetLinks:
      changes_[finding.inode].links = mend.links;
      return;
    case MendKind::kAdopt:
      adopted_.insert(finding.inode);
      return;
    case MendKind::kForgetOpen:
      return PutImage(Out(finding.shard), OpenImage{.inode = finding.inode, .process = mend.process});
    case MendKind::kDropBytes:
      return StoreLook::PutGone(finding.inode, Out(finding.shard));
    case MendKind::kCutBytes:
      for (const auto& [begin, end] : mend.ranges) {
        StoreLook(&store(finding.shard)).PutHole(finding.inode, begin, end, Out(finding.shard));
      }
      return;
  }
}

bool Mender::Finish() {
  RemoveNames();
  ReviveAll();
  // In the next round there may be less of it, or a root to put it under.
  if (!mended_) AdoptAll();
  PutChanges();
  return mended_;
}

void Mender::PutEntry(ShardId shard, InodeId dir, std::string_view name, InodeId inode, FileType type,
                      uint64_t sequence) {
  PutImage(Out(shard), EntryImage{dir, inode, sequence, type, now_, name});
}

// Of a part that is there only its rights are other ones afterwards.
void Mender::PutPart(ShardId shard, const DirRights& rights) {
  PartImage image;
  image.dir = rights.dir;
  image.permissions = rights.permissions;
  image.uid = rights.uid;
  image.gid = rights.gid;
  image.version = rights.version;
  const DirPartReply part = names(shard).PartOf(rights.dir);
  image.mtime = part.mtime;
  image.ctime = part.ctime;
  image.next_sequence = NamespaceLook(names(shard)).NextSequence(rights.dir);
  PutImage(Out(shard), image);
}

void Mender::Join(InodeId inode, ShardId shard) {
  if (joined_.emplace(inode, shard).second) PutImage(Out(inode.home()), InodeShardImage{inode, shard});
}

void Mender::SetType(const Finding& finding) {
  // A place at the end of the listing: the old one is not known here, and is nobody's then.
  PutEntry(finding.shard, finding.mend.dir, finding.mend.name, finding.inode, Find(finding.inode)->type,
           NextSequence(finding.shard, finding.mend.dir));
}

uint64_t Mender::NextSequence(ShardId shard, InodeId dir) {
  auto [it, is_new] = next_sequences_.try_emplace({shard, dir}, 0);
  if (is_new) it->second = NamespaceLook(names(shard)).NextSequence(dir);
  return it->second++;  // M1
}

void Mender::RemoveNames() {
  if (unnamed_.empty()) return;
  for (uint32_t i = 0; i < shard_count(); ++i) {
    const NamespaceLook look(names(ShardId(i)));
    for (const InodeId dir : look.Parts()) {
      look.ForEachEntry(dir, [&](std::string_view name, InodeId inode, FileType) {
        if (unnamed_.contains(inode)) PutImage(Out(ShardId(i)), EntryGoneImage{dir, 0, name});
      });
    }
  }
}

// ---- directories whose inode is gone ----

void Mender::ReviveAll() {
  for (const auto& [dir, parent] : revived_) {
    const bool is_root = dir == input_.placement->RootInode();
    // Without a name it gets one in the next round.
    Revive(dir, is_root ? dir : parent.value_or(input_.placement->RootInode()));
  }
}

void Mender::Revive(InodeId dir, InodeId parent) {
  InodeImage image;
  image.id = dir;
  image.type = FileType::kDirectory;
  image.permissions = 0700;
  image.parent = parent;
  uint64_t version = 0;
  for (uint32_t i = 0; i < shard_count(); ++i) {
    const DirRights* rights = names(ShardId(i)).Rights(dir);
    if (rights == nullptr) continue;
    image.mtime = std::max(image.mtime, names(ShardId(i)).PartOf(dir).mtime);
    if (rights->version <= version) continue;
    version = rights->version;
    image.permissions = rights->permissions;
    image.uid = rights->uid;
    image.gid = rights->gid;
  }
  image.rights_version = std::max<uint64_t>(version, 1);
  if (Find(dir) != nullptr) PutImage(Out(dir.home()), InodeGoneImage{dir});  // a root that is something else
  PutImage(Out(dir.home()), image);
  if (!names(dir.home()).Joined(dir)) {
    PutPart(dir.home(), {dir, image.permissions, image.uid, image.gid, image.rights_version});
    Join(dir, dir.home());
  }
  for (uint32_t i = 0; i < shard_count(); ++i) {
    if (names(ShardId(i)).Joined(dir)) Join(dir, ShardId(i));
  }
}

// ---- what has no name ----

void Mender::AdoptAll() {
  for (const InodeId id : adopted_) {
    if (RemoveIfEmpty(id)) continue;
    if (!lost_and_found_.dir.valid() && !FindLostAndFound()) return;
    Adopt(id);
  }
}

bool Mender::RemoveIfEmpty(InodeId id) {
  const Inode& inode = *Find(id);
  if (inode.opens != 0 || inode.type == FileType::kSymlink || inode.size != 0) return false;
  std::vector<ShardId> with_part, with_bytes;
  for (uint32_t i = 0; i < shard_count(); ++i) {
    const ShardId shard(i);
    const FileFigures figures = store(shard).Figures(id);
    if (names(shard).PartOf(id).entries != 0 || figures.slices != 0) return false;
    if (names(shard).Joined(id)) with_part.push_back(shard);
    if (figures.high_water != 0 || figures.epoch != 0) with_bytes.push_back(shard);
  }
  PutImage(Out(id.home()), InodeGoneImage{id});
  for (const ShardId shard : with_part) PutImage(Out(shard), PartGoneImage{id});
  for (const ShardId shard : with_bytes) StoreLook::PutGone(id, Out(shard));
  return true;
}

// Or makes it. False: there is no root.
bool Mender::FindLostAndFound() {
  const InodeId root = input_.placement->RootInode();
  const Inode* top = Find(root);
  if (top == nullptr || top->type != FileType::kDirectory) return false;
  for (uint32_t i = 0;; ++i) {
    const std::string name = i == 0 ? std::string(kLostAndFound) : fmt::format("{}-{}", kLostAndFound, i);
    const ShardId shard = input_.placement->DentryShard(root, name);
    if (const auto entry = names(shard).Find(root, name); entry.ok()) {
      const Inode* there = entry->type == FileType::kDirectory ? Find(entry->inode) : nullptr;
      if (there == nullptr || there->nlink == 0) continue;
      lost_and_found_ = names(entry->inode.home()).RightsOf(*there);
      return true;
    }
    InodeImage image;
    image.id = InodeId::Make(shard, names(shard).next_sequence());  // M1
    image.type = FileType::kDirectory;
    image.permissions = 0700;
    image.uid = top->uid;
    image.gid = top->gid;
    image.mtime = now_;
    image.parent = root;
    PutImage(Out(shard), image);
    lost_and_found_ = {image.id, image.permissions, image.uid, image.gid, 1};
    Join(image.id, shard);
    PutPart(shard, lost_and_found_);
    if (!names(shard).Joined(root)) PutPart(shard, names(root.home()).RightsOf(*top));
    Join(root, shard);
    PutEntry(shard, root, name, image.id, FileType::kDirectory, NextSequence(shard, root));
    return true;
  }
}

void Mender::Adopt(InodeId id) {
  const InodeId dir = lost_and_found_.dir;
  std::string name = fmt::format("{}-{}", id.home().value, id.sequence());
  while (names(input_.placement->DentryShard(dir, name)).Find(dir, name).ok()) name += '-';
  const ShardId shard = input_.placement->DentryShard(dir, name);
  if (!names(shard).Joined(dir) && !joined_.contains({dir, shard})) PutPart(shard, lost_and_found_);
  Join(dir, shard);
  const FileType type = Find(id)->type;
  PutEntry(shard, dir, name, id, type, NextSequence(shard, dir));
  if (type == FileType::kDirectory) {
    changes_[id].parent = dir;
  } else {
    changes_[id].links = 1;
  }
}

void Mender::PutChanges() {
  for (const auto& [id, change] : changes_) {
    InodeImage image = InodeImage::Of(*Find(id));
    if (change.links) {
      image.nlink = *change.links;
      image.flags |= InodeImage::kLinks;
    }
    if (change.parent) image.parent = *change.parent;
    PutImage(Out(id.home()), image);
  }
}

}  // namespace mayfly
