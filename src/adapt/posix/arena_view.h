// Another process's arena, mapped from its files (arena_file.h). Any thread.
// Invariants  V1  only files that are this user's own, 0600 and no symbolic links are mapped.
//             V2  a segment that was mapped stays so as long as the view; when its owner gave it up its pages are gone,
//                 and its stamps have changed.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "os/arena_view.h"

namespace mayfly {

class PosixArenaView final : public ArenaView {
 public:
  // Null if there is no such arena on this node that this user may map.
  static std::unique_ptr<PosixArenaView> Attach(const std::string& name, uint64_t who);
  ~PosixArenaView() override;
  PosixArenaView(const PosixArenaView&) = delete;

  Segment Find(uint32_t number) override;
  std::span<const ArenaStamp> Changes() const override { return changes_; }
  ArenaBoard* Board() const override { return board_; }
  void Touch(uint32_t segment, size_t offset, size_t bytes) override;

 private:
  static constexpr size_t kTouchBytes = size_t{2} << 20;
  static constexpr size_t kTouchesMax = (size_t{64} << 20) / kTouchBytes;  // of the longest segment
  static constexpr uint32_t kRowBits = 9;
  static constexpr uint32_t kRow = 1u << kRowBits;
  struct Mapped {
    MutableBytes data;
    size_t file_bytes = 0;
    std::span<const ArenaStamp> stamps;
    std::array<std::atomic<bool>, kTouchesMax> touched{};
  };
  struct Row {
    std::array<std::atomic<Mapped*>, kRow> segments{};
  };

  PosixArenaView(std::string name, int users_fd, std::span<const ArenaStamp> changes, ArenaBoard* board)
      : name_(std::move(name)), users_fd_(users_fd), changes_(changes), board_(board) {}
  Mapped* Get(uint32_t number) const;
  Mapped* Map(uint32_t number);

  const std::string name_;
  const int users_fd_;  // holds the lock
  const std::span<const ArenaStamp> changes_;
  ArenaBoard* const board_;
  std::mutex mutex_;                            // of mapping
  std::array<std::atomic<Row*>, kRow> rows_{};  // numbers of 2^18 and more are not mapped: PageRuns has no more
};

}  // namespace mayfly
