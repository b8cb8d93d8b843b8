// Responder: the answering side of a shard. It greets clients and peers, verifies every message before anything else
// looks at it, remembers what it answered to requests that execute once, and hands requests to the server one by one.
// One thread owns it.
// Invariants  P1  no byte of a message that is not authenticated reaches a handler; such messages are counted and
//                 dropped.
//             P2  a request that executes once is executed once a {client, sequence}: a repetition gets the first
//                 answer with its payload, or, while it is still being worked on, replaces where that answer goes; it
//                 is executed in the first one's stead only if that was abandoned.
//             P3  a request whose time ran out before it was started is dropped.
//             P4  a Request lives until Finish; its reply's header and payload belong to the transport until Reply's
//                 await.
//             P5  a hello counts once: a copy of it, or an older one of its lane, makes no connection.
//             P6  bytes that were pulled when the request's connection had ended are nobody's: the fetch has failed.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <functional>
#include <memory>
#include <vector>

#include "base/local_ptr.h"
#include "os/random.h"
#include "os/transport.h"
#include "rpc/caller.h"
#include "rpc/chain.h"
#include "rpc/history.h"
#include "rpc/trace.h"
#include "task/executor.h"
#include "task/sync.h"
#include "wire/header.h"

namespace mayfly {

class Responder;

// Who sent a request.
struct Party {
  ClientId client;  // the lane
  ClientId process;
  Cred cred;
  bool peer = false;
  ShardId shard;  // of a peer
  uint32_t pid = 0;
  std::string host;
};

struct ArrivedTag;

class Request : private ChainNode<ArrivedTag> {
 public:
  Method method() const { return method_; }
  Bytes body() const { return {body_, body_bytes_}; }
  Payload& payload() { return payload_; }
  const Party& party() const { return *party_; }
  Nanos deadline() const { return deadline_; }
  Generation walked_at() const { return walked_at_; }

  // Pulls the payload into `to` (payload().size() bytes): copies it if it is here, else by rendezvous. kUnavailable if
  // the sender went away: nothing must be made of the bytes then, see Abandon. co_await.
  struct FetchAwaiter;
  FetchAwaiter Fetch(MutableBytes to);

  // co_await request->Reply(code, body, payload): remembers (P2; a payload of at most History::kPayloadMax then) and
  // sends. Returns when the transport is done with `payload`. A caller that is gone is no error.
  struct ReplyAwaiter;
  template <class R>
  ReplyAwaiter Reply(Code code, const R& reply, Bytes payload);
  // What the answer will be, for the journal alone: should this server die before it sends one, a repetition gets this.
  // To be called with the change that cannot be taken back, where something is still to be waited for after it.
  template <class R>
  void AnswerAhead(const R& reply);
  // No answer, and no memory of the request: it was not executed, a repetition may be (one that has arrived meanwhile
  // takes its place at once).
  void Abandon();
  // The last call, with nothing under way: the request goes back to its pool. Unanswered, it is abandoned.
  void Finish();
  bool answered() const { return answered_; }

 private:
  friend class Responder;
  friend class Chain<Request, ArrivedTag>;
  struct Link : Completion {
    Request* request = nullptr;
  };
  void SendReply(Code code, size_t body_bytes, Bytes payload);
  void RecordAhead(Bytes body);
  void Complete(Status status);
  void TraceReply(ReplyHeader* header);
  History::Answer* OwnAnswer();
  void DropSuccessor();

