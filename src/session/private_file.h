// Files that hold a session's secret or decide whom a client talks to: regular, owned by the user, closed to everybody
// else (0600), replaced as a whole. A reader sees the old file or the new one, never a part.
// Invariants  F1  a file is checked through the descriptor that is then read, so it cannot be swapped in between.
//             F2  a written file is never changed afterwards, only replaced by rename: a mapping of it stays valid.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "session/outcome.h"

namespace mayfly {

// Owns a file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.Release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release();

 private:
  int fd_ = -1;
};

// A file mapped for reading, unmapped by the destructor. Any thread may read it.
class MappedFile {
 public:
  MappedFile(const uint8_t* data, size_t size) : bytes_(data, size) {}
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

// `what` is what the sentences call the file: "session file". `uid` is who must own it. Codes: kNoEntry if there is
// none, kAccess if owner or permissions are wrong, kCorrupt if it is larger than bytes_max, else the code of errno.
struct PrivateFile {
  std::string path;
  std::string_view what;
  uint32_t uid = 0;
  std::string session;  // of the temporary's name; may be empty
};
Outcome<std::string> ReadPrivateFile(const PrivateFile& file, uint64_t bytes_max);
Outcome<std::shared_ptr<const MappedFile>> MapPrivateFile(const PrivateFile& file);
// Written under a temporary name in the same directory, synced, renamed. Two writers do not mix; the last one wins.
Outcome<Done> WritePrivateFile(const PrivateFile& file, Bytes content);
// What writers of `path` left beside it that were killed: those of one session, while nobody of it writes any more.
std::vector<std::string> TemporariesOf(const std::string& path, const std::string& session);

// "cannot open session file /x: no such file or directory".
Failure FailErrno(int error, std::string_view verb, std::string_view what, std::string_view path);

}  // namespace mayfly
