// The tree that a stage-in copies, as one node sees it. Everything is reached from one descriptor of its root, so that
// paths may be longer than the kernel takes in one piece, and nothing below the root is followed out of it by its last
// name. Any thread.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "wire/stage_messages.h"

namespace mayfly::stage {

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

StageFacts FactsOf(const struct stat& st);
// True if something is mounted at `name` of a folder, on this node: what other nodes see there is not known.
bool IsMountPoint(int folder, const std::string& name);
// "a/b"; "" is the root.
std::string Below(const std::string& folder, const std::string& name);

class Source {
 public:
  explicit Source(std::string root) : root_(std::move(root)) {}

  // 0 or errno. Nothing else may be called before it succeeded.
  int Open();
  // What is there; a symlink itself. False with errno.
  bool Stat(const std::string& path, struct stat* out) const;
  // Of a directory or file, by O_RDONLY and `flags`; a symlink is ELOOP.
  Descriptor OpenAt(const std::string& path, int flags) const;
  // For sentences.
  std::string Name(const std::string& path) const { return path.empty() ? root_ : root_ + "/" + path; }

 private:
  const std::string root_;
  Descriptor folder_;  // the root, if it is a directory
};

}  // namespace mayfly::stage
