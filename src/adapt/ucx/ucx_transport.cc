#include "adapt/ucx/ucx_transport.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "adapt/posix/clock.h"
#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

constexpr Nanos kDrainWait = 2 * kSecond, kRestWait = 500 * kMillisecond;
constexpr uint32_t kPollsACheck = 1024;  // of the clock, and of the processes if it is time
constexpr int kLastRounds = 100;
constexpr uint32_t kPollsAReaping = 64;
constexpr Nanos kLingeringSleepMax = 50 * kMillisecond;  // while endpoints are being closed
constexpr Nanos kBusyMax = 10 * kMillisecond;            // of BUSY without anything done, then
// (source: e2e/idle_test prints what they cost beside an idle server at rest)
constexpr Nanos kNapFirst = 50 * kMicrosecond, kNapMost = 32 * kMillisecond;
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

// U11
void LeaveBehind(std::unique_ptr<UcxWorker> worker) {
  static std::mutex mutex;
  static auto* const left = new std::vector<std::unique_ptr<UcxWorker>>;
  const std::lock_guard lock(mutex);
  left->push_back(std::move(worker));
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
      for_life_(options.for_life),
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
  }
  for (Buffer* free : free_buffers_) {
    while (free != nullptr) ::free(std::exchange(free, free->next));
  }
}

void UcxTransport::Drain() {
  receiver_ = nullptr;
  for (Endpoint& endpoint : endpoints_) Close(endpoint.id());
  const Nanos give_up = Now() + kDrainWait;
  while ((!closing_.empty() || with_ucx_ != 0 || ready_ != nullptr) && Now() < give_up) Progress();
  if (with_ucx_ != 0) MAYFLY_WARN("UCX still works on {} requests after {} s", with_ucx_, kDrainWait / kSecond);
  for (ucp_mem_h region : registered_) ucp_mem_unmap(worker_->context(), region);
  if (!for_life_ && ComesToRest()) {
    worker_.reset();  // calls back for what was left, as far as it can; then nothing of it moves any more
  } else {
    LeaveBehind(std::move(worker_));
  }
  for (Op& op : ops_) {
    if (op.with_ucx && !op.orphan) Ready(&op, Code::kUnavailable);
  }
  for (Incoming& incoming : incoming_) {
    if (incoming.op.with_ucx && !incoming.op.orphan) Ready(&incoming.op, Code::kUnavailable);
  }
  for (int i = 0; i < kLastRounds && ready_ != nullptr; ++i) RunDeferred();  // bounded: a completion may send again
}

bool UcxTransport::ComesToRest() {
  const Nanos give_up = Now() + kRestWait;
  while (ucp_worker_arm(worker_->get()) != UCS_OK) {
    if (Now() >= give_up) return false;
    stuck_ = check_now_ = true;  // U8: the queues of who has ended are emptied
    if (!Progress()) sched_yield();
  }
  return true;
}

void UcxTransport::Abandon() {
  (void)worker_.release();
  receiver_ = nullptr;
  registered_.clear();
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
  if (endpoint->ep == nullptr) {  // U10
    early_sends_.push_back({op, header, payload});
    return Sent::kPending;
  }
  const ucs_status_ptr_t request = SendByUcx(op, *endpoint, header, payload);
  if (request == nullptr) {  // U3
    --with_ucx_;
    --endpoint->pending;
    FreeOp(op);
    return Sent::kDone;
  }
  if (UCS_PTR_IS_ERR(request)) Ready(op, StatusOf(UCS_PTR_STATUS(request)));
  return Sent::kPending;
}

ucs_status_ptr_t UcxTransport::SendByUcx(Op* op, Endpoint& endpoint, Bytes header, Bytes payload) {
  ucp_request_param_t param;
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS |
                       UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  param.cb.send = OnSent;
  param.user_data = op;
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  // REPLY lets the receiver of a rendezvous know which endpoint its fetch depends on (U8).
  param.flags =
      payload.size() > eager_bytes_max_ ? UCP_AM_SEND_FLAG_RNDV | UCP_AM_SEND_FLAG_REPLY : UCP_AM_SEND_FLAG_EAGER;
  HandToUcx(op);
  return ucp_am_send_nbx(endpoint.ep, kMessageId, header.data(), header.size(), payload.data(), payload.size(), &param);
}

