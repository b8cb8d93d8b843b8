// The endpoints of UcxTransport: how they come, go down, close, and what becomes of what they had pending.
#include <algorithm>
#include <set>
#include <utility>

#include "adapt/posix/clock.h"
#include "adapt/ucx/ucx_transport.h"
#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

constexpr Nanos kGoodbyeWait = 100 * kMillisecond;  // a peer that takes nothing for so long hears nothing
constexpr Nanos kReapWait = 500 * kMillisecond;     // UCX completes what it can complete at once or within a flush
constexpr Nanos kCheckInterval = 20 * kMillisecond, kMendInterval = 100 * kMillisecond;
constexpr Nanos kEndWait = 50 * kMillisecond;  // a process that ends closes its files first, and UCX sees that
constexpr size_t kDepartedMax = 1024;

Nanos Now() { return PosixClock().Now(); }

}  // namespace

UcxTransport::Endpoint* UcxTransport::Find(EndpointId id) {
  return const_cast<Endpoint*>(std::as_const(*this).Find(id));
}

const UcxTransport::Endpoint* UcxTransport::Find(EndpointId id) const {
  const auto index = static_cast<uint32_t>(id.value);
  if (index >= endpoints_.size()) return nullptr;
  const Endpoint& endpoint = endpoints_[index];
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
  const uint32_t generation = endpoint.generation + 1;  // N4; from 1, so that no id is 0
  endpoint = Endpoint();
  endpoint.owner = this;
  endpoint.index = index;
  endpoint.generation = generation;
  return endpoint;
}

void UcxTransport::FreeEndpoint(Endpoint& endpoint) {
  if (std::exchange(endpoint.watched, false)) watch_.Remove(endpoint.process, endpoint.index);
  endpoint.state = Endpoint::State::kFree;
  free_endpoints_.push_back(endpoint.index);
}

Result<EndpointId> UcxTransport::Connect(Bytes address) {
  const UcxWorker::Peer peer = UcxWorker::Unframe(address);
  if (peer.blob.empty()) return Code::kInvalid;
  if (worker_ == nullptr) return Code::kShutdown;
  Endpoint& endpoint = NewEndpoint();
  endpoint.state = Endpoint::State::kUp;
  endpoint.process = peer.process;
  const ProcessWatch::Added added = watch_.Add(peer.process, endpoint.index);  // U6
  endpoint.watched = added == ProcessWatch::Added::kWatched;
  if (added == ProcessWatch::Added::kGone) {
    EndProcess(endpoint);
  } else if (in_ucx_) {  // U10
    connecting_.push_back({endpoint.id(), {peer.blob.begin(), peer.blob.end()}});
  } else {
    MakeUcxEndpoint(endpoint, peer.blob);
  }
  return endpoint.id();
}

