#include "server/shard.h"

#include "base/log.h"
#include "flush/flusher.h"
#include "server/job.h"
#include "server/staging.h"

namespace mayfly {
namespace {

Identity IdentityOf(const ShardOptions& o, Random& random) {
  Identity identity;
  identity.secret = o.secret;
  identity.uuid = o.uuid;
  identity.client = ClientId(random.U64() | 1);
  identity.process = o.process;
  identity.cred.uid = o.uid;
  identity.cred.gid = o.gid;
  identity.peer = true;
  identity.shard = o.self;
  identity.peer_proof = PeerProofKey(o.server_secret);
  identity.pid = o.pid;
  identity.host = o.host;
  return identity;
}

// A flush waits for the disk for so long, for a part of a file.
constexpr Nanos kFlushReadsWithin = 120 * kSecond;
// And for a server that comes back: it may be started again some times, after pauses, and has its journal to read.
constexpr Nanos kAwayMax = 60 * kSecond;

// Where servers come back, they are waited for: by each call for as long as it may take.
Caller::Timing TimingOf(const ShardOptions& o) {
  Caller::Timing timing;
  if (o.durability != Durability::kNone) timing.unreachable_after = kNever;
  return timing;
}

// At level `node`: what others build on is durable before they hear of it. That is all that servers tell each other,
// and of what clients are told, what makes a file reachable.
bool IsHeldAtCommit(const Party& party, Method method) {
  if (party.peer) return true;
  switch (method) {
    case Method::kMkdir:
    case Method::kRmdir:
    case Method::kLink:
    case Method::kRename:
    case Method::kRenameDir:
    case Method::kSync:
      return true;
    default:
      return false;
  }
}
bool IsHeldAlways(const Party&, Method) { return true; }

Responder::Options ResponderOptionsOf(const ShardOptions& o, Transport* held) {
  Responder::Options r;
  r.secret = o.secret;
  r.uuid = o.uuid;
  r.peer_proof = PeerProofKey(o.server_secret);
  r.self = o.self;
  r.uid = o.uid;
  if (o.durability == Durability::kNode) {
    r.held = held;
    r.holds = o.fsync == Fsync::kAlways ? IsHeldAlways : IsHeldAtCommit;
  }
  return r;
}

Namespace::Options NamesOptionsOf(const ShardOptions& o) {
  Namespace::Options n;
  n.self = o.self;
  n.chunk_bits = o.chunk_bits;
  return n;
}

}  // namespace

Shard::Shard(Doors doors, const Placement& placement, const AddressBook& book, ShardOptions options)
    : doors_(doors),
      placement_(placement),
      book_(book),
      options_(std::move(options)),
      executor_(doors.clock, options_.turns_a_look),
      network_(doors.transport, log_),
      caller_(executor_, network_.Held(), doors.random, book, IdentityOf(options_, doors.random), TimingOf(options_)),
      responder_(executor_, network_, doors.random, ResponderOptionsOf(options_, &network_.Held()), &caller_),
      budget_(options_.memory_bytes),
      // Who only looks has a copy, whose pages come as they are touched: pinned, all of it would be there.
      arena_memory_(&doors_.arena_memory, has_disk() && !reads_only() ? doors_.disk : nullptr),
      arena_(&arena_memory_, &budget_),
      store_(&arena_, &budget_),
      names_(NamesOptionsOf(options_)),
      grants_(options_.server_secret),
      gate_(executor_),
      renewed_(executor_),
      leased_until_(placement.shard_count(), 0),
      round_done_(executor_),
      dir_renames_(executor_, 1),
      settle_news_(executor_),
      revoke_news_(executor_),
      yielded_(executor_),
      loans_news_(executor_),
      view_(options_.view),
      view_news_(executor_),
      table_news_(executor_),
      compacted_(executor_) {
  if (has_disk()) KeepMemoryForData();
  doors_.transport.SetReceiver(&responder_);
  responder_.SetGeneration(generation_);
  responder_.SetView(view_);
  responder_.SetOnProcessGone([this](ClientId process, bool ended) { ProcessGone(process, ended); });
  responder_.SetLives([this](ClientId process) { return arena_memory_.IsAttached(process.value); });
  names_.SetOnLastLink([this](Inode& inode) { RegisterHolds(inode); });
  serving_ = options_.durability == Durability::kNone;
  stands_in_ = options_.role == ShardRole::kStandIn;
  if (is_root() && serving_) CreateRoot();
  FlushContext context{executor_,     doors_.clock, doors_.offload, doors_.pfs,         caller_, placement_, book_,
                       options_.self, names_,       store_,         options_.checksums, nullptr, nullptr};
  if (options_.role != ShardRole::kServe) context.stands_in = &stands_in_;
  if (has_disk()) {
    context.fetch = [this](ReadPieces* pieces) {
      return disk_reader_->Fetch(pieces, true, executor_.now() + kFlushReadsWithin);
    };
  }
  if (options_.durability != Durability::kNone) {
    context.came_back = &recovered_.found;
    context.away_max = kAwayMax;
  }
  context.first_temporary = static_cast<uint32_t>(doors_.random.U64());
  context.ended = [this](uint64_t job, Code result, const std::string& report) { FlushEnded(job, result, report); };
  context.exact_attr = [this](InodeId id, Nanos deadline, Attr* attr) { return ExactAttr(id, deadline, attr); };
  flusher_ = std::make_unique<Flusher>(std::move(context));
  if (serving_) PrefaultIfLow();  // else there may be an arena to be taken over first
}

Shard::~Shard() {
  responder_.Close();
  caller_.Shutdown();
}

void Shard::CreateRoot() {
  names_.CreateRoot(options_.uid, options_.gid, options_.root_permissions, wall());
  ChargeTables();
}

bool Shard::RunOnce() {
  // Nothing is listened to before all is back: what has been answered must be known before it is asked again.
  bool worked = serving_ && doors_.transport.Progress();
  worked |= doors_.offload.Poll();
  if (serving_ && !responder_.idle()) Foresee();
  // What arrives while these run waits for the next turn, so that timers and replies are not starved.
  while (serving_) {
    Request* request = NextRequest();
    if (request == nullptr) break;
    ++served_;
    Serve(request);
    worked = true;
  }
  worked |= executor_.RunOnce();
  if (journal_ != nullptr) {
    if (write_back_ != nullptr) worked |= TendMemory();
    (void)SealAndSettle();
  }
  worked |= TurnDisk();
  if (journal_ != nullptr) {
    if (write_back_ != nullptr) FreeBlocks();
    worked |= network_.Turn();
    if (journal_->WantsCheckpoint()) CheckpointIfDue();
  }
  return worked;
}

// Gives the disk what is due and takes what it has done. A group that ended lets the next begin, and that before those
// are told who waited for it: the disk works meanwhile.
bool Shard::TurnDisk() {
  bool worked = false;
  for (bool first = true;; first = false) {
    if (journal_ != nullptr) log_.Turn();
    if (write_back_ != nullptr) worked |= write_back_->Turn();
    if (journal_ != nullptr) worked |= journal_->Turn();
    if (doors_.disk == nullptr) return worked;
    const Lsn durable = journal_ != nullptr ? journal_->durable() : Lsn();
    worked |= doors_.disk->Poll();
    if (!first || journal_ == nullptr || journal_->durable() == durable) return worked;
  }
}

// Clients wait until what this shard decided before it died is everywhere, if that is soon: the answer they get may be
// of that time.
Request* Shard::NextRequest() {
  while (!holds_clients_ && !held_.empty()) {
    Request* request = held_.front();
    held_.pop_front();
    if (executor_.now() < request->deadline()) return request;
    request->Finish();
  }
  for (;;) {
    Request* request = responder_.Next();
    if (request == nullptr || !holds_clients_ || request->party().peer) return request;
    held_.push_back(request);
  }
}

Task<Status> Shard::Ping(ShardId to, Nanos deadline) {
  Empty request, reply;
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kPing>(to, request, &reply, options);
}

Task<Status> Shard::Drain() {
  leaving_ = true;
  revoke_news_.WakeAll();
  yielded_.WakeAll();
  loans_news_.WakeAll();
  settle_news_.WakeAll();
  view_news_.WakeAll();
  table_news_.WakeAll();
  EndStages();
  Status status = co_await flusher_->Shutdown(executor_.now() + 10 * kSecond);
  caller_.Shutdown();
  co_await gate_.Drain();
  for (Request* request : held_) request->Finish();
  held_.clear();
  responder_.Close();
  if (kept_ && journal_ != nullptr && !log_.failed()) {
    const Status closed = co_await CloseJournal();
    if (!closed.ok()) {
      MAYFLY_ERROR("the journal of shard {} could not be closed in order ({}): --recover reads it as after a kill",
                   options_.self.value, TextOf(closed.code()));
    }
  }
  log_.End();
  if (journal_ != nullptr) co_await journal_->Stop();
  if (write_back_ != nullptr) {
    co_await write_back_->Stop();
  } else if (chunk_file_.value != 0) {
    doors_.disk->Close(chunk_file_);
  }
  co_return status;
}

// ---- memory -----------------------------------------------------------------------------------------------------

// Before something is added to the tables: is there room for a little more (an entry with the longest name)?
Status Shard::RoomForTables() {
  constexpr uint64_t kOneEntry = 1024;
  const uint64_t kept = write_back_ != nullptr ? budget_.bytes_max() / 128 : 0;
  for (;;) {
    if (budget_.TableRoom() >= kOneEntry + kept) return Code::kOk;
    if (!arena_.ReleaseFreeSegment()) return Code::kNoSpace;
  }
}

// The namespace says what it takes; the budget shared with the data learns of it after each change.
void Shard::ChargeTables() {
  const uint64_t now = names_.memory_bytes();
  if (now > tables_charged_) budget_.ChargeTablesAlways(now - tables_charged_);
  if (now < tables_charged_) budget_.ReleaseTables(tables_charged_ - now);
  tables_charged_ = now;
}

// Touches pages before data comes: a first write into an untouched page is six times slower. Runs when little is left
// of what was touched, and ends when there is enough or no more memory to be had.
void Shard::PrefaultIfLow() {
  if (prefaulting_ || options_.prefault_ahead_bytes == 0 || leaving_) return;
  const ArenaStats stats = arena_.stats();
  if (stats.bytes_free_warm + stats.bytes_prefaulted >= options_.prefault_ahead_bytes / 2) return;
  prefaulting_ = true;
  gate_.Spawn(PrefaultLoop(), "touching memory ahead");
}

// Before so many bytes of the arena are taken for data.
void Shard::CountStaged(uint32_t bytes) {
  constexpr uint64_t kLookEvery = 4u << 20;
  staged_since_look_ += bytes;
  if (staged_since_look_ <= kLookEvery) return;
  staged_since_look_ = 0;
  PrefaultIfLow();
}

Task<void> Shard::Prefault(MutableBytes range) {
  OneShot<bool> touched(executor_);
  ArenaMemory& memory = arena_memory_;
  doors_.offload.Run([&memory, range] { memory.Prefault(range); }, [&touched] { touched.Set(true); });
  (void)co_await touched;
}

Task<Status> Shard::PrefaultLoop() {
  constexpr size_t kStepBytes = 4u << 20;
  while (!leaving_ && journal_ != nullptr && journal_touched_ < journal_->memory().size()) {
    const MutableBytes rest = journal_->memory().subspan(journal_touched_);
    const MutableBytes range = rest.first(std::min(kStepBytes, rest.size()));
    co_await Prefault(range);
    journal_touched_ += range.size();
  }
  while (!leaving_) {
    const ArenaStats stats = arena_.stats();
    if (stats.bytes_free_warm + stats.bytes_prefaulted >= options_.prefault_ahead_bytes) break;
    MutableBytes range = arena_.NextCold(kStepBytes);
    if (range.empty()) {
      if (!arena_.Grow().ok()) break;
      continue;
    }
    co_await Prefault(range);
    arena_.ColdDone(range);
  }
  prefaulting_ = false;
  co_return Code::kOk;
}

// The payload of a request as text, for values and targets. Bounded before anything is allocated.
Task<Result<std::string>> Shard::FetchText(Request* r, size_t bytes_max) {
  if (r->payload().size() > bytes_max) co_return Code::kTooBig;
  std::string text(r->payload().size(), '\0');
  if (!text.empty()) {
    MutableBytes to(reinterpret_cast<uint8_t*>(text.data()), text.size());
    const Status fetched = co_await r->Fetch(to);
    if (!fetched.ok()) {
      r->Abandon();  // nothing was executed: what the sender asks again is no repetition of this
      co_return fetched;
    }
  }
  if (executor_.now() >= r->deadline()) co_return Code::kTimedOut;  // V2
  co_return std::move(text);
}

}  // namespace mayfly
