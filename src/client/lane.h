// Lane: the operations of one thread on one session, as coroutines. It has connections, a path cache and background
// tasks of its own; what several threads share is in Mount. The results are those of Linux on a local filesystem.
// One thread owns it and drives executor and transport until the tasks it started are done.
// Invariants  L1  every operation ends by its deadline (ClientOptions::op_timeout); a long transfer by that of its last
//                 piece. What was done without waiting and has to be known first ends by its own (Settle).
//             L2  what an argument views or points to must stay until the operation has ended.
//             L3  no code of the protocol leaves an operation: kGeneration, kBusy, kConflict and kElsewhere end here.
// Which file does what: lane_names.cc (directory entries), lane_attr.cc (attributes), lane_open.cc, lane_create.cc,
// lane_outbox.cc (many changes by one message), lane_close.cc, lane_io.cc (reading and writing), lane_buffer.cc
// (write-behind and readahead), lane_session.cc (the session).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/data_path.h"
#include "client/mount.h"
#include "client/path_walk.h"
#include "rpc/caller.h"
#include "task/sync.h"

namespace mayfly {

struct StatFs {
  uint64_t bytes = 0, bytes_free = 0, inodes = 0, inodes_free = 0;
  uint32_t chunk_bytes = 0;
};

class Lane {
 public:
  Lane(Executor& executor, Caller& caller, Mount& mount, uint64_t seed);
  Lane(const Lane&) = delete;
  // Only once idle().
  ~Lane();

  // ---- names ----
  Task<Status> Mkdir(std::string_view path, uint16_t permissions);
  Task<Status> Rmdir(std::string_view path);
  Task<Status> Unlink(std::string_view path);
  Task<Status> Rename(std::string_view from, std::string_view to, uint32_t flags);  // 1: no replace, 2: exchange
  Task<Status> Link(std::string_view from, std::string_view to);
  Task<Status> Symlink(std::string_view target, std::string_view path);
  Task<Result<std::string>> ReadLink(std::string_view path);

  // ---- attributes: by path, following a symlink at its end or not, or by descriptor ----
  struct Target {
    std::string_view path;
    bool follow = true;
    FileRef file;  // used instead of the path
  };
  Task<Result<Attr>> Stat(std::string_view path, bool follow);
  Task<Result<Attr>> Stat(FileRef file);
  Task<Status> Access(std::string_view path, uint32_t want, bool follow);  // rights.h; 0: does it exist
  // `change` without its inode. A mask of 0 is a chown of neither id.
  Task<Status> SetAttr(Target target, SetAttrRequest change);
  Task<Result<size_t>> GetXattr(Target target, std::string_view name, MutableBytes value);  // empty: asks the length
  Task<Status> SetXattr(Target target, std::string_view name, Bytes value, uint32_t flags);
  Task<Result<size_t>> ListXattr(Target target, MutableBytes list);
  Task<Status> RemoveXattr(Target target, std::string_view name);

  // ---- open files ----
  // `flags`: OpenFlags. The descriptor.
  Task<Result<int>> Open(std::string_view path, uint32_t flags, uint16_t permissions);
  // An empty file, opened and closed again.
  Task<Status> Create(std::string_view path, bool exclusive, uint16_t permissions);
  Task<Status> Close(int fd);
  // The same in two steps, of which the first takes no lane: FileTable::StartClose with this, which closes an empty
  // file of whose birth its home has not heard, and only if that was not it EndClose.
  static bool MayCloseAtOnce(OpenFile& file);
  Task<Status> EndClose(int fd, FileRef file);
  // At the file's offset, which moves.
  Task<Result<size_t>> Read(FileRef file, MutableBytes to);
  Task<Result<size_t>> Write(FileRef file, Bytes data);
  Task<Result<size_t>> ReadAt(FileRef file, MutableBytes to, uint64_t offset);
  Task<Result<size_t>> WriteAt(FileRef file, Bytes data, uint64_t offset);
  enum class Whence : uint8_t { kSet, kCurrent, kEnd, kData, kHole };
  Task<Result<uint64_t>> Seek(FileRef file, int64_t offset, Whence whence);
  // At level `node` it waits for the servers' disks too. SyncSession: for all that was changed in the session, by
  // anybody.
  Task<Status> Sync(FileRef file);
  Task<Status> SyncSession();
  Task<Status> Truncate(FileRef file, uint64_t size);
  enum class Allocate : uint8_t { kExtend, kKeepSize, kPunch };
  Task<Status> Fallocate(FileRef file, Allocate what, uint64_t offset, uint64_t bytes);