void UcxTransport::RunConnecting() {  // U10
  for (const Connecting& one : connecting_) {
    Endpoint* const endpoint = Find(one.endpoint);
    if (endpoint != nullptr && endpoint->state == Endpoint::State::kUp) MakeUcxEndpoint(*endpoint, one.blob);
  }
  connecting_.clear();
  for (const EarlySend& early : early_sends_) {
    Endpoint* const endpoint = Find(early.op->endpoint);
    ucs_status_ptr_t request = UCS_STATUS_PTR(UCS_ERR_UNREACHABLE);
    if (endpoint != nullptr && endpoint->ep != nullptr) {
      request = SendByUcx(early.op, *endpoint, early.header, early.payload);
    }
    if (!UCS_PTR_IS_PTR(request)) Ready(early.op, StatusOf(UCS_PTR_STATUS(request)));
  }
  early_sends_.clear();
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
                                                   *param);
}

ucs_status_t UcxTransport::Receive(Bytes header, void* data, size_t bytes, const ucp_am_recv_param_t& param) {
  const bool rendezvous = (param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
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
    const bool known = (param.recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0;
    auto found = known ? by_ep_.find(param.reply_ep) : by_ep_.end();
    if (found != by_ep_.end()) incoming->op.endpoint = endpoints_[found->second].id();
  } else if ((param.recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) != 0) {
    incoming->kind = Incoming::Kind::kDescriptor;
    eager = {static_cast<const uint8_t*>(data), bytes};
  } else {
    incoming->kind = Incoming::Kind::kCopied;
    CopyIn(incoming, data);  // U1
    eager = {static_cast<const uint8_t*>(incoming->data), bytes};
  }
  receiver_->OnMessage(header, Payload(this, incoming, bytes, eager));
  if (incoming->state == Incoming::State::kDropped) {
    --live_incoming_;
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
  if (worker_ == nullptr) {
    incoming->state = Incoming::State::kFetched;
    Ready(NewOp(Op::Kind::kSend, done, EndpointId()), Code::kUnavailable);
    return;
  }
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
  EndpointId& from = incoming->op.endpoint;
  if (from != EndpointId() && Slot(from).id() != from) from = EndpointId();  // closed long ago
  HandToUcx(&incoming->op);
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
      incoming->dropped = true;  // U7: freed when UCX has finished with it
      return;
    case Incoming::State::kHeld:
      if (incoming->kind != Incoming::Kind::kCopied && worker_ != nullptr) {
        ucp_am_data_release(worker_->get(), incoming->data);  // U2
      }
      break;
    case Incoming::State::kFetched:
      incoming->dropped = incoming->op.orphan;  // U8
      --live_incoming_;
      if (!incoming->dropped) FreeIncoming(incoming);
      return;
    case Incoming::State::kDropped:
      break;
  }
  --live_incoming_;
  FreeIncoming(incoming);
}

// --- progress --------------------------------------------------------------------------------------------------------

bool UcxTransport::Progress() {
  MAYFLY_CHECK(!progressing_ && worker_ != nullptr);
  progressing_ = in_ucx_ = true;
  bool worked = ucp_worker_progress(worker_->get()) != 0;
  if (++polls_ % kPollsACheck == 0 || check_now_) CheckProcesses();
  in_ucx_ = false;
  if (!worked) ++quiet_rounds_;
  worked |= RunDeferred();
  if (worked) busy_since_ = nap_ = 0;
  progressing_ = false;
  return worked;
}

bool UcxTransport::RunDeferred() {
  bool worked = !connecting_.empty();
  if (worked) RunConnecting();
  if (!closing_.empty()) worked |= RunClosing();
  if (!reaping_.empty() && polls_ % kPollsAReaping == 0) RunReaping();
  if (!fetch_queue_.empty()) {
    worked = true;
    for (Incoming* incoming : fetch_queue_) StartFetch(incoming);  // runs nobody else's code
    fetch_queue_.clear();
  }
  if (!down_.empty()) worked |= RunDown();
  if (ready_ != nullptr) {
    worked = true;
    Op* op = std::exchange(ready_, nullptr);  // what becomes ready from here on waits for the next Progress
    ready_tail_ = &ready_;
    while (op != nullptr) Finish(std::exchange(op, op->next));
  }
  return worked;
}

void UcxTransport::Finish(Op* op) {
  Completion* const done = op->done;
  const Status status = op->status;
  if (op->kind == Op::Kind::kFetch) {
    static_assert(std::is_standard_layout_v<Incoming> && offsetof(Incoming, op) == 0);
    auto* incoming = reinterpret_cast<Incoming*>(op);
    incoming->state = Incoming::State::kFetched;
    if (incoming->dropped) {
      --live_incoming_;
      FreeIncoming(incoming);
    }
    done->fn(done, status);
    return;
  }
  const bool closed = Find(op->endpoint) == nullptr;
  FreeOp(op);
  if (done != nullptr) done->fn(done, closed ? Status(Code::kUnavailable) : status);
}

bool UcxTransport::Arm() {
  if (!down_.empty() || !fetch_queue_.empty()) return false;
  check_now_ = watch_.Ready();
  if (check_now_) return false;
  if (!reaping_.empty()) RunReaping();
  if (ready_ != nullptr) return false;
  deaf_ = false;
  sleep_max_ = closing_.empty() && reaping_.empty() ? kNever : kLingeringSleepMax;
  const bool armed = ucp_worker_arm(worker_->get()) == UCS_OK;
  const std::span<SharedFifo> fifos = worker_->fifos();
  if (armed && std::all_of(fifos.begin(), fifos.end(), [](SharedFifo& fifo) { return fifo.WillWake(); })) {  // U9
    busy_since_ = nap_ = 0;
    stuck_ = false;
    return true;
  }
  if (!stuck_) {
    const Nanos now = Now();
    if (busy_since_ == 0) busy_since_ = now;
    if (now - busy_since_ < kBusyMax) return false;  // there is something to progress, usually
    stuck_ = true;
    if (!std::exchange(nap_warned_, true)) {
      MAYFLY_INFO(
          "a queue in shared memory is stuck (the process at its other end was killed, say): sleeping in naps of {} ms "
          "at most",
          kNapMost / kMillisecond);
    }
  }
  check_now_ = true;  // U8, U9
  deaf_ = !armed;
  nap_ = std::clamp(2 * nap_, kNapFirst, kNapMost);
  sleep_max_ = nap_;
  return true;
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
  op->with_ucx = op->orphan = false;
  return op;
}

void UcxTransport::FreeOp(Op* op) {
  op->kind = Op::Kind::kFree;
  op->with_ucx = op->orphan = false;
  op->next = std::exchange(free_ops_, op);
}

void UcxTransport::HandToUcx(Op* op) {
  op->with_ucx = true;
  ++with_ucx_;
  if (op->endpoint != EndpointId()) ++Slot(op->endpoint).pending;
}

void UcxTransport::Ready(Op* op, Status status) {
  if (op->orphan) {  // U8: UCX lets go of it
    if (op->kind != Op::Kind::kFetch) {
      FreeOp(op);
      return;
    }
    auto* incoming = reinterpret_cast<Incoming*>(op);
    op->with_ucx = op->orphan = false;
    if (incoming->dropped) FreeIncoming(incoming);
    return;
  }
  if (std::exchange(op->with_ucx, false)) {
    --with_ucx_;
    if (op->endpoint != EndpointId()) {
      Endpoint& endpoint = Slot(op->endpoint);
      --endpoint.pending;
      if (op->kind == Op::Kind::kGoodbye) endpoint.goodbye_pending = false;
    }
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
  incoming->dropped = false;
  incoming->op.with_ucx = incoming->op.orphan = false;
  incoming->op.endpoint = EndpointId();
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
    if (endpoint.state != Endpoint::State::kUp || endpoint.ep == nullptr) continue;
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
