// What the tests of disks share: block-aligned memory, completions that count, and a child process that says what went
// wrong in it.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "os/disk.h"

namespace mayfly {

class Buffer {
 public:
  explicit Buffer(size_t bytes, uint8_t fill = 0)
      : memory_(static_cast<uint8_t*>(std::aligned_alloc(Disk::kBlockBytes, bytes)), std::free), bytes_(bytes) {
    std::memset(memory_.get(), fill, bytes);
  }
  // Different at each place and for each seed.
  Buffer& Pattern(uint64_t seed) {
    for (size_t i = 0; i < bytes_; i += sizeof seed) {
      const uint64_t value = (seed + 1) * 0x9e3779b97f4a7c15 ^ i * 0xbf58476d1ce4e5b9;
      std::memcpy(memory_.get() + i, &value, sizeof value);
    }
    return *this;
  }
  MutableBytes bytes() { return {memory_.get(), bytes_}; }
  friend bool operator==(const Buffer& a, const Buffer& b) {
    return a.bytes_ == b.bytes_ && std::memcmp(a.memory_.get(), b.memory_.get(), a.bytes_) == 0;
  }

 private:
  std::unique_ptr<uint8_t, void (*)(void*)> memory_;
  size_t bytes_;
};

struct Outcome : Completion {
  Outcome() {
    fn = [](Completion* self, Status status) {
      auto* outcome = static_cast<Outcome*>(self);
      outcome->status = status;
      ++outcome->times;
    };
  }
  Outcome(const Outcome&) = delete;
  Outcome& operator=(const Outcome&) = delete;
  Status status = Code::kAgain;
  int times = 0;
};

struct TemporaryDirectory {
  explicit TemporaryDirectory(const std::filesystem::path& in = std::filesystem::temp_directory_path()) {
    path = (in / "mayfly_disk_XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) std::abort();
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

// What `work` gave, in a process of its own; "(died)" if it did not end by itself.
inline std::string InChild(const std::function<std::string()>& work) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    const std::string text = work() + "\n";
    const bool said = write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    _exit(said ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[256];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  waitpid(child, nullptr, 0);
  if (text.empty() || text.back() != '\n') return text + "(died)";
  text.pop_back();
  return text;
}

// A child that has called `work` and then stands still, until it is killed.
class StandingChild {
 public:
  explicit StandingChild(const std::function<void()>& work) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      work();
      if (write(ends[1], "!", 1) != 1) _exit(1);
      while (true) pause();
    }
    close(ends[1]);
    char ready = 0;
    ready_ = read(ends[0], &ready, 1) == 1;
    close(ends[0]);
  }
  ~StandingChild() { Kill(); }
  bool ready() const { return ready_; }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
};

}  // namespace mayfly
