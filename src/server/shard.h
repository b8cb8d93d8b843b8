// Shard: one thread's server. It owns the doors' other ends, one shard's namespace and chunk store, and answers
// requests: dispatch.cc decodes and replies; names.cc, inodes.cc, directories.cc, rename.cc, data.cc, privileges.cc and
// mapped.cc decide and store, one family of requests each; outbox.cc does many at once; known_files.cc is for who sends
// none; transaction.cc commits across shards and in_doubt.cc settles what did not hear its end; generation.cc keeps
// path resolution exact; change_log.h journals, recovery.cc and checkpoint.cc bring a shard back. Everything runs on
// one thread; handlers are coroutines that may suspend only at a co_await.
// Invariants  V1  a by-name request is served only if its walk began under the current namespace generation, looked at
//                 again after every suspension before anything is changed, and only under a lease of the sequencer.
//             V2  nothing is changed for a request whose deadline has passed.
//             V3  bytes reach the store only from a place that nobody else can see, after their checksum was verified;
//             or
//                 from one that was lent to a process of this node, which computed their checksum as it copied.
//             V4  who asks for a file's bytes shows the grant of an open (server/grants.h, G1).
//             V5  an inode dies in one place (Bury), which drops its data everywhere before its number is forgotten.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "journal/journal.h"
#include "meta/namespace.h"
#include "os/arena_memory.h"
#include "os/clock.h"
#include "os/cores.h"
#include "os/disk.h"
#include "os/kept_memory.h"
#include "os/offload.h"
#include "os/pfs_tree.h"
#include "os/random.h"
#include "os/transport.h"
#include "ring/placement.h"
#include "rpc/caller.h"
#include "rpc/responder.h"
#include "server/change_log.h"
#include "server/durability.h"
#include "server/grants.h"
#include "server/images.h"
#include "server/loans.h"
#include "server/read_leases.h"
#include "server/recovery.h"
#include "store/chunk_store.h"
#include "store/disk_reader.h"
#include "store/registered_arena.h"
#include "task/all.h"
#include "task/executor.h"
#include "task/sync.h"

namespace mayfly {

class Flusher;
class OutboxBundle;

// `code` would make the caller do what is wrong by now (try again, say that nothing has changed): an input/output
// error.
inline Status IoInsteadOf(Code code, Status status) { return status.code() == code ? Status(Code::kIo) : status; }

// What a shard is there for.
enum class ShardRole : uint8_t {
  kServe,
  // Brings back what its journal holds, in memory: its doors write nothing, and it changes nothing for clients. A
  // journal that cannot be read makes it a stand-in.
  kReadOnly,
  kLook,  // the same, to say what there is; it is not served
  // In the place of a shard that is missing: whoever asks for anything that only that one knew gets kIo.
  kStandIn,
};

struct ShardOptions {
  ShardId self;
  ShardRole role = ShardRole::kServe;
  Secret secret{};
  SessionUuid uuid{};
  Secret server_secret{};  // known to servers only
  ClientId process;        // random: this server's identity towards its peers
  uint32_t pid = 0;
  std::string host;
  uint32_t uid = 0, gid = 0;  // of the server
  uint16_t root_permissions = 0755;
  uint64_t memory_bytes = 1u << 30;
  uint8_t chunk_bits = kChunkBitsDefault;
  bool checksums = true;
  std::string flush_target;      // default of Flush; empty: none
  uint32_t flush_budget_ms = 0;  // of the flush at the end, if whoever ends the session names no other; 0: no limit
  Nanos peer_deadline = 20 * kSecond;
  Nanos lease = 2 * kSecond;
  uint32_t turns_a_look = 1;          // see Executor
  View view{1};                       // the newest that is known
  std::vector<ShardId> stage_shards;  // a shard of each member: they are asked to take part in a stage-in
  uint64_t prefault_ahead_bytes = 0;  // keep so much of the arena's free memory touched; 0: leave it alone
  Durability durability = Durability::kNone;
  Fsync fsync = Fsync::kCommit;
  JournalOptions journal;
  size_t checkpoint_step_bytes = 64 << 10;  // of a checkpoint, written at once, between two turns of the loop
  uint64_t disk_bytes = 0;  // of the chunk file; 0: there is none, as below level `node` there need not be
  ChunkStore::Evict evict = ChunkStore::Evict::kLru;
  // A stop that was under way when the root's server was killed goes on when it is back. False: the session was started
  // again as a whole, to be used.
  bool takes_up_stops = true;
};

// The other ends of the doors; all outlive the shard.
struct Doors {
  Clock& clock;
  Random& random;
  Transport& transport;
  ArenaMemory& arena_memory;
  Offload& offload;
  PfsTree& pfs;
  // Both null with Durability::kNone.
  Disk* disk = nullptr;
  KeptMemory* kept = nullptr;
  Cores* cores = nullptr;  // null: it stays where it is
};

// What a handler sends beside its reply's body.
struct ReplyPayload {
  std::string text;  // bytes made for the reply, or
  std::unique_ptr<uint8_t[]> gathered;
  Bytes view;  // bytes that lie elsewhere, kept in place by `pieces`
  ReadPieces pieces;
  Bytes bytes() const { return view.empty() ? AsBytes(text) : view; }
};

class Shard {
 public:
  Shard(Doors doors, const Placement& placement, const AddressBook& book, ShardOptions options);
  ~Shard();
  // All that is in flight must have been drained.
  Shard(const Shard&) = delete;

