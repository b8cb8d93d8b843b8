#include "meta/images.h"

namespace mayfly {
namespace {

uint32_t LinksOfNew(FileType type) { return type == FileType::kDirectory ? 2 : 1; }

}  // namespace

InodeImage InodeImage::Of(const Inode& inode) {
  InodeImage image;
  image.id = inode.id;
  image.type = inode.type;
  image.permissions = inode.permissions;
  image.uid = inode.uid;
  image.gid = inode.gid;
  image.mtime = inode.mtime;
  image.atime = inode.atime;
  image.ctime = inode.ctime;
  image.size = inode.size;
  image.nlink = inode.nlink;
  image.version = inode.version;
  image.chunk_bits = inode.chunk_bits;
  uint32_t flags = 0;
  const auto note = [&flags](uint32_t flag, bool there) { flags |= there ? flag : 0; };
  note(kTimes, inode.atime != inode.mtime || inode.ctime != inode.mtime);
  note(kSize, inode.size != 0);
  note(kLinks, inode.nlink != LinksOfNew(inode.type));
  note(kVersion, inode.version != 1);
  note(kMtimeSet, inode.mtime_set != 0);
  if (const InodeExtra* extra = inode.extra.get(); extra != nullptr) {
    image.parent = extra->parent;
    image.rights_version = extra->rights_version;
    image.truncate_epoch = extra->truncate_epoch;
    image.privileged = extra->privileged;
    image.target = extra->target;
    note(kDirGone, extra->state == DirState::kGone);  // kRemoving follows from the transaction that holds it
    note(kTruncating, extra->truncating);
    note(kEpochs, extra->truncate_epoch != 0 || extra->privileged != 1);
  }
  image.flags = static_cast<uint8_t>(flags);
  return image;
}

Status InodeImage::Check(ShardId self) const {
  const bool file = type == FileType::kFile, directory = type == FileType::kDirectory;
  const bool good = type != FileType::kNone && id.home() == self && id.sequence() != 0 && permissions <= 07777 &&
                    (!file || (chunk_bits >= kChunkBitsMin && chunk_bits <= kChunkBitsMax)) &&
                    (!directory || parent.valid()) && target.size() <= kTargetBytesMax &&
                    (directory || (flags & kDirGone) == 0) && (file || (flags & (kTruncating | kEpochs)) == 0);
  return good ? Code::kOk : Code::kCorrupt;
}

void InodeImage::StoreTo(Inode* inode) const {
  const auto has = [this](Flag flag) { return (flags & flag) != 0; };
  inode->permissions = permissions;
  inode->uid = uid;
  inode->gid = gid;
  inode->mtime = mtime;
  inode->atime = has(kTimes) ? atime : mtime;
  inode->ctime = has(kTimes) ? ctime : mtime;
  inode->size = has(kSize) ? size : 0;
  inode->nlink = has(kLinks) ? nlink : LinksOfNew(type);
  inode->version = has(kVersion) ? version : 1;
  inode->mtime_set = has(kMtimeSet) ? 1 : 0;
  inode->chunk_bits = chunk_bits;
  const bool plain = type == FileType::kFile && !has(kTruncating) && !has(kEpochs);
  if (plain && inode->extra == nullptr) return;
  InodeExtra& extra = inode->Extra();
  extra.target.assign(target);
  extra.parent = parent;
  extra.rights_version = rights_version;
  extra.state = has(kDirGone) ? DirState::kGone : DirState::kLive;
  extra.truncating = has(kTruncating);
  extra.truncate_epoch = has(kEpochs) ? truncate_epoch : 0;
  extra.privileged = has(kEpochs) ? privileged : 1;
}

size_t PreparedImage::bytes_max() const {
  constexpr size_t kOpBytes = 1 + 8 + 4 + 8 + 8 + 1 + 1 + 1 + 1 + 1 + 4;
  size_t bytes = 12;
  for (const TxnOp& op : ops) bytes += kOpBytes + op.name.size();
  return bytes;
}

void Recorder::PutInode(const Inode& inode) {
  const size_t at = out_->size();
  PutImage(out_, InodeImage::Of(inode));
  const size_t bytes = out_->size() - at;
  Place& place = PlaceOf(inode.id);
  if (Holds(place, inode.id) && place.bytes == bytes) {
    out_->MoveLast(at, place.at);
  } else {
    place = {inode.id, at, bytes, out_->clears()};
  }
}

void Recorder::PutGone(InodeId id) {
  Place& place = PlaceOf(id);
  if (Holds(place, id)) {
    if (place.at + place.bytes == out_->size()) out_->CutTo(place.at);
    place = Place();
  }
  PutImage(out_, InodeGoneImage{id});
}

}  // namespace mayfly
