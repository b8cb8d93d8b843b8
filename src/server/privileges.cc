// suid and sgid of a file of which other shards hold chunks: a write by somebody other than root takes them away, also
// one that goes past the home. The home tells the file's shards when it gets such a bit, at their join or by a chmod,
// before either is answered; such a shard asks the home to take the bits away before it takes the bytes of a write in,
// and again if the file got them meanwhile. Files without the bits cost no message.
#include "server/images.h"
#include "server/shard.h"

namespace mayfly {

Task<Status> Shard::TellPrivileged(InodeId file, Nanos deadline) {
  Inode* inode = names_.FindInode(file);
  if (inode == nullptr || inode->extra == nullptr || inode->extra->shards.empty()) co_return Code::kOk;
  IntentImage intent;
  intent.kind = IntentKind::kPrivileged;
  intent.inode = file;
  const uint64_t number = BeginIntent(std::move(intent));
  const Status status = co_await PushPrivileged(file, deadline);
  if (status.ok()) {
    EndIntent(number);
  } else {
    LeaveIntent(number);
  }
  co_return status;
}

Task<Status> Shard::PushPrivileged(InodeId file, Nanos deadline) {
  Inode* inode = names_.FindInode(file);
  if (inode == nullptr || inode->extra == nullptr) co_return Code::kOk;
  PrivilegedRequest request;
  request.inode = file;
  request.count = ++inode->extra->privileged;
  names_.Changed(*inode);
  std::vector<Task<Status>> tasks;
  for (ShardId shard : inode->extra->shards) tasks.push_back(TellPrivilegedAt(shard, request, deadline));
  co_return co_await All(std::move(tasks));
}

Task<Status> Shard::TellPrivilegedAt(ShardId shard, PrivilegedRequest q, Nanos deadline) {
  Empty reply;
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kPrivileged>(shard, q, &reply, options);
}

Task<Status> Shard::HandlePrivileged(Request* r, const PrivilegedRequest& q, Empty*, ReplyPayload*) {
  if (IsHome(q.inode)) co_return Code::kInvalid;
  // The answer to a join may be of before the chmod, and still on its way.
  for (auto it = joining_.find(q.inode); it != joining_.end(); it = joining_.find(q.inode)) {
    WaitQueue& joined = *it->second;
    MAYFLY_CO_TRY(co_await joined.Wait(r->deadline()));
  }
  if (store_.Figures(q.inode).epoch != 0) NotePrivileged(q.inode, q.count);
  co_return Code::kOk;
}

void Shard::NotePrivileged(InodeId file, uint64_t count) {
  uint64_t& known = privileged_[file];
  known = std::max(known, count);
}

Task<Status> Shard::DropPrivileges(InodeId file, const Party& party, Nanos deadline) {
  if (party.peer || party.cred.uid == 0) co_return Code::kOk;  // peers: the home did it itself
  DropPrivilegesRequest request;
  request.inode = file;
  request.cred = party.cred;
  DropPrivilegesReply reply;
  CallOptions options = PeerCall(deadline);
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kDropPrivileges>(file.home(), request, &reply, options));
  // A chmod may have come since.
  const auto it = privileged_.find(file);
  if (it != privileged_.end() && !reply.left && it->second <= reply.count) privileged_.erase(it);
  co_return Code::kOk;
}

Task<Status> Shard::HandleDropPrivileges(Request*, const DropPrivilegesRequest& q, DropPrivilegesReply* a,
                                         ReplyPayload*) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->type != FileType::kFile) co_return Code::kInvalid;
  names_.ClearPrivileges(*inode, q.cred);
  a->count = inode->Extra().privileged;
  a->left = Namespace::HasPrivileges(*inode);
  co_return Code::kOk;
}

}  // namespace mayfly
