// Caller: the asking side of one lane (a client thread, or a server shard towards its peers). It connects to shards
// when they are first needed, proves the session's secret, sends requests and matches replies; a call ends by its
// reply, by its deadline, or with kUnavailable when its shard cannot be reached. One thread owns it; calls resume
// through the executor's queue.
// Invariants  L1  a call on the wire is named {slot, generation} on one connection: a late reply finds another
//                 generation, or another connection, and is dropped.
//             L2  no call returns while the transport still uses its buffers: at the deadline the endpoint is closed
//                 first if it must be, so that the local completion comes.
//             L3  a request that executes once keeps its sequence through every retry, and goes to the same shard.
//             L4  at most kInFlightMax requests a shard are outstanding; the others wait their turn.
//             L5  a connection that answered nothing for two times resend_after is given up and made anew: the other
//                 side may have lost it without a word. Calls with short deadlines find that out together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "os/random.h"
#include "os/transport.h"
#include "rpc/chain.h"
#include "rpc/trace.h"
#include "task/executor.h"
#include "task/sync.h"
#include "wire/header.h"
#include "wire/messages.h"

namespace mayfly {

// Who this lane is; the same in every handshake.
struct Identity {
  Secret secret{};
  SessionUuid uuid{};
  ClientId client;   // of this lane; random: no other Caller may ever use it, as answers are remembered by it
  ClientId process;  // of all lanes of the process
  Cred cred;
  bool peer = false;
  ShardId shard;        // of a peer
  TagKey peer_proof{};  // servers only
  uint32_t pid = 0;
  std::string host;  // the first Hello::kHostBytesMax bytes travel
};

// Where the shards are. The caller asks again for every connection, so addresses may change under a new view.
class AddressBook {
 public:
  virtual ~AddressBook() = default;
  virtual uint32_t shard_count() const = 0;
  virtual Bytes AddressOf(ShardId shard) const = 0;
  virtual std::string NameOf(ShardId shard) const = 0;  // "node3, member 3" for sentences
};

struct CallOptions {
  CallOptions() {}
  Nanos deadline = 0;             // monotonic; 0: now + the caller's default
  Generation walked_at;           // see RequestHeader
  Bytes payload;                  // stays with the caller until the call returned
  MutableBytes reply_payload;     // where the reply's payload goes; a longer one is kCorrupt
  size_t* reply_bytes = nullptr;  // how much of it was used
};

struct CallerStats {
  uint64_t calls = 0, retries = 0, late_replies = 0, refused_messages = 0, timeouts = 0, connects = 0;
};

class Caller final : public Receiver {
 public:
  static constexpr uint32_t kInFlightMax = Sequence::kPlacesMax;
  static constexpr Nanos kSweepEvery = 10 * kMillisecond;  // deadlines are seen so late at most
  static constexpr Nanos kFetchGrace = kSecond;            // past the deadline, for a reply's payload under way (L2)
  static constexpr Nanos kProbeWait = 200 * kMillisecond;  // of a call to an unreachable shard, for a new connection

  struct Timing {
    Nanos call_default = 30 * kSecond;
    // A shard that cannot be connected to for so long fails its calls. From then on a call waits kProbeWait at most,
    // and is what makes the lane try again.
    Nanos unreachable_after = 3 * kSecond;
    Nanos resend_after = 5 * kSecond;  // without a reply
  };

  Caller(Executor& executor, Transport& transport, Random& random, const AddressBook& book, Identity identity,
         Timing timing);
  ~Caller();

  // co_await caller.Call<Method::kLookup>(shard, request, &reply, options): the status of the reply, or kTimedOut,
  // kUnavailable, kCorrupt. `request` and what it views are encoded before Call returns; *reply and reply_payload mean
  // something on kOk only.
  template <Method M>
  class Awaiter;
  template <Method M>
  Awaiter<M> Call(ShardId to, const typename MethodTypes<M>::Request& request, typename MethodTypes<M>::Reply* reply,
                  const CallOptions& options);

