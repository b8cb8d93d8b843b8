// Directories: the set of shards that hold entries of one, its parts, listing and removal.
#include <algorithm>

#include "server/transaction.h"

namespace mayfly {

// ---- joining ------------------------------------------------------------------------------------------------------

// Makes this shard a part of `dir` before its first entry (M1). One request at a time asks; others wait for it.
Task<Status> Shard::JoinDir(InodeId dir, Nanos deadline) {
  if (dir.home().value >= placement_.shard_count()) co_return Code::kInvalid;
  // Who asks in vain asks for itself alone.
  for (auto asking = joining_.find(dir); asking != joining_.end(); asking = joining_.find(dir)) {
    WaitQueue* const waiters = asking->second.get();
    (void)co_await waiters->Wait(deadline);
    if (names_.Joined(dir)) co_return Code::kOk;
    if (executor_.now() >= deadline) co_return Code::kTimedOut;
  }
  joining_[dir] = std::make_unique<WaitQueue>(executor_);
  Status status;
  DirRights rights;
  if (IsHome(dir)) {
    status = JoinAtHome(dir, options_.self, &rights);
  } else {
    DirJoinRequest request;
    request.dir = dir;
    request.shard = options_.self;
    CallOptions options = PeerCall(deadline);
    status = co_await caller_.Call<Method::kDirJoin>(dir.home(), request, &rights, options);
  }
  if (status.ok()) names_.Join(rights);
  auto node = joining_.extract(dir);
  node.mapped()->WakeAll();
  co_return status;
}

Status Shard::JoinAtHome(InodeId dir, ShardId shard, DirRights* rights) {
  Inode* inode = names_.FindInode(dir);
  if (inode == nullptr) return Code::kNoEntry;
  if (inode->type != FileType::kDirectory) return Code::kNotDirectory;
  InodeExtra& extra = inode->Extra();
  if (extra.state == DirState::kGone || inode->nlink == 0) return Code::kNoEntry;
  if (extra.state == DirState::kRemoving) return Code::kBusy;
  names_.AddShard(*inode, shard);
  *rights = names_.RightsOf(*inode);
  return Code::kOk;
}

Task<Status> Shard::HandleDirJoin(Request*, const DirJoinRequest& q, DirRights* a, ReplyPayload*) {
  if (q.shard.value >= placement_.shard_count()) co_return Code::kInvalid;
  co_return JoinAtHome(q.dir, q.shard, a);
}

Task<Status> Shard::HandleDirUpdate(Request*, const DirRights& q, Empty*, ReplyPayload*) {
  names_.UpdateRights(q);
  co_return Code::kOk;
}

// Tells every part of a local directory its rights (and that its times were set).
Task<Status> Shard::PushRights(InodeId dir, bool clear_mtime, Nanos deadline) {
  Inode* inode = names_.FindInode(dir);
  if (inode == nullptr) co_return Code::kStale;
  DirRights rights = names_.RightsOf(*inode);
  rights.clear_mtime = clear_mtime;
  struct One {
    static Task<Status> Push(Shard* shard, ShardId to, DirRights rights, Nanos deadline) {
      Empty reply;
      CallOptions options = shard->PeerCall(deadline);
      co_return co_await shard->caller_.Call<Method::kDirUpdate>(to, rights, &reply, options);
    }
  };
  std::vector<Task<Status>> pushes;
  for (ShardId shard : std::vector<ShardId>(inode->Extra().shards)) {
    if (shard == options_.self) {
      names_.UpdateRights(rights);
    } else {
      pushes.push_back(One::Push(this, shard, rights, deadline));
    }
  }
  Status result;
  for (auto& push : pushes) {
    Status status = co_await push;
    if (!status.ok()) result = status;
  }
  co_return result;
}

// ---- looking ------------------------------------------------------------------------------------------------------

Task<Status> Shard::HandleDirPart(Request* r, const InodeRequest& q, DirPartReply* a, ReplyPayload*) {
  if (!own_parts_.empty()) MAYFLY_CO_TRY(co_await EndOwner(q.inode, ClientId(), r->deadline()));
  *a = names_.PartOf(q.inode);
  co_return Code::kOk;
}

Task<Status> Shard::DirPartAt(ShardId shard, InodeId dir, DirPartReply* out, Nanos deadline) {
  if (shard == options_.self) {
    if (!own_parts_.empty()) MAYFLY_CO_TRY(co_await EndOwner(dir, ClientId(), deadline));
    *out = names_.PartOf(dir);
    co_return Code::kOk;
  }
  InodeRequest request;
  request.inode = dir;
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kDirPart>(shard, request, out, options);
}

Task<Status> Shard::HandleDirParent(Request*, const InodeRequest& q, ParentReply* a, ReplyPayload*) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr || inode->type != FileType::kDirectory || inode->nlink == 0) co_return Code::kNoEntry;
  a->parent = inode->Extra().parent;
  co_return Code::kOk;
}

