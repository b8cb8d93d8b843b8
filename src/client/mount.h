// One session as one process uses it: what all its lanes share. Any thread.
// Invariants  M1  a poisoned mount stays so: one of our own checks failed, every call answers EIO from then on.
//             M2  bytes are buffered for files of a shard only while the helper listens to that shard's revocations.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "client/arenas.h"
#include "client/close_queue.h"
#include "client/file_table.h"
#include "client/options.h"
#include "client/outbox.h"
#include "client/own_parts.h"
#include "client/place_pool.h"
#include "os/cores.h"
#include "ring/placement.h"
#include "wire/types.h"

namespace mayfly {

struct MountCounters {
  std::atomic<uint64_t> written_mapped{0}, read_mapped{0}, moved_meanwhile{0};  // pieces
  std::atomic<uint64_t> closed_ahead{0};                                        // did not wait
  std::atomic<uint64_t> checksum_mismatches{0}, writes_buffered{0}, buffers_sent{0}, revoked{0}, read_ahead_hits{0};
};

class Mount {
 public:
  // At most so many files buffer writes at a time; others write through.
  static constexpr uint32_t kBuffersMax = 64;

  // `views`: the arenas of servers on this node; null if there are none to map.
  Mount(Placement placement, Cred cred, ClientOptions options, FileTable& files, ArenaViews* views = nullptr)
      : placement_(std::move(placement)),
        cred_(std::move(cred)),
        options_(options),
        files_(files),
        arenas_(options.map_arena ? views : nullptr, placement_.shard_count()),
        outbox_(placement_.shard_count()),
        listening_(placement_.shard_count()) {}

  const Placement& placement() const { return placement_; }
  const Cred& cred() const { return cred_; }
  const ClientOptions& options() const { return options_; }
  FileTable& files() { return files_; }
  CloseQueue& closes() { return closes_; }
  Arenas& arenas() { return arenas_; }
  PlacePool& places() { return places_; }
  OwnParts& own_parts() { return own_parts_; }
  Outbox& outbox() { return outbox_; }
  MountCounters& counters() { return counters_; }

  // The core that the calling thread runs on.
  void SetCores(Cores* cores) { cores_ = cores; }
  uint32_t core() const { return cores_ != nullptr ? cores_->Current() : Cores::kNone; }

  bool poisoned() const { return poisoned_.load(std::memory_order_relaxed); }
  void Poison() { poisoned_ = true; }

  // Which process this is: grows in each forked child.
  uint64_t epoch() const { return epoch_.load(std::memory_order_relaxed); }
  // Files that hold unsent bytes.
  std::atomic<uint32_t>& buffered() { return buffered_; }
  // What of this process is not done though the call has returned: bundles (outbox.h), and closes by a message of their
  // own (lane_close.cc).
  std::atomic<uint32_t>& departing() { return departing_; }
  // What went wrong with one of them: for the next close or sync of the process to say.
  void NoteLate(Code code) { late_ = code; }
  Status TakeLate() {
    return late_.load(std::memory_order_relaxed) == Code::kOk ? Code::kOk : late_.exchange(Code::kOk);
  }
  // How often the helper was told to give files up; see FileTable, D3.
  uint64_t revocations() const { return revocations_; }
  void CountRevocation() { ++revocations_; }

  // ---- the helper: a lane of its own that listens, and sends what is older than a second ----
  // Called from any thread when there is something for it; set before the first operation. It may start the helper.
  void SetWakeHelper(std::function<void()> wake) { wake_ = std::move(wake); }
  void WakeHelper() {
    if (wake_) wake_();
  }
  bool has_helper() const { return wake_ != nullptr; }
  // Somebody waits for what another thread has under way, which may compute for long: the helper drives that.
  void WakeHelperToDrive() {
    drive_ = true;
    WakeHelper();
  }
  std::atomic<bool>& drive() { return drive_; }
  bool Listening(ShardId shard) const { return listening_[shard.value].load(std::memory_order_acquire) == kActive; }
  // True once some file of this process could have used write-behind: from then on every shard is listened to where a
  // file is opened for writing.
  bool wants_to_listen() const { return wants_to_listen_.load(std::memory_order_relaxed); }
  // This process has made and closed a small file. One that makes many had better be alone with each: true.
  bool CountSmallFile() { return small_files_.fetch_add(1, std::memory_order_relaxed) + 1 >= options_.own_after; }
  // Wants the helper to listen to the shard; it takes a moment.
  void AskToListen(ShardId shard);
  std::vector<ShardId> TakeListenRequests();
  bool HasListenRequests();
  // Requests that were taken and are to be taken once more.
  void AskAgain(const std::vector<ShardId>& shards);
  void SetListening(ShardId shard, bool active) {
    listening_[shard.value].store(active ? kActive : kAsked, std::memory_order_release);
  }
  // A place for the pool, and a loan for the server: the helper sees that they do not stay for long.
  void KeepPlace(ShardId shard, const PlaceLoan& loan, Nanos now) {
    places_.Put(shard, loan, now);
    SomethingAges();
  }
  void GiveBackLoan(ShardId shard, uint64_t loan, Nanos now) {
    places_.GiveBack(shard, loan, now);
    SomethingAges();
  }
  // Of closes and places that wait; kNever if none does.
  Nanos oldest() const { return std::min(closes_.oldest(), places_.oldest()); }
  // True until something new has to be watched: closes and buffers that get old.
  std::atomic<bool>& helper_watches() { return helper_watches_; }
  void SomethingAges() {
    if (!helper_watches_.load(std::memory_order_relaxed) && !helper_watches_.exchange(true)) WakeHelper();
  }

  // Buffers of write_behind_bytes, kept for the next file. Null: there are kBuffersMax already, or no memory.
  std::unique_ptr<uint8_t[]> TakeBuffer();
  void GiveBuffer(std::unique_ptr<uint8_t[]> buffer);

  // pthread_atfork: everything stands still in between. In the child nothing of the parent's work goes on.
  void LockForFork();
  void UnlockAfterFork();
  void RenewInChild();

 private:
  enum : uint8_t { kOff, kAsked, kActive };

  const Placement placement_;
  const Cred cred_;
  const ClientOptions options_;
  FileTable& files_;
  CloseQueue closes_;
  Arenas arenas_;
  PlacePool places_;
  OwnParts own_parts_;
  Outbox outbox_;
  MountCounters counters_;
  std::atomic<bool> poisoned_{false};
  std::atomic<uint64_t> epoch_{0};
  std::atomic<uint32_t> buffered_{0}, departing_{0}, small_files_{0};
  std::atomic<Code> late_{Code::kOk};
  std::atomic<uint64_t> revocations_{0};
  Cores* cores_ = nullptr;
  std::function<void()> wake_;
  std::vector<std::atomic<uint8_t>> listening_;  // by shard
  std::atomic<bool> wants_to_listen_{false};
  std::atomic<bool> helper_watches_{false}, drive_{false};

  std::mutex mutex_;  // of what follows
  std::vector<ShardId> listen_requests_;
  std::vector<std::unique_ptr<uint8_t[]>> free_buffers_;
  uint32_t buffers_ = 0;
};

}  // namespace mayfly
