// What was begun at several shards and did not hear its end there: transactions of which a participant was not told how
// they ended, and what a home had begun at other shards when it died. Both are settled beside the traffic, again and
// again until everybody is back: a shard that is gone for good keeps what it holds locked, and nothing else.
#include <algorithm>

#include "base/log.h"
#include "server/images.h"
#include "server/shard.h"
#include "server/transaction.h"

namespace mayfly {
namespace {

constexpr Nanos kSettleEvery = 2 * kSecond;
// A transaction that is younger is probably on its way.
constexpr Nanos kInDoubtAfter = 5 * kSecond;

}  // namespace

// ---- the coordinator's side ---------------------------------------------------------------------------------------

Task<Status> Shard::HandleOutcome(Request*, const OutcomeRequest& q, OutcomeReply* a, ReplyPayload*) {
  *a = OutcomeOf(q.txn);
  co_return Code::kOk;
}

OutcomeReply Shard::OutcomeOf(TxnId txn) const {
  OutcomeReply reply;
  if (log_.failed()) {  // what comes back after the next start may be either
    reply.state = TxnState::kStuck;
    return reply;
  }
  for (const auto& [id, outcome] : outcomes_) {
    const auto& steps = outcome->steps;
    const auto step = std::find_if(steps.begin(), steps.end(), [&](const auto& s) { return s.id == txn; });
    if (step == steps.end()) continue;
    // A link count first, as TellAll does: until it is there the names stay held.
    const bool waits = !step->first && std::any_of(steps.begin(), steps.end(), [](const auto& s) { return s.first; });
    const TxnState waiting = outcome->refused ? TxnState::kStuck : TxnState::kOpen;
    reply.state = waits ? waiting : TxnState::kCommitted;
    reply.time = outcome->time;
    reply.mtime = outcome->mtime;
    return reply;
  }
  if (open_txns_.contains(txn) || outcomes_damaged_) reply.state = TxnState::kOpen;
  return reply;
}

void Shard::ForgetOutcome(TxnId txn) {
  if (outcomes_.erase(txn) == 0) return;
  OutcomeImage over;
  over.txn = txn;
  log_.Record(kTagOutcome, over, over.encoded_bytes());
}

// ---- the participant's side ---------------------------------------------------------------------------------------

void Shard::NotePrepared(TxnId txn) {
  prepared_since_.try_emplace(txn, executor_.now());
  SettleSoon();
}

// How a transaction of which this shard holds a part ended, asked of its coordinator.
Task<Status> Shard::SettleOne(TxnId txn) {
  const ShardId coordinator(static_cast<uint32_t>(txn.value >> 40));
  OutcomeReply reply;
  if (coordinator == options_.self) {
    reply = OutcomeOf(txn);
  } else {
    if (coordinator.value >= placement_.shard_count()) co_return Code::kCorrupt;
    OutcomeRequest request;
    request.txn = txn;
    CallOptions options = PeerCall(executor_.now() + options_.peer_deadline);
    const Status asked = co_await caller_.Call<Method::kOutcome>(coordinator, request, &reply, options);
    if (reads_only() && asked.code() == Code::kIo) co_return co_await GiveUp(txn);  // a stand-in's answer
    MAYFLY_CO_TRY(asked);
  }
  if (reply.state == TxnState::kStuck && prepared_since_.contains(txn)) stuck_.insert(txn);
  if (reply.state == TxnState::kOpen || reply.state == TxnState::kStuck) co_return Code::kBusy;
  const Nanos deadline = executor_.now() + options_.peer_deadline;
  co_return co_await DecideHere(txn, reply.state == TxnState::kCommitted, reply.time, reply.mtime, deadline);
}

Status Shard::IoIfStuck(Status status, InodeId dir, std::string_view name) const {
  const bool stuck = status.code() == Code::kBusy && !stuck_.empty() && names_.IsHeldBy(stuck_, dir, name);
  return stuck ? Status(Code::kIo) : status;
}

// ---- intents ------------------------------------------------------------------------------------------------------

uint64_t Shard::BeginIntent(IntentImage intent) {
  if (!log_.active()) return 0;
  intent.number = ++intent_number_;
  log_.Record(kTagIntent, intent, intent.encoded_bytes());
  const uint64_t number = intent.number;
  intents_.emplace(number, std::move(intent));
  return number;
}

void Shard::EndIntent(uint64_t number) {
  if (intents_.erase(number) == 0) return;
  IntentImage over;
  over.number = number;
  log_.Record(kTagIntent, over, over.encoded_bytes());
}

void Shard::LeaveIntent(uint64_t number) {
  const auto left = intents_.find(number);
  if (left == intents_.end()) return;
  IntentImage& mine = resuming_.emplace(number, left->second).first->second;
  mine.clear_mtime = false;  // who was not told of the time that was set keeps its own: by then it may be a newer one
  SettleSoon();
}

bool Shard::Resuming(InodeId id) const {
  return std::any_of(resuming_.begin(), resuming_.end(),
                     [id](const auto& left) { return ChangesSize(left.second) && left.second.inode == id; });
}

// What the shard that died had begun. Nobody was answered: to be done to the end, or taken back.
Task<Status> Shard::Resume(IntentImage intent) {
  const Nanos deadline = executor_.now() + options_.peer_deadline;
  std::vector<Task<Status>> tasks;
  switch (intent.kind) {
    case IntentKind::kNone:
      co_return Code::kOk;
    case IntentKind::kRights:
      if (names_.FindInode(intent.inode) == nullptr) co_return Code::kOk;
      co_return co_await PushRights(intent.inode, intent.clear_mtime, deadline);
    case IntentKind::kPrivileged:
      co_return co_await PushPrivileged(intent.inode, deadline);
    case IntentKind::kAppend: {
      // Nobody else has changed the size since: it is locked from before this shard served. A truncation that was begun
      // takes the same back.
      for (const auto& [number, other] : resuming_) {
        if (other.kind == IntentKind::kTruncate && other.inode == intent.inode) co_return Code::kOk;
      }
      Attr attr;
      Status status = co_await ExactAttr(intent.inode, deadline, &attr);
      if (status.code() == Code::kStale) co_return Code::kOk;
      MAYFLY_CO_TRY(status);
      Inode* inode = names_.FindInode(intent.inode);
      if (inode == nullptr) co_return Code::kOk;
      // A part may still be on its way, at a shard that joins only now: it is of an older epoch than all that is here.
      ++inode->Extra().truncate_epoch;
      // Longer than the append would have made it: somebody else wrote behind, and the end is that one's.
      const bool behind = attr.size > intent.size + intent.bytes;
      co_return co_await TruncateLocked(intent.inode, behind ? attr.size : intent.size, !behind, deadline,
                                        Refused::kIsDone);
    }
    case IntentKind::kDrop:
      for (ShardId shard : intent.shards) tasks.push_back(DropAt(shard, intent.inode, deadline));
      break;
    case IntentKind::kTruncate: {
      const Inode* inode = names_.FindInode(intent.inode);
      if (inode != nullptr) MAYFLY_CO_TRY(co_await CutElsewhere(intent, inode->chunk_bits, deadline));
      EndCut(intent.inode);
      co_return Code::kOk;
    }
  }
  Status result;
  for (Task<Status>& task : tasks) {
    const Status one = co_await task;
    if (!one.ok()) result = one;
  }
  co_return result;
}

// ---- until all is settled -----------------------------------------------------------------------------------------

void Shard::SettleSoon() {
  if (settling_ || leaving_) return;
  settling_ = true;
  gate_.Spawn(SettleLoop(), "settling what is in doubt");
}

Task<Status> Shard::SettleLoop() {
  while (!leaving_) {
    (void)co_await settle_news_.Wait(executor_.now() + kSettleEvery);
    if (leaving_) break;
    if (prepared_since_.empty() && outcomes_.empty() && resuming_.empty()) break;
    co_await SettleRound(kInDoubtAfter);
  }
  settling_ = false;
  co_return Code::kOk;
}

// A shard that is gone for good, or whose journal has failed, keeps what it holds locked, and nothing else.
Task<Status> Shard::LetClientsIn() {
  constexpr Nanos kHeldMost = 2 * kSecond, kLookEvery = 100 * kMillisecond;
  const Nanos until = executor_.now() + kHeldMost;
  while (holds_clients_ && !leaving_ && executor_.now() < until) co_await executor_.Sleep(kLookEvery);
  holds_clients_ = false;
  co_return Code::kOk;
}

// What is read only ends here altogether: who is missing has no say in it, and is told nothing; no journal hears of how
// it ends, so that all is as it was for a recovery with everybody. Else only what was decided does: what is prepared is
// asked for beside the traffic.
Task<Status> Shard::SettleFirst() {
  constexpr Nanos kAgainAfter = 100 * kMillisecond;
  constexpr int kRoundsMax = 50;  // what has no end by then was begun by one whose journal is damaged
  settling_ = true;
  for (int round = 0; !leaving_; ++round) {
    co_await SettleRound(0);
    if (outcomes_.empty() && (!reads_only() || prepared_since_.empty())) break;
    if (reads_only() && round == kRoundsMax) {
      std::vector<TxnId> endless;
      for (const auto& [txn, since] : prepared_since_) endless.push_back(txn);
      std::sort(endless.begin(), endless.end());
      for (TxnId txn : endless) (void)co_await GiveUp(txn);
      break;
    }
    const bool wanted = holds_clients_ || reads_only();
    (void)co_await settle_news_.Wait(executor_.now() + (wanted ? kAgainAfter : kSettleEvery));
  }
  settled_ = true;
  settling_ = holds_clients_ = false;
  if (!reads_only()) {
    SettleSoon();
  } else if (!resuming_.empty()) {
    MAYFLY_WARN(
        "shard {}: {} changes of files that a missing member has a part of were under way and have no end: "
        "these files give an input/output error",
        options_.self.value, resuming_.size());
  }
  co_return Code::kOk;
}

// One try for everything that has waited for `age`.
Task<Status> Shard::SettleRound(Nanos age) {
  std::vector<TxnId> untold;
  for (const auto& [id, outcome] : outcomes_) {
    if (!open_txns_.contains(id)) untold.push_back(id);
  }
  std::sort(untold.begin(), untold.end());
  for (TxnId id : untold) {
    const auto it = outcomes_.find(id);
    if (it == outcomes_.end() || log_.failed()) continue;
    OutcomeImage* outcome = it->second.get();
    open_txns_.insert(id);  // one at a time
    const Status told = co_await TellAll(outcome, true);
    open_txns_.erase(id);
    if (told.ok()) ForgetOutcome(id);
  }
  std::vector<TxnId> doubtful;
  for (const auto& [id, since] : prepared_since_) {
    if (since + age <= executor_.now()) doubtful.push_back(id);
  }
  std::sort(doubtful.begin(), doubtful.end());
  for (TxnId id : doubtful) (void)co_await SettleOne(id);
  std::vector<IntentImage> intents;
  for (const auto& [number, intent] : resuming_) intents.push_back(intent);
  for (const IntentImage& intent : intents) {
    const Status status = co_await Resume(intent);
    if (!status.ok()) continue;
    resuming_.erase(intent.number);
    EndIntent(intent.number);
    if (ChangesSize(intent) && !Resuming(intent.inode)) UnlockSize(intent.inode);
  }
  co_return Code::kOk;
}

}  // namespace mayfly