  // Before requests are served: the journal is made, or (`recover`) what it holds is brought back; with
  // Durability::kNone there is nothing to do. The loop must be running, here and at the other shards. Without success
  // nothing is served.
  Task<Status> Open(bool recover, RecoveryReport* report);
  // One turn: network, offloaded work, timers, requests. True if there was anything to do.
  bool RunOnce();
  Nanos next_timer() const {
    return journal_ == nullptr ? executor_.next_timer() : std::min(executor_.next_timer(), journal_->next_turn());
  }

  // The dissemination barrier of the start: a message to `to` and its answer.
  Task<Status> Ping(ShardId to, Nanos deadline);
  // Called (on this thread) when the session's end was decided: the owner lets the loop end.
  void SetOnLeave(std::function<void()> fn) { on_leave_ = std::move(fn); }
  // Called (on this thread) when this member is asked to take part in a stage-in: the owner starts a worker, which
  // connects as a client does (stage/worker.h). kBusy: one of an earlier job with that target has not ended yet, which
  // it was asked to; kNotSupported: it cannot. Must not block.
  using OnStage = std::function<Status(uint64_t job, uint32_t worker, StageSpec spec)>;
  void SetOnStage(OnStage fn) { on_stage_ = std::move(fn); }
  // Called (on this thread) when shards have moved: the owner lets this process and its node know. True if it did, or
  // had already.
  struct NewAddress {
    ShardId shard;
    std::string address;
  };
  using OnView = std::function<bool(View view, const std::vector<NewAddress>& moved)>;
  void SetOnView(OnView fn) { on_view_ = std::move(fn); }
  // Of a member that was started again: tells the root, and so all others, where its shards are. `view`: the newest
  // that is known here.
  Task<Status> Announce(std::vector<NewAddress> moved, View view, Nanos deadline);
  // Starts the session's end as `mayfly stop` does; only on the root's shard. For signals.
  void BeginStop(bool flush);
  // The report (JSON) of that stop.
  std::string stop_report() const;
  // True once a stop that BeginStop or a client started has ended, and how.
  struct StopVerdict {
    bool ended = false;
    Code result = Code::kOk;
    bool resumed_of_signal = false;  // a signal had asked a server for it that was killed since
  };
  StopVerdict stop_verdict() const;
  // Waits for handlers, closes connections; at an end that keeps what outlives the servers, closes the journal in
  // order. The loop must keep running until the task is done.
  Task<Status> Drain();
  // The session ended by such an end: what outlives the servers stays.
  bool keeps_storage() const { return kept_ || is_degraded(); }
  // And what the arena holds with it: the disk has not all of it.
  bool keeps_arena() const { return kept_ && (!keeps_data() || log_.failed()); }

  // Whether this shard holds the root: it numbers generations and coordinates directory renames.
  bool is_root() const { return options_.self == placement_.RootShard(); }
  Executor& executor() { return executor_; }
  std::string StatusJson();
  std::string JournalJson() const;
  std::string DataJson() const;
  std::string RecoveryJson() const;
  std::string_view RoleText() const;
  // Walks the tables and compares; the first difference, empty if none (M4). For tests.
  std::string Check() const { return names_.Check(); }
  ChunkStoreStats store_stats() const { return store_.stats(); }
  bool leaving() const { return leaving_; }

 private:
  friend class Flusher;

  // dispatch.cc
  static constexpr size_t kForeseenMax = 32;  // their lines must still be there when they are served
  void Foresee();
  void Serve(Request* request);
  template <Method M, auto Fn>
  Task<Status> Run(Request* request);

  // generation.cc
  // After a suspension: may the request still be served (V1)?
  bool Stale(const Request& request) {
    return request.walked_at() < generation_ || (!is_root() && executor_.now() >= lease_until_);
  }
  // V1 for a request that has just come. Nothing: it must wait for a lease, by EnterWalkSlowly.
  std::optional<Status> EnterWalk(const Request& request);
  Task<Status> EnterWalkSlowly(Request* request);
  Task<Status> RenewLease(Nanos deadline);
  Task<Status> BumpGeneration(Nanos deadline);  // from any shard
  Task<Status> BumpRound(Nanos deadline);       // at the sequencer
  Task<Status> AnnounceTo(ShardId shard, Generation g, Nanos deadline);
  void LearnGeneration(Generation g);

