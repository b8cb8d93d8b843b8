// A local disk by plain calls (pread, pwrite, fdatasync) on a few threads, for where io_uring may not be used: the
// owner's loop never waits for a device. Same semantics (os/disk.h), more context switches.
// The threads start with the first request, block every signal, and end with the object, which waits for the calls that
// they are in.
#pragma once

#include <memory>
#include <vector>

#include "adapt/local_disk.h"

namespace mayfly {

class PosixDisk final : public LocalDisk {
 public:
  static constexpr size_t kThreads = 4;  // a flush takes one for long

  // Without threads everything is done inside Poll: where nothing has to wait, in memory.
  explicit PosixDisk(std::unique_ptr<DiskPlace> place, size_t threads = kThreads);
  PosixDisk(const PosixDisk&) = delete;
  PosixDisk& operator=(const PosixDisk&) = delete;
  ~PosixDisk() override;

  Facts facts() const override;
  bool Poll() override;
  void Register(MutableBytes) override {}
  void Unregister(MutableBytes) override {}
  std::span<const int> event_fds() override { return {&event_, 1}; }
  bool Arm() override;

 private:
  struct Shared;
  static void Serve(Shared& shared);
  void Start(const DiskOp& op) override { asked_.push_back(op); }
  void OnFile(uint32_t, int) override {}
  bool MayMap() const override { return threads_ == 0; }
  void StartThreads();
  void Submit();

  const size_t threads_;
  int event_;
  std::unique_ptr<Shared> shared_;
  std::vector<DiskOp> asked_;  // since the last Poll
  std::vector<DiskOp> ended_;  // empty outside of Poll
  bool armed_ = false;
  bool started_ = false;
};

}  // namespace mayfly
