// The shards of this process: one thread each. The owner's thread calls everything here but RequestStop, which the
// watch's thread calls.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "options.h"
#include "shard_thread.h"
#include "side_lane.h"
#include "stage_host.h"
#include "view_keeper.h"

namespace mayfly {

// Who this process is, as all its shards say it; the rest is the caller's.
ShardOptions OptionsOfThisProcess(const std::string& host);
// A durability above `none`, with a journal of so many bytes. One in memory is a part of what the shard was given.
struct JournalPlan {
  uint64_t bytes = 0;
  Nanos commit_interval = 0;
  bool in_memory = false;
};
void KeepJournal(ShardOptions* shard, Durability durability, Fsync fsync, const JournalPlan& plan);

class LocalShards {
 public:
  // Network addresses first: they go to all others before any shard can be made. `stand_ins`: further shards, behind
  // those of the options.
  static Outcome<std::unique_ptr<LocalShards>> Create(const ServerOptions& options, uint32_t stand_ins = 0);
  ~LocalShards();
  // By shard of this process.
  std::vector<Bytes> addresses() const;

  struct Setup {
    const NodeBook* book = nullptr;  // outlives the member
    ShardOptions shard;              // of all of them, but for `self`
    ShardId first;                   // the others follow
    std::string arena_directory;
    std::string session;           // path of the session file
    bool oversubscribed = false;   // more shards than cores on this node
    ViewKeeper* keeper = nullptr;  // outlives the member
    std::string storage;           // its base (storage.h); empty: nothing outlives the process
    bool recover = false;
    bool look_only = false;          // nothing is written: the shards' role says for what
    std::vector<ShardId> stand_ins;  // numbers of the further shards
  };
  Outcome<Done> Start(Setup setup);
  // Makes the journals, or brings back what they hold. Before anything is served.
  Outcome<Done> Open(bool recover);
  // What Open brought back stays when this ends, for another try, until the session is back and this is called.
  void TakeOver();
  // After Open: what was brought back, a line a shard.
  const std::vector<std::string>& brought_back() const { return brought_back_; }
  // With look_only: what the storage does not hold of what it should, a sentence each.
  struct Lacks {
    std::vector<std::string> damage;    // ranges of journals
    std::vector<std::string> refusals;  // of shards that cannot be brought back
    uint64_t in_doubt = 0;              // changes whose end has to be asked for
  };
  const Lacks& lacks() const { return lacks_; }
  // The dissemination barrier: every shard of this process asks those at distance 1, 2, 4, ... for a sign of life.
  Outcome<Done> MeetOthers(Nanos within);
  // Of a member that was started again: tells all others where its shards are.
  Outcome<Done> Announce(std::vector<Shard::NewAddress> moved, View view, Nanos within);
  bool has_root() const;

  // Asks for the session's end: the root's shard, if it is one of ours, else by a message to it. Once; any thread.
  void RequestStop(const ServerOptions& options);
  // Ends our shards without asking anybody.
  void Leave();

  struct End {
    bool stuck = false;              // leave by _exit
    bool root = false;               // the root was here, so:
    bool resumed_of_signal = false;  // it was asked for by a signal to a server that this one replaced
    bool complete = true;
    std::string sentence;  // what was flushed, or why not everything was
    // A stop that we asked the root elsewhere for: why it was not complete, or could not be asked for.
    std::string request_failure;
    bool root_lost = false;  // the latter
    bool kept = false;       // what outlives the servers stays
    std::string missing;     // what is not on the PFS, as the report of this stop or that one lists it, a line each
  };
  // Until all shards have left.
  End Wait();

 private:
  LocalShards() = default;
  void AskRoot(bool flush);
  ShardId IdOf(size_t index) const;
  Outcome<Done> OpenDiskOf(size_t index, ShardThread::Options* options) const;
  std::optional<size_t> IndexOfRoot() const;

  UcxOptions ucx_;
  std::atomic<bool> storage_goes_{false};  // a signal may take the footprint away while the shards still end
  std::vector<std::string> brought_back_;
  Lacks lacks_;
  std::vector<std::unique_ptr<UcxTransport>> transports_;  // until Start
  Setup setup_;
  std::unique_ptr<StageHost> stage_host_;
  std::vector<std::unique_ptr<ShardThread>> threads_;

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t leaving_ = 0, ended_ = 0;
  bool stop_requested_ = false;
  std::thread asker_;
  std::atomic<bool> asker_ends_{false};
  std::string request_failure_;  // of the asker's thread, until it is joined
  std::string request_missing_;  // likewise
  bool root_lost_ = false;       // likewise
};

}  // namespace mayfly