Task<Status> Shard::HandleShards(Request* r, const ShardsRequest& q, ShardsReply* a, ReplyPayload* out) {
  const Party& party = r->party();
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  const bool directory = inode->type == FileType::kDirectory;
  if (!directory) {
    MAYFLY_CO_TRY(grants_.Check(party, q.inode, q.grant, 0));
  } else if (q.opener.value != 0) {
    MAYFLY_CO_TRY(grants_.CheckInherited(party, q.opener, q.inode, q.grant, kOpenRead));
  } else if (!party.peer && !MayAccess(inode->type, inode->permissions, inode->uid, inode->gid, party.cred, kMayRead)) {
    co_return Code::kAccess;
  }
  if (directory) a->grant = grants_.Make(party, q.inode, kOpenRead);
  if (inode->type == FileType::kFile) {
    MAYFLY_CO_TRY(co_await EndSole(q.inode, r->party().process, r->deadline()));
  }
  MAYFLY_CO_TRY(co_await ExactAttr(q.inode, r->deadline(), &a->attr));
  inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->extra != nullptr) {
    a->count = static_cast<uint32_t>(inode->extra->shards.size());
    for (ShardId shard : inode->extra->shards) out->text.append(reinterpret_cast<const char*>(&shard.value), 4);
  }
  co_return Code::kOk;
}

Task<Status> Shard::HandleReadDir(Request* r, const ReadDirRequest& q, ReadDirReply* a, ReplyPayload* out) {
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.dir, q.grant, kGrantRead));
  const uint32_t bytes = std::clamp<uint32_t>(q.bytes_max, 1024, kPageBytesMax);
  out->text.resize(bytes);
  Encoder e(MutableBytes(reinterpret_cast<uint8_t*>(out->text.data()), bytes));
  // Whose sole opener may hold bytes of it back: who lists asks for those one by one.
  const auto unsettled = [this](InodeId id) { return soles_.contains(id); };
  *a = names_.List(q.dir, q.after, e, soles_.empty() ? Namespace::Unsettled() : unsettled);
  out->text.resize(e.size());
  co_return Code::kOk;
}

// ---- removal ------------------------------------------------------------------------------------------------------

// The entry is here; the directory's home and every shard with entries of it take part.
Task<Status> Shard::HandleRmdir(Request* r, const NameRequest& q, Empty*, ReplyPayload*) {
  const Cred& cred = r->party().cred;
  auto entry = names_.Find(q.parent, q.name);
  if (!entry.ok()) co_return entry.code();
  if (entry->busy) co_return Code::kBusy;
  const InodeId dir = entry->inode;
  const FileType type = entry->type;
  uint32_t owner = entry->local != nullptr ? entry->local->uid : cred.uid;
  Status rights = names_.MayRemove(q.parent, owner, cred);
  MAYFLY_CO_TRY(rights);
  if (type != FileType::kDirectory) co_return Code::kNotDirectory;
  if (entry->local == nullptr) {
    auto attr = co_await AttrAt(dir, r->deadline());
    if (!attr.ok()) co_return attr.code() == Code::kStale ? Code::kConflict : attr.code();
    owner = attr->uid;
  }
  Transaction txn(this, cred, r->deadline());
  // The entry first: from here on look-ups of it wait, and nobody can expose it any more.
  std::vector<TxnOp> ops(1);
  ops[0].kind = TxnKind::kDentry;
  ops[0].inode = q.parent;
  ops[0].name = std::string(q.name);
  ops[0].expect = dir;
  ops[0].expect_type = FileType::kDirectory;
  ops[0].check = ops[0].sticky_check = true;
  ops[0].expect_uid = owner;
  Status status = co_await PrepareAt(&txn, options_.self, std::move(ops), nullptr);
  if (status.ok()) status = co_await PrepareDirRemoval(&txn, dir);
  if (status.ok() && Stale(*r)) status = Code::kGeneration;
  if (status.ok()) {
    auto held = names_.Find(q.parent, q.name);
    if (held.ok() && held->exposed) status = co_await BumpGeneration(r->deadline());
  }
  if (status.ok()) r->AnswerAhead(Empty());
  Status decided = co_await DecideAll(&txn, status.ok());
  co_return status.ok() ? decided : status;
}

}  // namespace mayfly
