#include "fake/sim_network.h"

#include <algorithm>

#include "base/check.h"
#include "base/checksum.h"

namespace mayfly {

// --- SimNetwork ------------------------------------------------------------------------------------------------------

SimNetwork::SimNetwork() : SimNetwork(Options{}) {}

SimNetwork::~SimNetwork() { MAYFLY_CHECK(transports_ == 0); }

std::unique_ptr<SimTransport> SimNetwork::Create(uint64_t host) {
  if (host == 0) host = options_.host;
  std::unique_ptr<SimTransport> transport(new SimTransport(*this, ++last_node_, host));
  nodes_[transport->node()] = transport.get();
  ++transports_;
  return transport;
}

void SimNetwork::Kill(SimTransport& victim, bool heard_first) {
  if (victim.killed_) return;
  victim.Leave(options_.detect_nanos, heard_first);
}

void SimNetwork::Bury(SimTransport& victim) {
  if (!victim.killed_) victim.Leave(options_.detect_nanos);
  --transports_;
}

void SimNetwork::Cut(SimTransport& a, SimTransport& b) {
  links_[PairOf(a.node(), b.node())] = Link::kCut;
  Break(a, b);
}

void SimNetwork::Break(SimTransport& a, SimTransport& b) {
  SimTransport* const ends[] = {&a, &b};
  for (int i = 0; i < 2; ++i) {
    ends[i]->Purge(ends[1 - i]->node());
    ends[i]->ReleaseHeld(ends[1 - i]->node());
    ends[i]->FailEndpointsTo(ends[1 - i]->node(), Now() + options_.detect_nanos);
  }
}

void SimNetwork::Hold(SimTransport& a, SimTransport& b) { links_[PairOf(a.node(), b.node())] = Link::kHeld; }

void SimNetwork::Mend(SimTransport& a, SimTransport& b) {
  links_.erase(PairOf(a.node(), b.node()));
  a.ReleaseHeld(b.node());
  b.ReleaseHeld(a.node());
}

std::vector<std::pair<SimTransport*, SimTransport*>> SimNetwork::PairsOf(uint64_t a, uint64_t b) const {
  std::vector<std::pair<SimTransport*, SimTransport*>> pairs;
  for (const auto& [node, one] : nodes_) {
    if (one->host_ != a) continue;
    for (const auto& [other_node, other] : nodes_) {
      if (other->host_ == b) pairs.emplace_back(one, other);
    }
  }
  return pairs;
}

void SimNetwork::CutHosts(uint64_t a, uint64_t b) {
  MAYFLY_CHECK(a != 0 && b != 0 && a != b);
  host_links_[PairOf(a, b)] = Link::kCut;
  for (auto [one, other] : PairsOf(a, b)) Break(*one, *other);
}

void SimNetwork::HoldHosts(uint64_t a, uint64_t b) {
  MAYFLY_CHECK(a != 0 && b != 0 && a != b);
  host_links_[PairOf(a, b)] = Link::kHeld;
}

void SimNetwork::MendHosts(uint64_t a, uint64_t b) {
  host_links_.erase(PairOf(a, b));
  for (auto [one, other] : PairsOf(a, b)) {
    one->ReleaseHeld(other->node());
    other->ReleaseHeld(one->node());
  }
}

Nanos SimNetwork::next_event() const {
  Nanos next = kNever;
  for (const auto& [node, transport] : nodes_) next = std::min(next, transport->next_event());
  return next;
}

SimTransport* SimNetwork::Find(uint64_t node) const {
  auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : found->second;
}

bool SimNetwork::Is(uint64_t a, uint64_t b, Link link) const {
  if (auto found = links_.find(PairOf(a, b)); found != links_.end()) return found->second == link;
  if (host_links_.empty()) return false;
  const SimTransport *one = Find(a), *other = Find(b);
  if (one == nullptr || other == nullptr) return false;
  const auto found = host_links_.find(PairOf(one->host_, other->host_));
  return found != host_links_.end() && found->second == link;
}

// --- SimTransport: the door ------------------------------------------------------------------------------------------

namespace {
constexpr uint64_t kAddressMagic = 0x6b726f774e6d6953;  // "SimNwork"
}  // namespace

SimTransport::SimTransport(SimNetwork& network, uint64_t node, uint64_t host)
    : network_(network), node_(node), host_(host) {
  std::memcpy(address_, &kAddressMagic, 8);
  std::memcpy(address_ + 8, &node, 8);
}

SimTransport::~SimTransport() {
  MAYFLY_CHECK(!in_callback_);
  if (!killed_) Leave(0);
  receiver_ = nullptr;
  for (auto& [id, endpoint] : endpoints_) FailOutgoing(id);
  while (!events_.empty()) HandleNext();
  MAYFLY_CHECK(outgoing_.empty());
  MAYFLY_CHECK(killed_ || payloads_.empty());  // a payload must not outlive its transport
  --network_.transports_;
}

Result<EndpointId> SimTransport::Connect(Bytes address) {
  if (address.size() != sizeof address_ || std::memcmp(address.data(), address_, 8) != 0) return Code::kInvalid;
  Endpoint endpoint;
  std::memcpy(&endpoint.peer, address.data() + 8, 8);
  const uint64_t id = ++last_endpoint_;  // N4
  SimTransport* peer = network_.Find(endpoint.peer);
  if (killed_ || peer == nullptr || network_.Is(node_, endpoint.peer, SimNetwork::Link::kCut)) {
    PostDown(id, network_.Now() + network_.options_.detect_nanos);
  } else if (peer != this) {
    for (auto& [other_id, other] : peer->endpoints_) {
      if (other.peer != node_ || other.peer_endpoint != 0 || other.down) continue;
      other.peer_endpoint = id;
      endpoint.peer_endpoint = other_id;
      break;
    }
  }
  endpoints_[id] = endpoint;
  return EndpointId(id);
}

void SimTransport::Close(EndpointId id) {
  auto found = endpoints_.find(id.value);
  if (found == endpoints_.end()) return;
  const Endpoint endpoint = found->second;
  endpoints_.erase(found);
  FailOutgoing(id.value);
  SimTransport* peer = network_.Find(endpoint.peer);
  if (peer != nullptr && endpoint.peer_endpoint != 0) peer->PostDown(endpoint.peer_endpoint, network_.Now());
}

Transport::Sent SimTransport::Send(EndpointId to, Bytes header, Bytes payload, Completion* done) {
  Moment();
  const Sent sent = SendNow(to, header, payload, done);
  Moment();
  return sent;
}

Transport::Sent SimTransport::SendNow(EndpointId to, Bytes header, Bytes payload, Completion* done) {
  MAYFLY_CHECK(header.size() <= kHeaderBytesMax);
  MAYFLY_CHECK(done != nullptr && done->fn != nullptr);
  auto found = endpoints_.find(to.value);
  const bool fails = killed_ || found == endpoints_.end() || found->second.down;
  const bool rendezvous = payload.size() > network_.options_.eager_bytes_max;
  const uint32_t every = network_.options_.pending_every;
  const bool pending = fails || rendezvous || (every != 0 && ++eager_sends_ % every == 0);
  uint64_t id = 0;
  if (pending) {
    id = ++last_outgoing_;
    outgoing_[id] = Outgoing{done, to.value, header, payload, Checksum(header), rendezvous, fails};
  }
  if (!fails) Transmit(found->second.peer, header, payload, rendezvous, id);
  if (pending && (fails || !rendezvous)) Post(network_.Now(), Event{Event::Kind::kComplete, id});
  return pending ? Sent::kPending : Sent::kDone;
}

void SimTransport::Transmit(uint64_t peer_node, Bytes header, Bytes payload, bool rendezvous, uint64_t outgoing) {
  ++network_.messages_sent_;
  for (const uint64_t part :
       {static_cast<uint64_t>(network_.Now()), node_, peer_node, Checksum(header), Checksum(payload)}) {
    network_.trace_ = (network_.trace_ ^ part) * 0x9e3779b97f4a7c15u;
    network_.trace_ ^= network_.trace_ >> 29;
  }
  SimNetwork::Fate fate;
  if (network_.policy_) fate = network_.policy_({node_, peer_node, header, payload.size()});
  SimTransport* peer = network_.Find(peer_node);
  if (peer == nullptr || network_.Is(node_, peer_node, SimNetwork::Link::kCut)) return;  // nobody knows yet
  if (fate.drop && rendezvous) Post(network_.Now(), Event{Event::Kind::kComplete, outgoing});
  const Nanos due = network_.options_.clock == nullptr ? 0 : network_.Now() + fate.delay;
  for (int copy = fate.drop ? 1 : 0; copy < (fate.duplicate ? 2 : 1); ++copy) {
    auto message = std::make_unique<Message>();
    message->from = node_;
    message->bytes = payload.size();
    message->header.assign(header.begin(), header.end());
    message->rendezvous = rendezvous && copy == 0;
    message->outgoing = outgoing;
    if (!message->rendezvous) message->eager.assign(payload.begin(), payload.end());
    Event event{Event::Kind::kMessage};
    event.message = std::move(message);
    peer->Post(due, std::move(event));
  }
}

bool SimTransport::Progress() {
  MAYFLY_CHECK(!in_callback_);  // callbacks are not nested
  const Nanos now = network_.Now();
  const uint64_t created_before = network_.sequence_;
  bool worked = false;
  while (!events_.empty()) {
    const auto& [due, sequence] = events_.begin()->first;
    if (due > now || sequence >= created_before) break;
    HandleNext();
    Moment();
    worked = true;
  }
  return worked;
}

void SimTransport::Fetch(void* token, MutableBytes to, Completion* done) {
  auto* message = static_cast<Message*>(token);
  MAYFLY_CHECK(message->rendezvous && message->fetched == Message::Fetched::kNo);  // once
  MAYFLY_CHECK(to.size() == message->bytes);
  message->fetched = Message::Fetched::kRunning;
  Event event{Event::Kind::kFetched};
  event.fetched = message;
  event.to = to;
  event.done = done;
  Post(network_.Now(), std::move(event));
}

void SimTransport::Drop(void* token) {
  std::unique_ptr<Message> message(static_cast<Message*>(token));
  MAYFLY_CHECK(payloads_.erase(message.get()) == 1);
  MAYFLY_CHECK(message->fetched != Message::Fetched::kRunning);  // the payload lives until the completion ran
  if (!message->rendezvous || message->fetched == Message::Fetched::kYes) return;
  SimTransport* sender = network_.Find(message->from);
  if (sender != nullptr) sender->Post(network_.Now(), Event{Event::Kind::kComplete, message->outgoing});
}

// --- SimTransport: what happens --------------------------------------------------------------------------------------

void SimTransport::Post(Nanos due, Event event) { events_.emplace(Key{due, network_.sequence_++}, std::move(event)); }

void SimTransport::PostDown(uint64_t endpoint, Nanos due) { Post(due, Event{Event::Kind::kDown, endpoint}); }

// What is under way is referred to from here, also if this process is killed in the middle of it.
void SimTransport::HandleNext() {
  handling_.push_back(std::move(events_.extract(events_.begin()).mapped()));
  Handle(handling_.back());
  handling_.pop_back();
}

void SimTransport::Handle(Event& event) {
  const bool nested = std::exchange(in_callback_, true);
  const uint64_t from = event.message ? event.message->from : event.fetched != nullptr ? event.fetched->from : 0;
  if (from != 0 && receiver_ != nullptr && network_.Is(node_, from, SimNetwork::Link::kHeld)) {
    held_[from].push_back(std::move(event));
  } else {
    switch (event.kind) {
      case Event::Kind::kMessage:
        Deliver(event.message);
        break;
      case Event::Kind::kComplete:
        HandleComplete(event.id);
        break;
      case Event::Kind::kDown:
        HandleDown(event.id);
        break;
      case Event::Kind::kFetched:
        HandleFetched(event);
        break;
    }
  }
  in_callback_ = nested;
}

void SimTransport::HandleComplete(uint64_t id) {
  auto found = outgoing_.find(id);
  if (found == outgoing_.end()) return;  // N3: the first event ends it
  const Outgoing outgoing = found->second;
  outgoing_.erase(found);
  MAYFLY_CHECK(Checksum(outgoing.header) == outgoing.header_sum);  // N2
  outgoing.done->fn(outgoing.done, outgoing.failed ? Status(Code::kUnavailable) : Status());
}

void SimTransport::HandleDown(uint64_t id) {
  auto found = endpoints_.find(id);
  if (found == endpoints_.end() || found->second.down) return;
  found->second.down = true;
  FailOutgoing(id);
  if (receiver_ != nullptr) receiver_->OnEndpointDown(EndpointId(id));
}

bool SimTransport::HasEnded(EndpointId id) const {
  const auto found = endpoints_.find(id.value);
  if (found == endpoints_.end() || !found->second.down || !found->second.peer_ended) return false;
  // What it had said is heard first.
  return std::none_of(events_.begin(), events_.end(), [peer = found->second.peer](const auto& entry) {
    const Event& event = entry.second;
    return event.kind == Event::Kind::kMessage && event.message->from == peer;
  });
}

void SimTransport::HandleFetched(const Event& event) {
  Message& message = *event.fetched;
  message.fetched = Message::Fetched::kYes;
  SimTransport* sender = killed_ ? nullptr : network_.Find(message.from);
  if (sender != nullptr && network_.Is(node_, message.from, SimNetwork::Link::kCut)) sender = nullptr;
  const Outgoing* outgoing = nullptr;
  if (sender != nullptr) {
    auto found = sender->outgoing_.find(message.outgoing);
    if (found != sender->outgoing_.end()) outgoing = &found->second;
  }
  if (outgoing == nullptr) {
    std::fill_n(event.to.begin(), event.to.size() / 2, uint8_t{0xee});
    event.done->fn(event.done, Code::kUnavailable);
    return;
  }
  std::copy(outgoing->payload.begin(), outgoing->payload.end(), event.to.begin());
  sender->Post(network_.Now(), Event{Event::Kind::kComplete, message.outgoing});
  Moment();
  event.done->fn(event.done, Code::kOk);
}

void SimTransport::Deliver(std::unique_ptr<Message>& message) {
  if (receiver_ == nullptr || killed_) return;
  if (message->bytes == 0) {
    receiver_->OnMessage(message->header, Payload());
    return;
  }
  Message* token = message.release();
  payloads_.insert(token);
  const std::vector<uint8_t> header = std::move(token->header);  // valid during the call, whatever becomes of the rest
  receiver_->OnMessage(header, Payload(this, token, token->bytes, token->eager));
}

void SimTransport::FailOutgoing(uint64_t endpoint) {
  for (auto& [id, outgoing] : outgoing_) {
    if (outgoing.endpoint != endpoint || outgoing.failed) continue;
    outgoing.failed = true;
    Post(network_.Now(), Event{Event::Kind::kComplete, id});
  }
}

void SimTransport::FailEndpointsTo(uint64_t node, Nanos due) {
  for (auto& [id, endpoint] : endpoints_) {
    if (endpoint.peer == node) PostDown(id, due);
  }
}

void SimTransport::Purge(uint64_t node) {
  std::erase_if(events_, [node](const auto& entry) {
    return entry.second.message != nullptr && (node == 0 || entry.second.message->from == node);
  });
  for (auto& [from, events] : held_) {
    if (node != 0 && from != node) continue;
    std::erase_if(events, [](const Event& event) { return event.message != nullptr; });
  }
}

void SimTransport::ReleaseHeld(uint64_t node) {
  auto found = held_.find(node);
  if (found == held_.end()) return;
  std::vector<Event> events = std::move(found->second);
  held_.erase(found);
  for (Event& event : events) Post(network_.Now(), std::move(event));
}

Nanos SimTransport::LastFrom(uint64_t node) const {
  Nanos last = 0;
  for (const auto& [key, event] : events_) {
    if (event.message != nullptr && event.message->from == node) last = key.first;
  }
  return last;
}

void SimTransport::Leave(Nanos notice, bool heard_first) {
  killed_ = true;
  network_.nodes_.erase(node_);
  std::erase_if(network_.links_,
                [this](const auto& link) { return link.first.first == node_ || link.first.second == node_; });
  for (auto& [node, transport] : network_.nodes_) {
    const Nanos told = network_.Now() + notice;
    transport->FailEndpointsTo(node_, heard_first ? std::max(told, transport->LastFrom(node_)) : told);
    transport->ReleaseHeld(node_);
    for (auto& [id, endpoint] : transport->endpoints_) {
      endpoint.peer_ended |= endpoint.peer == node_ && host_ != 0 && transport->host_ == host_;
    }
  }
  Purge(0);
  std::vector<uint64_t> froms;
  for (auto& [from, events] : held_) froms.push_back(from);
  for (uint64_t from : froms) ReleaseHeld(from);
  for (auto& [id, endpoint] : endpoints_) PostDown(id, network_.Now());
}

}  // namespace mayfly