  // ---- session ----
  Task<Result<StatFs>> StatFileSystem();
  Task<Status> Ping(ShardId shard, Nanos deadline);
  Task<Result<std::string>> ShardStatus(ShardId shard);                             // JSON
  Task<Result<std::vector<TraceLine>>> Trace(ShardId shard, TraceRequest request);  // what it collected, if asked for
  Task<Result<uint64_t>> StartFlush(FlushRequest what, const FlushSpec& spec);      // the job
  // *report: JSON once the job is done.
  Task<Status> FlushProgress(uint64_t job, bool cancel, FlushStatusReply* reply, std::string* report);
  // Stage-in (wire/stage_messages.h). `payload`: an encoded StageReport, or nothing.
  Task<Status> StageStart(StageSpec spec, StageStartReply* reply);
  Task<Status> StageWork(StageWorkRequest request, Bytes payload, StageWorkReply* reply, StageItem* item);
  Task<Status> StageStatus(StageStatusRequest request, StageStatusReply* reply, StageSummary* summary);

  // ---- what the helper and this class's owner do ----
  // Sends what is buffered of these files and gives up being their sole user, because another wants to look at them.
  Task<Status> Yield(std::vector<FileRef> files);
  // Sends buffers that have been filled since `before` or earlier.
  Task<Status> FlushOlder(Nanos before);
  Task<Status> SendCloses(CloseQueue::Batch batch);
  // Starts a task in the background; idle() is false until it has ended.
  void Spawn(Task<Status> task, const char* what) { gate_.Spawn(std::move(task), what); }
  bool idle() const { return gate_.running() == 0; }
  // Before this process looks at anything by its name: all that it made or closed without waiting has been answered.
  bool MustSettle() { return mount_.departing() != 0; }
  Task<Status> Settle();
  // Tells of what was written down for a shard, or for all, since `before` or earlier (outbox.h).
  void SendWrittenDown(std::optional<ShardId> of = std::nullopt, Nanos before = kNever);
  // Bundles and closes that wait for their answer: somebody must drive this lane. Any thread.
  uint32_t departing() const { return departing_.load(std::memory_order_relaxed); }
  // Sends the closes of all lanes that have waited since `before` or earlier.
  void SendClosesOlder(Nanos before);
  // Gives back parts of directories that are this process's own, of one shard or of all, if they have not been used
  // since `before`.
  void GiveBackParts(Nanos before, std::optional<ShardId> of = std::nullopt);
  // The same of what the shard has asked for (OwnParts::Revoke), files among it.
  Task<Status> GiveBack(ShardId shard, std::vector<InodeId> inodes, std::vector<FileRef> files);
  // Those that hold nothing.
  void GiveBackOutboxes();
  // Gives places of arenas back that have not been used since `before` or earlier.
  void ReturnPlacesOlder(Nanos before);

  Executor& executor() { return executor_; }
  Caller& caller() { return caller_; }
  Mount& mount() { return mount_; }
  Walker& walker() { return walker_; }
  DataPath& data() { return data_; }
  Nanos Deadline() { return executor_.now() + mount_.options().op_timeout; }
  CallOptions ByHandle(Nanos deadline) const {
    CallOptions options;
    options.deadline = deadline;
    return options;
  }

 private:
  friend class Directory;

