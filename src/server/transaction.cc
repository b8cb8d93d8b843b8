// Two-phase commit across shards, presumed abort. Prepare never waits for a lock: it answers kBusy, the coordinator
// takes everything back and the client tries again. A decision is sent until every participant has it.
#include "server/transaction.h"

#include <algorithm>
#include <map>

#include "base/log.h"

namespace mayfly {
namespace {
constexpr size_t kOpsBytesMax = 64 * 1024;
constexpr Nanos kDecideWithin = 60 * kSecond;

bool ComesFirst(const std::vector<TxnOp>& ops) {
  return std::any_of(ops.begin(), ops.end(),
                     [](const TxnOp& op) { return op.kind == TxnKind::kDirRemove || op.delta != 0; });
}

// Which of several participants' answers is the transaction's: the greatest.
int WeightOf(Code code) {
  switch (code) {
    case Code::kOk:
      return 0;
    case Code::kNoEntry:
    case Code::kInvalid:
    case Code::kAccess:
    case Code::kPermission:
    case Code::kNotDirectory:
    case Code::kIsDirectory:
    case Code::kTooManyLinks:
      return 1;  // true of what this one saw, but not with what the others would not hold
    case Code::kBusy:
    case Code::kConflict:
    case Code::kGeneration:
      return 2;
    case Code::kNotEmpty:
      return 3;  // asked only while the directory's own entry is held
    default:
      return 4;  // another try would not help
  }
}
}  // namespace

TxnId Shard::NextTxn() {
  constexpr uint64_t kBlock = 1u << 16;
  if (txn_sequence_ == txns_reserved_) {  // no number is given out again, whatever became of its transaction
    txns_reserved_ += kBlock;
    log_.Record(kTagNextTxn, txns_reserved_, sizeof txns_reserved_);
  }
  return TxnId((uint64_t{options_.self.value} << 40) | (++txn_sequence_ & InodeId::kSequenceMax));
}

// Operations at one shard, here or there. The transaction remembers whom it asked before it asks.
Task<Status> Shard::PrepareAt(Transaction* txn, ShardId shard, std::vector<TxnOp> ops, std::vector<ShardId>* set) {
  const TxnId id = NextTxn();
  open_txns_.insert(id);
  txn->asked.push_back({shard, id, ComesFirst(ops)});
  if (shard == options_.self) {
    txn->dir_mtime = std::max(txn->dir_mtime, MtimeOfEmpty(ops));
    co_return co_await PrepareHere(id, std::move(ops), txn->cred, set, txn->deadline);
  }
  std::vector<uint8_t> encoded(kOpsBytesMax);
  Encoder e{MutableBytes(encoded)};
  e.Put(ops);
  if (!e.ok()) co_return Code::kInvalid;
  std::vector<uint32_t> shards(set != nullptr ? placement_.shard_count() : 0);
  PrepareRequest request;
  request.txn = id;
  request.cred = txn->cred;
  PrepareReply reply;
  CallOptions options = PeerCall(txn->deadline);
  options.payload = Bytes(encoded).first(e.size());
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(shards.data()), shards.size() * 4);
  Status status = co_await caller_.Call<Method::kPrepare>(shard, request, &reply, options);
  MAYFLY_CO_TRY(status);
  txn->dir_mtime = std::max(txn->dir_mtime, reply.mtime);
  if (set != nullptr) {
    if (reply.set_count > shards.size()) co_return Code::kCorrupt;
    for (uint32_t i = 0; i < reply.set_count; ++i) {
      if (shards[i] >= placement_.shard_count()) co_return Code::kCorrupt;
      set->push_back(ShardId(shards[i]));
    }
  }
  co_return Code::kOk;
}

// An empty part changes no more once it is held; before, it may only be found not to be empty.
Nanos Shard::MtimeOfEmpty(const std::vector<TxnOp>& ops) const {
  Nanos mtime = 0;
  for (const TxnOp& op : ops) {
    if (op.kind == TxnKind::kDirEmpty) mtime = std::max(mtime, names_.PartOf(op.inode).mtime);
  }
  return mtime;
}