  const Identity& identity() const { return identity_; }
  // The highest namespace generation that any reply named.
  Generation generation() const { return generation_; }
  void RaiseGeneration(Generation g) {
    if (g > generation_) generation_ = g;
  }
  // True if the last attempt to reach the shard failed and none succeeded since.
  bool Unreachable(ShardId shard) const;
  ClientId process() const { return identity_.process; }
  size_t in_flight() const { return active_.size(); }
  // Whether the transport has not sent all requests yet. What it has sent arrives even if this process is killed now,
  // as far as its transport is shared memory.
  bool HasUnsent() const { return unsent_ != 0; }
  const CallerStats& stats() const { return stats_; }
  // What the shards ask to be noted; for what this lane does around its calls.
  TraceNotes& trace() { return trace_; }
  // Ends the calls that execute once with kIo, whatever becomes of them, and those that come: what they were to tell of
  // is not kept here. But for those that `still` may be called.
  void Disown(bool (*still)(Method));
  // Ends every call with kShutdown and closes all endpoints. Calls whose buffers the transport still has end when it
  // lets go of them (L2): keep it progressing until in_flight() is 0, and only then destroy this object.
  void Shutdown();

  // Receiver: a lane that only calls gives this object to its transport; a server's Responder passes replies on.
  void OnMessage(Bytes header, Payload payload) override;
  void OnEndpointDown(EndpointId endpoint) override;
  // True if the endpoint was one of this caller's.
  bool HandleEndpointDown(EndpointId endpoint);

 private:
  struct Slot;
  struct Peer;
  struct Greeting;
  struct ActiveTag;
  struct WaitingTag;
  enum class State : uint8_t { kFree, kQueued, kSent, kFetching, kDone };
  using DecodeFn = bool (*)(Bytes body, void* reply);

  Slot* Begin(ShardId to, Method method, const CallOptions& options, void* reply, DecodeFn decode);
  void Start(Slot* slot, size_t header_bytes);
  void Submit(Slot* slot, Nanos now);
  bool IsDisowned(const Slot* slot) const;
  bool CanSend(const Slot* slot) const;
  void Transmit(Slot* slot, Nanos now);
  void Enter(Slot* slot, State state);
  void Finish(Slot* slot, Code code);
  void Wake(Slot* slot);
  void Release(Slot* slot);
  void Pump(Peer* peer);
  void Traced(Slot* slot, const ReplyHeader& reply);
  void Note(Slot* slot);
  void SendNotes(Peer* peer, Nanos now);

  void Connect(Peer* peer, Nanos now);
  bool Greet(Peer* peer);
  void Settle(Peer* peer);
  Nanos HopedForUntil(const Peer& peer) const;
  void Drop(Peer* peer, Code why);
  void GiveUp(Peer* peer, Code why);

  void OnWelcome(Bytes header, const Prefix& prefix);
  void OnReply(Bytes header, const Prefix& prefix, Payload payload);
  void OnWorking(Bytes header, const Prefix& prefix);
  Slot* Named(Bytes header, const Prefix& prefix);
  static void SendDone(Completion* c, Status s);
  static void FetchDone(Completion* c, Status s);

  void Want(Nanos at);
  void Sweep();
  void Look(Slot* slot, Nanos now);
  void Look(Peer* peer, Nanos now);
  Nanos NextLook(const Slot* slot, Nanos now) const;

  Executor& executor_;
  Transport& transport_;
  Random& random_;
  const AddressBook& book_;
  Identity identity_;
  TagKey hello_key_;
  Timing timing_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<uint32_t> free_;
  Chain<Slot, ActiveTag> active_;  // every slot that is not free, oldest call first
  std::vector<std::unique_ptr<Peer>> peers_;
  size_t unsettled_ = 0;  // peers that the sweep must look at
  size_t unsent_ = 0;     // requests that are queued here or with the transport
  Generation generation_;
  bool shut_down_ = false;
  bool (*disowned_but_)(Method) = nullptr;
  TraceNotes trace_;
  Executor::TimerId sweep_;
  CallerStats stats_;
};

}  // namespace mayfly

#include "rpc/caller_inl.h"
