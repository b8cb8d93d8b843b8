// A client that works by itself, as one coroutine: operations by a seed in a directory of its own, of which it keeps a
// model, and in one that it shares with others, where each operation's outcome can be told alone. What it is told must
// be what the model says; where another client moves a directory, what was known of it before is over. The first thing
// that is wrong ends it.
// Where disks fail it may be told so, as long as they do (SharedModel::faults). "Read-only" and "no space": nothing of
// a change of names happened; of a file's bytes, only in the range that was spoken of. An I/O error, and a deadline
// that passed since a failed server holds something in doubt: the change of names happened whole or not at all; nothing
// more is asked for afterwards. Rotten data cannot be read. What was acknowledged before is there, then and afterwards.
// Where a server is gone for good (SharedModel::lost), what needs it ends with an error in time, and is refused:
// nothing of it happens. All that lives on others is as it was; of what was under way just then the names are in doubt.
// A process may be killed and another take its place (Options::mortal). What was under way then happened whole or not
// at all; of the bytes of files that were not closed or synced since, each is there or not.
#pragma once

#include <fmt/format.h>

#include <coroutine>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/directory.h"
#include "sim/client.h"
#include "sim/graves.h"

namespace mayfly {

class ModelledClient;

// What the clients of a run know together.
struct SharedModel {
  static constexpr const char* kDir = "/shared";
  static constexpr const char* kLog = "/shared/log";
  std::vector<ModelledClient*> clients;
  std::multiset<std::string> records;  // that were acknowledged
  std::set<std::string> maybe;         // that processes were appending when they were killed
  std::map<std::string, int> races;    // names that several try to make: how often one was told that it did
  std::set<std::string> made;          // names that one client alone has made
  std::set<std::string> doubtful;      // names of which that is not known, for a disk failed
  bool faults = false;                 // disks fail now, or have left servers read-only
  bool rot = false;                    // what lies on a disk may be rotten
  uint64_t refused = 0;                // operations that met faults
  uint64_t timed_out = 0;              // of these
  uint64_t rotten = 0;                 // reads that met rot
  uint64_t deaths = 0;                 // of clients
  std::function<uint64_t()> losses;    // grows when messages may have been lost, with a server or on their way
  uint64_t names = 0;                  // in kDir when it was looked at last
  uint64_t hash = 0;                   // of all results and their moments
  std::vector<bool> lost;              // by shard, those that are gone for good; empty: none is
  Nanos lost_at = 0;
};

class ModelledClient {
 public:
  struct Options {
    uint64_t seed = 1;
    uint32_t number = 0;
    bool write_behind = false;
    bool mapped = false;
    bool disk_faults = false;
    bool fills_journal = false;  // with values that a small ring holds some of
    bool idles = true;           // sometimes, for longer than anything waits
    bool makes_several = false;  // small files one behind the other, and does not wait for each where it need not
    bool mortal = false;         // its process can be killed; another takes its place
    bool gives_up = false;       // waits for servers no longer than a client does where none comes back
    uint64_t host = 0;           // SimNetwork's
    std::function<void()> after_death;
  };
  ModelledClient(SimCluster& cluster, Options options, SharedModel* shared, std::function<void()> before_operation);

  // Once, before Live.
  Task<void> MakeHome();
  Task<void> Live(int operations);
  // Everything there is.
  Task<void> CheckAll();
  // The shared directory; by one client.
  Task<void> CheckShared();
  // Closes and removes all.
  Task<void> Leave();
  const std::string& failure() const { return failure_; }
  // One that is mortal goes on here alone: between two turns of the cluster.
  void Turn();
  // As SimClient::KillInside, while it lives.
  void DieAfter(int64_t moments);

 private:
  static constexpr Nanos kArrived = 20 * kSecond;   // longer than any message is on its way
  static constexpr Nanos kSettled = 200 * kSecond;  // longer than anything goes on after its client is gone
  struct Node {
    FileType type = FileType::kFile;
    std::string data;  // of a file; target of a symlink
    uint16_t permissions = 0644;
    std::map<std::string, std::string> xattrs;
    Nanos mtime = kNever;                 // kNever: unknown
    uint64_t blur_from = 0, blur_to = 0;  // bytes of which a write that failed left some, all or nothing; once
    bool blurred() const { return blur_to != 0; }
    // Of mortal clients: what was written since the file was last closed, or whatever else made the servers have it
    // all, over what it was then. `torn`: and the process was killed, so that each of these bytes is there or not.
    std::vector<std::pair<uint64_t, std::string>> unsent;
    std::string kept;
    bool torn = false;
    InodeId inode;       // where it lives, if `gives_up`; not valid: not known
    uint64_t reach = 0;  // bytes that it may ever have had
    FileRef closing;     // closed, and it was not answered then
    uint64_t losses = 0;
  };
  using NodeRef = std::shared_ptr<Node>;
  struct Held {
    int fd = -1;
    FileRef file;
    NodeRef node;
  };

  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  Lane& lane() {
    MAYFLY_CHECK(!gone_);
    return client_->lane();
  }
  std::unique_ptr<SimClient> NewProcess() const;
  // What a call of the process comes to; kIo if the process is killed before it is told. Then it is in doubt, and
  // nothing may be called until ComeBack.
  template <class T>
  Task<T> Heard(Task<T> call) {
    if (options_.mortal) return HeardOrNot(std::move(call));
    if (options_.gives_up) return InTime(std::move(call));
    return call;
  }
  template <class T>
  Task<T> InTime(Task<T> call);
  template <class T>
  Task<T> HeardOrNot(Task<T> call);
  static Task<Status> Pause(Executor* executor, Nanos nanos);
  Task<void> ComeBack();
  // Before these bytes are written, and when the servers have all of the file.
  void Begin(const NodeRef& node, uint64_t offset, std::string text);
  static void Settled(const NodeRef& node);
  static bool IsUnanswered(const FileRef& file);
  static bool MayBe(const Node& node, const std::string& text);
  void Fail(std::string what);
  // Of what the client was told.
  void Note(uint64_t result);
  bool Told(Code got, Code want, const std::string& what);
  // The same of what changes names: true if the model is to change. That may be so although it failed.
  bool Changed(Code got, Code want, const std::string& what);
  // And of what changes the bytes of a file in a range. After a failure no more of them are changed.
  bool Wrote(Code got, const NodeRef& node, uint64_t from, uint64_t to, const std::string& what);
  bool IsFault(Code got) const;
  // What the next calls are about: paths, or an open file.
  void Aim(std::vector<std::string> paths, NodeRef node = nullptr);
  // Whether that needs a server that is gone, as far as it is known.
  bool NeedsLost() const;
  bool NeedsLost(const std::string& path) const;
  bool NeedsLost(const Node& node) const;
  bool IsLost(ShardId shard) const { return shared_->lost[shard.value]; }
  Task<void> Locate(std::string path);
  // Of reads of a file's bytes: true if there are some.
  bool Read(Code got, const std::string& what);

