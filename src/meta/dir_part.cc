#include "meta/dir_part.h"

#include <algorithm>

namespace mayfly {

DirPart& PartTable::FindOrAdd(InodeId dir) {
  auto& part = parts_[dir];
  if (part == nullptr) {
    part = std::make_unique<DirPart>(&order_bytes_);
    part->rights.dir = dir;
  }
  return *part;
}

DirPart* PartTable::Join(const DirRights& rights) {
  if (Find(rights.dir) != nullptr) return Update(rights);
  DirPart& part = FindOrAdd(rights.dir);
  part.rights = rights;
  part.rights.clear_mtime = false;
  return &part;
}

DirPart* PartTable::Update(const DirRights& rights) {
  DirPart* part = Find(rights.dir);
  if (part == nullptr || rights.version <= part->rights.version) return nullptr;
  part->rights = rights;
  part->rights.clear_mtime = false;
  if (rights.clear_mtime) part->mtime = 0;
  return part;
}

void PartTable::Erase(InodeId dir) {
  if (last_ != nullptr && last_->rights.dir == dir) last_ = nullptr;
  parts_.erase(dir);
}

std::vector<const DirPart*> PartTable::Sorted() const {
  std::vector<const DirPart*> all;
  for (const auto& [dir, part] : parts_) all.push_back(part.get());
  std::sort(all.begin(), all.end(), [](const DirPart* a, const DirPart* b) { return a->rights.dir < b->rights.dir; });
  return all;
}

std::vector<InodeId> PartTable::Directories() const {
  std::vector<InodeId> all;
  all.reserve(parts_.size());
  for (const auto& [dir, part] : parts_) all.push_back(dir);
  return all;
}

}  // namespace mayfly