  struct Opened {
    Attr attr;
    bool sole = false;
    bool counted = true;
    bool created = false;
    Grant grant;
    Content content;
    ArenaBoard::Hold* hold = nullptr;
  };
  // To read, without a message; nothing if it has to be asked for.
  std::optional<Opened> OpenKnown(const Walk& walk);
  // What a shard said of a name.
  void Learn(const NameView& name, uint64_t hash, const LookupReply& told, Nanos asked);
  // If the walk's name was noted: looks it up, and those behind it, which are asked for next perhaps.
  Task<Status> LookUpNoted(const Walk* walk);
  bool MayBeNoted() const { return walker_.known.HasNoted() || !noted_lookups_.empty(); }
  // The names of one message (some), which is under way or has been answered.
  struct NotedLookups {
    NameList names;
    bool done = false;
  };
  static Task<Status> AskForNoted(Lane* lane, ShardId shard, std::shared_ptr<NotedLookups> lookups);
  Task<Status> LookUp(ShardId shard, const NameList& names);
  Task<Result<Opened>> OpenPath(std::string_view path, uint32_t flags, uint16_t permissions);
  // `inherited`: what an open of another process gave, or nothing.
  Task<Status> OpenAtHome(InodeId inode, uint32_t flags, Granted inherited, Nanos deadline, OpenReply* reply,
                          TargetBuffer* target);
  // Asks for the file alone only where the helper would hear that another wants it.
  uint32_t WithSharing(uint32_t flags, ShardId home);
  // Whether where a file's bytes lie is worth knowing to who opens it so: then every read may go without a message.
  bool MayReadPlaced(uint32_t flags) const;
  // lane_create.cc
  static constexpr uint32_t kDepartingMax = 24;  // bundles and closes that are under way
  static constexpr size_t kSendingMax = 4;       // full buffers of a file that are under way
  bool WishesPart(uint32_t flags, ShardId shard) const;
  bool MakesMany(InodeId dir, ShardId shard);
  void LearnPart(InodeId dir, ShardId shard, uint64_t revocations, uint8_t chunk_bits, const OwnPart& told);
  // *fd stays as it is if the file is to be made as anybody's.
  Task<Status> CreateOwn(std::string_view path, uint32_t flags, uint16_t permissions, int* fd);
  // The same of removing: as anybody does unless *removed.
  Task<Status> RemoveOwn(std::string_view path, bool* removed);
  bool IsOwnWalk(Walk& walk, ShardId shard);
  Task<bool> HasOutbox(ShardId shard);
  void Count(Outbox::Added added);
  // What did not fit into the shard's outbox goes there later. kUnavailable: it does not.
  Task<Status> WaitToWriteDown(ShardId shard, Outbox::Added added, Nanos deadline);
  static Task<Status> SendBundle(Lane* lane, Outbox::BundleRef bundle);
  void EndBundle(Outbox::Bundle& bundle, Status status, const BundleDone& done);
  void EndBirth(const Outbox::Birth& birth, Status status);
  void EndContent(const Outbox::Bundle& bundle, const Outbox::Content& content, Status status);
  Task<Status> Born(OpenFile& file);
  Task<void> LeaveParts(ShardId shard, std::vector<InodeId>* dirs);
  Task<Status> SayYielded(ShardId shard, std::vector<InodeId> inodes);
  // lane_close.cc
  bool IsNewAndSmall(const OpenFile& file) const;
  bool MayDepart(const OpenFile& file) const;
  Task<Status> Depart(int fd, FileRef file);
  // Writes down all that the file holds, and its close, and takes its lock over; false: that does not go.
  bool WriteDown(const FileRef& file);
  void TakeUp(const Outbox::Content& content);
  void Leave(int fd, const FileRef& file);
  static Task<Status> SendLast(Lane* lane, FileRef file);
  Task<Status> WaitForNews(Nanos deadline);
  Task<void> UntilSent(FileRef file);
  void QueueClose(InodeId inode);
  // After a fork the home does not know this process: opens the file again.
  Task<Status> Adopt(OpenFile& file);
  Task<Status> ReturnPlaces(PlacePool::Batch batch);

  // What the entry itself is that a walk's last component names, symlinks not followed.
  Task<Status> LookAtLast(Walk* walk, Attr* attr);
  // The inode of a target. kStale from the operation on it: call again.
  Task<Status> Locate(const Target* target, Walk* walk, Attr* attr);

