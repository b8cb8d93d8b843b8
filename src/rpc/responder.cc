#include "rpc/responder.h"

#include <algorithm>

#include "base/log.h"

namespace mayfly {

struct Responder::Connection {
  uint32_t index = 0;
  uint64_t id = 0;  // 0: free
  EndpointId endpoint;
  TagKey key{};
  std::shared_ptr<const Party> party;
  History* history = nullptr;  // null: denied, nothing is served on it
  ClientId process;
  bool welcome_sending = false;
  struct Link : Completion {
    Connection* connection = nullptr;
  } link;
  uint8_t welcome[256];
};

// The answers that one lane got from this shard, for requests that execute once (P2): a ring of the sequences that the
// lane may still ask for.
struct Responder::History {
  static constexpr size_t kBodyMax = 192;
  struct Answer {
    uint64_t sequence = 0;       // 0: free
    Request* working = nullptr;  // still being executed
    Code code = Code::kOk;
    uint8_t body_bytes = 0;
    uint8_t body[kBodyMax];
  };
  uint64_t lowest = 0;
  uint32_t connections = 0;
  Nanos idle_since = 0;
  std::vector<Answer> ring = std::vector<Answer>(8);

  Answer* Find(uint64_t sequence) {
    Answer& answer = ring[sequence & (ring.size() - 1)];
    return answer.sequence == sequence ? &answer : nullptr;
  }
  // Room for `sequence`; null if the lane keeps more outstanding than L4 of caller.h allows.
  Answer* Add(uint64_t sequence) {
    for (;;) {
      Answer& answer = ring[sequence & (ring.size() - 1)];
      if (answer.sequence < lowest && answer.working == nullptr) {
        answer.sequence = sequence;
        return &answer;
      }
      if (ring.size() >= 4 * Caller::kInFlightMax) return nullptr;
      std::vector<Answer> larger(ring.size() * 2);
      for (Answer& old : ring) {
        if (old.sequence >= lowest || old.working != nullptr) larger[old.sequence & (larger.size() - 1)] = old;
      }
      ring = std::move(larger);
    }
  }
};

namespace {
constexpr Nanos kSweepEvery = 500 * kMillisecond;
}

Responder::Responder(Executor& executor, Transport& transport, Random& random, Options options, Caller* caller)
    : executor_(executor),
      transport_(transport),
      random_(random),
      options_(options),
      hello_key_(HelloKey(options.secret, options.uuid)),
      caller_(caller) {}

Responder::~Responder() {
  Close();
  MAYFLY_CHECK(free_requests_.size() == requests_.size());
}

void Responder::Close() {
  if (closed_) return;
  closed_ = true;
  executor_.Cancel(sweep_);
  for (auto& connection : connections_) {
    if (connection->id != 0) CloseConnection(connection.get());
  }
  while (!arrived_.empty()) {
    arrived_.front()->Finish();
    arrived_.pop_front();
  }
}

Request* Responder::Take() {
  if (free_requests_.empty()) {
    requests_.push_back(std::make_unique<Request>());
    Request* r = requests_.back().get();
    r->responder_ = this;
    r->link_.request = r;
    r->link_.fn = [](Completion* c, Status status) { static_cast<Request::Link*>(c)->request->Complete(status); };
    free_requests_.push_back(r);
  }
  Request* request = free_requests_.back();
  free_requests_.pop_back();
  return request;
}

Request* Responder::Next() {
  while (!arrived_.empty()) {
    Request* request = arrived_.front();
    arrived_.pop_front();
    if (executor_.now() < request->deadline_) return request;
    ++stats_.expired;  // P3
    request->Abandon();
    request->Finish();
  }
  return nullptr;
}

std::vector<std::shared_ptr<const Party>> Responder::Parties() const {
  std::vector<std::shared_ptr<const Party>> out;
  for (const auto& connection : connections_) {
    if (connection->id != 0 && connection->history != nullptr) out.push_back(connection->party);
  }
  return out;
}

// ---- what arrives -----------------------------------------------------------------------------------------------

void Responder::OnMessage(Bytes header, Payload payload) {
  Decoder d(header);
  Prefix prefix;
  d.Get(prefix);
  if (!d.ok() || prefix.magic != kWireMagic || prefix.version != kWireVersion) {
    ++stats_.malformed;
    return;
  }
  switch (prefix.kind) {
    case MessageKind::kHello:
      if (!closed_) OnHello(header, prefix);
      return;
    case MessageKind::kRequest:
      if (!closed_) OnRequest(header, prefix, std::move(payload));
      return;
    case MessageKind::kWelcome:
    case MessageKind::kReply:
      if (caller_ != nullptr) caller_->OnMessage(header, std::move(payload));
      return;
  }
}

void Responder::OnHello(Bytes header, const Prefix& prefix) {
  if (!HeaderIsSealed(header, hello_key_)) {
    ++stats_.unauthenticated;
    return;
  }
  Decoder d(header.subspan(Prefix::kBytes));
  Hello hello;
  hello.Fields(d);
  if (!d.Finish().ok() || hello.uuid != options_.uuid || hello.cred.groups.size() > kGroupsMax ||
      hello.address.size() > Transport::kAddressBytesMax || hello.client.value == 0) {
    ++stats_.malformed;
    return;
  }
  ++stats_.hellos;
  Welcome welcome;
  welcome.shard = options_.self;
  welcome.generation = generation_;
  welcome.view = view_.value;
  random_.Fill(welcome.nonce);
  if (hello.peer && hello.proof != Tag(hello.nonce, options_.peer_proof)) welcome.code = Code::kDenied;
  if (!hello.peer && options_.uid != 0 && hello.cred.uid != options_.uid) welcome.code = Code::kDenied;
  if (welcome.code != Code::kOk) ++stats_.denied;

  auto endpoint = transport_.Connect(hello.address);
  if (!endpoint.ok()) return;
  if (free_connections_.empty()) {
    free_connections_.push_back(static_cast<uint32_t>(connections_.size()));
    connections_.push_back(std::make_unique<Connection>());
  }
  Connection* c = connections_[free_connections_.back()].get();
  c->index = free_connections_.back();
  free_connections_.pop_back();
  c->id = (random_.U64() & 0xffffffff00000000u) | c->index | (uint64_t{1} << 63);
  c->endpoint = *endpoint;
  c->key = ConnectionKey(options_.secret, options_.uuid, hello.client, hello.nonce, welcome.nonce);
  auto party = std::make_shared<Party>();
  *party = Party{hello.client, hello.process, hello.cred, hello.peer, hello.shard, hello.pid, std::string(hello.host)};
  c->party = std::move(party);
  c->history = nullptr;
  c->process = hello.process;
  if (welcome.code == Code::kOk) {
    auto& history = histories_[hello.client];
    if (history == nullptr) history = std::make_unique<History>();
    c->history = history.get();
    ++history->connections;
    Process& process = processes_[hello.process];
    ++process.connections;
    process.gone_at = 0;
  }
  ++live_;
  by_endpoint_[c->endpoint] = c->index;

  welcome.connection = c->id;
  Prefix out;
  out.kind = MessageKind::kWelcome;
  out.slot = prefix.slot;
  out.generation = prefix.generation;
  Encoder e{MutableBytes(c->welcome)};
  e.Put(out);
  welcome.Fields(e);
  MAYFLY_CHECK(e.ok());
  SealHeader({c->welcome, e.size()}, hello_key_);
  c->link.connection = c;
  c->link.fn = [](Completion* link, Status) {
    static_cast<Connection::Link*>(link)->connection->welcome_sending = false;
  };
  c->welcome_sending = true;
  if (transport_.Send(c->endpoint, {c->welcome, e.size()}, {}, &c->link) == Transport::Sent::kDone) {
    c->welcome_sending = false;
  }
  if (sweep_.sequence == 0) {
    sweep_ = executor_.At(
        executor_.now() + kSweepEvery, [](void* self) { static_cast<Responder*>(self)->Sweep(); }, this);
  }
}

Responder::Connection* Responder::FindConnection(uint64_t id) {
  const uint32_t index = static_cast<uint32_t>(id & 0xffffffff);
  if (index >= connections_.size()) return nullptr;
  Connection* c = connections_[index].get();
  return c->id == id && c->id != 0 ? c : nullptr;
}

void Responder::OnRequest(Bytes header, const Prefix& prefix, Payload payload) {
  Connection* c = FindConnection(prefix.connection);
  if (c == nullptr || c->history == nullptr) {
    ++stats_.unknown_connection;
    return;
  }
  if (!HeaderIsSealed(header, c->key)) {
    ++stats_.unauthenticated;  // P1
    return;
  }
  Decoder d(header.subspan(Prefix::kBytes));
  RequestHeader request;
  d.Get(request);
  if (!d.ok()) {
    ++stats_.malformed;
    return;
  }
  if (payload.size() > kTransferBytesMax) {
    ++stats_.oversized;
    return;
  }
  const MethodInfo* info = InfoOf(request.method);
  if (info->who == Who::kPeer && !c->party->peer) {
    ++stats_.denied;
    return;
  }
  ++stats_.requests;
  History::Answer* answer = nullptr;
  if (info->once) {
    History& history = *c->history;
    history.lowest = std::max(history.lowest, request.lowest);
    if (request.sequence < history.lowest || history.Find(request.sequence) != nullptr) {
      ++stats_.repeated;
      if (request.sequence >= history.lowest) Repeat(history, request.sequence, prefix);
      return;
    }
    answer = history.Add(request.sequence);
    if (answer == nullptr) {
      ++stats_.oversized;
      return;
    }
  }
  Request* r = Take();
  r->party_ = c->party;
  r->connection_ = prefix.connection;
  r->slot_ = prefix.slot;
  r->generation_ = prefix.generation;
  r->method_ = request.method;
  r->sequence_ = info->once ? request.sequence : 0;
  r->deadline_ = executor_.now() + request.time_left_ms * kMillisecond;
  r->walked_at_ = request.walked_at;
  r->payload_ = std::move(payload);
  r->answered_ = false;
  r->pending_ = false;
  r->body_bytes_ = d.left();
  std::memcpy(r->body_, d.rest().data(), d.left());
  if (answer != nullptr) answer->working = r;
  arrived_.push_back(r);
}

// P2: the same request once more.
void Responder::Repeat(History& history, uint64_t sequence, const Prefix& prefix) {
  History::Answer* answer = history.Find(sequence);
  if (answer->working != nullptr) {
    answer->working->connection_ = prefix.connection;
    answer->working->slot_ = prefix.slot;
    answer->working->generation_ = prefix.generation;
    return;
  }
  Connection* c = FindConnection(prefix.connection);
  Request* r = Take();
  r->party_ = c->party;
  r->connection_ = prefix.connection;
  r->slot_ = prefix.slot;
  r->generation_ = prefix.generation;
  r->sequence_ = 0;  // already remembered
  r->answered_ = r->pending_ = false;
  constexpr size_t kBefore = Prefix::kBytes + ReplyHeader::kBytes;
  std::memcpy(r->out_ + kBefore, answer->body, answer->body_bytes);
  r->SendReply(answer->code, answer->body_bytes, {});
  if (r->pending_) {
    struct FinishLater {
      static Detached Run(Request* request) {
        co_await ReplyOf(request);
        request->Finish();
      }
      static Request::ReplyAwaiter ReplyOf(Request* request) { return Request::ReplyAwaiter{request}; }
    };
    FinishLater::Run(r);
  } else {
    r->Finish();
  }
}

void Responder::OnEndpointDown(EndpointId endpoint) {
  auto it = by_endpoint_.find(endpoint);
  if (it != by_endpoint_.end()) {
    CloseConnection(connections_[it->second].get());
    return;
  }
  if (caller_ == nullptr || !caller_->HandleEndpointDown(endpoint)) transport_.Close(endpoint);
}

void Responder::CloseConnection(Connection* c) {
  by_endpoint_.erase(c->endpoint);
  transport_.Close(c->endpoint);
  c->id = 0;
  --live_;
  if (c->history != nullptr) {
    if (--c->history->connections == 0) c->history->idle_since = executor_.now();
    Process& process = processes_[c->process];
    if (--process.connections == 0) process.gone_at = executor_.now() + options_.gone_after;
  }
  c->history = nullptr;
  c->party = nullptr;
  if (!c->welcome_sending) free_connections_.push_back(c->index);
  // else: its buffer is still with the transport; the slot is given up, at most one a dead handshake
}

// Processes without a connection are declared dead, lanes long gone are forgotten.
void Responder::Sweep() {
  sweep_ = {};
  if (closed_) return;
  const Nanos now = executor_.now();
  for (auto& c : connections_) {
    if (c->id != 0 && c->history == nullptr && !c->welcome_sending) CloseConnection(c.get());
  }
  for (auto it = processes_.begin(); it != processes_.end();) {
    auto current = it++;
    if (current->second.connections == 0 && current->second.gone_at != 0 && now >= current->second.gone_at) {
      ClientId process = current->first;
      processes_.erase(current);
      if (on_process_gone_) on_process_gone_(process);
    }
  }
  for (auto it = histories_.begin(); it != histories_.end();) {
    auto current = it++;
    History& h = *current->second;
    if (h.connections != 0 || now < h.idle_since + options_.forget_after) continue;
    if (std::none_of(h.ring.begin(), h.ring.end(), [](const auto& a) { return a.working != nullptr; })) {
      histories_.erase(current);
    }
  }
  if (!processes_.empty() || !histories_.empty() || live_ != 0) {
    // An idle server with idle clients has nothing to look at: once a second is enough, and cheap.
    sweep_ = executor_.At(
        now + 2 * kSweepEvery, [](void* self) { static_cast<Responder*>(self)->Sweep(); }, this);
  }
}

// ---- a request --------------------------------------------------------------------------------------------------

Request::FetchAwaiter Request::Fetch(MutableBytes to) {
  MAYFLY_CHECK(to.size() == payload_.size() && !pending_);
  result_ = Code::kOk;
  if (payload_.is_eager()) {
    if (!to.empty()) std::memcpy(to.data(), payload_.eager().data(), to.size());
    payload_.Reset();
  } else {
    pending_ = true;
    payload_.Fetch(to, &link_);
  }
  return FetchAwaiter{this};
}

void Request::Complete(Status status) {
  pending_ = false;
  result_ = status;
  if (payload_.size() != 0) payload_.Reset();
  if (waiter_) responder_->executor_.Post(std::exchange(waiter_, nullptr));
}

void Request::SendReply(Code code, size_t body_bytes, Bytes payload) {
  MAYFLY_CHECK(!answered_ && !pending_);
  answered_ = true;
  constexpr size_t kBefore = Prefix::kBytes + ReplyHeader::kBytes;
  Responder& responder = *responder_;
  if (sequence_ != 0) {
    auto it = responder.histories_.find(party_->client);
    Responder::History::Answer* answer = it != responder.histories_.end() ? it->second->Find(sequence_) : nullptr;
    if (answer != nullptr && answer->working == this) {
      MAYFLY_CHECK(body_bytes <= Responder::History::kBodyMax);
      answer->working = nullptr;
      answer->code = code;
      answer->body_bytes = static_cast<uint8_t>(body_bytes);
      std::memcpy(answer->body, out_ + kBefore, body_bytes);
    }
  }
  Responder::Connection* c = responder.FindConnection(connection_);
  if (c == nullptr) return;  // the caller is gone; it may come back and ask again
  Prefix prefix;
  prefix.kind = MessageKind::kReply;
  prefix.view = responder.view_.value;
  prefix.connection = c->id;
  prefix.slot = slot_;
  prefix.generation = generation_;
  ReplyHeader header;
  header.code = code;
  header.generation = responder.generation_;
  Encoder e{MutableBytes(out_)};
  e.Put(prefix);
  e.Put(header);
  SealHeader({out_, kBefore + body_bytes}, c->key);
  pending_ = true;
  if (responder.transport_.Send(c->endpoint, {out_, kBefore + body_bytes}, payload, &link_) == Transport::Sent::kDone) {
    pending_ = false;
  }
}

void Request::Abandon() {
  MAYFLY_CHECK(!answered_ && !pending_);
  answered_ = true;
  if (sequence_ == 0) return;
  auto it = responder_->histories_.find(party_->client);
  if (it == responder_->histories_.end()) return;
  Responder::History::Answer* answer = it->second->Find(sequence_);
  if (answer != nullptr && answer->working == this) *answer = {};
}

void Request::Finish() {
  MAYFLY_CHECK(!pending_);
  if (!answered_) Abandon();
  payload_.Reset();
  party_ = nullptr;
  responder_->free_requests_.push_back(this);
}

}  // namespace mayfly
