#include "rpc/responder.h"

#include <algorithm>

#include "base/log.h"
#include "rpc/parcel.h"

namespace mayfly {

struct Responder::Connection {
  uint32_t index = 0;
  uint64_t id = 0;      // 0: free
  uint64_t serial = 0;  // grows from connection to connection
  EndpointId endpoint;
  TagKey key{};
  LocalPtr<Party> party;
  History* history = nullptr;  // null: refused, nothing is served on it
  Nanos opened_at = 0;
};

namespace {

constexpr Nanos kSweepFirst = 500 * kMillisecond, kSweepEvery = kSecond;
constexpr Nanos kSweepEnded = 20 * kMillisecond;   // several lanes of one process, and several processes, end together
constexpr Nanos kLookAgain = kSecond;              // longer than the executor's turns between two looks take
constexpr Nanos kRefusedFor = 500 * kMillisecond;  // then a refused connection's welcome has arrived
constexpr size_t kReplyBefore = Prefix::kBytes + ReplyHeader::kBytes;

void Record(const History::Answer& answer, ClientId lane, TlvWriter* out) {
  AnswerImage image;
  image.client = lane;
  image.sequence = answer.sequence;
  image.code = answer.code;
  image.body = answer.body_view();
  image.payload = answer.payload_view();
  out->Put(kTagAnswer, image, AnswerImage::kBytes + image.body.size() + image.payload.size());
}

}  // namespace

Responder::Responder(Executor& executor, Transport& transport, Random& random, Options options, Caller* caller)
    : executor_(executor),
      transport_(transport),
      random_(random),
      options_(options),
      hello_key_(HelloKey(options.secret, options.uuid)),
      caller_(caller),
      trace_(executor) {}

Responder::~Responder() {
  Close();
  MAYFLY_CHECK(free_requests_.size() == requests_.size());  // P4
}

void Responder::Close() {
  if (closed_) return;
  closed_ = true;
  executor_.Cancel(sweep_);
  for (auto& connection : connections_) {
    if (connection->id != 0) CloseConnection(connection.get());
  }
  while (Request* request = arrived_.PopFront()) request->Finish();
}

Request* Responder::Take() {
  if (free_requests_.empty()) {
    requests_.push_back(std::make_unique<Request>());
    Request* r = requests_.back().get();
    r->responder_ = this;
    r->link_.request = r;
    r->link_.fn = [](Completion* c, Status status) { static_cast<Request::Link*>(c)->request->Complete(status); };
    free_requests_.push_back(r);
    free_requests_.reserve(requests_.capacity());
  }
  Request* request = free_requests_.back();
  free_requests_.pop_back();
  request->taken_ = true;
  request->standing_by_ = request->answered_ = false;
  request->arrived_at_ = 0;
  return request;
}

void Responder::Recycle(Request* request) {
  MAYFLY_CHECK(request->taken_ && !request->pending_ && request->successor_ == nullptr);  // P4
  request->taken_ = false;
  if (request == running_) running_ = nullptr;
  request->payload_.Reset();
  // Its process was called gone while this was worked on, which may have opened something for it since.
  if (request->history_ != nullptr && request->history_->connections == 0 && !request->party_->peer && !closed_ &&
      !processes_.contains(request->party_->process)) {
    processes_[request->party_->process].gone_at = executor_.now();
    ArmSweep(kSweepEvery);
  }
  request->party_.Reset();
  if (request->history_ != nullptr) --std::exchange(request->history_, nullptr)->running;
  free_requests_.push_back(request);
}

Request* Responder::Next() {
  if (running_ != nullptr) TraceSuspended();
  while (Request* request = arrived_.PopFront()) {
    // The clock is looked at only if it may be too late, since a look costs as much as a small request's work.
    if (executor_.now() + kLookAgain >= request->deadline_) executor_.Look();
    if (executor_.now() < request->deadline_) {
      if (request->arrived_at_ != 0) TraceStarted(request);
      return request;
    }
    ++stats_.expired;  // P3
    request->Finish();
  }
  return nullptr;
}

std::vector<LocalPtr<Party>> Responder::Parties() const {
  std::vector<LocalPtr<Party>> out;
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
  if (header.size() < Prefix::kBytes) {
    ++stats_.truncated;
    return;
  }
  if (header.size() > Transport::kHeaderBytesMax) {
    ++stats_.oversized;
    return;
  }
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
    case MessageKind::kTrace:
      if (!closed_) OnTrace(header, prefix);
      return;
    case MessageKind::kWelcome:
    case MessageKind::kReply:
    case MessageKind::kWorking:
      if (caller_ == nullptr) {
        ++stats_.malformed;
        return;
      }
      caller_->OnMessage(header, std::move(payload));
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
  if (!d.Finish().ok() || hello.protocol != kWireVersion || hello.uuid != options_.uuid || hello.client.value == 0 ||
      hello.process.value == 0 || hello.cred.groups.size() > kGroupsMax || hello.host.size() > Hello::kHostBytesMax) {
    MAYFLY_WARN("a handshake of client {:x}, process {:x} is malformed and was refused", hello.client.value,
                hello.process.value);
    ++stats_.malformed;
    return;
  }
  ++stats_.hellos;
  Code code = Code::kOk;
  if (prefix.slot != options_.self.value) code = Code::kUnavailable;  // it looks for a shard that was here before
  if (hello.peer && hello.proof != HelloProof(prefix, hello, options_.peer_proof)) code = Code::kDenied;
  if (!hello.peer && options_.uid != 0 && hello.cred.uid != options_.uid) code = Code::kDenied;
  if (code != Code::kOk) {
    ++stats_.denied;
  } else if (auto found = histories_.find(hello.client);
             found != histories_.end() && prefix.generation <= found->second->attempt) {
    ++stats_.repeated;  // P5
    return;
  }
  SendWelcome(hello, prefix, code);
}

// Makes a connection, also for a refusal: the lane has to be told.
void Responder::SendWelcome(const Hello& hello, const Prefix& prefix, Code code) {
  auto endpoint = transport_.Connect(hello.address);
  if (!endpoint.ok()) return;
  Welcome welcome;
  welcome.code = code;
  welcome.shard = options_.self;
  welcome.generation = generation_;
  welcome.view = view_.value;
  random_.Fill(welcome.nonce);
  if (free_connections_.empty()) {
    free_connections_.push_back(static_cast<uint32_t>(connections_.size()));
    connections_.push_back(std::make_unique<Connection>());
    connections_.back()->index = free_connections_.back();
  }
  Connection* c = connections_[free_connections_.back()].get();
  free_connections_.pop_back();
  c->id = (random_.U64() & 0xffffffff00000000u) | (uint64_t{1} << 63) | c->index;
  c->serial = ++last_serial_;
  c->endpoint = *endpoint;
  c->key = ConnectionKey(options_.secret, options_.uuid, hello.client, hello.nonce, welcome.nonce);
  c->party = LocalPtr<Party>::Make(hello.client, hello.process, hello.cred, hello.peer, hello.shard, hello.pid,
                                   std::string(hello.host));
  c->history = nullptr;
  c->opened_at = executor_.now();
  by_endpoint_[c->endpoint] = c->index;
  if (code == Code::kOk) {
    auto& history = histories_[hello.client];
    if (history == nullptr) history = std::make_unique<History>();
    history->attempt = prefix.generation;
    ++history->connections;
    c->history = history.get();
    ++processes_[hello.process].connections;
    ++live_;
  }
  welcome.connection = c->id;
  uint8_t bytes[256];
  Encoder e{MutableBytes(bytes)};
  Pack(e, MessageKind::kWelcome, 0, prefix.slot, prefix.generation);
  e.Put(welcome);
  MAYFLY_CHECK(e.ok());
  Parcel::Send(transport_, c->endpoint, {bytes, e.size()}, {}, c->key);
  ArmSweep(kSweepFirst);
}

void Responder::Pack(Encoder& e, MessageKind kind, uint64_t connection, uint32_t slot, uint32_t generation) const {
  Prefix prefix;
  prefix.kind = kind;
  prefix.view = view_.value;
  prefix.connection = connection;
  prefix.slot = slot;
  prefix.generation = generation;
  e.Put(prefix);
}

Responder::Connection* Responder::FindConnection(uint64_t id) {
  const uint32_t index = static_cast<uint32_t>(id);
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
  if (header.size() < Prefix::kBytes + RequestHeader::kBytes) {
    ++stats_.truncated;
    return;
  }
  Decoder d(header.subspan(Prefix::kBytes));
  RequestHeader request;
  d.Get(request);
  const MethodInfo* info = d.ok() ? InfoOf(request.method) : nullptr;
  if (info == nullptr || (info->once && (Sequence::PlaceOf(request.sequence) >= Sequence::kPlacesMax ||
                                         Sequence::CountOf(request.sequence) == 0))) {
    ++stats_.malformed;
    return;
  }
  if (payload.size() > kTransferBytesMax) {
    ++stats_.oversized;
    return;
  }
  if (info->who == Who::kPeer && !c->party->peer) {
    ++stats_.denied;
    return;
  }
  ++stats_.requests;
  Request* r = Take();
  r->party_ = c->party;
  r->connection_ = c->id;
  r->connection_serial_ = c->serial;
  r->slot_ = prefix.slot;
  r->generation_ = prefix.generation;
  r->method_ = request.method;
  r->sequence_ = info->once ? request.sequence : 0;
  if (info->once) {
    r->history_ = c->history;
    ++r->history_->running;
  }
  r->deadline_ = executor_.now() + request.time_left_ms * kMillisecond;
  if (trace_.on() && request.method != Method::kTrace) r->arrived_at_ = trace_.Now();
  r->walked_at_ = request.walked_at;
  r->payload_ = std::move(payload);
  r->body_bytes_ = d.left();
  std::memcpy(r->body_, d.rest().data(), d.left());
  if (info->once ? IsNewOnce(r) : IsNew(r, request.attempt)) arrived_.PushBack(r);
}

// ---- a trace ------------------------------------------------------------------------------------------------------

// What a client noted. Whoever sent it is the session's user.
void Responder::OnTrace(Bytes header, const Prefix& prefix) {
  Connection* c = FindConnection(prefix.connection);
  if (c == nullptr || c->history == nullptr) {
    ++stats_.unknown_connection;
    return;
  }
  if (!HeaderIsSealed(header, c->key)) {
    ++stats_.unauthenticated;
    return;
  }
  if (!trace_.collects()) return;
  for (Decoder d(header.subspan(Prefix::kBytes)); d.left() != 0;) {
    TraceNote note;
    d.Get(note);
    if (!d.ok() || !IsOfClient(note.stage)) {
      ++stats_.malformed;
      return;
    }
    trace_.Add(note.method, note.stage, note.took);
  }
}

void Responder::TraceStarted(Request* request) {
  request->started_at_ = trace_.Now();
  request->waited_at_ = 0;
  running_ = request;
}

// Whoever asks for the next request has run the last one until it waited; had it ended, running_ were null.
void Responder::TraceSuspended() {
  Request* request = std::exchange(running_, nullptr);
  if (!request->answered_) request->waited_at_ = trace_.Now();
}

// ---- once, and again ------------------------------------------------------------------------------------------------

// P2. False if `r` was seen before; then it has been dealt with.
bool Responder::IsNewOnce(Request* r) {
  using State = History::Answer::State;
  History::Answer& answer = r->history_->At(r->sequence_);
  if (r->sequence_ > answer.sequence || (r->sequence_ == answer.sequence && answer.state == State::kOpen)) {
    History::Begin(answer, r->sequence_, r);
    return true;
  }
  if (r->sequence_ == answer.sequence && answer.state == State::kWorking) {
    Repeat(answer.working, r);
    return false;
  }
  ++stats_.repeated;
  if (r->sequence_ == answer.sequence) SendAgain(*r, answer);
  Recycle(r);
  return false;
}

// A request that may be executed twice is not, as long as its first arrival is being worked on.
bool Responder::IsNew(Request* r, uint16_t attempt) {
  if (attempt == 0) return true;
  for (auto& other : requests_) {  // rare, so it may look at all
    if (other.get() != r && other->taken_ && !other->standing_by_ && !other->answered_ && other->sequence_ == 0 &&
        other->slot_ == r->slot_ && other->generation_ == r->generation_ &&
        other->party_->client == r->party_->client) {
      Repeat(other.get(), r);
      return false;
    }
  }
  return true;
}

// The same call once more while it is being worked on: the answer goes where it came from last.
void Responder::Repeat(Request* working, Request* again) {
  ++stats_.repeated;
  if (again->connection_serial_ < working->connection_serial_) {  // a late copy from a connection that was given up
    Recycle(again);
    return;
  }
  working->connection_ = again->connection_;
  working->connection_serial_ = again->connection_serial_;
  working->slot_ = again->slot_;
  working->generation_ = again->generation_;
  working->DropSuccessor();
  working->successor_ = again;
  again->standing_by_ = true;
  Connection* c = FindConnection(again->connection_);
  uint8_t bytes[Prefix::kBytes];
  Encoder e{MutableBytes(bytes)};
  Pack(e, MessageKind::kWorking, c->id, again->slot_, again->generation_);
  Parcel::Send(transport_, c->endpoint, {bytes, e.size()}, {}, c->key);
}

void Responder::SendAgain(const Request& request, const History::Answer& answer) {
  Connection* c = FindConnection(request.connection_);
  const bool distrusted = distrusted_ && answer.code == Code::kOk;
  ReplyHeader header;
  header.code = distrusted ? Code::kIo : answer.code;
  header.generation = generation_;
  uint8_t bytes[kReplyBefore + History::kBodyMax];
  Encoder e{MutableBytes(bytes)};
  Pack(e, MessageKind::kReply, c->id, request.slot_, request.generation_);
  e.Put(header);
  if (!distrusted) e.Raw(answer.body_view().data(), answer.body_view().size());
  MAYFLY_CHECK(e.ok());
  Parcel::Send(WayOf(request), c->endpoint, {bytes, e.size()}, distrusted ? Bytes() : answer.payload_view(), c->key);
}

Transport& Responder::WayOf(const Request& request) {
  const bool holds = options_.held != nullptr && options_.holds(*request.party_, request.method_);
  return holds ? *options_.held : transport_;
}

void Responder::OnEndpointDown(EndpointId endpoint) {
  auto it = by_endpoint_.find(endpoint);
  if (it != by_endpoint_.end()) {
    CloseConnection(connections_[it->second].get(), transport_.HasEnded(endpoint));
    return;
  }
  if (caller_ == nullptr || !caller_->HandleEndpointDown(endpoint)) transport_.Close(endpoint);
}

void Responder::CloseConnection(Connection* c, bool ended) {
  const EndpointId endpoint = c->endpoint;
  by_endpoint_.erase(endpoint);
  c->id = 0;
  if (c->history != nullptr) {
    --live_;
    if (--c->history->connections == 0) c->history->idle_since = executor_.now();
    Process& process = processes_[c->party->process];
    process.ended |= ended;
    if (--process.connections == 0) {
      process.gone_at = executor_.now() + options_.gone_after;
      if (process.ended) ArmSweep(kSweepEnded);
    }
  }
  c->history = nullptr;
  c->party.Reset();
  free_connections_.push_back(c->index);
  transport_.Close(endpoint);  // last: it may run completions
}

void Responder::ArmSweep(Nanos after) {
  const Nanos at = executor_.now() + after;
  if (closed_ || (sweep_.sequence != 0 && sweep_.deadline <= at)) return;
  if (sweep_.sequence != 0) executor_.Cancel(sweep_);
  sweep_ = executor_.At(
      at, [](void* self) { static_cast<Responder*>(self)->Sweep(); }, this);
}

// On something that a process asked to be done once, which may be what others wait for it to have done.
bool Responder::IsWorkingFor(ClientId process) const {
  return std::any_of(requests_.begin(), requests_.end(), [process](const auto& request) {
    return request->taken_ && request->sequence_ != 0 && request->party_->process == process;
  });
}

bool Responder::IsGone(ClientId id, const Process& process) const {
  if (process.connections != 0) return false;
  const Nanos now = executor_.now();
  if (process.ended) return now >= process.gone_at || !IsWorkingFor(id);
  return now >= process.gone_at && (now >= process.gone_at + options_.lives_most || !lives_ || !lives_(id));
}

// Refused connections are closed, processes without a connection declared dead, lanes long gone forgotten.
void Responder::Sweep() {
  sweep_ = {};
  const Nanos now = executor_.now();
  for (auto& c : connections_) {
    if (c->id != 0 && c->history == nullptr && now >= c->opened_at + kRefusedFor) CloseConnection(c.get());
  }
  std::vector<std::pair<ClientId, bool>> gone;  // whether it is known to have ended
  bool ending = false;
  for (const auto& [id, process] : processes_) {
    const bool is_gone = IsGone(id, process);
    if (is_gone) gone.emplace_back(id, process.ended);
    ending |= !is_gone && process.connections == 0 && process.ended;
  }
  std::sort(gone.begin(), gone.end());  // a run is a function of its inputs
  for (const auto& [id, ended] : gone) processes_.erase(id);
  absl::erase_if(histories_, [&](const auto& entry) {
    const History& h = *entry.second;
    return h.connections == 0 && h.running == 0 && now >= h.idle_since + options_.forget_after;
  });
  // An idle server with idle clients has nothing to look at: once a second is enough, and cheap.
  if (!processes_.empty() || !histories_.empty() || !by_endpoint_.empty()) ArmSweep(ending ? kSweepEnded : kSweepEvery);
  for (const auto& [id, ended] : gone) {
    if (on_process_gone_) on_process_gone_(id, ended);
  }
}

// ---- what outlives this object ------------------------------------------------------------------------------------

Status Responder::ApplyAnswer(Bytes bytes) {
  AnswerImage image;
  Decoder d(bytes);
  d.Get(image);
  MAYFLY_TRY(d.Finish());
  if (image.client.value == 0 || Sequence::PlaceOf(image.sequence) >= Sequence::kPlacesMax ||
      image.body.size() > History::kBodyMax || image.payload.size() > History::kPayloadMax) {
    return Code::kCorrupt;
  }
  auto& history = histories_[image.client];
  if (history == nullptr) history = std::make_unique<History>();
  history->idle_since = executor_.now();
  History::Answer& answer = history->At(image.sequence);
  if (image.sequence < answer.sequence) return {};  // an older image of the place
  answer.state = History::Answer::State::kOpen;
  History::Begin(answer, image.sequence, nullptr);
  History::End(answer, image.code, image.body, image.payload);
  ArmSweep(kSweepEvery);
  return {};
}

std::vector<ClientId> Responder::Lanes() const {
  std::vector<ClientId> lanes;
  lanes.reserve(histories_.size());
  for (const auto& [lane, history] : histories_) lanes.push_back(lane);
  std::sort(lanes.begin(), lanes.end());
  return lanes;
}

bool Responder::RecordAnswers(ClientId lane, size_t* place, TlvWriter* out, size_t bytes_end) const {
  const auto it = histories_.find(lane);
  if (it == histories_.end()) return false;
  const std::vector<History::Answer>& answers = it->second->answers();
  for (; *place < answers.size(); ++*place) {
    if (out->size() >= bytes_end) return true;
    if (History::IsKept(answers[*place])) Record(answers[*place], lane, out);
  }
  return false;
}

void Responder::ExpectProcess(ClientId process, Nanos gone_at) {
  Process& known = processes_[process];
  if (known.connections == 0) known.gone_at = gone_at;
  ArmSweep(kSweepEvery);
}

// ---- a request --------------------------------------------------------------------------------------------------

Request::FetchAwaiter Request::Fetch(MutableBytes to) {
  MAYFLY_CHECK(to.size() == payload_.size() && !pending_);
  result_ = Code::kOk;
  TraceBook& trace = responder_->trace_;
  if (arrived_at_ != 0) pending_at_ = trace.Now();
  if (payload_.is_eager()) {
    if (!to.empty()) std::memcpy(to.data(), payload_.eager().data(), to.size());
    payload_.Reset();
    if (arrived_at_ != 0 && !to.empty()) trace.Add(method_, TraceStage::kPull, trace.Now() - pending_at_);
  } else {
    pending_ = true;
    payload_.Fetch(to, &link_);
  }
  return FetchAwaiter{this};
}

void Request::Complete(Status status) {
  pending_ = false;
  result_ = status;
  if (waiter_) responder_->executor_.Post(std::exchange(waiter_, nullptr));
  TraceBook& trace = responder_->trace_;
  if (arrived_at_ != 0 && pending_at_ != 0 && status.ok()) {
    trace.Add(method_, sending_ ? TraceStage::kHold : TraceStage::kPull, trace.Now() - pending_at_);
  }
  if (!sending_) {
    payload_.Reset();
    // P6: whoever gave the call up closed its connection first, and may have used the buffer since.
    if (status.ok() && responder_->FindConnection(connection_) == nullptr) result_ = Code::kUnavailable;
    return;
  }
  sending_ = false;
  if (status.ok()) return;
  Responder::Connection* c = responder_->FindConnection(connection_);
  if (c == nullptr) return;
  if (status.code() == Code::kIo && responder_->distrusted_) {  // it was held back for good: see DistrustAnswers
    History::Answer lost;
    const History::Answer* answer = history_ != nullptr ? &history_->At(sequence_) : nullptr;
    const bool known = answer != nullptr && answer->sequence == sequence_ && answer->working == nullptr;
    responder_->SendAgain(*this, known ? *answer : lost);
    return;
  }
  responder_->CloseConnection(c);  // a send that failed is the end of its endpoint
}

// What the lane's history has for this request, unless its place went to a later call.
History::Answer* Request::OwnAnswer() {
  if (history_ == nullptr) return nullptr;
  History::Answer& answer = history_->At(sequence_);
  return answer.working == this ? &answer : nullptr;
}

void Request::DropSuccessor() {
  if (successor_ != nullptr) responder_->Recycle(std::exchange(successor_, nullptr));
}

void Request::SendReply(Code code, size_t body_bytes, Bytes payload) {
  MAYFLY_CHECK(!answered_ && !pending_);
  answered_ = true;
  if (History::Answer* answer = OwnAnswer()) {
    History::End(*answer, code, Bytes(out_ + kReplyBefore, body_bytes), payload);  // P2
    if (responder_->recorder_ != nullptr && History::IsKept(*answer)) {
      Record(*answer, party_->client, responder_->recorder_);
    }
  }
  DropSuccessor();
  Responder& responder = *responder_;
  Responder::Connection* c = responder.FindConnection(connection_);
  if (c == nullptr) return;  // the caller is gone; it may come back and ask again
  ReplyHeader header;
  header.code = code;
  header.generation = responder.generation_;
  Transport& way = responder.WayOf(*this);
  pending_at_ = 0;
  if (arrived_at_ != 0) {
    TraceReply(&header);
    if (&way != &responder.transport_) pending_at_ = responder.trace_.Now();
  }
  Encoder e{MutableBytes(out_)};
  responder.Pack(e, MessageKind::kReply, c->id, slot_, generation_);
  e.Put(header);
  SealHeader({out_, kReplyBefore + body_bytes}, c->key);
  pending_ = sending_ = true;
  if (way.Send(c->endpoint, {out_, kReplyBefore + body_bytes}, payload, &link_) == Transport::Sent::kDone) {
    pending_ = sending_ = false;
  }
}

void Request::TraceReply(ReplyHeader* header) {
  TraceBook& trace = responder_->trace_;
  if (!trace.on()) return;
  const Nanos now = trace.Now();
  trace.Add(method_, TraceStage::kServerQueue, started_at_ - arrived_at_);
  trace.Add(method_, TraceStage::kWork, now - started_at_);
  if (waited_at_ != 0) trace.Add(method_, TraceStage::kWait, now - waited_at_);
  header->SetTraced(now - arrived_at_);
}

void Request::RecordAhead(Bytes body) {
  History::Answer* answer = OwnAnswer();
  if (responder_->recorder_ == nullptr || answer == nullptr) return;
  History::Foresee(*answer, body);
  Record(*answer, party_->client, responder_->recorder_);
}

void Request::Abandon() {
  MAYFLY_CHECK(!answered_ && !pending_);
  answered_ = true;
  Request* next = std::exchange(successor_, nullptr);
  History::Answer* answer = OwnAnswer();
  const bool again = next != nullptr && !responder_->closed_ && (answer != nullptr || history_ == nullptr);
  if (answer != nullptr) {
    answer->state = again ? History::Answer::State::kWorking : History::Answer::State::kOpen;
    answer->working = again ? next : nullptr;
    answer->ahead = false;
  }
  if (again) {
    next->standing_by_ = false;
    responder_->arrived_.PushBack(next);
  } else if (next != nullptr) {
    responder_->Recycle(next);
  }
}

void Request::Finish() {
  MAYFLY_CHECK(!pending_);
  if (!answered_) Abandon();
  responder_->Recycle(this);
}

}  // namespace mayfly