  Task<Status> Lock(OpenFile& file, FileGuard* guard);
  Task<Status> LockSlow(OpenFile& file, FileGuard* guard);
  FileId IdOf(const OpenFile& file) const { return {file.inode, file.chunk_bits, file.grant()}; }
  // From what the open told of a small file (F5); nothing if it is to be asked for.
  std::optional<size_t> ReadContent(const OpenFile& file, MutableBytes to, uint64_t offset);
  Task<Result<size_t>> ReadHere(OpenFile& file, MutableBytes to, uint64_t offset, FileGuard* guard, bool keep);
  bool MustAdopt(const OpenFile& file) const;
  // There was no space, and some is being given back.
  bool MayHaveRoom(const Result<size_t>& written) const {
    return written.code() == Code::kNoSpace && mount_.outbox().HasRemovals();
  }
  Task<Result<size_t>> WriteHere(OpenFile& file, Bytes data, uint64_t offset, FileGuard* guard, bool keep);
  // Before this process changes or looks at an inode other than by the open file that may buffer bytes of it.
  Task<Status> FlushInode(InodeId inode);
  Task<Status> SyncAt(ShardId shard, InodeId inode);
  bool SyncsEach(const OpenFile& file) const { return (file.flags & kOpenSync) != 0 && mount_.options().syncs; }

  // lane_buffer.cc: write-behind and readahead, under the file's lock.
  Task<Result<size_t>> BufferWrite(OpenFile& file, Bytes data, uint64_t offset);
  // Sends all that the file holds, and waits for what is being sent.
  Task<Status> FlushBuffer(OpenFile& file, DataPath::Closing* closing = nullptr);
  Task<Status> SendFull(OpenFile& file);
  static Task<Status> SendInBackground(Lane* lane, FileRef file, std::shared_ptr<FullBuffer> full);
  // Until no more than `most` buffers of the file are under way.
  Task<Status> AwaitSending(OpenFile& file, size_t most);
  Task<Status> SendBuffer(OpenFile& file, WriteBuffer& buffer, DataPath::Closing* closing);
  void CountSent(WriteBuffer* buffer);
  void FreeBuffer(WriteBuffer* buffer);
  static size_t FirstRoom(const OpenFile& file, uint64_t start, size_t bytes);
  static Status TakeDeferred(OpenFile& file) { return file.deferred.exchange(Code::kOk); }
  DataPath::Sums SumsOf(const WriteBuffer& buffer) const;
  Task<void> GetBuffer(OpenFile& file, uint64_t start, size_t bytes);
  void DropBuffer(OpenFile& file);
  // Follows whether reads are small and sequential; true if some should be served from what was fetched ahead.
  bool ReadsInOrder(OpenFile& file, uint64_t offset, size_t bytes);
  bool MayLease(const OpenFile& file) const {
    return !file.writable() && (file.flags & kOpenUnshared) == 0 && file.type == FileType::kFile &&
           mount_.options().readahead_bytes != 0;
  }
  // F2: whether bytes may be served that were read ahead; of a file that is not sole asks for a lease where that is
  // worth a message.
  Task<bool> MayReadAhead(OpenFile& file, uint64_t offset, size_t bytes);
  Task<void> AskForLease(OpenFile& file);
  Task<void> EndLeases(InodeId inode);
  struct FromAhead {
    size_t bytes = 0;
    bool ended = false;  // the file ends there
  };
  Task<FromAhead> ReadAhead(OpenFile& file, MutableBytes to, uint64_t offset);
  static Task<Status> LoadAhead(Lane* lane, FileId file, std::shared_ptr<AheadPiece> piece);
  void TopUp(OpenFile& file, uint64_t from);

  Executor& executor_;
  Caller& caller_;
  Mount& mount_;
  Walker walker_;
  DataPath data_;
  Gate gate_;
  WaitQueue ahead_done_;  // a piece that was read ahead has arrived, or failed
  std::map<ShardId, std::shared_ptr<NotedLookups>> noted_lookups_;  // each shard's last
  std::vector<LookedUp> looked_up_;                                 // by the last answer
  WaitQueue noted_done_;                                            // one has been answered, or failed
  struct MadeIn {
    InodeId dir;
    ShardId shard;
    uint32_t files = 0;
  };
  std::array<MadeIn, 64> made_in_;  // lately, as far as they do not fall into each other's place
  std::atomic<uint32_t> departing_{0};
  WaitQueue departed_;  // one has
};

}  // namespace mayfly
