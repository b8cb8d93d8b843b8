// Who lets the disks of a SimCluster fail for a while, by a seed: errors of reads, writes and flushes, no room,
// slowness, and bits of files' data that rot.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <utility>
#include <vector>

#include "sim/cluster.h"
#include "store/chunk_file.h"

namespace mayfly {

class DiskFaults final : public SimCluster::Steppable {
 public:
  struct Options {
    uint64_t seed = 1;
    uint64_t one_in = 6;  // a call of Plan lets a disk fail
    bool rot = false;     // besides, data rots: only where there are checksums
  };
  struct Counts {
    uint64_t failed = 0, slow = 0, rotten = 0;  // disks, disks, places
  };

  // `fails` is called before a disk does, `rots` before a bit of it does.
  DiskFaults(SimCluster& cluster, Options options, std::function<void()> fails, std::function<void()> rots)
      : cluster_(cluster),
        options_(options),
        random_(options.seed * 3571 + 29),
        fails_(std::move(fails)),
        rots_(std::move(rots)) {
    cluster_.Add(this);
  }
  ~DiskFaults() override { cluster_.Remove(this); }

  // Before an operation.
  void Plan() {
    if (quiet_) return;
    if (until_ == 0 && OneIn(options_.one_in)) Begin();
    if (options_.rot && OneIn(options_.one_in)) Rot();
  }
  // A disk works again; what failed because of it stays as it is until its server is started again.
  void Clear() {
    until_ = 0;
    for (uint32_t s = 0; s < cluster_.shard_count(); ++s) {
      SimDiskFaults& faults = cluster_.platter(s).faults;
      const SimDiskFaults none;
      faults.read_errors = none.read_errors;
      faults.write_errors = none.write_errors;
      faults.flush_errors = none.flush_errors;
      faults.no_space = none.no_space;
      if (s < latency_.size()) faults.latency_max = latency_[s];
    }
    latency_.clear();
    Say("work again", 0, 0);
  }
  // A journal that cannot be read counts as damaged: its server would come back, and say that something is lost.
  void Restarting(uint32_t shard) { cluster_.platter(shard).faults.read_errors = 0; }
  // For good.
  void Mend() {
    if (!std::exchange(quiet_, true)) Clear();
  }
  // Something fails now.
  bool active() const { return until_ != 0; }
  bool Step() override {
    if (until_ == 0 || cluster_.clock().Now() < until_) return false;
    Clear();
    return true;
  }
  Nanos NextTimer() override { return until_ == 0 ? kNever : until_; }
  const Counts& counts() const { return counts_; }

 private:
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  uint32_t SomeShard() { return static_cast<uint32_t>(Below(cluster_.shard_count())); }

  void Begin() {
    const Nanos most = OneIn(3) ? 20 * kSecond : 20 * kMillisecond;
    until_ = cluster_.clock().Now() + 1 + static_cast<Nanos>(Below(static_cast<uint64_t>(most)));
    for (uint32_t s = 0; s < cluster_.shard_count(); ++s) latency_.push_back(cluster_.platter(s).faults.latency_max);
    const uint32_t victim = SomeShard();
    SimDiskFaults& faults = cluster_.platter(victim).faults;
    const uint64_t what = Below(5);
    Say("begin to fail", victim, what);
    if (what == 4) {
      faults.latency_max = OneIn(3) ? 3 * kSecond : 200 * kMillisecond;
      ++counts_.slow;
      return;
    }
    fails_();
    ++counts_.failed;
    const uint32_t often = OneIn(2) ? 1000 : static_cast<uint32_t>(50 + Below(400));
    uint32_t* const kinds[] = {&faults.read_errors, &faults.write_errors, &faults.flush_errors, &faults.no_space};
    *kinds[what] = often;
    const uint64_t also = Below(4);
    if (OneIn(4)) *kinds[also] = often;
  }
  void Rot() {
    const uint32_t victim = SomeShard();
    rots_();  // not the first block: a server that cannot read it says so, and does not start
    if (!cluster_.platter(victim).RotWritten(kChunkFileName, Disk::kBlockBytes, 1 + static_cast<uint32_t>(Below(3))))
      return;
    ++counts_.rotten;
    Say("rot", victim, 0);
  }
  void Say(const char* what, uint32_t victim, uint64_t how) {
    if (std::getenv("MAYFLY_TRACE") == nullptr) return;
    std::printf("%.6f the disks %s: %u, %lu\n", static_cast<double>(cluster_.clock().Now()) / 1e9, what, victim, how);
  }

  SimCluster& cluster_;
  const Options options_;
  SimRandom random_;
  const std::function<void()> fails_, rots_;
  bool quiet_ = false;
  Nanos until_ = 0;             // what fails works again then; 0: nothing does
  std::vector<Nanos> latency_;  // of before
  Counts counts_;
};

}  // namespace mayfly