  Responder* responder_ = nullptr;
  LocalPtr<Party> party_;
  uint64_t connection_ = 0;
  uint64_t connection_serial_ = 0;
  uint32_t slot_ = 0, generation_ = 0;
  Method method_ = Method::kPing;
  uint64_t sequence_ = 0;         // 0: executes any number of times
  History* history_ = nullptr;    // of its lane, if it has a sequence
  Request* successor_ = nullptr;  // the newest repetition, in case this one is abandoned
  Nanos deadline_ = 0;
  Generation walked_at_;
  Payload payload_;
  bool taken_ = false;        // not in the pool
  bool standing_by_ = false;  // a successor
  bool answered_ = false;
  bool pending_ = false;  // a fetch or a send is under way
  bool sending_ = false;  // it is a send
  Status result_;
  std::coroutine_handle<> waiter_;
  // By the clock itself, if it is traced (arrived_at_ != 0): when it came, its handler started and first waited (0: it
  // did not); since when its payload is pulled, or its reply held back.
  Nanos arrived_at_ = 0, started_at_ = 0, waited_at_ = 0, pending_at_ = 0;
  Link link_;
  size_t body_bytes_ = 0;
  uint8_t body_[Transport::kHeaderBytesMax];
  uint8_t out_[Transport::kHeaderBytesMax];
};

struct Request::FetchAwaiter {
  Request* request;
  bool await_ready() const { return !request->pending_; }
  void await_suspend(std::coroutine_handle<> h) { request->waiter_ = h; }
  Status await_resume() const { return request->result_; }
};

struct Request::ReplyAwaiter {
  Request* request;
  bool await_ready() const { return !request->pending_; }
  void await_suspend(std::coroutine_handle<> h) { request->waiter_ = h; }
  void await_resume() const {}
};

struct ResponderStats {
  uint64_t requests = 0, hellos = 0;   // authenticated and well formed
  uint64_t repeated = 0, expired = 0;  // of them: seen before, too late
  // Refused. Truncated: shorter than what stands before every message. Of no connection: nobody's, or of one that
  // ended.
  uint64_t malformed = 0, truncated = 0, oversized = 0, unauthenticated = 0, denied = 0, unknown_connection = 0;
};

class Responder final : public Receiver {
 public:
  struct Options {
    Secret secret{};
    SessionUuid uuid{};
    TagKey peer_proof{};
    ShardId self;
    uint32_t uid = 0;  // of the server: the only one it serves, unless it is 0
    // Without any connection a process counts as dead; one that is known to have ended: once what it had asked for is
    // done, if that is earlier; one that is known to live (SetLives): so much later.
    Nanos gone_after = 5 * kSecond, lives_most = 600 * kSecond;
    Nanos forget_after = 600 * kSecond;  // a lane's answers are kept so long after its last connection
    // The network again, by a way that may take longer, for the answers that `holds` picks; null: none.
    Transport* held = nullptr;
    bool (*holds)(const Party& party, Method method) = nullptr;
  };

  // `caller`: this shard's own asking side; gets replies, welcomes and endpoint failures that are its. May be null.
  Responder(Executor& executor, Transport& transport, Random& random, Options options, Caller* caller);
  ~Responder();

  // The next request to work on, or null.
  Request* Next();
  bool idle() const { return arrived_.empty(); }
  // The requests that Next will give, in that order, until `visit(const Request&)` says false.
  template <class Visit>
  void ForEachArrived(Visit&& visit) const {
    for (Request* r = arrived_.first(); r != nullptr && visit(static_cast<const Request&>(*r));) r = arrived_.Next(r);
  }

  // Named in every reply.
  void SetGeneration(Generation g) { generation_ = g; }
  void SetView(View v) { view_ = v; }
  // Called when a process has no connection any more (by death, or by a proper end). `ended`: it is known to have.
  void SetOnProcessGone(std::function<void(ClientId process, bool ended)> fn) { on_process_gone_ = std::move(fn); }
  // Whether a process is known to live, though it has no connection: it is slow, or has nothing to ask.
  void SetLives(std::function<bool(ClientId process)> fn) { lives_ = std::move(fn); }
  // Refuses new connections and answers nothing any more. Requests that are being worked on still end by Finish, all of
  // them before this object goes.
  void Close();

