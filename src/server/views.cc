// Views: where the shards are. A member that was started again tells the root's shard its new addresses; the root
// numbers the change and tells every shard; each process puts a newer map on its node, which everybody there looks at
// before it connects anew (session/live_map.h). Nothing else depends on the view: requests reach a shard by its
// connection, and which shard holds what never changes.
#include <algorithm>

#include "base/log.h"
#include "server/shard.h"

namespace mayfly {
namespace {

constexpr size_t kMovedBytesMax = 2 * kPageBytesMax;
constexpr Nanos kTellAgainAfter = 500 * kMillisecond;

Result<std::string> Encoded(const std::vector<Shard::NewAddress>& moved) {
  std::string text(kMovedBytesMax, '\0');
  Encoder e(MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size()));
  e.Put(static_cast<uint32_t>(moved.size()));
  for (const auto& one : moved) {
    Moved wire;
    wire.shard = one.shard;
    wire.address = AsBytes(one.address);
    e.Put(wire);
  }
  if (!e.ok()) return Code::kInvalid;
  text.resize(e.size());
  return text;
}

Result<std::vector<Shard::NewAddress>> Decoded(Bytes payload, uint32_t shard_count) {
  std::vector<Moved> wire;
  Decoder d(payload);
  d.Get(wire);
  MAYFLY_TRY(d.Finish());
  std::vector<Shard::NewAddress> moved;
  for (const Moved& one : wire) {
    if (one.shard.value >= shard_count || one.address.size() > Transport::kAddressBytesMax) return Code::kInvalid;
    moved.push_back({one.shard, std::string(AsText(one.address))});
  }
  return moved;
}

}  // namespace

Status Shard::LearnView(View view, Bytes payload) {
  auto moved = Decoded(payload, placement_.shard_count());
  if (!moved.ok()) return moved.status();
  if (view <= view_) return Code::kOk;
  if (on_view_ && !on_view_(view, *moved)) return Code::kIo;
  view_ = view;
  responder_.SetView(view);
  return Code::kOk;
}

Task<Status> Shard::HandleSetView(Request* r, const ViewRequest& q, ViewReply* a, ReplyPayload*) {
  auto text = co_await FetchText(r, kMovedBytesMax);
  if (!text.ok()) co_return text.code();
  MAYFLY_CO_TRY(LearnView(q.view, AsBytes(*text)));
  a->view = view_;
  co_return Code::kOk;
}

Task<Status> Shard::HandleRejoin(Request* r, const Empty&, ViewReply* a, ReplyPayload*) {
  if (!is_root()) co_return Code::kInvalid;
  auto text = co_await FetchText(r, kMovedBytesMax);
  if (!text.ok()) co_return text.code();
  MAYFLY_CO_TRY(co_await Broadcast(std::move(*text), r->deadline()));
  a->view = view_;
  co_return Code::kOk;
}

// At the root: the next view, told to all. Who cannot be reached is dead, or finds the address on its node.
Task<Status> Shard::Broadcast(std::string moved, Nanos deadline) {
  co_await views_.Acquire();
  const View view(view_.value + 1);
  Status result = LearnView(view, AsBytes(moved));
  std::vector<Task<Status>> tasks;
  for (uint32_t s = 0; result.ok() && s < placement_.shard_count(); ++s) {
    if (ShardId(s) != options_.self) tasks.push_back(SetViewAt(ShardId(s), view, AsBytes(moved), deadline));
  }
  for (auto& task : tasks) (void)co_await task;
  views_.Release();
  co_return result;
}

Task<Status> Shard::SetViewAt(ShardId shard, View view, Bytes moved, Nanos deadline) {
  ViewRequest request;
  request.view = view;
  ViewReply reply;
  CallOptions options = PeerCall(std::min(deadline, executor_.now() + options_.peer_deadline / 4));
  options.payload = moved;
  co_return co_await caller_.Call<Method::kSetView>(shard, request, &reply, options);
}

Task<Status> Shard::Announce(std::vector<NewAddress> moved, View view, Nanos deadline) {
  auto text = Encoded(moved);
  if (!text.ok()) co_return text.status();
  if (view > view_) {
    view_ = view;
    responder_.SetView(view);
  }
  const ShardId root = placement_.RootShard();
  if (is_root()) co_return co_await Broadcast(std::move(*text), deadline);
  for (;;) {
    Empty request;
    ViewReply reply;
    CallOptions options = PeerCall(std::min(deadline, executor_.now() + options_.peer_deadline));
    options.payload = AsBytes(*text);
    const Status status = co_await caller_.Call<Method::kRejoin>(root, request, &reply, options);
    // The root may have to come back first.
    if (status.ok() || status.code() == Code::kInvalid || executor_.now() + kTellAgainAfter >= deadline)
      co_return status;
    co_await executor_.Sleep(kTellAgainAfter);
  }
}

}  // namespace mayfly