  std::string SomePath(int depth = 0);
  static std::string ParentOf(const std::string& path);
  NodeRef Find(const std::string& path) const;
  Code ParentState(const std::string& path) const;
  bool HasChildren(const std::string& path) const;
  uint32_t LinksOf(const NodeRef& node) const;
  void Touched(const std::string& path);  // its directory's mtime
  void Move(const std::string& from, const std::string& to, std::map<std::string, NodeRef>* out);
  std::string Text(size_t n);

  Task<void> Operate();
  Task<void> Mkdir(std::string path);
  Task<void> Rmdir(std::string path);
  Task<FileRef> Open(std::string path, uint32_t flags, int* fd);
  Task<void> Close(int fd, NodeRef node);
  Task<void> WriteSome(FileRef file, NodeRef node);
  Task<void> Write(std::string path);
  Task<void> MakeSeveral();
  Task<void> Append(std::string path);
  Task<void> Truncate(std::string path);
  Task<void> Unlink(std::string path);
  Task<void> Link(std::string from, std::string to);
  Task<void> Symlink(std::string path);
  Task<void> Rename(std::string from, std::string to, uint32_t flags);
  Task<void> Attributes(std::string path);
  Task<void> Xattr(std::string path);
  Task<void> Allocate(std::string path);
  Task<void> List(std::string path);
  Task<void> Hold(std::string path);
  Task<void> UseHeld();
  Task<void> DropHeld();
  Task<void> Share();
  Task<void> MoveByOther();
  Task<void> CheckTree();
  Task<void> CheckMade();
  Task<void> CheckOne(std::string path, NodeRef node);
  Task<void> CheckData(FileRef file, NodeRef node, std::string path);

  const Options options_;
  SimRandom random_;
  SimCluster& cluster_;
  std::unique_ptr<SimClient> client_;  // null: killed
  struct Waiting {
    ModelledClient* client;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> self) const { client->waiting_ = self; }
    void await_resume() const {}
  };
  std::vector<std::string> aim_, doubt_;  // paths; `doubt_`: what was under way when a server went
  NodeRef aim_node_;
  bool anywhere_ = false;  // or of whatever else
  Nanos begun_ = 0;        // this operation

  std::coroutine_handle<> waiting_;  // until the call is done
  std::function<bool()> is_done_;
  bool living_ = false;  // may be killed
  bool gone_ = false;    // was, and there is no other yet
  SharedModel* const shared_;
  std::function<void()> before_;
  const std::string home_;
  std::map<std::string, NodeRef> tree_;
  std::vector<Held> held_;
  // While it is not known whether the last operation happened: what there is if it did not. All nodes are copies.
  struct World {
    std::map<std::string, NodeRef> tree;
    std::vector<Held> held;
  };
  World Copy() const;
  std::optional<World> otherwise_;
  std::set<std::string> my_records_;
  uint64_t number_ = 0;  // of records and shared names
  std::string failure_;
};

template <class T>
Task<T> ModelledClient::HeardOrNot(Task<T> call) {
  // Who is killed in the turn in which it would have been told has not heard it.
  while (!gone_ && (!call.done() || !client_->alive())) {
    is_done_ = [&call] { return call.done(); };
    const Waiting waiting{this};
    co_await waiting;
  }
  if (!gone_) co_return call.Take();
  Bury(std::move(call));
  co_return Code::kIo;
}

template <class T>
Task<T> ModelledClient::InTime(Task<T> call) {
  constexpr Nanos kMost = 100 * kSecond;  // some wait for several things one after the other
  const Nanos begun = cluster_.clock().Now();
  T result = co_await call;
  const Nanos took = cluster_.clock().Now() - begun;
  if (took > kMost) Fail(fmt::format("a call took {} s", took / kSecond));
  co_return result;
}

// Whether it happened is not known.
inline bool InDoubt(Code code) { return code == Code::kIo || code == Code::kTimedOut || code == Code::kUnavailable; }
inline MutableBytes Room(std::string& text) { return {reinterpret_cast<uint8_t*>(text.data()), text.size()}; }

}  // namespace mayfly
