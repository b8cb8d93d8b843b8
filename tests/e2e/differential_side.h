// One of the two filesystems that are compared: POSIX calls that return a value or -errno.
// A side has several actors, which are clients of their own (a session each, and rights); every call is made by the
// actor of the last Act(). Descriptors are real ones and belong to the actor that opened them.
#pragma once

#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "differential_op.h"

namespace differential {

struct Target {
  std::string path;
  bool follow = true;
  int fd = -1;  // instead of the path
};

struct Listed {
  std::string name;
  struct stat attributes = {};  // as the listing gave them, or of an lstat right after it
  uint64_t cookie = 0;          // position after the entry
};

// An open directory stream.
class Stream {
 public:
  virtual ~Stream() = default;
  // 1: an entry, 0: the end, or -errno.
  virtual int64_t Next(Listed* entry) = 0;
  virtual int64_t Seek(uint64_t cookie) = 0;
  // The names that are in the directory at this moment, whatever the stream does; false where that cannot be told.
  virtual bool NamesNow(std::set<std::string>*) { return false; }
};

class Side {
 public:
  virtual ~Side() = default;
  virtual std::string name() const = 0;
  // Runs `work` where the calls below may be made, and returns when it has ended.
  virtual void Run(const std::function<void()>& work) = 0;
  virtual void Act(int actor) = 0;
  virtual void SetUmask(mode_t mask) = 0;
  // Makes the root accessible to all, whatever its mode is: by its owner.
  virtual void OpenRoot() { Chmod({"/"}, 0777); }
  // The next call goes through the batch interface, if there is one for it.
  virtual void UseBatch() {}

  virtual int64_t Open(const std::string& path, int flags, mode_t mode) = 0;
  virtual int64_t Create(const std::string& path, int flags, mode_t mode) = 0;
  virtual int64_t Close(int fd) = 0;
  virtual int64_t Read(int fd, void* to, size_t bytes) = 0;
  virtual int64_t Write(int fd, const void* from, size_t bytes) = 0;
  virtual int64_t Pread(int fd, void* to, size_t bytes, int64_t offset, int parts) = 0;
  virtual int64_t Pwrite(int fd, const void* from, size_t bytes, int64_t offset, int parts) = 0;
  virtual int64_t Seek(int fd, int64_t offset, int whence) = 0;
  virtual int64_t Fsync(int fd) = 0;
  virtual int64_t Fallocate(int fd, int mode, int64_t offset, int64_t bytes) = 0;

  virtual int64_t Stat(const Target& target, struct stat* out) = 0;
  virtual int64_t Chmod(const Target& target, mode_t mode) = 0;
  virtual int64_t Chown(const Target& target, uid_t uid, gid_t gid) = 0;
  virtual int64_t Utimens(const Target& target, const timespec* times) = 0;
  virtual int64_t Truncate(const Target& target, int64_t size) = 0;
  virtual int64_t GetXattr(const Target& target, const std::string& name, void* value, size_t bytes) = 0;
  virtual int64_t SetXattr(const Target& target, const std::string& name, const std::string& value, int flags) = 0;
  virtual int64_t ListXattr(const Target& target, char* list, size_t bytes) = 0;
  virtual int64_t RemoveXattr(const Target& target, const std::string& name) = 0;

  virtual int64_t Access(const std::string& path, int mode, bool follow) = 0;
  virtual int64_t Unlink(const std::string& path) = 0;
  virtual int64_t Mkdir(const std::string& path, mode_t mode) = 0;
  virtual int64_t Rmdir(const std::string& path) = 0;
  virtual int64_t Rename(const std::string& from, const std::string& to, unsigned flags) = 0;
  virtual int64_t Link(const std::string& from, const std::string& to) = 0;
  virtual int64_t Symlink(const std::string& target, const std::string& path) = 0;
  virtual int64_t Readlink(const std::string& path, char* to, size_t bytes) = 0;
  // Null: *error is -errno.
  virtual std::unique_ptr<Stream> OpenDir(const std::string& path, int64_t* error) = 0;
};

// `bytes` bytes at `base` as a vector of about `parts` pieces.
inline std::vector<iovec> Vector(const void* base, size_t bytes, int parts) {
  std::vector<iovec> iov;
  const size_t each = bytes / static_cast<size_t>(parts) + 1;
  char* const from = const_cast<char*>(static_cast<const char*>(base));
  for (size_t at = 0; at < bytes; at += each) iov.push_back({from + at, std::min(each, bytes - at)});
  if (iov.empty()) iov.push_back({from, 0});
  return iov;
}

}  // namespace differential