  size_t connections() const { return live_; }
  const ResponderStats& stats() const { return stats_; }
  // Counts a request whose body its method could not decode; the handler's side finds that out.
  void CountMalformed() { ++stats_.malformed; }
  // ---- what outlives this object ----
  // From now on each answer of success to a request that executes once is written there as it is sent, as an
  // AnswerImage; null: no longer. What an answer tells of was written before it.
  void SetRecorder(TlvWriter* recorder) { recorder_ = recorder; }
  // The answers so far may tell of what was not kept: whoever asks again for one gets kIo instead, and so does who
  // waits for one whose sending ends with kIo.
  void DistrustAnswers() { distrusted_ = true; }
  // An answer that was written so before this object was made. kCorrupt.
  Status ApplyAnswer(Bytes image);
  // Writes the answers of one lane, from that of *place on, until there are `bytes_end` bytes, and moves *place. False:
  // there are no more. The lanes, in order.
  bool RecordAnswers(ClientId lane, size_t* place, TlvWriter* out, size_t bytes_end) const;
  std::vector<ClientId> Lanes() const;
  // A process that was known before: it counts as dead if it has not come back by `gone_at`.
  void ExpectProcess(ClientId process, Nanos gone_at);

  TraceBook& trace() { return trace_; }
  // The live processes, for reports.
  std::vector<LocalPtr<Party>> Parties() const;

  void OnMessage(Bytes header, Payload payload) override;
  void OnEndpointDown(EndpointId endpoint) override;

 private:
  friend class Request;
  struct Connection;

  void OnHello(Bytes header, const Prefix& prefix);
  void SendWelcome(const Hello& hello, const Prefix& prefix, Code code);
  void OnRequest(Bytes header, const Prefix& prefix, Payload payload);
  void OnTrace(Bytes header, const Prefix& prefix);
  void TraceStarted(Request* request);
  struct Process;
  bool IsGone(ClientId id, const Process& process) const;
  void TraceSuspended();
  bool IsNew(Request* request, uint16_t attempt);
  bool IsNewOnce(Request* request);
  void Repeat(Request* working, Request* again);
  void SendAgain(const Request& request, const History::Answer& answer);
  Transport& WayOf(const Request& request);
  void Pack(Encoder& e, MessageKind kind, uint64_t connection, uint32_t slot, uint32_t generation) const;
  Connection* FindConnection(uint64_t id);
  void CloseConnection(Connection* connection, bool ended = false);
  bool IsWorkingFor(ClientId process) const;
  void Sweep();
  void ArmSweep(Nanos after);
  Request* Take();
  void Recycle(Request* request);

  Executor& executor_;
  Transport& transport_;
  Random& random_;
  Options options_;
  TagKey hello_key_;
  Caller* caller_;
  Generation generation_;
  View view_;
  TraceBook trace_;
  Request* running_ = nullptr;  // a traced one, from Next until it waits or ends
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<uint32_t> free_connections_;
  uint64_t last_serial_ = 0;
  absl::flat_hash_map<EndpointId, uint32_t> by_endpoint_;
  absl::flat_hash_map<ClientId, std::unique_ptr<History>> histories_;
  struct Process {
    uint32_t connections = 0;
    Nanos gone_at = 0;  // when to call on_process_gone_, if there is no connection
    bool ended = false;
  };
  absl::flat_hash_map<ClientId, Process> processes_;
  Chain<Request, ArrivedTag> arrived_;
  std::vector<std::unique_ptr<Request>> requests_;
  std::vector<Request*> free_requests_;
  std::function<void(ClientId, bool)> on_process_gone_;
  std::function<bool(ClientId)> lives_;
  size_t live_ = 0;  // connections that were welcomed
  bool closed_ = false;
  Executor::TimerId sweep_;
  ResponderStats stats_;
  TlvWriter* recorder_ = nullptr;
  bool distrusted_ = false;
};

template <class R>
Request::ReplyAwaiter Request::Reply(Code code, const R& reply, Bytes payload) {
  constexpr size_t kBefore = Prefix::kBytes + ReplyHeader::kBytes;
  Encoder e(MutableBytes(out_).subspan(kBefore));
  if (code == Code::kOk) e.Put(reply);
  MAYFLY_CHECK(e.ok());
  SendReply(code, e.size(), payload);
  return ReplyAwaiter{this};
}

template <class R>
void Request::AnswerAhead(const R& reply) {
  uint8_t body[History::kBodyMax];
  Encoder e{MutableBytes(body)};
  e.Put(reply);
  MAYFLY_CHECK(e.ok());
  RecordAhead({body, e.size()});
}

}  // namespace mayfly