Task<Status> Shard::PrepareHere(TxnId id, std::vector<TxnOp> ops, Cred cred, std::vector<ShardId>* set,
                                Nanos deadline) {
  for (const TxnOp& op : ops) {
    // The home has let this shard join before it was asked to remove the directory; the answer is still on its way, and
    // entries wait for it.
    if (op.kind == TxnKind::kDirEmpty && joining_.contains(op.inode)) co_return Code::kBusy;
    if (op.kind != TxnKind::kDentry || !op.set.valid()) continue;
    if (LacksTableRoom(2)) MAYFLY_CO_TRY(co_await AwaitTableRoom(deadline));
    while (!names_.Joined(op.inode)) {
      MAYFLY_CO_TRY(co_await JoinDir(op.inode, deadline));
    }
    MAYFLY_CO_TRY(RoomForTables());
  }
  for (size_t i = 0; i < ops.size() && !own_parts_.empty(); ++i) {
    const bool looks = ops[i].kind == TxnKind::kDentry || ops[i].kind == TxnKind::kDirEmpty;
    if (!looks || !own_parts_.contains(ops[i].inode)) continue;
    MAYFLY_CO_TRY(co_await EndOwner(ops[i].inode, ClientId(), deadline));
    i = size_t(-1);  // meanwhile another's may have begun
  }
  std::vector<ShardId> shards;
  Status prepared = names_.Prepare(id, ops, cred, &shards);
  for (const TxnOp& op : ops) prepared = IoIfStuck(prepared, op.inode, op.name);
  MAYFLY_CO_TRY(prepared);
  NotePrepared(id);
  if (set != nullptr) *set = std::move(shards);
  co_return Code::kOk;
}

// One step a shard, all at once.
Task<Status> Shard::PrepareAll(Transaction* txn, std::vector<std::pair<ShardId, TxnOp>> ops) {
  std::map<ShardId, std::vector<TxnOp>> by_shard;
  for (auto& [shard, op] : ops) by_shard[shard].push_back(std::move(op));
  std::vector<Task<Status>> steps;
  for (auto& [shard, list] : by_shard) steps.push_back(PrepareAt(txn, shard, std::move(list), nullptr));
  Status result;
  for (auto& step : steps) {
    const Status status = co_await step;
    // Of two rights that fail, the one about the inode is what Linux says.
    const bool other = result.code() == Code::kAccess && status.code() == Code::kPermission;
    if (WeightOf(status.code()) > WeightOf(result.code()) || other) result = status;
  }
  co_return result;
}

// Takes the home of a directory out of service and asks every shard with entries whether it is empty.
Task<Status> Shard::PrepareDirRemoval(Transaction* txn, InodeId dir) {
  std::vector<TxnOp> home(1);
  home[0].kind = TxnKind::kDirRemove;
  home[0].inode = dir;
  std::vector<ShardId> set;
  MAYFLY_CO_TRY(co_await PrepareAt(txn, dir.home(), std::move(home), &set));
  std::vector<std::pair<ShardId, TxnOp>> ops;
  for (ShardId shard : set) {
    TxnOp empty;
    empty.kind = TxnKind::kDirEmpty;
    empty.inode = dir;
    ops.emplace_back(shard, std::move(empty));
  }
  co_return co_await PrepareAll(txn, std::move(ops));
}

