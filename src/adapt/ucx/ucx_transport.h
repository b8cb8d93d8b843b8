// The network by UCX 1.13 active messages: one context and one single-threaded worker a transport.
// The rules of UCX that bite, and how they are kept (numbers cited in the code):
//   U1  `data` of an arriving message outlives the callback only if the callback returns UCS_INPROGRESS, legal only
//       with the DATA or RNDV flag; without it the bytes are copied to a pooled buffer before the receiver sees them
//       (a Payload holds its bytes' place by value, so they cannot move once it was handed out). The header is never
//       kept.
//   U2  ucp_am_recv_data_nbx owns the descriptor even when it fails; one that is not fetched is released, which tells
//       the sender.
//   U3  a NULL request is complete and its callback will not run; any other request runs it once, possibly inside an
//       unrelated UCX call. Callbacks therefore only queue; completions run from Progress, outside of UCX.
//   U4  header and payload stay with UCX until completion (1.13 has no flag to copy the header).
//   U5  endpoints of two workers are paired inside UCX. When one end closes, rendezvous and long eager messages of the
//       other are dropped without an error over shared memory. So Close first says goodbye in a message of its own,
//       for a bounded time, and the peer's endpoint goes down.
//   U6  over shared memory UCX finds a dead peer by keepalive, not before its zombie is gone, and never while the
//       connection is being set up. So peers of this node are also watched as processes.
//   U7  a forced close, or an endpoint that failed, completes what is pending with an error, and nothing is freed
//   before
//       UCX said so; except that
//   U8  over shared memory an endpoint whose peer died or hangs with its receive queue full is never flushed, so its
//       rendezvous never end, and arming the worker says BUSY for ever. A send on an endpoint that was closed for a
//       while completes here instead (UCX only reads, if anything, and what a late reader gets is nobody's content); a
//       fetch only when its sender's process has ended and nothing of it is left to arrive. The record stays until UCX
//       lets go of it: once the process has ended, its queue is emptied for it (shared_fifo.h). A worker that stays
//       BUSY without doing anything is stuck until it arms again: it is slept on in naps that grow while nothing
//       happens.
//   U9  a process that is killed while it writes into our queue of shared memory leaves us deaf for its whole host:
//       the slot that it had taken is skipped after a second. So does one that is killed before it wakes us, if there
//       is no endpoint over that memory: it is done for it (shared_fifo.h).
//  U10  over tcp a new endpoint takes over the connection that its peer has made, and if that is the one whose message
//       is being handled, with more read behind it, UCX gives back a buffer that has moved away, and crashes. So what
//       connects inside a callback gets its endpoint of UCX when that has returned; what it sends meanwhile waits.
//  U11  UCX answers who connects to us over an endpoint of its own. If that answer still waits for a queue that nobody
//       reads when the worker is destroyed, UCX ends the process (an assertion); and so it may while it is progressed
//       after the end, when peers connect anew that do not know of the end yet. A worker that does not come to rest is
//       left behind, and that of a process which ends itself (UcxOptions::for_life) always.
// One thread owns it. In a forked child only Abandon and the destructor may be called.
// Payloads must be gone before the transport; its destructor waits a bounded time for what is in flight and runs those
// completions.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "adapt/event_source.h"
#include "adapt/ucx/ucx_worker.h"
#include "os/transport.h"

namespace mayfly {

class UcxTransport final : public Transport, public EventSource, private Payload::Source {
 public:
  static std::unique_ptr<UcxTransport> Create(const UcxOptions& options, std::string* why);
  UcxTransport(const UcxTransport&) = delete;
  UcxTransport& operator=(const UcxTransport&) = delete;
  ~UcxTransport() override;

  void SetReceiver(Receiver* receiver) override { receiver_ = receiver; }
  Bytes address() const override { return worker_->address(); }
  Result<EndpointId> Connect(Bytes address) override;
  // Of a process of this host.
  bool HasEnded(EndpointId endpoint) const override;
  void Close(EndpointId endpoint) override;
  Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) override;
  bool Progress() override;
  void Register(MutableBytes region) override;
  // The transports of the first endpoint that is up: "posix+cma"; "none yet" before.
  std::string Describe() const override;