  // names.cc
  // Whether who asks may search `dir`, as far as this shard knows its rights: for a server of several users, as a
  // client checks the directories that it walks itself.
  Status MaySearch(const Request& r, InodeId dir) const;
  Task<Status> HandleLookup(Request* r, const LookupRequest& q, LookupReply* a, ReplyPayload* out);
  Task<Status> HandleOpen(Request* r, const OpenRequest& q, OpenReply* a, ReplyPayload* out);
  Task<Status> HandleMkdir(Request* r, const MkdirRequest& q, AttrReply* a, ReplyPayload* out);
  Task<Status> HandleSymlink(Request* r, const NameRequest& q, AttrReply* a, ReplyPayload* out);
  Task<Status> HandleUnlink(Request* r, const NameRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleLink(Request* r, const LinkRequest& q, AttrReply* a, ReplyPayload* out);
  Task<Status> RefuseLinkOfDirectory(Request* r, const LinkRequest& q);
  Task<Status> HandlePeek(Request* r, const PeekRequest& q, PeekReply* a, ReplyPayload* out);
  Task<Result<Inode*>> CreateEntry(Request* r, Namespace::Creation what);
  Task<Status> MayCreateOverLink(Request* r, InodeId dir, InodeId link);
  // own_parts.cc
  // False: it is not offered.
  bool OfferPart(const Request& r, InodeId dir, bool knows, OwnPart* part);
  // Before anybody but `except` looks at or changes the entries of the directory that are here.
  Task<Status> EndOwner(InodeId dir, ClientId except, Nanos deadline);
  template <Method M, class Request_>
  Task<Status> EndOwners(const Request* r, const Request_& q);
  bool IsOwnedByOther(InodeId dir, ClientId process) const;
  Task<Status> OpenHere(Request* r, Inode* inode, uint32_t flags, bool inherited, OpenReply* a);

  // inodes.cc
  Task<Status> HandleOpenInode(Request* r, const OpenInodeRequest& q, OpenReply* a, ReplyPayload* out);
  Task<Status> HandleClose(Request* r, const CloseRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleGetAttr(Request* r, const GetAttrRequest& q, AttrReply* a, ReplyPayload* out);
  Task<Status> HandleSetAttr(Request* r, const SetAttrRequest& q, AttrReply* a, ReplyPayload* out);
  Task<Status> ChangeAttr(Request* r, const SetAttrRequest& q, AttrReply* a);
  Task<Status> HandleReadLink(Request* r, const InodeRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleGetXattr(Request* r, const XattrRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleSetXattr(Request* r, const XattrRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleListXattr(Request* r, const InodeRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleRemoveXattr(Request* r, const XattrRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleRevoked(Request* r, const Empty& q, CountReply* a, ReplyPayload* out);
  Task<Status> HandleYielded(Request* r, const CloseRequest& q, Empty* a, ReplyPayload* out);
  // The exact attributes of a local inode: asks its other shards. The inode may be gone afterwards: only *attr counts.
  Task<Status> ExactAttr(InodeId id, Nanos deadline, Attr* attr);
  // True with *attr if no other shard or process has to be asked for it.
  bool ExactAttrIsHere(const Inode& inode, ClientId asker, Attr* attr);
  Task<Status> ExactDirAttr(InodeId id, Nanos deadline, Attr* attr);
  Task<Status> GlimpseAll(InodeId id, Nanos deadline, Attr* attr, bool* whole);
  void EndOpen(InodeId id, ClientId process, std::vector<InodeId>* died);
  // Before anybody but its sole opener looks at or opens a file: the opener sends what it holds.
  Task<Status> EndSole(InodeId id, ClientId except, Nanos deadline);
  Task<Result<Attr>> AttrAt(InodeId id, Nanos deadline);  // of any home; not exact in size
  Task<Status> Bury(std::vector<InodeId> died, Nanos deadline);
  Task<Status> BuryOne(InodeId id, Nanos deadline);  // V5
  void ProcessGone(ClientId process, bool ended);
  Task<Status> EndProcess(ClientId process);
  void ForgetProcess(ClientId process);

  // read_leases.cc
  Task<Status> HandleReadLease(Request* r, const ReadLeaseRequest& q, ReadLeaseReply* a, ReplyPayload* out);
  // Before somebody changes the file, once no more leases are given: those of processes other than `except` are over.
  Task<Status> EndReadLeases(InodeId file, ClientId except, Nanos deadline);

  // directories.cc
  Task<Status> HandleShards(Request* r, const ShardsRequest& q, ShardsReply* a, ReplyPayload* out);
  Task<Status> HandleReadDir(Request* r, const ReadDirRequest& q, ReadDirReply* a, ReplyPayload* out);
  Task<Status> HandleRmdir(Request* r, const NameRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleDirJoin(Request* r, const DirJoinRequest& q, DirRights* a, ReplyPayload* out);
  Task<Status> HandleDirUpdate(Request* r, const DirRights& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleDirPart(Request* r, const InodeRequest& q, DirPartReply* a, ReplyPayload* out);
  Task<Status> HandleDirParent(Request* r, const InodeRequest& q, ParentReply* a, ReplyPayload* out);
  Task<Status> JoinDir(InodeId dir, Nanos deadline);
  Task<Status> PushRights(InodeId dir, bool clear_mtime, Nanos deadline);
  Status JoinAtHome(InodeId dir, ShardId shard, DirRights* rights);

  // rename.cc
  Task<Status> HandleRename(Request* r, const RenameRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleRenameDir(Request* r, const RenameRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> RenameDirLocked(Request* r, const RenameRequest& q);
  Task<Status> IfAtOneMoment(Request* r, const RenameRequest& q, const PeekReply& from, const PeekReply& to,
                             Status verdict);
  Task<Status> PeekAt(InodeId parent, std::string_view name, const Cred& cred, Nanos deadline, PeekReply* out);
  Task<Status> MayTake(const PeekReply& entry, Cred cred, Nanos deadline, uint32_t* owner);
  Task<Result<bool>> IsAncestor(InodeId candidate, InodeId of, Nanos deadline);

  // transaction.cc
  struct Transaction;
  Task<Status> HandlePrepare(Request* r, const PrepareRequest& q, PrepareReply* a, ReplyPayload* out);
  Task<Status> HandleDecide(Request* r, const DecideRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> TellAll(OutcomeImage* outcome, bool commit);
  Task<Status> PrepareAt(Transaction* txn, ShardId shard, std::vector<TxnOp> ops, std::vector<ShardId>* set);
  Task<Status> PrepareHere(TxnId id, std::vector<TxnOp> ops, Cred cred, std::vector<ShardId>* set, Nanos deadline);
  Task<Status> PrepareAll(Transaction* txn, std::vector<std::pair<ShardId, TxnOp>> ops);
  Task<Status> PrepareDirRemoval(Transaction* txn, InodeId dir);
  Task<Status> DecideAll(Transaction* txn, bool commit);
  Task<Status> DecideAt(ShardId shard, TxnId id, bool commit, Nanos time, Nanos dir_mtime);
  Task<Status> DecideHere(TxnId id, bool commit, Nanos time, Nanos dir_mtime, Nanos deadline);
  Nanos MtimeOfEmpty(const std::vector<TxnOp>& ops) const;
  TxnId NextTxn();

  // in_doubt.cc
  Task<Status> HandleOutcome(Request* r, const OutcomeRequest& q, OutcomeReply* a, ReplyPayload* out);
  OutcomeReply OutcomeOf(TxnId txn) const;
  void ForgetOutcome(TxnId txn);
  void NotePrepared(TxnId txn);
  Task<Status> SettleOne(TxnId txn);
  Status IoIfStuck(Status status, InodeId dir, std::string_view name) const;
  static bool AllowedWhileReadOnly(Method m);
  uint64_t BeginIntent(IntentImage intent);  // 0: nothing is recorded
  void EndIntent(uint64_t number);
  void LeaveIntent(uint64_t number);  // it failed: to be tried again until it is done
  bool Resuming(InodeId id) const;    // a change of its size, which holds its lock
  Task<Status> Resume(IntentImage intent);
  void SettleSoon();
  Task<Status> SettleLoop();
  Task<Status> SettleRound(Nanos age);

  // views.cc
  Task<Status> HandleRejoin(Request* r, const Empty& q, ViewReply* a, ReplyPayload* out);
  Task<Status> HandleSetView(Request* r, const ViewRequest& q, ViewReply* a, ReplyPayload* out);
  Task<Status> TellView(ShardId shard);
  std::vector<NewAddress> MovedSince(View view) const;
  Status NextView(Bytes moved);
  Status LearnView(View view, Bytes moved);

  // recovery.cc
  struct Replay;
  void CreateRoot();
  Request* NextRequest();
  Task<Status> SettleFirst();
  Task<Status> LetClientsIn();
  Task<Status> OpenJournal(bool recover, RecoveryReport* report);
  Status ApplyField(Tag tag, Bytes value, bool in_region);
  Status ApplyRecord(Bytes fields, bool in_region);
  std::string MemoryIsGone() const;  // a refusal
  Status FinishRecovery(bool power_lost, TlvWriter* first, RecoveryReport* report);
  Task<Status> OpenDisk(bool recover, RecoveryReport* report);
  Task<Status> KeepRecovered();
  bool keeps_data() const { return options_.durability == Durability::kNode; }
  bool is_degraded() const { return options_.role != ShardRole::kServe; }
  // Whether who has what open is known after a restart too, as far as anything is.
  bool keeps_opens() const { return !log_.failed() && !reads_only(); }
  bool reads_only() const { return options_.role == ShardRole::kReadOnly || options_.role == ShardRole::kLook; }
  Task<Status> OpenToRead(RecoveryReport* report);
  void StandIn();
  Task<Status> GiveUp(TxnId txn);
  Task<Status> ReadJournal(RecoveryReport* report, Result<Recovered>* out, TlvWriter* first);
  bool has_disk() const { return options_.disk_bytes != 0; }
  // With a chunk file. Before so many bytes of data are taken in, of which `reserved` have their blocks: waits for what
  // comes free by itself. MakeMemory: for bytes that are read back.
  void KeepMemoryForData();  // before anything is charged
  bool HasBlocks(uint64_t bytes) const;
  bool HasRoom(uint64_t bytes, uint64_t reserved);
  Task<Status> MakeRoom(uint64_t bytes, uint64_t reserved, Nanos deadline);
  Task<bool> Compact(Nanos deadline);
  Task<Status> Reserve(ChunkRange range, Nanos deadline);
  Task<Status> MakeMemory(uint32_t bytes, Nanos deadline);
  // Memory that is given up, once what was changed is sealed and settled; 0 also while the journal has no room.
  uint64_t Evict(uint64_t bytes);
  bool TendMemory();
  void Freeze();
  // Memory of data that tables take, as long as data may leave it for the chunk file: room for names, of which some is
  // kept for the bookkeeping of data. AwaitTableRoom waits while there is hope, and refuses nothing.
  bool LacksTableRoom(uint64_t share) const { return budget_.TableRoom() < budget_.bytes_max() / 128 * share; }
  bool TendTables();  // true: there is more to do
  bool BeginDrain();
  Task<Status> AwaitTableRoom(Nanos deadline);
  bool TurnDisk();
  // What was changed is in the journal, and places that it cut loose are free; false: the journal has failed.
  bool SealAndSettle();
  void FreeBlocks();  // of the chunk file, that no state which may come back reads any more
  struct ReadBack;
  ReadBack* ReadsInOrder(const ChunkRange& range);
  void FetchAhead(const ChunkRange& range, uint64_t end, bool was_absent);
  void GoAhead(ReadBack* one);
  Task<Status> FetchPieces(uint64_t reader, ReadPieces pieces);
  Task<Status> HandleSync(Request* r, const InodeRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> SyncAt(ShardId shard, InodeId id, Nanos deadline);

  // checkpoint.cc
  void CheckpointIfDue();
  Task<Status> WriteCheckpoint();
  Task<Status> CloseJournal();
  Task<Status> FillCheckpoint(CheckpointWriter* writer);
  class RestWalk;

  // privileges.cc
  Task<Status> HandlePrivileged(Request* r, const PrivilegedRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleDropPrivileges(Request* r, const DropPrivilegesRequest& q, DropPrivilegesReply* a,
                                    ReplyPayload* out);
  void NotePrivileged(InodeId file, uint64_t count);
  // At a shard that has joined a file: before data of `party` is taken in.
  Task<Status> DropPrivileges(InodeId file, const Party& party, Nanos deadline);
  // At the home: after a chmod that set suid or sgid.
  Task<Status> TellPrivileged(InodeId file, Nanos deadline);
  Task<Status> PushPrivileged(InodeId file, Nanos deadline);
  Task<Status> TellPrivilegedAt(ShardId shard, PrivilegedRequest q, Nanos deadline);

  // data.cc
  Task<Status> HandleWrite(Request* r, const WriteRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleRead(Request* r, const ReadRequest& q, ReadReply* a, ReplyPayload* out);
  Task<Status> HandleAppend(Request* r, const AppendRequest& q, OffsetReply* a, ReplyPayload* out);
  Task<Status> HandleChunkReserve(Request* r, const RangeRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleChunkPunch(Request* r, const RangeRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleExtend(Request* r, const RangeRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleChunkSeek(Request* r, const SeekRequest& q, OffsetReply* a, ReplyPayload* out);
  Task<Status> HandleFileJoin(Request* r, const FileJoinRequest& q, FileJoinReply* a, ReplyPayload* out);
  Task<Status> HandleGlimpse(Request* r, const GlimpseRequest& q, GlimpseReply* a, ReplyPayload* out);
  Task<Status> HandleChunkTruncate(Request* r, const TruncateRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleDropFile(Request* r, const InodeRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleStatFs(Request* r, const Empty& q, StatFsReply* a, ReplyPayload* out);
  Task<Status> JoinFile(InodeId id, Nanos deadline);
  // `touch`: the times change.
  Task<Status> Truncate(InodeId id, uint64_t size, bool touch, Nanos deadline);
  Task<Status> EndsBefore(InodeId id, uint64_t size, Nanos deadline, bool* before);
  // What it means if a shard refuses its part because it takes no changes.
  enum class Refused : uint8_t { kIsLeft, kIsDone };
  Task<Status> TruncateLocked(InodeId id, uint64_t size, bool touch, Nanos deadline,
                              Refused refused = Refused::kIsLeft);
  Task<Status> AskToCut(InodeId id, Nanos deadline);
  bool CutIsStuck(InodeId id) const;
  Task<void> CutBack(InodeId id, uint64_t size);
  Task<Status> CutElsewhere(IntentImage intent, uint8_t chunk_bits, Nanos deadline, Refused refused = Refused::kIsLeft);
  void EndCut(InodeId id);
  Task<Status> TruncateAtAll(std::vector<ShardId> shards, TruncateRequest q, Nanos deadline);
  Task<Status> TruncateAt(ShardId shard, TruncateRequest q, Nanos deadline);
  Task<Status> GlimpseAt(ShardId shard, GlimpseRequest q, GlimpseReply* out, Nanos deadline);
  Task<Status> DirPartAt(ShardId shard, InodeId dir, DirPartReply* out, Nanos deadline);
  Task<Status> WriteAt(ShardId shard, WriteRequest q, Bytes payload, Nanos deadline);
  Task<Status> DropAt(ShardId shard, InodeId id, Nanos deadline);
  Result<ChunkRange> RangeOf(InodeId file, ChunkIndex chunk, uint8_t chunk_bits, uint32_t offset, size_t bytes);
  Task<Status> MayStore(const Party& party, ChunkRange range, Nanos deadline);
  Task<Status> ReceiveInto(Request* r, ChunkRange range, std::span<const uint64_t> sums);
  Task<Status> ReceivePiecemeal(Request* r, ChunkRange range, std::span<const uint64_t> sums);
  Result<Place> Stage(uint32_t bytes);
  Result<Place> StageFor(const ChunkRange& range);
  Result<std::vector<Place>> StagePieces(ChunkRange range);
  Status CommitPieces(ChunkRange range, Bytes bytes, const std::vector<Place>& places, bool summed);
  Status StoreBytes(const ChunkRange& range, Bytes bytes, bool summed);
  Task<Status> LockSize(InodeId id, Nanos deadline);
  void UnlockSize(InodeId id);
  void Touch(Inode& inode, Nanos when);  // its content changed then
  void Wrote(Inode& inode, uint64_t end, const Cred* cred, Nanos when);
  bool IsHome(InodeId id) const { return id.home() == options_.self; }

  // mapped.cc
  Task<Status> HandleArenaName(Request* r, const Empty& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleLoan(Request* r, const LoanRequest& q, LoanReply* a, ReplyPayload* out);
  Task<Status> HandleCommit(Request* r, const CommitRequest& q, LoanReply* a, ReplyPayload* out);
  Task<Status> HandleReturn(Request* r, const ReturnRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> StoreLent(const Party& party, const CommitRequest& q, Nanos deadline, Nanos when, PlaceLoan* next,
                         std::vector<InodeId>* died);
  bool MayLendAhead() const;
  Result<PlaceLoan> Lend(ClientId process, uint64_t id, uint32_t bytes);
  void TellPlaces(const ReadPieces& pieces, ReadReply* a);
  ArenaStamp* ChangesOf(InodeId file);
  void CountChange(InodeId file);
  void TellContent(ClientId process, const Inode& inode, PlacedFile* placed);
  void NoteLoan(ClientId process, const PlaceLoan& loan);
  void NoteAttached(ClientId process, bool attached);
  Result<Place> TakeLoan(ClientId process, uint64_t id);
  void TakeAllLoans(ClientId process);
  void TakeBackAll(ClientId process);
  Task<Status> TakeBackLater(ClientId process);

  // outbox.cc
  void StepAside(uint32_t core);
  Task<Status> HandleBundle(Request* r, const BundleRequest& q, Empty* a, ReplyPayload* out);
  void OpenOutbox(const Party& party, const PlaceLoan& loan);
  void NoteOutbox(ClientId process, uint64_t loan, const Cred& cred);
  MutableBytes OutboxOf(ClientId process) const;
  // Whether it holds anything that the shard has not been told of.
  bool HasUnfinished(ClientId process) const;
  Task<void> FinishOutbox(ClientId process);
  Task<void> DoBundle(const Party& party, const OutboxBundle& bundle, Nanos deadline, BundleDone* done,
                      std::vector<InodeId>* died);
  Task<Status> MayChangePart(InodeId dir, ClientId process, Nanos deadline);
  Nanos WallAt(Nanos at);
  Status GiveBirth(const Party& party, const BirthRecord& record);
  Task<Status> StoreContent(const Party& party, const ContentRecord& record, Nanos deadline, BundleDone* done,
                            std::vector<InodeId>* died);
  Status Remove(const Party& party, const RemovalRecord& record, std::vector<InodeId>* died);

  // known_files.cc
  bool MayWatch(const Request& r, const Inode& inode, WatchedFile* watched);
  void TellKnown(const Request& r, const Inode& inode, LookupReply* a);
  Task<Status> HandleLookups(Request* r, const Empty& q, Empty* a, ReplyPayload* out);
  void ShowWalks(const Request& r);
  void RegisterHolds(Inode& inode);
  void RingBell(ClientId process);
  void ClearHolds();

  // session.cc
  Task<Status> HandlePing(Request* r, const Empty& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleBump(Request* r, const Empty& q, LeaseReply* a, ReplyPayload* out);
  Task<Status> HandleSetGeneration(Request* r, const GenerationRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleLease(Request* r, const Empty& q, LeaseReply* a, ReplyPayload* out);
  Task<Status> HandleGetStatus(Request* r, const StatusRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleTrace(Request* r, const TraceRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleRefuse(Request* r, const RefuseRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleLeave(Request* r, const LeaveRequest& q, Empty* a, ReplyPayload* out);
  // What concerns the session as a whole is for the user of the servers, and root.
  bool MayControl(const Party& party) const { return party.cred.uid == 0 || party.cred.uid == options_.uid; }
  Task<Status> HandleFlush(Request* r, const FlushRequest& q, FlushReply* a, ReplyPayload* out);
  Task<Status> HandleFlushStatus(Request* r, const FlushStatusRequest& q, FlushStatusReply* a, ReplyPayload* out);
  Task<Status> HandleFlushDir(Request* r, const FlushDirRequest& q, FlushWorkReply* a, ReplyPayload* out);
  Task<Status> HandleFlushFile(Request* r, const FlushFileRequest& q, FlushWorkReply* a, ReplyPayload* out);
  Task<Status> HandleFlushChunks(Request* r, const FlushFileRequest& q, FlushWorkReply* a, ReplyPayload* out);

  // staging.cc
  Task<Status> HandleStageStart(Request* r, const Empty& q, StageStartReply* a, ReplyPayload* out);
  Task<Status> HandleStageInvite(Request* r, const StageInviteRequest& q, Empty* a, ReplyPayload* out);
  Task<Status> HandleStageWork(Request* r, const StageWorkRequest& q, StageWorkReply* a, ReplyPayload* out);
  Task<Status> HandleStageStatus(Request* r, const StageStatusRequest& q, StageStatusReply* a, ReplyPayload* out);
  struct StageDesk;
  Task<Status> InviteAll(uint64_t job, StageSpec spec, std::vector<ShardId> shards);
  Task<Status> InviteOne(uint64_t job, ShardId shard, Bytes payload, Nanos deadline, Semaphore* window);
  Status StartWorker(const StageInviteRequest& q, StageSpec spec);
  void WakeWorkers(uint64_t job);
  void LeaveStages(ClientId process);
  void EndStages();

  struct Job;
  struct JobKind {
    bool stop = false, flush = false, keep = false, by_signal = false;
  };
  // jobs.cc
  Result<uint64_t> StartJob(JobKind kind, FlushSpec spec);
  void TakeUpJobs();
  void RecordJob(const Job& job);
  void ForgetJob(uint64_t id);
  Task<Status> RunJob(Job* job);
  Task<void> RefuseAll(Job* job);
  Task<Status> TellWhetherStopping(ShardId shard);
  Task<void> FlushFor(Job* job);
  void FlushEnded(uint64_t id, Code result, const std::string& report);
  void EndJob(Job* job, Code result, std::string_view flush_report);
  Task<Status> EndSession(Job* job);
  void SetRefusing(bool refuse);
  Task<Status> RefuseAt(ShardId shard, bool refuse, std::string* unsent, Nanos deadline);
  Task<std::string> CollectUnsent(Nanos deadline);
  Task<Status> LeaveAll(bool keep);
  Task<Status> LeaveAt(ShardId shard, bool keep);
  Task<Result<std::string>> FetchText(Request* r, size_t bytes_max);
  Status RoomForTables();
  void ChargeTables();
  void PrefaultIfLow();
  void CountStaged(uint32_t bytes);
  Task<void> Prefault(MutableBytes range);
  Task<Status> PrefaultLoop();

  CallOptions PeerCall(Nanos deadline) const {
    CallOptions o;
    o.deadline = deadline;
    return o;
  }
  // The time of day, by the turn's time: the difference of the two clocks is looked at each kWallEvery.
  Nanos wall() {
    constexpr Nanos kWallEvery = 10 * kMillisecond;
    if (executor_.now() >= wall_again_) {
      executor_.Look();
      wall_ahead_ = doors_.clock.Wall() - executor_.now();
      wall_again_ = executor_.now() + kWallEvery;
    }
    return executor_.now() + wall_ahead_;
  }

  Doors doors_;
  const Placement& placement_;
  const AddressBook& book_;
  ShardOptions options_;
  Executor executor_;
  ChangeLog log_;
  SealingTransport network_;
  Caller caller_;
  Responder responder_;
  MemoryBudget budget_;
  RegisteredArena arena_memory_;
  Arena arena_;
  std::unique_ptr<DiskSpace> disk_space_;  // with a chunk file, as chunk_file_ and what follows it below
  ChunkStore store_;
  Namespace names_;
  Grants grants_;
  std::unique_ptr<Flusher> flusher_;
  Gate gate_;

  // V1
  Generation generation_{1};
  Nanos lease_until_ = 0;
  bool renewing_ = false;
  WaitQueue renewed_;
  // The sequencer's: until when each shard may serve without asking; rounds of announcements, so that changes share
  // one.
  std::vector<Nanos> leased_until_;
  uint64_t rounds_started_ = 0, rounds_done_ = 0;
  bool round_running_ = false;
  WaitQueue round_done_;
  Semaphore dir_renames_;

  uint64_t txn_sequence_ = 0, txns_reserved_ = 0;
  absl::flat_hash_set<TxnId> open_txns_;  // steps of transactions that are being worked on here
  // Commits that not every participant has acknowledged, by their first step.
  absl::flat_hash_map<TxnId, std::unique_ptr<OutcomeImage>> outcomes_;
  bool outcomes_damaged_ = false;                     // there may have been more
  absl::flat_hash_map<TxnId, Nanos> prepared_since_;  // held here
  // Of these, what no server can settle before one whose journal has failed is started again: what they hold is EIO
  // until then, instead of busy, for which clients wait.
  absl::flat_hash_set<TxnId> stuck_;
  std::map<uint64_t, IntentImage> intents_, resuming_;  // by number; resuming: of before a restart, or that failed
  uint64_t intent_number_ = 0;
  bool settling_ = false;
  WaitQueue settle_news_;
  // One join at a time for a directory or a file; others wait for it.
  absl::flat_hash_map<InodeId, std::unique_ptr<WaitQueue>> joining_;
  // Files of other homes with chunks here that may have suid or sgid; as PrivilegedRequest counts.
  absl::flat_hash_map<InodeId, uint64_t> privileged_;
  // Truncate and append hold a file's size; others wait.
  absl::flat_hash_map<InodeId, std::unique_ptr<WaitQueue>> size_locks_;
  absl::flat_hash_set<InodeId> half_cut_;  // a shard refused to cut its part: EIO until that is there again
  // Who may hold unsent writes of a file (write-behind), and what the processes' polls have to be told.
  struct Sole {
    ClientId process;
    bool revoking = false;
    bool told = false;  // the process has been asked to give it up: it answers by Yielded, also after a close
  };
  using Soles = absl::flat_hash_map<InodeId, Sole>;
  Soles soles_;
  // Those of soles_ that are directories: the process is alone in the part that is here (own_parts.cc).
  absl::flat_hash_set<InodeId> own_parts_;
  absl::flat_hash_map<InodeId, Nanos> shared_until_;  // directories that others wanted to look into
  void SetSole(InodeId id, ClientId process);         // into the journal
  void EraseSole(Soles::iterator it);
  absl::flat_hash_map<ClientId, std::vector<InodeId>> to_revoke_;
  WaitQueue revoke_news_;  // polls wait here
  WaitQueue yielded_;      // those who revoke wait here

  ReadLeases read_leases_;
  absl::flat_hash_map<InodeId, uint32_t> truncated_by_path_;  // how many truncations are under way

  Loans loans_;
  struct Outbox {
    uint64_t loan = 0;
    Cred cred;
  };
  absl::flat_hash_map<ClientId, Outbox> outboxes_;
  absl::flat_hash_map<uint64_t, uint8_t> lent_slabs_;  // of loans, while they are brought back
  WaitQueue loans_news_;                               // the shard is leaving
  absl::flat_hash_set<ClientId> attached_;             // processes that were told the arena's name

  View view_;
  // At the root: where shards went while this process has lived, and what it told whom.
  struct Move {
    View view;
    std::string address;
  };
  struct Told {
    View view{0};
    bool telling = false;
  };
  absl::flat_hash_map<ShardId, Move> moved_;
  std::vector<Told> told_;
  WaitQueue view_news_;  // there is a newer view, or the shard is leaving
  OnView on_view_;

  std::unique_ptr<Journal> journal_;
  DiskFileId chunk_file_;
  std::unique_ptr<WriteBack> write_back_;
  std::unique_ptr<DiskReader> disk_reader_;
  // Of the files that were read back last, up to where: who goes on from there reads in order.
  struct ReadBack {
    InodeId file;
    uint64_t end = 0;
    uint64_t reader = 0;    // a number of its own
    uint64_t ahead_to = 0;  // what follows is in memory, or asked for, up to there
    uint32_t fetching = 0;  // pieces of that
  };
  std::array<ReadBack, 16> read_back_;
  uint64_t next_read_back_ = 0;
  uint64_t evict_again_at_ = 0;  // count of WriteBack::kept(): before, nothing more can be evicted
  Nanos evict_again_by_ = 0;
  absl::flat_hash_set<uint32_t> undrained_;  // segments that something could not leave
  bool drains_stuck_ = false;                // nothing more can be drained at present
  Nanos drain_until_ = 0;                    // without progress
  Nanos drain_again_at_ = 0;
  WaitQueue table_news_;         // there is more room for tables, or no hope of it
  uint64_t eviction_waits_ = 0;  // for memory that could not be given up yet
  bool compacting_ = false;
  WaitQueue compacted_;
  bool serving_ = true;
  std::vector<InodeId> to_bury_;  // found dead when it was brought back
  bool settled_ = true;           // what was decided before a restart has been told
  bool holds_clients_ = false;    // since a restart, for a time
  bool stands_in_ = false;        // see ShardRole
  uint64_t given_up_ = 0;         // transactions whose end nobody who is there knows: taken as not done
  std::deque<Request*> held_;
  bool checkpointing_ = false;
  bool checkpoints_fail_ = false;  // the last one did; said once
  Nanos checkpoint_took_ = 0;      // the last; 0: there was none
  RecoveryReport recovered_;       // of this start

  Nanos wall_ahead_ = 0, wall_again_ = 0;
  Nanos aside_again_ = 0, aside_pause_ = 0;
  uint64_t tables_charged_ = 0;
  uint64_t staged_since_look_ = 0;
  bool prefaulting_ = false;
  size_t journal_touched_ = 0;  // of the memory that it writes to
  bool refusing_ = false;       // the session is stopping: clients get kShutdown
  bool collecting_ = false;     // it is about to: they are asked for what they hold back
  bool leaving_ = false;
  bool kept_ = false;     // and what outlives the servers stays
  bool closing_ = false;  // the journal is being closed in order
  std::function<void()> on_leave_;
  OnStage on_stage_;
  std::unique_ptr<StageDesk> stage_desk_;  // null: there was no stage-in, or this is not the root's shard
  std::vector<std::unique_ptr<Job>> jobs_;
  std::map<uint64_t, JobImage> found_jobs_;  // by number, while the journal is read
  Job* stop_job_ = nullptr;                  // the last stop
  uint64_t served_ = 0;
};

}  // namespace mayfly
