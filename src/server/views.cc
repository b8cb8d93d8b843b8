// Views: where the shards are. A member that was started again tells the root's shard its new addresses; the root
// numbers the change and tells every shard; each process puts a newer map on its node, which everybody there looks at
// before it connects anew (session/live_map.h). Who does not answer is told again until it does: it may be alive.
// Nothing else depends on the view: requests reach a shard by its connection, and which shard holds what never changes.
#include <algorithm>

#include "base/log.h"
#include "server/shard.h"

namespace mayfly {
namespace {

constexpr size_t kMovedBytesMax = 2 * kPageBytesMax;
constexpr size_t kMovedOverheadBytes = 64;  // of one address, at most
constexpr Nanos kTellAgainAfter = 500 * kMillisecond, kTellAgainAtMost = 8 * kSecond;

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
  if (is_degraded()) co_return Code::kReadOnly;  // who was missing comes back with all others, by --recover
  auto text = co_await FetchText(r, kMovedBytesMax);
  if (!text.ok()) co_return text.code();
  MAYFLY_CO_TRY(NextView(AsBytes(*text)));
  a->view = view_;
  co_return Code::kOk;
}

// At the root: the next view, which all are told.
Status Shard::NextView(Bytes payload) {
  auto moved = Decoded(payload, placement_.shard_count());
  if (!moved.ok()) return moved.status();
  const View view(view_.value + 1);
  MAYFLY_TRY(LearnView(view, payload));
  for (auto& one : *moved) {
    moved_[one.shard] = {view, std::move(one.address)};
    if (stop_job_ != nullptr && one.shard != options_.self) {
      gate_.Spawn(TellWhetherStopping(one.shard), "telling a member whether the session ends");
    }
  }
  told_.resize(placement_.shard_count());
  for (uint32_t s = 0; s < told_.size(); ++s) {
    Told& told = told_[s];
    if (ShardId(s) == options_.self || std::exchange(told.telling, true)) continue;
    gate_.Spawn(TellView(ShardId(s)), "telling where a member is");
  }
  view_news_.WakeAll();
  return Code::kOk;
}

// Until `shard` has the newest view. One that cannot be reached now may live, and hear of this from nobody else.
Task<Status> Shard::TellView(ShardId shard) {
  Nanos pause = kTellAgainAfter;
  while (!leaving_ && told_[shard.value].view < view_) {
    const View view = view_;
    auto text = Encoded(MovedSince(told_[shard.value].view));
    if (!text.ok()) break;
    ViewRequest request;
    request.view = view;
    ViewReply reply;
    CallOptions options = PeerCall(executor_.now() + options_.peer_deadline / 4);
    options.payload = AsBytes(*text);
    const Status status = co_await caller_.Call<Method::kSetView>(shard, request, &reply, options);
    if (status.ok()) {
      told_[shard.value].view = view;
      pause = kTellAgainAfter;
    } else if (!leaving_) {
      (void)co_await view_news_.Wait(executor_.now() + pause);
      pause = view_ == view ? std::min(2 * pause, kTellAgainAtMost) : kTellAgainAfter;
    }
  }
  told_[shard.value].telling = false;
  co_return Code::kOk;
}

// The latest come first: what does not fit into a message is found beside the session file (ViewKeeper).
std::vector<Shard::NewAddress> Shard::MovedSince(View view) const {
  std::vector<std::pair<View, NewAddress>> since;
  for (const auto& [shard, last] : moved_) {
    if (last.view > view) since.push_back({last.view, {shard, last.address}});
  }
  std::sort(since.begin(), since.end(), [](const auto& a, const auto& b) {
    return std::pair(b.first.value, a.second.shard.value) < std::pair(a.first.value, b.second.shard.value);
  });
  std::vector<NewAddress> moved;
  size_t bytes = 0;
  for (const auto& [at, one] : since) {
    bytes += one.address.size() + kMovedOverheadBytes;
    if (bytes > kMovedBytesMax) break;
    moved.push_back(one);
  }
  return moved;
}

Task<Status> Shard::Announce(std::vector<NewAddress> moved, View view, Nanos deadline) {
  auto text = Encoded(moved);
  if (!text.ok()) co_return text.status();
  if (view > view_) {
    view_ = view;
    responder_.SetView(view);
  }
  const ShardId root = placement_.RootShard();
  if (is_root()) co_return NextView(AsBytes(*text));
  for (;;) {
    Empty request;
    ViewReply reply;
    CallOptions options = PeerCall(std::min(deadline, executor_.now() + options_.peer_deadline));
    options.payload = AsBytes(*text);
    const Status status = co_await caller_.Call<Method::kRejoin>(root, request, &reply, options);
    // The root may have to come back first.
    if (status.ok() || status.code() == Code::kInvalid || status.code() == Code::kReadOnly ||
        executor_.now() + kTellAgainAfter >= deadline)
      co_return status;
    co_await executor_.Sleep(kTellAgainAfter);
  }
}

}  // namespace mayfly