  // Of shared memory, to receive by. For tests.
  std::span<SharedFifo> fifos() { return worker_->fifos(); }

  // Readable when Progress has something to do, once Arm said true. The first is UCX's, the second tells of deaths.
  std::span<const int> event_fds() override { return event_fds_; }
  int event_fd() const { return event_fds_[0]; }
  bool Arm() override;
  Nanos sleep_max() const override { return sleep_max_; }
  bool deaf() const override { return deaf_; }

  // In a child after fork: forgets UCX without a call to it. What was pending never completes.
  void Abandon();

 private:
  static constexpr unsigned kMessageId = 0, kGoodbyeId = 1;  // of active messages
  struct Endpoint {
    // Up, down or closed; up without `ep`: U10.
    enum class State : uint8_t { kFree, kUp, kDown, kClosing };
    UcxTransport* owner = nullptr;
    ucp_ep_h ep = nullptr;
    uint32_t index = 0;
    uint32_t generation = 0;
    State state = State::kFree;
    bool goodbye_pending = false;
    bool watched = false;
    bool process_ended = false;
    bool reaping = false;     // listed in reaping_
    uint32_t pending = 0;     // operations with UCX, orphans not counted; the slot is not used again before 0
    uint64_t quiet_mark = 0;  // quiet_rounds_ when it was closed or its process had ended
    Nanos close_by = 0;       // kClosing: with the goodbye or without
    Nanos reap_by = 0;
    Nanos told_by = 0;  // kDown by an error: until then it is not told of, unless its process is known to have ended
    ProcessName process;
    EndpointId id() const { return EndpointId((uint64_t{generation} << 32) | index); }
  };
  // What UCX works on: a send, a goodbye (no completion) or the fetch of an Incoming.
  struct Op {
    UcxTransport* owner = nullptr;
    Op* next = nullptr;  // in the free or the ready list
    Completion* done = nullptr;
    EndpointId endpoint;
    Status status;
    enum class Kind : uint8_t { kFree, kSend, kGoodbye, kFetch } kind = Kind::kFree;
    bool with_ucx = false;
    bool orphan = false;  // U8: its completion ran, UCX may still call
  };
  // U10
  struct Connecting {
    EndpointId endpoint;
    std::vector<uint8_t> blob;
  };
  struct EarlySend {
    Op* op;
    Bytes header, payload;
  };
  static constexpr size_t kSmallBytes = 128;
  struct Incoming {
    enum class Kind : uint8_t { kCopied, kDescriptor, kRendezvous };
    enum class State : uint8_t { kInCallback, kHeld, kFetchQueued, kFetching, kFetched, kDropped };
    Op op;
    Incoming* next = nullptr;  // in the free list
    void* data = nullptr;
    size_t bytes = 0;
    MutableBytes to;
    Kind kind = Kind::kCopied;
    State state = State::kHeld;
    bool dropped = false;  // while UCX works on it
    uint8_t small[kSmallBytes];
  };

  UcxTransport(const UcxOptions& options, std::unique_ptr<UcxWorker> worker);

  // Payload::Source
  void Fetch(void* token, MutableBytes to, Completion* done) override;
  void Drop(void* token) override;

  // Called by UCX.
  static ucs_status_t OnMessage(void* self, const void* header, size_t header_bytes, void* data, size_t bytes,
                                const ucp_am_recv_param_t* param);
  static ucs_status_t OnGoodbye(void* self, const void*, size_t, void*, size_t, const ucp_am_recv_param_t* param);
  static void OnSent(void* request, ucs_status_t status, void* op);
  static void OnFetched(void* request, ucs_status_t status, size_t bytes, void* incoming);
  static void OnEndpointError(void* endpoint, ucp_ep_h, ucs_status_t status);

