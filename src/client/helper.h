// The helper does for a process what its own threads cannot while they compute: it hears that another process wants a
// file whose writes are buffered here, and sends them; it sends buffers and closes that are older than a
// second, and gives back places that nobody wrote into for as long.
// It runs on a lane of its own, which its owner drives (in the library: a thread that sleeps nearly always).
// Invariants  H1  a shard counts as listened to from before its first file is given to this process alone until its
//                 poll failed; then all its files stop being buffered, until it is polled again.
#pragma once

#include <vector>

#include "client/lane.h"
#include "task/sync.h"

namespace mayfly {

class Helper {
 public:
  static constexpr Nanos kBufferAgeMax = kSecond;

  explicit Helper(Lane& lane);
  // Stop() was called and the lane is idle.
  ~Helper();

  // The mount has something new. On the lane's thread.
  void Poke();
  // Ends everything here once the lane's caller was shut down.
  void Stop();

 private:
  Task<Status> Run();
  bool SomethingAges() const;
  Task<Status> Listen(ShardId shard);
  Task<Status> ListenOnce(ShardId shard);
  Task<Status> GiveUp(ShardId shard, std::vector<InodeId> inodes);
  Task<Status> StopBuffering(ShardId shard);

  Lane& lane_;
  Mount& mount_;
  WaitQueue poked_;
  bool poked_since_ = false;  // Poke came while Run was at work
  bool stopping_ = false;
};

}  // namespace mayfly
