#include "rpc/caller.h"

#include <algorithm>

#include "base/log.h"
#include "rpc/parcel.h"
#include "rpc/places.h"

namespace mayfly {

// A shard, as this lane knows it.
struct Caller::Peer {
  enum class State : uint8_t { kIdle, kGreeting, kReady, kBackoff };
  ShardId shard;
  State state = State::kIdle;
  bool unsettled = false;    // greeting or backing off, as counted in unsettled_
  bool unreachable = false;  // calls fail with `failure`, see Timing
  Code failure = Code::kUnavailable;
  EndpointId endpoint;
  uint64_t connection = 0;
  TagKey key{};
  Nonce nonce{};
  uint32_t attempt = 0;          // of its last hello; names it, so that a late welcome of an earlier one is dropped
  Greeting* greeting = nullptr;  // that hello, while the transport has it
  Nanos look_at = 0;             // kGreeting: no welcome comes any more; kBackoff, kIdle: try again not before
  Nanos backoff = 0;
  Nanos trying_since = kNever;  // kNever: the last attempt worked, or there was none
  Nanos failed_at = 0;          // the last that did not
  uint32_t tries = 0;           // attempts since the last that worked
  uint64_t heard = 0;           // messages on this and earlier connections
  Nanos silent_since = kNever;  // the first request on this connection since something was heard on it, L5
  uint64_t next_count = 1;
  Places places;
  uint32_t in_flight = 0;           // kSent and kFetching, L4
  Chain<Slot, WaitingTag> waiting;  // kQueued: for the welcome, for a place, or for the transport to let go
};

// A hello. The transport may have it for longer than this lane lives.
struct Caller::Greeting : Completion {
  Caller* caller = nullptr;  // null: nobody waits for it any more
  Peer* peer = nullptr;
  size_t bytes = 0;
  uint8_t header[Transport::kHeaderBytesMax];

