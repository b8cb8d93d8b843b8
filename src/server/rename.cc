// rename(2). A file's is coordinated by the shard of its old name; a directory's by the root's home alone, one at a
// time, so that no two can make a cycle. Both read what there is, form a transaction that holds only if it is still so,
// and leave another try to the client if it is not. The two entries may be on two shards and are read one after the
// other: a result that follows from both without a transaction counts only after both were held as they were read.
#include "server/transaction.h"

namespace mayfly {
namespace {

constexpr uint32_t kNoReplace = 1, kExchange = 2;

TxnOp DentryOp(InodeId parent, std::string_view name, const PeekReply& now, InodeId set, FileType set_type,
               uint32_t owner) {
  TxnOp op;
  op.kind = TxnKind::kDentry;
  op.inode = parent;
  op.name = std::string(name);
  op.expect = now.inode;
  op.expect_type = now.type;
  op.set = set;
  op.set_type = set_type;
  op.check = true;
  op.sticky_check = now.inode.valid();
  op.expect_uid = owner;
  return op;
}

// The entry stays as it is while others decide.
TxnOp StillOp(InodeId parent, std::string_view name, const PeekReply& now) {
  TxnOp op;
  op.kind = TxnKind::kDentry;
  op.inode = parent;
  op.name = std::string(name);
  op.expect = op.set = now.inode;
  op.expect_type = op.set_type = now.type;
  return op;
}

TxnOp LinkOp(InodeId inode, int8_t delta) {
  TxnOp op;
  op.kind = TxnKind::kLink;
  op.inode = inode;
  op.delta = delta;
  return op;
}

// The result of a file's rename that follows from the two entries alone, if one does.
std::optional<Status> FileVerdict(const RenameRequest& q, const PeekReply& from, const PeekReply& to) {
  const bool exchange = q.flags == kExchange;
  if (q.flags == kNoReplace && to.inode.valid()) return Status(Code::kExists);
  if (exchange && !to.inode.valid()) return Status(Code::kNoEntry);
  if (q.must_be_directory) return Status(Code::kNotDirectory);
  if (from.inode == to.inode) return Status();  // two names of one file: nothing happens, whoever asks
  return std::nullopt;
}

}  // namespace

// `verdict`, if there is a moment at which both entries were as `from` and `to` say and the walk was true; else a
// reason for another try.
Task<Status> Shard::IfAtOneMoment(Request* r, const RenameRequest& q, const PeekReply& from, const PeekReply& to,
                                  Status verdict) {
  const ShardId old_shard = placement_.DentryShard(q.parent, q.name);
  const ShardId new_shard = placement_.DentryShard(q.new_parent, q.new_name);
  Status status;
  if (old_shard != options_.self || new_shard != options_.self) {  // else nothing came between the two looks
    const bool same = q.parent == q.new_parent && q.name == q.new_name;
    if (same && from.inode != to.inode) co_return Code::kConflict;
    Transaction txn(this, r->party().cred, r->deadline());
    std::vector<std::pair<ShardId, TxnOp>> ops;
    ops.emplace_back(old_shard, StillOp(q.parent, q.name, from));
    if (!same) ops.emplace_back(new_shard, StillOp(q.new_parent, q.new_name, to));
    status = co_await PrepareAll(&txn, std::move(ops));
    (void)co_await DecideAll(&txn, false);
  }
  if (status.ok() && Stale(*r)) status = Code::kGeneration;  // V1
  co_return status.ok() ? verdict : status;
}

Task<Status> Shard::PeekAt(InodeId parent, std::string_view name, const Cred& cred, Nanos deadline, PeekReply* out) {
  PeekRequest request;
  request.parent = parent;
  request.name = name;
  request.cred = cred;
  const ShardId shard = placement_.DentryShard(parent, name);
  if (shard == options_.self) {
    if (!own_parts_.empty()) MAYFLY_CO_TRY(co_await EndOwner(parent, ClientId(), deadline));
    co_return co_await HandlePeek(nullptr, request, out, nullptr);
  }
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kPeek>(shard, request, out, options);
}

// The rights to put something where `entry` was looked at, and to take away what is there; *owner: of that. The parent
// as it was then: what is decided asks again.
Task<Status> Shard::MayTake(const PeekReply& entry, Cred cred, Nanos deadline, uint32_t* owner) {
  if (entry.rights != Code::kOk) co_return entry.rights;
  if (!entry.inode.valid()) co_return Code::kOk;
  auto attr = co_await AttrAt(entry.inode, deadline);
  if (!attr.ok()) co_return attr.code() == Code::kStale ? Code::kConflict : attr.code();
  *owner = attr->uid;
  co_return entry.sticky&& cred.uid != attr->uid ? Code::kPermission : Code::kOk;
}

Task<Status> Shard::HandleRename(Request* r, const RenameRequest& q, Empty*, ReplyPayload*) {
  if (q.flags > kExchange) co_return Code::kInvalid;
  const Cred cred = r->party().cred;
  const bool exchange = q.flags == kExchange;
  PeekReply from, to;
  MAYFLY_CO_TRY(co_await PeekAt(q.parent, q.name, cred, r->deadline(), &from));
  if (from.busy) co_return Code::kBusy;
  if (!from.inode.valid()) co_return Code::kNoEntry;
  MAYFLY_CO_TRY(co_await PeekAt(q.new_parent, q.new_name, cred, r->deadline(), &to));
  if (to.busy) co_return Code::kBusy;
  if (from.type == FileType::kDirectory || (exchange && to.type == FileType::kDirectory)) co_return Code::kElsewhere;
  std::optional<Status> verdict = FileVerdict(q, from, to);
  uint32_t from_owner = 0, to_owner = 0;
  if (!verdict) {
    Status may = co_await MayTake(from, cred, r->deadline(), &from_owner);
    if (may.ok()) may = co_await MayTake(to, cred, r->deadline(), &to_owner);
    if (may.ok() && !exchange && to.type == FileType::kDirectory) may = Code::kIsDirectory;
    if (!may.ok()) verdict = may;
  }
  if (verdict) co_return co_await IfAtOneMoment(r, q, from, to, *verdict);
  if (Stale(*r)) co_return Code::kGeneration;  // V1
  Transaction txn(this, cred, r->deadline());
  std::vector<std::pair<ShardId, TxnOp>> ops;
  ops.emplace_back(options_.self, DentryOp(q.parent, q.name, from, exchange ? to.inode : InodeId(),
                                           exchange ? to.type : FileType::kNone, from_owner));
  ops.emplace_back(placement_.DentryShard(q.new_parent, q.new_name),
                   DentryOp(q.new_parent, q.new_name, to, from.inode, from.type, to_owner));
  ops.emplace_back(from.inode.home(), LinkOp(from.inode, 0));
  if (to.inode.valid()) ops.emplace_back(to.inode.home(), LinkOp(to.inode, exchange ? 0 : -1));
  Status status = co_await PrepareAll(&txn, std::move(ops));
  if (status.ok() && Stale(*r)) status = Code::kGeneration;
  if (status.ok()) r->AnswerAhead(Empty());
  Status decided = co_await DecideAll(&txn, status.ok());
  co_return status.ok() ? decided : status;
}

Task<Status> Shard::HandleRenameDir(Request* r, const RenameRequest& q, Empty*, ReplyPayload*) {
  if (!is_root() || q.flags > kExchange) co_return Code::kInvalid;
  co_await dir_renames_.Acquire();
  Status status = Code::kTimedOut;
  if (Stale(*r)) {
    status = Code::kGeneration;
  } else if (executor_.now() < r->deadline()) {
    status = co_await RenameDirLocked(r, q);
  }
  dir_renames_.Release();
  co_return status;
}

Task<Status> Shard::RenameDirLocked(Request* r, const RenameRequest& q) {
  const Cred cred = r->party().cred;
  const bool exchange = q.flags == kExchange;
  PeekReply from, to;
  MAYFLY_CO_TRY(co_await PeekAt(q.parent, q.name, cred, r->deadline(), &from));
  MAYFLY_CO_TRY(co_await PeekAt(q.new_parent, q.new_name, cred, r->deadline(), &to));
  if (from.busy || to.busy) co_return Code::kBusy;
  if (!from.inode.valid()) co_return Code::kNoEntry;
  const bool from_dir = from.type == FileType::kDirectory;
  const bool to_dir = to.type == FileType::kDirectory;
  if (!from_dir && !(exchange && to_dir)) co_return Code::kConflict;  // it was replaced since the client was sent here
  std::optional<Status> decided;
  if (q.flags == kNoReplace && to.inode.valid()) decided = Code::kExists;
  if (exchange && !to.inode.valid()) decided = Code::kNoEntry;
  // Nothing may end up below itself. Only this shard moves directories, and it does one at a time.
  if (!decided && from_dir) {
    auto below = co_await IsAncestor(from.inode, q.new_parent, r->deadline());
    if (!below.ok()) co_return below.code();
    if (*below) decided = Code::kInvalid;
  }
  if (!decided && to_dir) {
    auto above = co_await IsAncestor(to.inode, q.parent, r->deadline());
    if (!above.ok()) co_return above.code();
    if (*above) decided = exchange ? Code::kInvalid : Code::kNotEmpty;
  }
  if (!decided && from.inode == to.inode) decided = Code::kOk;
  uint32_t from_owner = 0, to_owner = 0;
  if (!decided) {
    Status may = co_await MayTake(from, cred, r->deadline(), &from_owner);
    if (may.ok()) may = co_await MayTake(to, cred, r->deadline(), &to_owner);
    if (may.ok() && !exchange && to.inode.valid() && !to_dir) may = Code::kNotDirectory;
    if (!may.ok()) decided = may;
  }
  if (decided) co_return co_await IfAtOneMoment(r, q, from, to, *decided);
  if (Stale(*r)) co_return Code::kGeneration;

  Transaction txn(this, cred, r->deadline());
  std::vector<std::pair<ShardId, TxnOp>> ops;
  ops.emplace_back(placement_.DentryShard(q.parent, q.name),
                   DentryOp(q.parent, q.name, from, exchange ? to.inode : InodeId(),
                            exchange ? to.type : FileType::kNone, from_owner));
  ops.emplace_back(placement_.DentryShard(q.new_parent, q.new_name),
                   DentryOp(q.new_parent, q.new_name, to, from.inode, from.type, to_owner));
  ops.emplace_back(from.inode.home(), LinkOp(from.inode, 0));
  if (to.inode.valid() && (exchange || !to_dir)) ops.emplace_back(to.inode.home(), LinkOp(to.inode, exchange ? 0 : -1));
  const bool other_parent = q.parent != q.new_parent;
  auto reparent = [&](const PeekReply& entry, InodeId parent) {
    TxnOp op;
    op.kind = TxnKind::kDirParent;
    op.inode = entry.inode;
    op.set = parent;
    op.check = true;
    ops.emplace_back(entry.inode.home(), std::move(op));
  };
  if (other_parent && from_dir) reparent(from, q.new_parent);
  if (other_parent && exchange && to_dir) reparent(to, q.parent);
  Status status = co_await PrepareAll(&txn, std::move(ops));
  if (status.ok() && to_dir && !exchange) status = co_await PrepareDirRemoval(&txn, to.inode);
  if (status.ok() && Stale(*r)) status = Code::kGeneration;
  if (status.ok()) status = co_await BumpGeneration(r->deadline());
  if (status.ok()) r->AnswerAhead(Empty());
  const Status told = co_await DecideAll(&txn, status.ok());
  co_return status.ok() ? told : status;
}

// Is `candidate` the directory `of`, or above it?
Task<Result<bool>> Shard::IsAncestor(InodeId candidate, InodeId of, Nanos deadline) {
  const InodeId root = placement_.RootInode();
  InodeId at = of;
  for (;;) {
    if (at == candidate) co_return true;
    if (at == root) co_return false;
    if (at.home().value >= placement_.shard_count()) co_return Code::kNoEntry;
    InodeRequest request;
    request.inode = at;
    ParentReply reply;
    Status status;
    if (IsHome(at)) {
      status = co_await HandleDirParent(nullptr, request, &reply, nullptr);
    } else {
      CallOptions options = PeerCall(deadline);
      status = co_await caller_.Call<Method::kDirParent>(at.home(), request, &reply, options);
    }
    if (!status.ok()) co_return status.code();
    at = reply.parent;
  }
}

}  // namespace mayfly