void UcxTransport::MakeUcxEndpoint(Endpoint& endpoint, Bytes blob) {
  ucp_ep_params_t params{};
  params.field_mask =
      UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(blob.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {OnEndpointError, &endpoint};
  const ucs_status_t status = ucp_ep_create(worker_->get(), &params, &endpoint.ep);
  if (status == UCS_OK) {
    by_ep_[endpoint.ep] = endpoint.index;
  } else {
    // The peer's shared memory may be gone already, say: to the caller that is a peer that went down.
    endpoint.ep = nullptr;
    GoDown(endpoint, ucs_status_string(status));
  }
}

// --- going down ------------------------------------------------------------------------------------------------------

void UcxTransport::GoDown(Endpoint& endpoint, std::string_view reason) {
  if (endpoint.state != Endpoint::State::kUp) return;
  MAYFLY_DEBUG("endpoint {:x} is down: {}", endpoint.id().value, reason);
  endpoint.state = Endpoint::State::kDown;
  down_.push_back(endpoint.id());
}

void UcxTransport::EndProcess(Endpoint& endpoint) {
  endpoint.process_ended = true;
  endpoint.quiet_mark = quiet_rounds_;
  GoDown(endpoint, "its process has ended");
}

void UcxTransport::OnEndpointError(void* argument, ucp_ep_h, ucs_status_t status) {
  auto* endpoint = static_cast<Endpoint*>(argument);
  if (endpoint->watched) endpoint->told_by = Now() + kEndWait;
  endpoint->owner->GoDown(*endpoint, ucs_status_string(status));
}

ucs_status_t UcxTransport::OnGoodbye(void* self, const void*, size_t, void*, size_t, const ucp_am_recv_param_t* param) {
  auto* me = static_cast<UcxTransport*>(self);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
  auto found = me->by_ep_.find(param->reply_ep);
  if (found != me->by_ep_.end()) me->GoDown(me->endpoints_[found->second], "the peer closed it");
  return UCS_OK;
}

void UcxTransport::CheckProcesses() {
  const Nanos now = Now();
  if (now < next_check_ && !check_now_) return;
  check_now_ = false;
  next_check_ = now + kCheckInterval;
  watch_.Poll(&ended_);
  deaths_ += ended_.size();
  CheckFifos(now);
  if (ended_.empty()) return;
  // What they had said before they ended is heard first.
  for (int i = 0; i < 1000 && ucp_worker_progress(worker_->get()) != 0; ++i) continue;
  for (uint32_t index : ended_) {
    Endpoint& endpoint = endpoints_[index];
    if (!std::exchange(endpoint.watched, false)) continue;
    EndProcess(endpoint);
  }
  ended_.clear();
}

void UcxTransport::CheckFifos(Nanos now) {  // U9
  if (now < next_fifo_check_) return;
  next_fifo_check_ = now + kCheckInterval;
  if (stuck_ && now >= next_mend_) {
    next_mend_ = now + kMendInterval;
    DrainDeparted();
    for (SharedFifo& fifo : worker_->fifos()) {
      if (!fifo.WillWake()) fifo.Wake();
    }
  }
  for (SharedFifo& fifo : worker_->fifos()) {
    if (fifo.Check(deaths_)) {
      // Nothing is lost, and an application's user can do nothing about it: no warning.
      MAYFLY_INFO(
          "a process of this host took a place in our queue of shared memory and never wrote there (it was killed, "
          "say): skipped, what waited behind it goes on");
    }
  }
}

void UcxTransport::DrainDeparted() {  // U8
  constexpr uint32_t kNoEndpoint = ~uint32_t{0};
  std::set<uint32_t> gone;
  std::erase_if(departed_, [&](const ProcessName& process) {
    switch (watch_.Add(process, kNoEndpoint)) {
      case ProcessWatch::Added::kWatched:  // it lives: to the same process there may be other endpoints
        watch_.Remove(process, kNoEndpoint);
        return false;
      case ProcessWatch::Added::kGone:
        if (!ProcessWatch::IsTaken(process.pid)) gone.insert(process.pid);
        return false;
      case ProcessWatch::Added::kBlind:
        break;
    }
    return true;
  });
  const std::set<uint32_t> mapped = SharedFifo::Drain(gone);
  std::erase_if(departed_, [&](const ProcessName& process) {
    return gone.contains(process.pid) && !mapped.contains(process.pid);
  });
}

bool UcxTransport::HasEnded(EndpointId id) const {
  const Endpoint* const endpoint = Find(id);
  return endpoint != nullptr && endpoint->process_ended;
}

// UCX may find out that a process has ended before the system says so, and before all that it had said was heard.
bool UcxTransport::IsToWait(const Endpoint& endpoint) const {
  return endpoint.watched && Now() < endpoint.told_by;  // whose process is known to have ended is watched no more
}

bool UcxTransport::RunDown() {
  const auto waits = [this](EndpointId id) {
    const Endpoint* const endpoint = Find(id);
    return endpoint != nullptr && IsToWait(*endpoint);
  };
  if (std::any_of(down_.begin(), down_.end(), waits)) {
    in_ucx_ = check_now_ = true;
    CheckProcesses();
    in_ucx_ = false;
  }
  const std::vector<EndpointId> down = std::move(down_);
  down_.clear();
  for (EndpointId id : down) {
    Endpoint* endpoint = Find(id);
    if (endpoint == nullptr) continue;  // closed meanwhile
    if (IsToWait(*endpoint)) {
      down_.push_back(id);
      continue;
    }
    ForceClose(*endpoint);
    if (receiver_ != nullptr) receiver_->OnEndpointDown(id);
  }
  return down_.size() < down.size();
}

// --- closing ---------------------------------------------------------------------------------------------------------

void UcxTransport::Close(EndpointId id) {
  Endpoint* endpoint = Find(id);
  if (endpoint == nullptr) return;
  if (endpoint->state == Endpoint::State::kUp && endpoint->ep != nullptr) SayGoodbye(*endpoint);
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
  HandToUcx(op);
  const ucs_status_ptr_t request = ucp_am_send_nbx(endpoint.ep, kGoodbyeId, nullptr, 0, nullptr, 0, &param);
  if (!UCS_PTR_IS_PTR(request)) Ready(op, Code::kOk);  // sent, or never will be
}

void UcxTransport::ForceClose(Endpoint& endpoint) {
  if (endpoint.ep == nullptr) return;
  by_ep_.erase(endpoint.ep);
  const ProcessName& process = endpoint.process;
  if (process.host == ProcessName::OfSelf().host &&
      std::find(departed_.begin(), departed_.end(), process) == departed_.end()) {
    if (departed_.size() == kDepartedMax) departed_.erase(departed_.begin());
    departed_.push_back(process);
  }
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const ucs_status_ptr_t request = ucp_ep_close_nbx(std::exchange(endpoint.ep, nullptr), &param);
  if (UCS_PTR_IS_PTR(request)) ucp_request_free(request);  // UCX frees it when it is done
  endpoint.quiet_mark = quiet_rounds_;
  endpoint.reap_by = Now() + kReapWait;
  if (endpoint.pending != 0 && !std::exchange(endpoint.reaping, true)) reaping_.push_back(endpoint.index);
}

bool UcxTransport::RunClosing() {
  const Nanos now = Now();
  return std::erase_if(closing_, [&](uint32_t index) {
           Endpoint& endpoint = endpoints_[index];
           if (endpoint.ep != nullptr && endpoint.goodbye_pending && now < endpoint.close_by) return false;
           ForceClose(endpoint);
           if (endpoint.pending != 0 || endpoint.reaping) return false;
           FreeEndpoint(endpoint);
           return true;
         }) != 0;
}

void UcxTransport::RunReaping() {  // U8
  const Nanos now = Now();
  std::erase_if(reaping_, [&](uint32_t index) {
    Endpoint& endpoint = endpoints_[index];
    const bool nothing_to_come = endpoint.process_ended && quiet_rounds_ > endpoint.quiet_mark;
    if (endpoint.pending != 0 && now >= endpoint.reap_by) {
      const size_t count = ops_.size();  // Orphan adds some
      for (size_t i = 0; i < count; ++i) {
        if (ops_[i].with_ucx && ops_[i].endpoint == endpoint.id()) Orphan(&ops_[i]);
      }
      for (Incoming& incoming : incoming_) {
        if (nothing_to_come && incoming.op.with_ucx && incoming.op.endpoint == endpoint.id()) Orphan(&incoming.op);
      }
    }
    if (endpoint.pending != 0) return false;
    endpoint.reaping = false;
    return true;
  });
}

// Ends what `op` stands for, and leaves the record to UCX.
void UcxTransport::Orphan(Op* op) {
  if (op->orphan) return;
  --with_ucx_;
  --Slot(op->endpoint).pending;
  op->orphan = true;
  if (op->kind == Op::Kind::kGoodbye) {
    Slot(op->endpoint).goodbye_pending = false;
    return;
  }
  if (op->kind == Op::Kind::kFetch) {
    auto* incoming = reinterpret_cast<Incoming*>(op);
    incoming->state = Incoming::State::kFetched;
    if (incoming->dropped) --live_incoming_;
  }
  Ready(NewOp(Op::Kind::kSend, std::exchange(op->done, nullptr), op->endpoint), Code::kUnavailable);
}

}  // namespace mayfly
