// A client that works by itself, as one coroutine: operations by a seed in a directory of its own, of which it keeps a
// model, and in one that it shares with others, where each operation's outcome can be told alone. What it is told must
// be what the model says; where another client moves a directory, what was known of it before is over. The first thing
// that is wrong ends it.
// Where disks fail it may be told so, as long as they do (SharedModel::faults). "Read-only" and "no space": nothing of
// a change of names happened; of a file's bytes, only in the range that was spoken of. An I/O error, and a deadline
// that passed since a failed server holds something in doubt: the change of names happened whole or not at all; nothing
// more is asked for afterwards. Rotten data cannot be read. What was acknowledged before is there, then and afterwards.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/directory.h"
#include "sim/client.h"

namespace mayfly {

class ModelledClient;

// What the clients of a run know together.
struct SharedModel {
  static constexpr const char* kDir = "/shared";
  static constexpr const char* kLog = "/shared/log";
  std::vector<ModelledClient*> clients;
  std::multiset<std::string> records;  // that were acknowledged
  std::map<std::string, int> races;    // names that several try to make: how often one was told that it did
  std::set<std::string> made;          // names that one client alone has made
  std::set<std::string> doubtful;      // names of which that is not known, for a disk failed
  bool faults = false;                 // disks fail now, or have left servers read-only
  bool rot = false;                    // what lies on a disk may be rotten
  uint64_t refused = 0;                // operations that met faults
  uint64_t timed_out = 0;              // of these
  uint64_t rotten = 0;                 // reads that met rot
  uint64_t hash = 0;                   // of all results and their moments
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
    uint64_t host = 0;           // SimNetwork's
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

 private:
  struct Node {
    FileType type = FileType::kFile;
    std::string data;  // of a file; target of a symlink
    uint16_t permissions = 0644;
    std::map<std::string, std::string> xattrs;
    Nanos mtime = kNever;                 // kNever: unknown
    uint64_t blur_from = 0, blur_to = 0;  // bytes of which a write that failed left some, all or nothing; once
    bool blurred() const { return blur_to != 0; }
  };
  using NodeRef = std::shared_ptr<Node>;
  struct Held {
    int fd = -1;
    FileRef file;
    NodeRef node;
  };

  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  Lane& lane() { return client_.lane(); }
  void Fail(std::string what);
  // Of what the client was told.
  void Note(uint64_t result);
  bool Told(Code got, Code want, const std::string& what);
  // The same of what changes names: true if the model is to change. That may be so although it failed.
  bool Changed(Code got, Code want, const std::string& what);
  // And of what changes the bytes of a file in a range. After a failure no more of them are changed.
  bool Wrote(Code got, const NodeRef& node, uint64_t from, uint64_t to, const std::string& what);
  bool IsFault(Code got) const;
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
  Task<void> Close(int fd);
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
  Task<void> CheckOne(std::string path, NodeRef node);
  Task<void> CheckData(FileRef file, NodeRef node, std::string path);

  const Options options_;
  SimRandom random_;
  SimCluster& cluster_;
  SimClient client_;
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

// Whether it happened is not known.
inline bool InDoubt(Code code) { return code == Code::kIo || code == Code::kTimedOut; }
inline MutableBytes Room(std::string& text) { return {reinterpret_cast<uint8_t*>(text.data()), text.size()}; }

}  // namespace mayfly
