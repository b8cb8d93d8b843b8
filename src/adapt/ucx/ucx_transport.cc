#include "adapt/ucx/ucx_transport.h"

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

#include "adapt/posix/clock.h"
#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

constexpr unsigned kMessageId = 0, kGoodbyeId = 1;  // of active messages
constexpr Nanos kGoodbyeWait = 100 * kMillisecond;  // a peer that takes nothing for so long hears nothing
constexpr Nanos kDrainWait = 2 * kSecond;
constexpr uint32_t kPollsACheck = 1024;  // of the clock, and of the processes if it is time
constexpr Nanos kCheckInterval = 20 * kMillisecond;
constexpr size_t kSmallestBuffer = 256;
constexpr size_t kBufferClasses = 10;

Nanos Now() { return PosixClock().Now(); }

Status StatusOf(ucs_status_t status) {
  switch (status) {
    case UCS_OK:
      return Code::kOk;
    case UCS_ERR_NO_MEMORY:
      return Code::kNoMemory;
    case UCS_ERR_MESSAGE_TRUNCATED:
      return Code::kCorrupt;
    default:  // reset, timed out, cancelled, unreachable ...: to the caller all of them are a peer that is gone
      return Code::kUnavailable;
  }
}

// The class of pooled buffers for `bytes`; kBufferClasses if they are too many to pool.
size_t ClassOf(size_t bytes) {
  size_t buffer_class = 0;
  while (buffer_class < kBufferClasses && (kSmallestBuffer << buffer_class) < bytes) ++buffer_class;
  return buffer_class;
}

}  // namespace

// --- life ------------------------------------------------------------------------------------------------------------

std::unique_ptr<UcxTransport> UcxTransport::Create(const UcxOptions& options, std::string* why) {
  std::unique_ptr<UcxWorker> worker = UcxWorker::Create(options, why);
  if (worker == nullptr) return nullptr;
  return std::unique_ptr<UcxTransport>(new UcxTransport(options, std::move(worker)));
}

UcxTransport::UcxTransport(const UcxOptions& options, std::unique_ptr<UcxWorker> worker)
    : eager_bytes_max_(options.eager_bytes_max),
      worker_(std::move(worker)),
      event_fds_{worker_->event_fd(), watch_.fd()} {
  RegisterHandler(kMessageId, OnMessage);
  RegisterHandler(kGoodbyeId, OnGoodbye);
}

void UcxTransport::RegisterHandler(unsigned id, ucp_am_recv_callback_t handler) {
  ucp_am_handler_param_t param{};
  param.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  param.id = id;
  param.cb = handler;
  param.arg = this;
  MAYFLY_CHECK(ucp_worker_set_am_recv_handler(worker_->get(), &param) == UCS_OK);
}

UcxTransport::~UcxTransport() {
  if (worker_ != nullptr) {
    Drain();
    MAYFLY_CHECK(live_incoming_ == 0);  // a payload must not outlive its transport
    for (ucp_mem_h region : registered_) ucp_mem_unmap(worker_->context(), region);
  }
  for (Buffer* free : free_buffers_) {
    while (free != nullptr) ::free(std::exchange(free, free->next));
  }
}

void UcxTransport::Drain() {
  receiver_ = nullptr;
  for (Endpoint& endpoint : endpoints_) {
    if (endpoint.state != Endpoint::State::kFree) Close(endpoint.id());
  }
  const Nanos give_up = Now() + kDrainWait;
  while ((!closing_.empty() || with_ucx_ != 0 || ready_ != nullptr) && Now() < give_up) Progress();
  if (with_ucx_ == 0) return;
  MAYFLY_WARN("UCX still works on {} requests after {} s; leaving its memory behind", with_ucx_, kDrainWait / kSecond);
  for (Op& op : ops_) {
    if (op.with_ucx) Ready(&op, Code::kUnavailable);
  }
  for (Incoming& incoming : incoming_) {
    if (incoming.op.with_ucx) Ready(&incoming.op, Code::kUnavailable);
  }
  RunDeferred();
  registered_.clear();
  (void)worker_.release();
}

