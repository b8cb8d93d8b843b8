#include "rpc/caller.h"

#include <algorithm>
#include <set>

#include "base/log.h"

namespace mayfly {

// A shard, as this lane knows it.
struct Caller::Peer {
  enum class State : uint8_t { kIdle, kGreeting, kReady, kBackoff };
  ShardId shard;
  State state = State::kIdle;
  EndpointId endpoint;
  uint64_t connection = 0;
  TagKey key{};
  Nonce nonce{};
  uint32_t attempt = 0;     // names a hello, so that a late welcome of an earlier one is dropped
  Nanos retry_at = 0;       // in kBackoff
  Nanos failing_since = 0;  // 0: the last attempt worked
  bool unreachable = false;
  uint64_t next_sequence = 1;
  std::set<uint64_t> outstanding;  // sequences not answered yet; small
  uint32_t in_flight = 0;
  std::deque<Slot*> waiting;  // for the welcome, or for a place (L4)
  // The hello is sent from here.
  struct HelloLink : Completion {
    bool sending = false;
  };
  HelloLink hello_link;
  uint8_t hello[Transport::kHeaderBytesMax];
};

namespace {

constexpr Nanos kSweepEvery = 10 * kMillisecond;
constexpr Nanos kRetryEvery = 50 * kMillisecond;
constexpr Nanos kGreetingWithin = 2 * kSecond;

}  // namespace

Caller::Caller(Executor& executor, Transport& transport, Random& random, const AddressBook& book, Identity identity,
               Timing timing)
    : executor_(executor),
      transport_(transport),
      random_(random),
      book_(book),
      identity_(std::move(identity)),
      hello_key_(HelloKey(identity_.secret, identity_.uuid)),
      timing_(timing),
      peers_(book.shard_count()) {}

Caller::~Caller() {
  Shutdown();
  MAYFLY_CHECK(in_flight_ == 0);
}

bool Caller::Unreachable(ShardId shard) const {
  const Peer* peer = shard.value < peers_.size() ? peers_[shard.value].get() : nullptr;
  return peer != nullptr && peer->unreachable;
}

void Caller::Shutdown() {
  if (shut_down_) return;
  shut_down_ = true;
  for (auto& peer : peers_) {
    if (peer != nullptr && peer->endpoint.value != 0) transport_.Close(std::exchange(peer->endpoint, EndpointId()));
  }
  for (auto& slot : slots_) {
    if (slot->state == Slot::State::kQueued || slot->state == Slot::State::kSent) Finish(slot.get(), Code::kShutdown);
  }
  executor_.Cancel(sweep_);
}

// ---- a call -----------------------------------------------------------------------------------------------------

Caller::Slot* Caller::Begin(ShardId to, Method method, const CallOptions& options, void* reply, DecodeFn decode) {
  if (free_.empty()) {
    auto slot = std::make_unique<Slot>();
    slot->caller = this;
    slot->index = static_cast<uint32_t>(slots_.size());
    slot->send_done.fn = &Caller::SendDone;
    slot->send_done.slot = slot.get();
    slot->fetch_done.fn = &Caller::FetchDone;
    slot->fetch_done.slot = slot.get();
    free_.push_back(slot->index);
    slots_.push_back(std::move(slot));
  }
  Slot* slot = slots_[free_.back()].get();
  free_.pop_back();
  ++in_flight_;
  ++stats_.calls;
  slot->state = Slot::State::kQueued;
  slot->sending = slot->must_close = false;
  slot->code = Code::kOk;
  slot->method = method;
  slot->to = to;
  slot->deadline = options.deadline != 0 ? options.deadline : executor_.now() + timing_.call_default;
  slot->sequence = 0;
  slot->walked_at = options.walked_at;
  slot->payload = options.payload;
  slot->reply_payload = options.reply_payload;
  slot->reply_bytes = options.reply_bytes;
  slot->reply = reply;
  slot->decode = decode;
  slot->waiter = nullptr;
  return slot;
}

void Caller::Start(Slot* slot, size_t header_bytes) {
  slot->header_bytes = header_bytes;
  if (shut_down_ || slot->to.value >= peers_.size()) {
    Finish(slot, shut_down_ ? Code::kShutdown : Code::kInvalid);
    return;
  }
  auto& peer = peers_[slot->to.value];
  if (peer == nullptr) {
    peer = std::make_unique<Peer>();
    peer->shard = slot->to;
  }
  if (InfoOf(slot->method)->once) {
    slot->sequence = peer->next_sequence++;  // L3
    peer->outstanding.insert(slot->sequence);
  }
  ArmSweep();
  Submit(slot);
}

void Caller::Submit(Slot* slot) {
  Peer* peer = peers_[slot->to.value].get();
  slot->state = Slot::State::kQueued;
  if (peer->state == Peer::State::kReady && peer->in_flight < kInFlightMax) {
    Transmit(slot);
    return;
  }
  peer->waiting.push_back(slot);
  if (peer->state == Peer::State::kIdle) Connect(peer);
}

void Caller::Transmit(Slot* slot) {
  Peer* peer = peers_[slot->to.value].get();
  const Nanos now = executor_.now();
  Prefix prefix;
  prefix.kind = MessageKind::kRequest;
  prefix.connection = peer->connection;
  prefix.slot = slot->index;
  prefix.generation = slot->generation;
  RequestHeader header;
  header.method = slot->method;
  header.time_left_ms =
      static_cast<uint32_t>(std::clamp<Nanos>((slot->deadline - std::min(now, slot->deadline)) / kMillisecond, 1, ~0u));
  header.sequence = slot->sequence;
  header.lowest = peer->outstanding.empty() ? peer->next_sequence : *peer->outstanding.begin();
  header.walked_at = slot->walked_at;
  Encoder e{MutableBytes(slot->header)};
  e.Put(prefix);
  e.Put(header);
  SealHeader({slot->header, slot->header_bytes}, peer->key);
  slot->state = Slot::State::kSent;
  slot->sent_at = now;
  slot->sending = true;
  ++peer->in_flight;
  if (transport_.Send(peer->endpoint, {slot->header, slot->header_bytes}, slot->payload, &slot->send_done) ==
      Transport::Sent::kDone) {
    slot->sending = false;
  }
}

void Caller::SendDone(Completion* c, Status) {
  // A failed send shows as its endpoint going down, which retries what was sent on it.
  Slot* slot = static_cast<Slot::Link*>(c)->slot;
  slot->sending = false;
  if (slot->state == Slot::State::kQueued) slot->caller->Pump(slot->caller->peers_[slot->to.value].get());
  slot->caller->MaybeFinish(slot);
}

void Caller::FetchDone(Completion* c, Status status) {
  Slot* slot = static_cast<Slot::Link*>(c)->slot;
  slot->fetching.Reset();
  slot->code = status.ok() ? slot->code : status.code();
  slot->state = Slot::State::kDone;
  slot->caller->MaybeFinish(slot);
}

// Ends a call that has its outcome, now or when the transport lets go of its buffers (L2).
void Caller::Finish(Slot* slot, Code code) {
  MAYFLY_CHECK(slot->state == Slot::State::kQueued || slot->state == Slot::State::kSent);
  Peer* peer = slot->to.value < peers_.size() ? peers_[slot->to.value].get() : nullptr;
  if (peer != nullptr && slot->state == Slot::State::kQueued) std::erase(peer->waiting, slot);
  if (peer != nullptr && slot->state == Slot::State::kSent) --peer->in_flight;
  slot->state = Slot::State::kDone;
  slot->code = code;
  MaybeFinish(slot);
}

void Caller::MaybeFinish(Slot* slot) {
  if (slot->state != Slot::State::kDone || slot->sending) return;
  if (slot->waiter) executor_.Post(std::exchange(slot->waiter, nullptr));
}

void Caller::Release(Slot* slot) {
  MAYFLY_CHECK(slot->state == Slot::State::kDone && !slot->sending);
  Peer* peer = slot->to.value < peers_.size() ? peers_[slot->to.value].get() : nullptr;
  if (peer != nullptr && slot->sequence != 0) peer->outstanding.erase(slot->sequence);
  slot->state = Slot::State::kFree;
  ++slot->generation;  // L1
  free_.push_back(slot->index);
  --in_flight_;
  if (peer != nullptr && !peer->waiting.empty()) Pump(peer);
}

// Sends what waits, as far as L4 lets it. A call whose earlier send on a dead endpoint still has its buffers keeps
// waiting.
void Caller::Pump(Peer* peer) {
  if (peer->state != Peer::State::kReady) return;
  for (size_t left = peer->waiting.size(); left > 0 && peer->in_flight < kInFlightMax; --left) {
    Slot* slot = peer->waiting.front();
    peer->waiting.pop_front();
    if (slot->sending) {
      peer->waiting.push_back(slot);
    } else {
      Transmit(slot);
    }
  }
}

// ---- connections ------------------------------------------------------------------------------------------------

void Caller::Connect(Peer* peer) {
  if (peer->hello_link.sending) {  // the last hello is still with the transport: the sweep tries again
    peer->state = Peer::State::kBackoff;
    peer->retry_at = executor_.now() + kSweepEvery;
    return;
  }
  ++stats_.connects;
  ++peer->attempt;
  auto endpoint = transport_.Connect(book_.AddressOf(peer->shard));
  if (!endpoint.ok()) {
    Drop(peer, endpoint.code());
    return;
  }
  peer->endpoint = *endpoint;
  peer->state = Peer::State::kGreeting;
  peer->retry_at = executor_.now() + kGreetingWithin;
  random_.Fill(peer->nonce);
  Prefix prefix;
  prefix.kind = MessageKind::kHello;
  prefix.slot = peer->shard.value;
  prefix.generation = peer->attempt;
  Hello hello;
  hello.uuid = identity_.uuid;
  hello.client = identity_.client;
  hello.process = identity_.process;
  hello.nonce = peer->nonce;
  hello.peer = identity_.peer;
  hello.shard = identity_.shard;
  if (identity_.peer) hello.proof = Tag(peer->nonce, identity_.peer_proof);
  hello.pid = identity_.pid;
  hello.cred = identity_.cred;
  hello.host = std::string_view(identity_.host).substr(0, 64);
  hello.address = transport_.address();
  Encoder e{MutableBytes(peer->hello)};
  e.Put(prefix);
  hello.Fields(e);
  MAYFLY_CHECK(e.ok());  // an address has room: the adapter checks its length
  SealHeader({peer->hello, e.size()}, hello_key_);
  peer->hello_link.fn = [](Completion* c, Status) { static_cast<Peer::HelloLink*>(c)->sending = false; };
  peer->hello_link.sending = true;
  if (transport_.Send(peer->endpoint, {peer->hello, e.size()}, {}, &peer->hello_link) == Transport::Sent::kDone) {
    peer->hello_link.sending = false;
  }
}

// The connection is gone: what was sent on it goes back to the queue, and is tried again until the shard has been
// unreachable for too long.
void Caller::Drop(Peer* peer, Code why) {
  const Nanos now = executor_.now();
  if (peer->endpoint.value != 0) transport_.Close(std::exchange(peer->endpoint, EndpointId()));
  peer->state = Peer::State::kBackoff;
  peer->retry_at = now + kRetryEvery;
  if (peer->failing_since == 0) peer->failing_since = now;
  peer->in_flight = 0;
  for (auto& slot : slots_) {
    if (slot->to == peer->shard && slot->state == Slot::State::kSent) {
      slot->state = Slot::State::kQueued;
      ++slot->generation;  // its replies on the old connection are strangers now
      peer->waiting.push_back(slot.get());
      ++stats_.retries;
    }
  }
  const bool too_long = now - peer->failing_since >= timing_.unreachable_after;
  if (too_long || peer->unreachable || why == Code::kDenied || why == Code::kShutdown) {
    if (!peer->unreachable && why != Code::kShutdown && !shut_down_) {
      MAYFLY_WARN("{} cannot be reached ({}); calls to it fail until it answers again", book_.NameOf(peer->shard),
                  TextOf(why));
    }
    peer->unreachable = true;
    FailWaiting(peer, why == Code::kDenied || why == Code::kShutdown ? why : Code::kUnavailable);
    peer->state = Peer::State::kIdle;  // the next call tries once more
  }
}

void Caller::FailWaiting(Peer* peer, Code code) {
  while (!peer->waiting.empty()) Finish(peer->waiting.front(), code);
}

bool Caller::HandleEndpointDown(EndpointId endpoint) {
  for (auto& peer : peers_) {
    if (peer != nullptr && peer->endpoint == endpoint) {
      Drop(peer.get(), Code::kUnavailable);
      return true;
    }
  }
  return false;
}

void Caller::OnEndpointDown(EndpointId endpoint) {
  if (!HandleEndpointDown(endpoint)) transport_.Close(endpoint);
}

// ---- what arrives -----------------------------------------------------------------------------------------------

void Caller::OnMessage(Bytes header, Payload payload) {
  Decoder d(header);
  Prefix prefix;
  d.Get(prefix);
  if (!d.ok() || prefix.magic != kWireMagic || prefix.version != kWireVersion) {
    ++stats_.refused_messages;
  } else if (prefix.kind == MessageKind::kReply) {
    OnReply(header, prefix, std::move(payload));
  } else if (prefix.kind == MessageKind::kWelcome) {
    OnWelcome(header, prefix);
  } else {
    ++stats_.refused_messages;
  }
}

void Caller::OnWelcome(Bytes header, const Prefix& prefix) {
  Decoder d(header.subspan(Prefix::kBytes));
  Welcome welcome;
  welcome.Fields(d);
  Peer* peer = prefix.slot < peers_.size() ? peers_[prefix.slot].get() : nullptr;
  if (!HeaderIsSealed(header, hello_key_) || !d.Finish().ok() || peer == nullptr ||
      peer->state != Peer::State::kGreeting || prefix.generation != peer->attempt) {
    ++stats_.refused_messages;
    return;
  }
  if (welcome.code != Code::kOk) {
    Drop(peer, welcome.code);
    return;
  }
  peer->state = Peer::State::kReady;
  peer->connection = welcome.connection;
  peer->key = ConnectionKey(identity_.secret, identity_.uuid, identity_.client, peer->nonce, welcome.nonce);
  peer->failing_since = 0;
  peer->unreachable = false;
  RaiseGeneration(welcome.generation);
  Pump(peer);
}

void Caller::OnReply(Bytes header, const Prefix& prefix, Payload payload) {
  Slot* slot = prefix.slot < slots_.size() ? slots_[prefix.slot].get() : nullptr;
  if (slot == nullptr || slot->generation != prefix.generation || slot->state != Slot::State::kSent) {
    ++stats_.late_replies;  // L1
    return;
  }
  Peer* peer = peers_[slot->to.value].get();
  if (!HeaderIsSealed(header, peer->key) || header.size() < Prefix::kBytes + ReplyHeader::kBytes) {
    ++stats_.refused_messages;
    return;
  }
  Decoder d(header.subspan(Prefix::kBytes));
  ReplyHeader reply;
  d.Get(reply);
  if (!d.ok()) {
    ++stats_.refused_messages;
    return;
  }
  RaiseGeneration(reply.generation);
  Code code = reply.code;
  if (code == Code::kOk && !slot->decode(d.rest(), slot->reply)) code = Code::kCorrupt;
  if (code == Code::kOk && payload.size() > slot->reply_payload.size()) code = Code::kCorrupt;
  if (slot->reply_bytes != nullptr) *slot->reply_bytes = code == Code::kOk ? payload.size() : 0;
  if (code != Code::kOk || payload.size() == 0) {
    Finish(slot, code);
    return;
  }
  if (payload.is_eager()) {
    std::memcpy(slot->reply_payload.data(), payload.eager().data(), payload.size());
    Finish(slot, code);
    return;
  }
  --peer->in_flight;
  slot->state = Slot::State::kFetching;
  slot->code = code;
  slot->fetching = std::move(payload);
  slot->fetching.Fetch(slot->reply_payload.first(slot->fetching.size()), &slot->fetch_done);
}

// ---- time -------------------------------------------------------------------------------------------------------

void Caller::ArmSweep() {
  if (sweep_.sequence != 0) return;
  sweep_ = executor_.At(
      executor_.now() + kSweepEvery, [](void* self) { static_cast<Caller*>(self)->Sweep(); }, this);
}

// One timer looks at all calls: cheaper than a timer a call, and 10 ms are nothing against a deadline of seconds.
void Caller::Sweep() {
  sweep_ = {};
  if (shut_down_) return;
  const Nanos now = executor_.now();
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot* slot = slots_[i].get();
    if (slot->state == Slot::State::kFree) continue;
    if (now >= slot->deadline) {
      if (slot->state == Slot::State::kQueued || slot->state == Slot::State::kSent) {
        ++stats_.timeouts;
        Peer* peer = peers_[slot->to.value].get();
        const bool sending = slot->sending;
        Finish(slot, peer->unreachable || peer->failing_since != 0 ? Code::kUnavailable : Code::kTimedOut);
        if (sending) Drop(peer, Code::kTimedOut);  // L2: closing makes the completion come
      } else if (slot->state == Slot::State::kFetching && now >= slot->deadline + kSecond) {
        Drop(peers_[slot->to.value].get(), Code::kTimedOut);  // L2, with a second's grace for a transfer under way
        slot->deadline = now + kSecond;
      }
    } else if (slot->state == Slot::State::kSent && !slot->sending && now >= slot->sent_at + timing_.resend_after) {
      // The reply may have been lost with a connection of the other direction. The duplicate table makes it harmless.
      --peers_[slot->to.value]->in_flight;
      ++stats_.retries;
      Transmit(slot);
    }
  }
  for (auto& peer : peers_) {
    if (peer == nullptr) continue;
    if (peer->state == Peer::State::kGreeting && now >= peer->retry_at) {
      Drop(peer.get(), Code::kTimedOut);
    } else if (peer->state == Peer::State::kBackoff && now >= peer->retry_at) {
      if (peer->waiting.empty()) {
        peer->state = Peer::State::kIdle;
      } else {
        Connect(peer.get());
      }
    }
  }
  if (in_flight_ != 0) ArmSweep();
}

}  // namespace mayfly