  static void Done(Completion* self, Status status) {
    std::unique_ptr<Greeting> me(static_cast<Greeting*>(self));
    if (me->caller == nullptr) return;
    me->peer->greeting = nullptr;
    if (!status.ok() && me->peer->state == Peer::State::kGreeting) me->caller->Drop(me->peer, status.code());
  }
  static void Forget(Peer* peer) {
    if (peer->greeting != nullptr) std::exchange(peer->greeting, nullptr)->caller = nullptr;
  }
};

namespace {

// A connection that broke is made again for so long without a call; less than it takes to call a shard unreachable.
constexpr Nanos kStayKnownFor = 2 * kSecond;
constexpr Nanos kRetryFirst = 50 * kMillisecond, kRetryMost = 400 * kMillisecond;
constexpr Nanos kGreetingWithin = 2 * kSecond;
constexpr uint32_t kTriesLeast = 2;

Nanos Later(Nanos at, Nanos by) { return at < kNever - by ? at + by : kNever; }

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
      peers_(book.shard_count()),
      trace_(executor.clock()) {}

Caller::~Caller() {
  Shutdown();
  MAYFLY_CHECK(active_.empty());  // L2
}

bool Caller::Unreachable(ShardId shard) const {
  const Peer* peer = shard.value < peers_.size() ? peers_[shard.value].get() : nullptr;
  return peer != nullptr && peer->unreachable;
}

void Caller::Disown(bool (*still)(Method)) {
  disowned_but_ = still;
  for (Slot* slot = active_.first(); slot != nullptr; slot = active_.Next(slot)) {
    const bool waits = slot->state == State::kQueued || slot->state == State::kSent;
    if (waits && IsDisowned(slot)) Finish(slot, Code::kIo);
  }
}

bool Caller::IsDisowned(const Slot* slot) const {
  return disowned_but_ != nullptr && slot->once && !disowned_but_(slot->method);
}

void Caller::Shutdown() {
  if (shut_down_) return;
  shut_down_ = true;
  executor_.Cancel(sweep_);
  for (Slot* slot = active_.first(); slot != nullptr; slot = active_.Next(slot)) {
    if (slot->state == State::kQueued || slot->state == State::kSent) Finish(slot, Code::kShutdown);
    if (slot->state == State::kFetching) slot->code = Code::kShutdown;
  }
  for (auto& peer : peers_) {
    if (peer == nullptr) continue;
    if (!trace_.empty()) SendNotes(peer.get(), executor_.now());
    Greeting::Forget(peer.get());
    peer->state = Peer::State::kIdle;
    const EndpointId endpoint = std::exchange(peer->endpoint, EndpointId());
    if (endpoint.value != 0) transport_.Close(endpoint);  // may run completions
  }
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
    free_.reserve(slots_.capacity());
  }
  Slot* slot = slots_[free_.back()].get();
  free_.pop_back();
  active_.PushBack(slot);
  ++stats_.calls;
  slot->once = InfoOf(method)->once;
  slot->code = Code::kOk;
  slot->attempt = 0;
  slot->method = method;
  slot->to = to;
  slot->peer = nullptr;
  slot->deadline = options.deadline;
  slot->sequence = 0;
  slot->walked_at = options.walked_at;
  slot->payload = options.payload;
  slot->reply_payload = options.reply_payload;
  slot->reply_bytes = options.reply_bytes;
  slot->reply = reply;
  slot->decode = decode;
  slot->made_at = trace_.on() ? trace_.Begin(method) : 0;
  slot->answered_at = 0;
  return slot;
}

void Caller::Start(Slot* slot, size_t header_bytes) {
  slot->header_bytes = header_bytes;
  if (shut_down_ || slot->to.value >= peers_.size()) {
    Finish(slot, shut_down_ ? Code::kShutdown : Code::kInvalid);
    return;
  }
  if (IsDisowned(slot)) {
    Finish(slot, Code::kIo);
    return;
  }
  auto& peer = peers_[slot->to.value];
  if (peer == nullptr) {
    peer = std::make_unique<Peer>();
    peer->shard = slot->to;
  }
  slot->peer = peer.get();
  const Nanos now = executor_.now();
  if (slot->deadline == 0) slot->deadline = Later(now, timing_.call_default);
  if (now >= slot->deadline) {
    ++stats_.timeouts;
    Finish(slot, Code::kTimedOut);
    return;
  }
  Want(std::min(slot->deadline, Later(now, timing_.resend_after)));
  Submit(slot, now);
}

void Caller::Submit(Slot* slot, Nanos now) {
  Peer* peer = slot->peer;
  if (peer->state == Peer::State::kReady && peer->waiting.empty() && CanSend(slot)) {
    Transmit(slot, now);
    return;
  }
  if (peer->state == Peer::State::kIdle && peer->unreachable && now < peer->look_at) {
    Finish(slot, peer->failure);
    return;
  }
  slot->queued_at = now;
  Enter(slot, State::kQueued);
  if (peer->unreachable) Want(Later(now, kProbeWait));
  if (peer->state == Peer::State::kIdle) Connect(peer, now);
  Pump(peer);
}

bool Caller::CanSend(const Slot* slot) const {
  if (slot->sending || slot->peer->in_flight >= kInFlightMax) return false;
  return !slot->once || slot->sequence != 0 || !slot->peer->places.full();
}

void Caller::Transmit(Slot* slot, Nanos now) {
  Peer* peer = slot->peer;
  if (slot->once && slot->sequence == 0)
    slot->sequence = Sequence::Make(peer->next_count++, peer->places.Take());  // L3
  Prefix prefix;
  prefix.kind = MessageKind::kRequest;
  prefix.connection = peer->connection;
  prefix.slot = slot->index;
  prefix.generation = slot->generation;
  RequestHeader header;
  header.method = slot->method;
  header.attempt = slot->attempt;
  header.time_left_ms =
      static_cast<uint32_t>(std::clamp<Nanos>((slot->deadline - std::min(now, slot->deadline)) / kMillisecond, 1, ~0u));
  header.sequence = slot->sequence;
  header.walked_at = slot->walked_at;
  Encoder e{MutableBytes(slot->header)};
  e.Put(prefix);
  e.Put(header);
  SealHeader({slot->header, slot->header_bytes}, peer->key);
  if (slot->attempt != 0) ++stats_.retries;
  if (slot->attempt != UINT16_MAX) ++slot->attempt;
  slot->repeated = slot->endpoint == peer->endpoint && slot->attempt > 1;
  slot->endpoint = peer->endpoint;
  slot->heard = peer->heard;
  slot->sent_at = now;
  peer->silent_since = std::min(peer->silent_since, now);
  Enter(slot, State::kSent);
  slot->sending = true;
  if (slot->made_at != 0) slot->handed_at = trace_.Now();
  ++unsent_;
  if (transport_.Send(peer->endpoint, {slot->header, slot->header_bytes}, slot->payload, &slot->send_done) ==
      Transport::Sent::kDone) {
    slot->sending = false;
    --unsent_;
  }
}

// Every change of a call's state, so that the peer's counts follow.
void Caller::Enter(Slot* slot, State state) {
  Peer* peer = slot->peer;
  if (slot->state == State::kQueued) {
    peer->waiting.Remove(slot);
    --unsent_;
  }
  if (slot->state == State::kSent || slot->state == State::kFetching) --peer->in_flight;
  slot->state = state;
  if (state == State::kQueued) {
    peer->waiting.PushBack(slot);
    ++unsent_;
  }
  if (state == State::kSent || state == State::kFetching) ++peer->in_flight;
}

void Caller::SendDone(Completion* c, Status status) {
  Slot* slot = static_cast<Slot::Link*>(c)->slot;
  Caller* me = slot->caller;
  slot->sending = false;
  --me->unsent_;
  if (!status.ok() && slot->endpoint == slot->peer->endpoint) me->Drop(slot->peer, status.code());
  me->Wake(slot);
  me->Pump(slot->peer);
}

void Caller::FetchDone(Completion* c, Status status) {
  Slot* slot = static_cast<Slot::Link*>(c)->slot;
  Caller* me = slot->caller;
  slot->fetching.Reset();
  if (status.ok() || slot->code != Code::kOk) {
    me->Finish(slot, slot->code);
  } else if (status.code() != Code::kUnavailable) {
    me->Finish(slot, status.code());
  } else {
    if (slot->endpoint == slot->peer->endpoint) me->Drop(slot->peer, Code::kUnavailable);
    const Nanos now = me->executor_.now();
    if (now >= slot->deadline) {
      me->Finish(slot, Code::kTimedOut);
    } else {
      me->Submit(slot, now);  // the other side remembers its answer, or works it out again
    }
  }
}

// Ends a call that has its outcome, now or when the transport lets go of its buffers (L2).
void Caller::Finish(Slot* slot, Code code) {
  MAYFLY_CHECK(slot->state != State::kDone);
  Enter(slot, State::kDone);
  slot->code = code;
  if (code != Code::kOk && slot->reply_bytes != nullptr) *slot->reply_bytes = 0;
  Peer* peer = slot->peer;
  if (slot->sequence != 0) peer->places.Give(Sequence::PlaceOf(std::exchange(slot->sequence, 0)));
  Wake(slot);
  if (peer != nullptr) Pump(peer);
}

void Caller::Wake(Slot* slot) {
  if (slot->over() && slot->waiter) executor_.Post(std::exchange(slot->waiter, nullptr));
}

void Caller::Release(Slot* slot) {
  MAYFLY_CHECK(slot->over());
  if (slot->made_at != 0) Note(slot);
  slot->state = State::kFree;
  slot->endpoint = EndpointId();
  ++slot->generation;  // L1
  active_.Remove(slot);
  free_.push_back(slot->index);
}

// Sends what waits, as far as L4 lets it. A call whose earlier send on a dead endpoint still has its buffers keeps
// waiting, and one past its deadline is left to the sweep.
void Caller::Pump(Peer* peer) {
  if (shut_down_ || peer->state != Peer::State::kReady || peer->waiting.empty()) return;
  const Nanos now = executor_.now();
  for (Slot* slot = peer->waiting.first(); slot != nullptr && peer->in_flight < kInFlightMax;) {
    Slot* next = peer->waiting.Next(slot);
    if (CanSend(slot) && now < slot->deadline) Transmit(slot, now);
    slot = next;
  }
}

// ---- connections ------------------------------------------------------------------------------------------------

void Caller::Connect(Peer* peer, Nanos now) {
  ++stats_.connects;
  ++peer->attempt;
  const bool long_ago =
      peer->state == Peer::State::kIdle && !peer->unreachable && now - peer->failed_at >= timing_.unreachable_after;
  if (peer->trying_since == kNever || long_ago) peer->trying_since = now;  // nobody has tried since: it means nothing
  ++peer->tries;
  auto endpoint = transport_.Connect(book_.AddressOf(peer->shard));
  if (!endpoint.ok()) {
    Drop(peer, endpoint.code());
    return;
  }
  peer->endpoint = *endpoint;
  peer->state = Peer::State::kGreeting;
  peer->look_at = now + kGreetingWithin;
  Settle(peer);
  if (!Greet(peer)) Drop(peer, Code::kInvalid);
}

bool Caller::Greet(Peer* peer) {
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
  hello.pid = identity_.pid;
  hello.cred = identity_.cred;
  hello.host = std::string_view(identity_.host).substr(0, Hello::kHostBytesMax);
  hello.address = transport_.address();
  if (hello.address.size() > Hello::kAddressBytesMax) {
    if (peer->attempt == 1) {
      MAYFLY_ERROR(
          "this process's network address has {} bytes, more than the {} that a handshake carries: name fewer "
          "transports or devices in UCX_TLS or UCX_NET_DEVICES",
          hello.address.size(), Hello::kAddressBytesMax);
    }
    return false;
  }
  if (identity_.peer) hello.proof = HelloProof(prefix, hello, identity_.peer_proof);
  auto greeting = std::make_unique<Greeting>();
  Encoder e{MutableBytes(greeting->header)};
  e.Put(prefix);
  e.Put(hello);
  MAYFLY_CHECK(e.ok());  // kGroupsMax holds where a credential enters
  greeting->bytes = e.size();
  SealHeader({greeting->header, greeting->bytes}, hello_key_);
  greeting->fn = &Greeting::Done;
  greeting->caller = this;
  greeting->peer = peer;
  if (transport_.Send(peer->endpoint, {greeting->header, greeting->bytes}, {}, greeting.get()) ==
      Transport::Sent::kPending) {
    peer->greeting = greeting.release();
  }
  return true;
}

// After each change of a peer's state: does the sweep have to look at it?
void Caller::Settle(Peer* peer) {
  const bool unsettled = peer->state == Peer::State::kGreeting || peer->state == Peer::State::kBackoff;
  if (unsettled != peer->unsettled) unsettled ? ++unsettled_ : --unsettled_;
  peer->unsettled = unsettled;
  if (!unsettled) return;
  Want(peer->look_at);
  if (!peer->unreachable) Want(HopedForUntil(*peer));
}

// Until when a shard that is being connected to is not given up. At least two attempts are made, and the last has some
// time: whoever had stopped trying, or was itself not run for seconds, knows nothing of now.
Nanos Caller::HopedForUntil(const Peer& peer) const {
  if (peer.tries < kTriesLeast) return kNever;
  const Nanos until = Later(peer.trying_since, timing_.unreachable_after);
  if (peer.state != Peer::State::kGreeting) return until;
  return std::max(until, peer.look_at - kGreetingWithin + kProbeWait);  // so long since it was greeted
}

// The connection is gone: what was sent on it goes back to the head of the queue, and is tried again until the shard
// has been unreachable for too long. Closing comes last, as it may run completions, which then find all in order.
void Caller::Drop(Peer* peer, Code why) {
  const Nanos now = executor_.now();
  const EndpointId endpoint = std::exchange(peer->endpoint, EndpointId());
  Greeting::Forget(peer);
  if (peer->trying_since == kNever) peer->trying_since = now;
  peer->failed_at = now;
  peer->backoff = std::clamp(peer->backoff * 2, kRetryFirst, kRetryMost);
  peer->look_at = now + peer->backoff;
  peer->state = Peer::State::kBackoff;
  for (Slot* slot = active_.last(); slot != nullptr; slot = active_.Prev(slot)) {
    if (slot->peer != peer || slot->state != State::kSent) continue;
    Enter(slot, State::kQueued);
    slot->queued_at = now;
    peer->waiting.Remove(slot);
    peer->waiting.PushFront(slot);
  }
  const bool refused = why == Code::kDenied || why == Code::kShutdown;
  if (refused || peer->unreachable || now >= HopedForUntil(*peer)) {
    GiveUp(peer, refused ? why : Code::kUnavailable);
  }
  Settle(peer);
  if (endpoint.value != 0) transport_.Close(endpoint);
}

void Caller::GiveUp(Peer* peer, Code why) {
  if (!peer->unreachable && why != Code::kShutdown) {
    MAYFLY_WARN("{} cannot be reached ({}); calls to it fail until it answers again", book_.NameOf(peer->shard),
                TextOf(why));
  }
  peer->unreachable = true;
  peer->failure = why;
  if (peer->state == Peer::State::kBackoff) peer->state = Peer::State::kIdle;  // the next call tries once more
  while (!peer->waiting.empty()) Finish(peer->waiting.first(), why);
}

bool Caller::HandleEndpointDown(EndpointId endpoint) {
  if (endpoint.value == 0) return false;
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
  if (header.size() > Transport::kHeaderBytesMax || !d.ok() || prefix.magic != kWireMagic ||
      prefix.version != kWireVersion) {
    ++stats_.refused_messages;
  } else if (prefix.kind == MessageKind::kReply) {
    OnReply(header, prefix, std::move(payload));
  } else if (prefix.kind == MessageKind::kWelcome) {
    OnWelcome(header, prefix);
  } else if (prefix.kind == MessageKind::kWorking) {
    OnWorking(header, prefix);
  } else {
    ++stats_.refused_messages;
  }
}

void Caller::OnWelcome(Bytes header, const Prefix& prefix) {
  Peer* peer = prefix.slot < peers_.size() ? peers_[prefix.slot].get() : nullptr;
  Decoder d(header.subspan(Prefix::kBytes));
  Welcome welcome;
  welcome.Fields(d);
  if (peer == nullptr || peer->state != Peer::State::kGreeting || prefix.generation != peer->attempt ||
      !d.Finish().ok()) {
    ++stats_.refused_messages;
    return;
  }
  // The key is made of this hello's nonce and the welcome's: only who has the secret and saw this hello can seal it.
  const TagKey key = ConnectionKey(identity_.secret, identity_.uuid, identity_.client, peer->nonce, welcome.nonce);
  if (!HeaderIsSealed(header, key)) {
    ++stats_.refused_messages;
    return;
  }
  if (welcome.code != Code::kOk || welcome.shard != peer->shard) {
    Drop(peer, welcome.code != Code::kOk ? welcome.code : Code::kUnavailable);
    return;
  }
  peer->connection = welcome.connection;
  peer->key = key;
  peer->trying_since = peer->silent_since = kNever;
  peer->backoff = 0;
  peer->tries = 0;
  if (peer->unreachable) MAYFLY_INFO("{} answers again", book_.NameOf(peer->shard));
  peer->unreachable = false;
  peer->state = Peer::State::kReady;
  Settle(peer);
  RaiseGeneration(welcome.generation);
  Pump(peer);
}

// The call that an answer is for, if the answer is true. What is looked at before is what finds the key (H1).
Caller::Slot* Caller::Named(Bytes header, const Prefix& prefix) {
  Slot* slot = prefix.slot < slots_.size() ? slots_[prefix.slot].get() : nullptr;
  if (slot == nullptr || slot->generation != prefix.generation || slot->state != State::kSent ||
      slot->peer->connection != prefix.connection) {
    ++stats_.late_replies;  // L1
    return nullptr;
  }
  if (!HeaderIsSealed(header, slot->peer->key)) {
    ++stats_.refused_messages;
    return nullptr;
  }
  ++slot->peer->heard;
  slot->peer->silent_since = kNever;
  return slot;
}

// The other side has the request and works on it: the connection lives.
void Caller::OnWorking(Bytes header, const Prefix& prefix) { (void)Named(header, prefix); }

void Caller::OnReply(Bytes header, const Prefix& prefix, Payload payload) {
  Slot* slot = Named(header, prefix);
  if (slot == nullptr) return;
  Decoder d(header.subspan(Prefix::kBytes));
  ReplyHeader reply;
  d.Get(reply);
  if (!d.ok()) {
    ++stats_.refused_messages;
    return;
  }
  RaiseGeneration(reply.generation);
  if (reply.traced() || trace_.on()) Traced(slot, reply);
  Code code = reply.code;
  if (code == Code::kOk && !slot->decode(d.rest(), slot->reply)) code = Code::kCorrupt;
  if (code == Code::kOk && payload.size() > slot->reply_payload.size()) code = Code::kCorrupt;
  if (slot->reply_bytes != nullptr) *slot->reply_bytes = payload.size();
  if (code != Code::kOk || payload.size() == 0) {
    Finish(slot, code);
    return;
  }
  if (payload.is_eager()) {
    std::memcpy(slot->reply_payload.data(), payload.eager().data(), payload.size());
    Finish(slot, code);
    return;
  }
  Enter(slot, State::kFetching);
  slot->fetching = std::move(payload);
  slot->fetching.Fetch(slot->reply_payload.first(slot->fetching.size()), &slot->fetch_done);
}

// ---- a trace ------------------------------------------------------------------------------------------------------

// Whether requests are traced is what the last reply said.
void Caller::Traced(Slot* slot, const ReplyHeader& reply) {
  trace_.Heard(reply.traced());
  if (!reply.traced()) {
    slot->made_at = 0;
    if (!trace_.empty()) SendNotes(slot->peer, trace_.Now());
  } else if (slot->made_at != 0) {
    slot->answered_at = trace_.Now();
    slot->shard_had = reply.had();
  }
}

void Caller::Note(Slot* slot) {
  if (slot->answered_at == 0) return;
  const Nanos now = trace_.Now();
  const Nanos trip = slot->answered_at - slot->handed_at;
  trace_.Add(slot->method, TraceStage::kClientQueue, slot->handed_at - slot->made_at);
  trace_.Add(slot->method, TraceStage::kWire, trip - std::min(trip, slot->shard_had));
  trace_.Add(slot->method, TraceStage::kWake, now - slot->answered_at);
  if (trace_.Due(now)) SendNotes(slot->peer, now);
}

// What is noted of all shards goes to one: whoever traces asks all of them. Nobody answers, and what is lost is lost.
void Caller::SendNotes(Peer* peer, Nanos now) {
  if (peer->state != Peer::State::kReady) return;
  Prefix prefix;
  prefix.kind = MessageKind::kTrace;
  prefix.connection = peer->connection;
  uint8_t bytes[Transport::kHeaderBytesMax];
  Encoder e{MutableBytes(bytes)};
  e.Put(prefix);
  const size_t notes = trace_.Take(MutableBytes(bytes).subspan(e.size()), now);
  if (notes != 0) Parcel::Send(transport_, peer->endpoint, {bytes, e.size() + notes}, {}, peer->key);
}

// ---- time -------------------------------------------------------------------------------------------------------

// One timer looks at all calls, when the first of them needs it: cheaper than a timer a call. Its instants are
// multiples of kSweepEvery, so that many deadlines share one.
void Caller::Want(Nanos at) {
  if (shut_down_ || at > kNever - kSweepEvery) return;
  at = (at + kSweepEvery - 1) / kSweepEvery * kSweepEvery;
  if (sweep_.sequence != 0 && sweep_.deadline <= at) return;
  executor_.Cancel(sweep_);
  sweep_ = executor_.At(
      at, [](void* self) { static_cast<Caller*>(self)->Sweep(); }, this);
}

void Caller::Sweep() {
  sweep_ = {};
  const Nanos now = executor_.now();
  for (Slot* slot = active_.first(); slot != nullptr; slot = active_.Next(slot)) Look(slot, now);
  if (unsettled_ != 0) {
    for (auto& peer : peers_) {
      if (peer != nullptr && peer->unsettled) Look(peer.get(), now);
    }
  }
  Nanos next = kNever;
  for (Slot* slot = active_.first(); slot != nullptr; slot = active_.Next(slot)) {
    next = std::min(next, NextLook(slot, now));
  }
  Want(std::max(next, now + 1));
  if (unsettled_ != 0) {
    for (auto& peer : peers_) {
      if (peer != nullptr && peer->unsettled) Settle(peer.get());
    }
  }
}

void Caller::Look(Slot* slot, Nanos now) {
  Peer* peer = slot->peer;
  const bool waits = slot->state == State::kQueued || slot->state == State::kSent;
  if (waits && now >= slot->deadline) {
    const bool silent = slot->state == State::kSent && slot->endpoint == peer->endpoint &&
                        now >= Later(peer->silent_since, 2 * timing_.resend_after);
    ++stats_.timeouts;
    Finish(slot, peer->trying_since != kNever ? Code::kUnavailable : Code::kTimedOut);
    if (silent) Drop(peer, Code::kTimedOut);  // L5, found by calls that are too short to be sent again
  }
  const bool current = peer != nullptr && slot->endpoint.value != 0 && slot->endpoint == peer->endpoint;
  switch (slot->state) {
    case State::kFree:
      return;
    case State::kQueued:
      if (peer->unreachable && now >= Later(slot->queued_at, kProbeWait)) Finish(slot, peer->failure);
      return;
    case State::kSent:
      if (slot->sending || now < Later(slot->sent_at, timing_.resend_after)) return;
      if (slot->repeated && slot->heard == peer->heard) {
        Drop(peer, Code::kTimedOut);  // L5
      } else {
        Transmit(slot, now);  // harmless: the other side knows the call, or never got it
      }
      return;
    case State::kFetching:
      if (current && now >= Later(slot->deadline, kFetchGrace)) {
        slot->code = Code::kTimedOut;
        Drop(peer, Code::kTimedOut);  // L2: closing makes the completion come
      }
      return;
    case State::kDone:
      if (slot->sending && current && now >= slot->deadline) Drop(peer, Code::kTimedOut);  // L2
      return;
  }
}

// When the sweep has to look at a call again, if nothing happens to it before.
Nanos Caller::NextLook(const Slot* slot, Nanos now) const {
  const bool current = slot->peer != nullptr && slot->endpoint == slot->peer->endpoint;
  switch (slot->state) {
    case State::kFree:
      return kNever;
    case State::kQueued:
      return slot->peer->unreachable ? std::min(slot->deadline, Later(slot->queued_at, kProbeWait)) : slot->deadline;
    case State::kSent:
      return std::min(slot->deadline, Later(slot->sending ? now : slot->sent_at, timing_.resend_after));
    case State::kFetching:
      return current ? Later(slot->deadline, kFetchGrace) : kNever;
    case State::kDone:
      return slot->sending && current ? slot->deadline : kNever;
  }
  return kNever;
}

void Caller::Look(Peer* peer, Nanos now) {
  if (peer->state == Peer::State::kGreeting && now >= peer->look_at) {
    Drop(peer, Code::kTimedOut);
  } else if (peer->state == Peer::State::kBackoff && now >= peer->look_at) {
    // Whoever was served there may have something open: a shard that hears of a process on no connection for a while
    // takes it for dead, and the next call may be long in coming (waiting for another shard, say).
    const bool stays_known = peer->heard != 0 && now < Later(peer->trying_since, kStayKnownFor);
    if (!peer->waiting.empty() || stays_known) {
      Connect(peer, now);
    } else {
      peer->state = Peer::State::kIdle;
      Settle(peer);
    }
  }
  if (peer->unsettled && !peer->unreachable && now >= HopedForUntil(*peer)) {
    GiveUp(peer, Code::kUnavailable);
    Settle(peer);
  }
}

}  // namespace mayfly