void UcxTransport::Abandon() {
  (void)worker_.release();
  receiver_ = nullptr;
  registered_.clear();
}

// --- endpoints -------------------------------------------------------------------------------------------------------

UcxTransport::Endpoint* UcxTransport::Find(EndpointId id) {
  const auto index = static_cast<uint32_t>(id.value);
  if (index >= endpoints_.size()) return nullptr;
  Endpoint& endpoint = endpoints_[index];
  const bool open = endpoint.state == Endpoint::State::kUp || endpoint.state == Endpoint::State::kDown;
  return open && endpoint.id() == id ? &endpoint : nullptr;
}

UcxTransport::Endpoint& UcxTransport::NewEndpoint() {
  uint32_t index = static_cast<uint32_t>(endpoints_.size());
  if (free_endpoints_.empty()) {
    endpoints_.emplace_back();
  } else {
    index = free_endpoints_.back();
    free_endpoints_.pop_back();
  }
  Endpoint& endpoint = endpoints_[index];
  endpoint.owner = this;
  endpoint.index = index;
  ++endpoint.generation;  // N4; from 1, so that no id is 0
  endpoint.goodbye_pending = false;
  return endpoint;
}

Result<EndpointId> UcxTransport::Connect(Bytes address) {
  const UcxWorker::Peer peer = UcxWorker::Unframe(address);
  if (peer.blob.empty()) return Code::kInvalid;
  Endpoint& endpoint = NewEndpoint();
  endpoint.state = Endpoint::State::kUp;
  endpoint.process = peer.process;
  const ProcessWatch::Added added = watch_.Add(peer.process, endpoint.index);  // U6
  endpoint.watched = added == ProcessWatch::Added::kWatched;
  if (added == ProcessWatch::Added::kGone) {
    GoDown(endpoint, "its process has ended");
    return endpoint.id();
  }
  ucp_ep_params_t params{};
  params.field_mask =
      UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(peer.blob.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {OnEndpointError, &endpoint};
  const ucs_status_t status = ucp_ep_create(worker_->get(), &params, &endpoint.ep);
  if (status != UCS_OK) {
    // The peer's shared memory may be gone already, say: to the caller that is a peer that went down.
    endpoint.ep = nullptr;
    GoDown(endpoint, ucs_status_string(status));
  }
  return endpoint.id();
}

void UcxTransport::GoDown(Endpoint& endpoint, std::string_view reason) {
  if (endpoint.state != Endpoint::State::kUp) return;
  MAYFLY_DEBUG("endpoint {:x} is down: {}", endpoint.id().value, reason);
  endpoint.state = Endpoint::State::kDown;
  down_.push_back(endpoint.id());
}

void UcxTransport::CheckProcesses() {
  watch_.Poll(&ended_);
  if (ended_.empty()) return;
  // What they had said before they ended is heard first.
  for (int i = 0; i < 1000 && ucp_worker_progress(worker_->get()) != 0; ++i) continue;
  for (uint32_t index : ended_) {
    if (endpoints_[index].watched) GoDown(endpoints_[index], "its process has ended");
    endpoints_[index].watched = false;
  }
  ended_.clear();
}

void UcxTransport::Close(EndpointId id) {
  Endpoint* endpoint = Find(id);
  if (endpoint == nullptr) return;
  if (endpoint->state == Endpoint::State::kUp) SayGoodbye(*endpoint);
  endpoint->state = Endpoint::State::kClosing;
  closing_.push_back(endpoint->index);
}

void UcxTransport::SayGoodbye(Endpoint& endpoint) {  // U5
  Op* op = NewOp(Op::Kind::kGoodbye, nullptr, endpoint.id());
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.cb.send = OnSent;
  param.user_data = op;
  param.flags = UCP_AM_SEND_FLAG_REPLY | UCP_AM_SEND_FLAG_EAGER;
  endpoint.goodbye_pending = true;
  endpoint.close_by = Now() + kGoodbyeWait;
  op->with_ucx = true;
  ++with_ucx_;
  const ucs_status_ptr_t request = ucp_am_send_nbx(endpoint.ep, kGoodbyeId, nullptr, 0, nullptr, 0, &param);
  if (UCS_PTR_IS_PTR(request)) return;
  Ready(op, Code::kOk);  // sent, or never will be
}

void UcxTransport::ForceClose(Endpoint& endpoint) {
  if (endpoint.ep == nullptr) return;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const ucs_status_ptr_t request = ucp_ep_close_nbx(std::exchange(endpoint.ep, nullptr), &param);
  if (UCS_PTR_IS_PTR(request)) ucp_request_free(request);  // UCX frees it when it is done
}

void UcxTransport::OnEndpointError(void* argument, ucp_ep_h, ucs_status_t status) {
  auto* endpoint = static_cast<Endpoint*>(argument);
  endpoint->owner->GoDown(*endpoint, ucs_status_string(status));
}

ucs_status_t UcxTransport::OnGoodbye(void* self, const void*, size_t, void*, size_t, const ucp_am_recv_param_t* param) {
  auto* me = static_cast<UcxTransport*>(self);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
  for (Endpoint& endpoint : me->endpoints_) {  // rare, so it may look at all
    if (endpoint.ep == param->reply_ep) me->GoDown(endpoint, "the peer closed it");
  }
  return UCS_OK;
}

// --- sending ---------------------------------------------------------------------------------------------------------

Transport::Sent UcxTransport::Send(EndpointId to, Bytes header, Bytes payload, Completion* done) {
  MAYFLY_CHECK(header.size() <= kHeaderBytesMax);
  Op* op = NewOp(Op::Kind::kSend, done, to);
  Endpoint* endpoint = Find(to);
  if (endpoint == nullptr || endpoint->state != Endpoint::State::kUp) {
    Ready(op, Code::kUnavailable);
    return Sent::kPending;
  }
  ucp_request_param_t param;
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS |
                       UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  param.cb.send = OnSent;
  param.user_data = op;
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  param.flags = payload.size() > eager_bytes_max_ ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER;
  op->with_ucx = true;
  ++with_ucx_;
  const ucs_status_ptr_t request =
      ucp_am_send_nbx(endpoint->ep, kMessageId, header.data(), header.size(), payload.data(), payload.size(), &param);
  if (request == nullptr) {  // U3
    --with_ucx_;
    FreeOp(op);
    return Sent::kDone;
  }
  if (UCS_PTR_IS_ERR(request)) Ready(op, StatusOf(UCS_PTR_STATUS(request)));
  return Sent::kPending;
}

void UcxTransport::OnSent(void* request, ucs_status_t status, void* argument) {
  auto* op = static_cast<Op*>(argument);
  ucp_request_free(request);
  op->owner->Ready(op, StatusOf(status));
}

// --- receiving -------------------------------------------------------------------------------------------------------

ucs_status_t UcxTransport::OnMessage(void* self, const void* header, size_t header_bytes, void* data, size_t bytes,
                                     const ucp_am_recv_param_t* param) {
  return static_cast<UcxTransport*>(self)->Receive({static_cast<const uint8_t*>(header), header_bytes}, data, bytes,
                                                   param->recv_attr);
}

ucs_status_t UcxTransport::Receive(Bytes header, void* data, size_t bytes, uint64_t attributes) {
  const bool rendezvous = (attributes & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  if (receiver_ == nullptr) return rendezvous ? UCS_ERR_CANCELED : UCS_OK;  // winding up: the sender is told
  if (bytes == 0) {
    receiver_->OnMessage(header, Payload());
    return UCS_OK;
  }
  Incoming* incoming = NewIncoming();
  incoming->state = Incoming::State::kInCallback;
  incoming->data = data;
  incoming->bytes = bytes;
  Bytes eager;
  if (rendezvous) {
    incoming->kind = Incoming::Kind::kRendezvous;
  } else if ((attributes & UCP_AM_RECV_ATTR_FLAG_DATA) != 0) {
    incoming->kind = Incoming::Kind::kDescriptor;
    eager = {static_cast<const uint8_t*>(data), bytes};
  } else {
    incoming->kind = Incoming::Kind::kCopied;
    CopyIn(incoming, data);  // U1
    eager = {static_cast<const uint8_t*>(incoming->data), bytes};
  }
  receiver_->OnMessage(header, Payload(this, incoming, bytes, eager));
  if (incoming->state == Incoming::State::kDropped) {
    FreeIncoming(incoming);
    return UCS_OK;  // UCX takes the data back, and tells the sender of a rendezvous
  }
  if (incoming->state == Incoming::State::kInCallback) incoming->state = Incoming::State::kHeld;
  return incoming->kind == Incoming::Kind::kCopied ? UCS_OK : UCS_INPROGRESS;  // U1
}

void UcxTransport::Fetch(void* token, MutableBytes to, Completion* done) {
  auto* incoming = static_cast<Incoming*>(token);
  MAYFLY_CHECK(incoming->kind == Incoming::Kind::kRendezvous && to.size() == incoming->bytes);
  MAYFLY_CHECK(incoming->state == Incoming::State::kHeld || incoming->state == Incoming::State::kInCallback);  // once
  if (worker_ == nullptr) return;
  incoming->op.done = done;
  incoming->to = to;
  if (in_ucx_) {  // not while the descriptor, or another's, is in the hands of a callback
    incoming->state = Incoming::State::kFetchQueued;
    fetch_queue_.push_back(incoming);
  } else {
    StartFetch(incoming);
  }
}

void UcxTransport::StartFetch(Incoming* incoming) {
  ucp_request_param_t param;
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  param.cb.recv_am = OnFetched;
  param.user_data = incoming;
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  incoming->state = Incoming::State::kFetching;
  incoming->op.with_ucx = true;
  ++with_ucx_;
  const ucs_status_ptr_t request =
      ucp_am_recv_data_nbx(worker_->get(), incoming->data, incoming->to.data(), incoming->to.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) Ready(&incoming->op, StatusOf(UCS_PTR_STATUS(request)));  // U2, U3
}

void UcxTransport::OnFetched(void* request, ucs_status_t status, size_t bytes, void* argument) {
  auto* incoming = static_cast<Incoming*>(argument);
  ucp_request_free(request);
  const bool torn = status == UCS_OK && bytes != incoming->bytes;
  incoming->op.owner->Ready(&incoming->op, torn ? Status(Code::kCorrupt) : StatusOf(status));
}

void UcxTransport::Drop(void* token) {
  auto* incoming = static_cast<Incoming*>(token);
  switch (incoming->state) {
    case Incoming::State::kInCallback:
      incoming->state = Incoming::State::kDropped;  // freed when the receiver returns
      return;
    case Incoming::State::kFetchQueued:
    case Incoming::State::kFetching:
      incoming->orphan = true;  // U7: freed when UCX has finished with it
      return;
    case Incoming::State::kHeld:
      if (incoming->kind != Incoming::Kind::kCopied && worker_ != nullptr) {
        ucp_am_data_release(worker_->get(), incoming->data);  // U2
      }
      break;
    case Incoming::State::kFetched:
    case Incoming::State::kDropped:
      break;
  }
  FreeIncoming(incoming);
}

// --- progress --------------------------------------------------------------------------------------------------------

bool UcxTransport::Progress() {
  MAYFLY_CHECK(!progressing_ && worker_ != nullptr);
  progressing_ = in_ucx_ = true;
  bool worked = ucp_worker_progress(worker_->get()) != 0;
  if (++polls_ % kPollsACheck == 0 && Now() >= next_check_) {
    next_check_ = Now() + kCheckInterval;
    CheckProcesses();
  }
  in_ucx_ = false;
  worked |= RunDeferred();
  progressing_ = false;
  return worked;
}

bool UcxTransport::RunDeferred() {
  bool worked = closing_.empty() ? false : RunClosing();
  if (!fetch_queue_.empty()) {
    worked = true;
    for (Incoming* incoming : fetch_queue_) StartFetch(incoming);  // runs nobody else's code
    fetch_queue_.clear();
  }
  if (!down_.empty()) {
    worked = true;
    for (EndpointId id : std::vector<EndpointId>(std::move(down_))) {
      Endpoint* endpoint = Find(id);
      if (endpoint == nullptr) continue;  // closed meanwhile
      ForceClose(*endpoint);
      if (receiver_ != nullptr) receiver_->OnEndpointDown(id);
    }
  }
  if (ready_ != nullptr) {
    worked = true;
    Op* op = std::exchange(ready_, nullptr);  // what becomes ready from here on waits for the next Progress
    ready_tail_ = &ready_;
    while (op != nullptr) Finish(std::exchange(op, op->next));
  }
  return worked;
}

bool UcxTransport::RunClosing() {
  const Nanos now = Now();
  return std::erase_if(closing_, [&](uint32_t index) {
           Endpoint& endpoint = endpoints_[index];
           if (endpoint.goodbye_pending && now < endpoint.close_by) return false;
           ForceClose(endpoint);
           if (std::exchange(endpoint.watched, false)) watch_.Remove(endpoint.process, index);
           endpoint.state = Endpoint::State::kFree;
           free_endpoints_.push_back(index);
           return true;
         }) != 0;
}

void UcxTransport::Finish(Op* op) {
  Completion* const done = op->done;
  const Status status = op->status;
  if (op->kind == Op::Kind::kFetch) {
    static_assert(std::is_standard_layout_v<Incoming> && offsetof(Incoming, op) == 0);
    auto* incoming = reinterpret_cast<Incoming*>(op);
    incoming->state = Incoming::State::kFetched;
    if (incoming->orphan) FreeIncoming(incoming);
    done->fn(done, status);
    return;
  }
  const bool closed = Find(op->endpoint) == nullptr;
  FreeOp(op);
  if (done != nullptr) done->fn(done, closed ? Status(Code::kUnavailable) : status);
}

bool UcxTransport::Arm() {
  in_ucx_ = true;
  CheckProcesses();
  in_ucx_ = false;
  if (ready_ != nullptr || !down_.empty() || !fetch_queue_.empty()) return false;
  return ucp_worker_arm(worker_->get()) == UCS_OK;  // BUSY: there are events to progress
}

// --- pools -----------------------------------------------------------------------------------------------------------

UcxTransport::Op* UcxTransport::NewOp(Op::Kind kind, Completion* done, EndpointId endpoint) {
  Op* op = free_ops_;
  if (op != nullptr) {
    free_ops_ = op->next;
  } else {
    op = &ops_.emplace_back();
    op->owner = this;
  }
  op->next = nullptr;
  op->done = done;
  op->endpoint = endpoint;
  op->kind = kind;
  op->with_ucx = false;
  return op;
}

void UcxTransport::FreeOp(Op* op) {
  op->kind = Op::Kind::kFree;
  op->with_ucx = false;
  op->next = std::exchange(free_ops_, op);
}

void UcxTransport::Ready(Op* op, Status status) {
  if (op->with_ucx) {
    op->with_ucx = false;
    --with_ucx_;
  }
  if (op->kind == Op::Kind::kGoodbye) {
    Endpoint& endpoint = endpoints_[static_cast<uint32_t>(op->endpoint.value)];
    if (endpoint.id() == op->endpoint) endpoint.goodbye_pending = false;
  }
  op->status = status;
  op->next = nullptr;
  *ready_tail_ = op;
  ready_tail_ = &op->next;
}

UcxTransport::Incoming* UcxTransport::NewIncoming() {
  Incoming* incoming = free_incoming_;
  if (incoming != nullptr) {
    free_incoming_ = incoming->next;
  } else {
    incoming = &incoming_.emplace_back();
    incoming->op.owner = this;
    incoming->op.kind = Op::Kind::kFetch;
  }
  incoming->orphan = false;
  ++live_incoming_;
  return incoming;
}

void UcxTransport::CopyIn(Incoming* incoming, const void* data) {
  if (incoming->bytes <= kSmallBytes) {
    incoming->data = incoming->small;
  } else {
    const size_t buffer_class = ClassOf(incoming->bytes);
    const bool pooled = buffer_class < kBufferClasses;
    Buffer* buffer = pooled ? free_buffers_[buffer_class] : nullptr;
    if (buffer != nullptr) {
      free_buffers_[buffer_class] = buffer->next;
    } else {
      buffer = static_cast<Buffer*>(malloc(pooled ? kSmallestBuffer << buffer_class : incoming->bytes));
      MAYFLY_CHECK(buffer != nullptr);
    }
    incoming->data = buffer;
  }
  std::memcpy(incoming->data, data, incoming->bytes);
}

void UcxTransport::FreeIncoming(Incoming* incoming) {
  if (incoming->kind == Incoming::Kind::kCopied && incoming->data != incoming->small) {
    auto* buffer = static_cast<Buffer*>(incoming->data);
    const size_t buffer_class = ClassOf(incoming->bytes);
    if (buffer_class < kBufferClasses) {
      buffer->next = std::exchange(free_buffers_[buffer_class], buffer);
    } else {
      ::free(buffer);
    }
  }
  incoming->next = std::exchange(free_incoming_, incoming);
  --live_incoming_;
}

// --- the rest --------------------------------------------------------------------------------------------------------

void UcxTransport::Register(MutableBytes region) {
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  params.address = region.data();
  params.length = region.size();
  ucp_mem_h handle = nullptr;
  const ucs_status_t status = ucp_mem_map(worker_->context(), &params, &handle);
  if (status == UCS_OK) {
    registered_.push_back(handle);
  } else if (!std::exchange(register_warned_, true)) {
    MAYFLY_WARN(
        "{} MiB of memory stay unregistered ({}), bulk transfers will be slower; raise the memlock limit "
        "(ulimit -l)",
        region.size() >> 20, ucs_status_string(status));
  }
}

std::string UcxTransport::Describe() const {
  std::string transports;
  for (const Endpoint& endpoint : endpoints_) {
    if (endpoint.state != Endpoint::State::kUp) continue;
    char* text = nullptr;
    size_t bytes = 0;
    FILE* stream = open_memstream(&text, &bytes);
    if (stream == nullptr) break;
    ucp_ep_print_info(endpoint.ep, stream);
    fclose(stream);
    // "#   lane[0]:  5:posix/memory.0 md[4] ...": the name between the second colon and the slash.
    std::string_view rest(text, bytes);
    for (size_t at = rest.find("lane["); at != rest.npos; at = rest.find("lane[")) {
      rest.remove_prefix(at);
      rest.remove_prefix(std::min(rest.find("]:"), rest.size() - 2) + 2);
      const size_t colon = rest.find(':'), slash = rest.find('/');
      if (colon == rest.npos || slash == rest.npos || slash < colon) break;
      const std::string name(rest.substr(colon + 1, slash - colon - 1));
      if (transports.find(name) == transports.npos) transports += (transports.empty() ? "" : "+") + name;
    }
    ::free(text);
    break;
  }
  return transports.empty() ? "none yet" : transports;
}

}  // namespace mayfly
