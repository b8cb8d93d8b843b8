// Leases to read ahead (read_leases.h): given on demand, waited for by who wants to change the file.
#include "server/shard.h"

namespace mayfly {

Task<Status> Shard::HandleReadLease(Request* r, const ReadLeaseRequest& q, ReadLeaseReply* a, ReplyPayload*) {
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantRead));  // V4
  const Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->type != FileType::kFile) co_return Code::kInvalid;
  const ClientId process = r->party().process;
  if (!names_.OpenBy(q.inode, process) || truncated_by_path_.contains(q.inode)) co_return Code::kOk;
  executor_.Look();  // L1: not earlier than the request was sent
  const Nanos now = executor_.now();
  if (!read_leases_.OthersHold(q.inode, process, now) && names_.WrittenByOthers(*inode, process)) co_return Code::kOk;
  read_leases_.Give(q.inode, process, names_.WrittenBy(q.inode, process), now);
  a->lease_ms = ReadLeases::kLease / kMillisecond;
  co_return Code::kOk;
}

Task<Status> Shard::EndReadLeases(InodeId file, ClientId except, Nanos deadline) {
  read_leases_.Break(file);
  for (;;) {
    const Nanos until = read_leases_.Until(file, except);
    if (until <= executor_.now()) co_return Code::kOk;
    if (executor_.now() >= deadline) co_return Code::kTimedOut;
    co_await executor_.Sleep(std::min(until, deadline) - executor_.now());
  }
}

}  // namespace mayfly
