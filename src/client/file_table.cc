#include "client/file_table.h"

#include <algorithm>
#include <functional>

#include "base/of_thread.h"
#include "client/mount.h"

namespace mayfly {

Result<int> FileTable::Add(FileRef file, uint64_t revocations, std::vector<FileRef>* others) {
  std::lock_guard lock(mutex_);
  if (file->mount.revocations() != revocations) file->sole = false;  // D3
  if (others != nullptr && file->sole) {
    ForEach(file->mount, [&](const FileRef& other) {
      if (other->inode == file->inode) others->push_back(other);
    });
    if (!others->empty()) file->sole = false;
  } else if (others != nullptr && file->writable()) {
    ForEach(file->mount, [&](const FileRef& other) {
      if (other->leased && other->inode == file->inode) others->push_back(other);
    });
  }
  size_t index = slots_.size();
  if (!free_.empty()) {
    std::pop_heap(free_.begin(), free_.end(), std::greater<>());  // D1
    index = static_cast<size_t>(free_.back());
    free_.pop_back();
  } else if (index < kFilesMax) {
    slots_.emplace_back();
  } else {
    return Code::kTooManyFiles;
  }
  slots_[index].file = std::move(file);
  slots_[index].closing = false;
  return kBase + static_cast<int>(index);
}

bool FileTable::MayLease(OpenFile& file) {
  if (file.leased) return true;
  std::lock_guard lock(mutex_);
  for (const Slot& slot : slots_) {
    if (slot.file == nullptr || slot.file->inode != file.inode || &slot.file->mount != &file.mount) continue;
    if (slot.file->writable()) return false;
  }
  file.leased = true;
  return true;
}

FileRef FileTable::Find(int fd) {
  const size_t index = static_cast<size_t>(fd) - kBase;
  if (fd < kBase) return nullptr;
  std::lock_guard lock(mutex_);
  if (index >= slots_.size() || slots_[index].closing) return nullptr;
  return slots_[index].file;
}

const FileRef& FileTable::FindAgain(int fd) {
  struct Last {
    const FileTable* table = nullptr;
    int fd = -1;
    uint64_t closes = 0;
    FileRef file;
  };
  Last& last = OfThread<Last>::Get();
  const uint64_t closes = closes_.load(std::memory_order_acquire);
  if (last.fd != fd || last.closes != closes || last.table != this) {
    last.file = Find(fd);
    last.table = this;
    last.fd = last.file != nullptr ? fd : -1;
    last.closes = closes;  // as it was before the look
  }
  return last.file;
}

void FileTable::FinishClose(int fd) {
  FileRef file;  // goes after the lock
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[static_cast<size_t>(fd) - kBase];
  file = std::move(slot.file);
  Free(static_cast<size_t>(fd) - kBase);
}

void FileTable::Free(size_t index) {
  slots_[index] = Slot();
  free_.push_back(static_cast<int>(index));
  std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

template <class Use>
void FileTable::ForEach(const Mount& mount, Use&& use) {
  for (const Slot& slot : slots_) {
    if (slot.file != nullptr && &slot.file->mount == &mount) use(slot.file);
  }
  for (const FileRef& file : departing_) {
    if (&file->mount == &mount) use(file);
  }
}

void FileTable::Depart(int fd) {
  const size_t index = static_cast<size_t>(fd) - kBase;
  std::lock_guard lock(mutex_);
  slots_[index].file->departing = true;
  departing_.push_back(std::move(slots_[index].file));
  Free(index);
}

void FileTable::EndDeparture(const FileRef& file) {
  std::lock_guard lock(mutex_);
  std::erase(departing_, file);
  file->departing = false;
}

std::vector<FileRef> FileTable::Revoke(Mount& mount, std::span<const InodeId> inodes) {
  std::vector<FileRef> found;
  std::lock_guard lock(mutex_);
  mount.CountRevocation();
  ForEach(mount, [&](const FileRef& file) {
    if (std::find(inodes.begin(), inodes.end(), file->inode) != inodes.end()) found.push_back(file);
  });
  return found;
}

std::vector<FileRef> FileTable::Of(const Mount& mount) {
  std::vector<FileRef> found;
  std::lock_guard lock(mutex_);
  ForEach(mount, [&](const FileRef& file) { found.push_back(file); });
  return found;
}

std::vector<FileRef> FileTable::Of(const Mount& mount, InodeId inode) {
  std::vector<FileRef> found;
  std::lock_guard lock(mutex_);
  ForEach(mount, [&](const FileRef& file) {
    if (file->inode == inode) found.push_back(file);
  });
  return found;
}

std::vector<FileRef> FileTable::DepartingOf(const Mount& mount) {
  std::vector<FileRef> found;
  std::lock_guard lock(mutex_);
  for (const FileRef& file : departing_) {
    if (&file->mount == &mount) found.push_back(file);
  }
  return found;
}

std::vector<FileRef> FileTable::TakeAll(const Mount& mount) {
  std::vector<FileRef> found;
  std::lock_guard lock(mutex_);
  CountClose();
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].file == nullptr || &slots_[i].file->mount != &mount) continue;
    found.push_back(std::move(slots_[i].file));
    if (!slots_[i].closing) Free(i);  // else its FinishClose does
  }
  return found;  // what departs goes by itself
}

void FileTable::Renew() {
  CountClose();
  for (Slot& slot : slots_) {
    if (slot.file == nullptr) continue;
    const OpenFile& old = *slot.file;
    Attr attr;
    attr.inode = old.inode;
    attr.type = old.type;
    attr.chunk_bits = old.chunk_bits;
    auto file = std::make_shared<OpenFile>(old.mount, attr, old.flags, old.epoch.load(), old.original);
    file->offset = old.offset;
    file->size_hint = old.size_hint.load();
    file->born_to_parent = old.unborn();
    // What the parent's lanes were doing with the old one never goes on here, nor ends.
    left_behind_.push_back(std::exchange(slot.file, std::move(file)));
  }
  for (FileRef& file : departing_) left_behind_.push_back(std::move(file));
  departing_.clear();
}

}  // namespace mayfly