// Names are held: nobody sees one as it was once another shows what came after. A link count is not, so a commit
// changes it (at one shard) while the names elsewhere are still held: that is the moment of the whole.
Task<Status> Shard::DecideAll(Transaction* txn, bool commit) {
  OutcomeImage outcome;
  outcome.time = wall();
  outcome.mtime = txn->dir_mtime;
  outcome.steps = txn->asked;
  if (!commit || outcome.steps.empty()) co_return co_await TellAll(&outcome, false);
  // Decided: whoever takes part learns of it, also if this shard dies before it can tell.
  outcome.txn = outcome.steps.front().id;
  log_.Record(kTagOutcome, outcome, outcome.encoded_bytes());
  if (!log_.Seal() || log_.failed()) co_return Code::kIo;  // it is not: whoever holds a part asks after the next start
  const auto entry = outcomes_.insert_or_assign(outcome.txn, std::make_unique<OutcomeImage>(std::move(outcome))).first;
  OutcomeImage* const kept = entry->second.get();
  const Status told = co_await TellAll(kept, true);
  if (told.ok()) {
    ForgetOutcome(kept->txn);
  } else {
    MAYFLY_WARN("a committed change could not be told to every member yet ({}): entries it touched there stay locked",
                TextOf(told.code()));
    SettleSoon();
  }
  // It is decided: nobody may take it for refused, by one who can change nothing any more.
  co_return IoInsteadOf(Code::kReadOnly, told);
}

// One by one `steps` loses those that have acknowledged.
Task<Status> Shard::TellAll(OutcomeImage* outcome, bool commit) {
  Status result;
  for (const bool first : {true, false}) {
    const std::vector<OutcomeImage::Step> all = outcome->steps;
    std::vector<Task<Status>> tasks;
    for (const auto& step : all) {
      if ((step.first && commit) != first) continue;
      tasks.push_back(DecideAt(step.shard, step.id, commit, outcome->time, outcome->mtime));
    }
    size_t at = 0;
    for (const auto& step : all) {
      if ((step.first && commit) != first) continue;
      Task<Status>& task = tasks[at++];
      const Status status = co_await task;
      if (status.ok()) std::erase_if(outcome->steps, [&](const auto& s) { return s.id == step.id; });
      if (!status.ok()) result = status;
      if (status.code() == Code::kReadOnly) outcome->refused = true;
    }
    if (!result.ok() && commit && log_.active()) break;  // the rest stays held until the first are back and have it
  }
  co_return result;
}

Task<Status> Shard::DecideAt(ShardId shard, TxnId id, bool commit, Nanos time, Nanos dir_mtime) {
  const Nanos deadline = executor_.now() + kDecideWithin;
  if (shard == options_.self) co_return co_await DecideHere(id, commit, time, dir_mtime, deadline);
  DecideRequest request;
  request.txn = id;
  request.commit = commit;
  request.time = time;
  request.mtime = dir_mtime;
  Empty reply;
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kDecide>(shard, request, &reply, options);
}

Task<Status> Shard::DecideHere(TxnId id, bool commit, Nanos time, Nanos dir_mtime, Nanos deadline) {
  std::vector<InodeId> died;
  MAYFLY_CO_TRY(names_.Decide(id, commit, time, &died, dir_mtime));
  prepared_since_.erase(id);
  stuck_.erase(id);
  co_return co_await Bury(std::move(died), deadline);
}

Task<Status> Shard::HandlePrepare(Request* r, const PrepareRequest& q, PrepareReply* a, ReplyPayload* out) {
  auto text = co_await FetchText(r, kOpsBytesMax);
  if (!text.ok()) co_return text.code();
  std::vector<TxnOp> ops;
  Decoder d(AsBytes(*text));
  d.Get(ops);
  MAYFLY_CO_TRY(d.Finish());
  std::vector<ShardId> set;
  a->mtime = MtimeOfEmpty(ops);
  MAYFLY_CO_TRY(co_await PrepareHere(q.txn, std::move(ops), q.cred, &set, r->deadline()));
  a->set_count = static_cast<uint32_t>(set.size());
  for (ShardId shard : set) out->text.append(reinterpret_cast<const char*>(&shard.value), 4);
  co_return Code::kOk;
}

Task<Status> Shard::HandleDecide(Request* r, const DecideRequest& q, Empty*, ReplyPayload*) {
  co_return co_await DecideHere(q.txn, q.commit, q.time, q.mtime, r->deadline());
}

}  // namespace mayfly