  void RegisterHandler(unsigned id, ucp_am_recv_callback_t handler);
  ucs_status_ptr_t SendByUcx(Op* op, Endpoint& endpoint, Bytes header, Bytes payload);
  void RunConnecting();
  ucs_status_t Receive(Bytes header, void* data, size_t bytes, const ucp_am_recv_param_t& param);
  // ucx_endpoint.cc
  Endpoint* Find(EndpointId id);
  const Endpoint* Find(EndpointId id) const;
  Endpoint& Slot(EndpointId id) { return endpoints_[static_cast<uint32_t>(id.value)]; }
  Endpoint& NewEndpoint();
  void FreeEndpoint(Endpoint& endpoint);
  void MakeUcxEndpoint(Endpoint& endpoint, Bytes blob);
  void GoDown(Endpoint& endpoint, std::string_view reason);
  void EndProcess(Endpoint& endpoint);
  bool IsToWait(const Endpoint& endpoint) const;
  void ForceClose(Endpoint& endpoint);
  void SayGoodbye(Endpoint& endpoint);
  void CheckProcesses();
  void CheckFifos(Nanos now);
  void DrainDeparted();
  bool RunDown();
  bool RunClosing();
  void RunReaping();
  void Orphan(Op* op);

  void HandToUcx(Op* op);
  Op* NewOp(Op::Kind kind, Completion* done, EndpointId endpoint);
  void FreeOp(Op* op);
  void Ready(Op* op, Status status);
  void Finish(Op* op);
  Incoming* NewIncoming();
  void FreeIncoming(Incoming* incoming);
  void CopyIn(Incoming* incoming, const void* data);
  void StartFetch(Incoming* incoming);

  // What UCX callbacks queued; true if there was anything.
  bool RunDeferred();
  void Drain();
  // Within a bounded time: the worker has nothing left to send.
  bool ComesToRest();

  const size_t eager_bytes_max_;
  const bool for_life_;
  std::unique_ptr<UcxWorker> worker_;
  Receiver* receiver_ = nullptr;
  bool progressing_ = false;
  bool in_ucx_ = false;

  std::deque<Endpoint> endpoints_;  // addresses are UCX's error handler arguments: they never move
  std::unordered_map<ucp_ep_h, uint32_t> by_ep_;
  std::vector<uint32_t> free_endpoints_;
  std::vector<uint32_t> closing_;
  std::vector<uint32_t> reaping_;
  std::vector<Connecting> connecting_;
  std::vector<EarlySend> early_sends_;
  std::vector<EndpointId> down_;  // to be told to the receiver

  ProcessWatch watch_;
  std::vector<uint32_t> ended_;  // endpoints whose processes have
  uint32_t polls_ = 0;
  uint64_t quiet_rounds_ = 0;  // in which UCX had nothing to do
  Nanos next_check_ = 0;
  Nanos next_fifo_check_ = 0;
  std::vector<ProcessName> departed_;  // of this host, to which an endpoint was closed
  Nanos next_mend_ = 0;
  uint64_t deaths_ = 0;  // of processes that were watched, once an endpoint
  bool check_now_ = false;
  int event_fds_[2];

  Nanos sleep_max_ = kNever;
  bool deaf_ = false;     // the worker is BUSY for nothing (U8)
  Nanos busy_since_ = 0;  // 0: the worker armed, or did something, since it was last BUSY
  bool stuck_ = false;    // BUSY for nothing, and has not armed since
  Nanos nap_ = 0;         // the last one; 0: something was done after it
  bool nap_warned_ = false;

  std::deque<Op> ops_;
  Op* free_ops_ = nullptr;
  Op* ready_ = nullptr;
  Op** ready_tail_ = &ready_;
  size_t with_ucx_ = 0;  // orphans not counted

  std::deque<Incoming> incoming_;
  Incoming* free_incoming_ = nullptr;
  size_t live_incoming_ = 0;
  std::vector<Incoming*> fetch_queue_;
  struct Buffer {
    Buffer* next;
  };
  Buffer* free_buffers_[10] = {};  // 256 bytes << class, up to 128 KiB

  std::vector<ucp_mem_h> registered_;
  bool register_warned_ = false;
};

}  // namespace mayfly
