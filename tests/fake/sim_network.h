// A network inside one process: transports that share a SimNetwork exchange messages through queues, and everything
// that happens to one happens inside its own Progress, in the order (due time, creation). A run is a function of the
// calls and of what the policy answers.
// It is stricter than the real one where a caller could go wrong unseen:
//   - every `pending_every`-th eager send says kPending, so both answers of Send are met;
//   - the header of a pending send must still be the same when its completion runs (N2, checked);
//   - a rendezvous is read from the sender's buffer when the receiver progresses after Fetch, not inside Fetch; one
//     that fails leaves rubbish in the first half of the destination, as a torn transfer may;
//   - closing an endpoint takes the peer's endpoint of the same pair down (the n-th connection one way is paired with
//     the n-th the other way, as UCX does over tcp);
//   - a payload that outlives its transport is a failed check.
// The network outlives its transports. One thread owns all of them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "os/clock.h"
#include "os/transport.h"

namespace mayfly {

class SimTransport;

class SimNetwork {
 public:
  struct Options {
    size_t eager_bytes_max = 8192;  // a larger payload travels by rendezvous
    uint32_t pending_every = 2;     // of the eager sends; 0: eager sends are always kDone
    Clock* clock = nullptr;         // without one nothing can be delayed
    Nanos detect_nanos = 0;         // until the peers of a killed transport learn of it
    uint64_t host = 0;              // of those that are created without one; 0: one of its own for each
  };
  // What becomes of one message. A dropped or duplicated message breaks what UCX promises (N1): it is for tests of the
  // layer above that want to be worse than UCX. Duplicates arrive eagerly, whatever their size.
  struct Fate {
    bool drop = false;
    bool duplicate = false;
    Nanos delay = 0;  // also gives another order
  };
  struct Passing {
    uint64_t from = 0;  // SimTransport::node()
    uint64_t to = 0;
    Bytes header;
    size_t payload_bytes = 0;
  };
  using Policy = std::function<Fate(const Passing&)>;

  SimNetwork();
  explicit SimNetwork(Options options) : options_(options) {}
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;
  ~SimNetwork();

  // On a host, which others may be on as well; 0: on one of its own.
  std::unique_ptr<SimTransport> Create(uint64_t host = 0);

  // Asked once a message, in the order of the sends; empty: every message arrives at once.
  void SetPolicy(Policy policy) { policy_ = std::move(policy); }
  void set_eager_bytes_max(size_t bytes) { options_.eager_bytes_max = bytes; }

  // The process of `victim` is gone, without a goodbye. Messages it had sent eagerly may still arrive; nothing else
  // does. Its peers' endpoints go down, their pending sends to it and fetches from it complete with kUnavailable.
  // The object stays usable for winding up: its own endpoints are down too, and everything pending completes.
  // `heard_first`: what it had sent eagerly arrives before its peers learn of it, as between processes of one node.
  void Kill(SimTransport& victim, bool heard_first = false);
  // The same, of a process that never runs again, wherever it stood: nothing of it completes. The object stays as it
  // is, for good: its destructor must not run.
  void Bury(SimTransport& victim);
  // No byte passes between the two: endpoints go down on both sides, new ones go down at once, until Mend.
  void Cut(SimTransport& a, SimTransport& b);
  // Messages between the two wait, and nobody is told, until Mend.
  void Hold(SimTransport& a, SimTransport& b);
  void Mend(SimTransport& a, SimTransport& b);
  // The same between all transports of two hosts, also those that come later.
  void CutHosts(uint64_t a, uint64_t b);
  void HoldHosts(uint64_t a, uint64_t b);
  void MendHosts(uint64_t a, uint64_t b);

  // When the next thing is due on any transport (now or earlier: progress will do something); kNever if nothing is.
  Nanos next_event() const;
  uint64_t messages_sent() const { return messages_sent_; }
  // Of all that was sent until now, with its moments: two runs that are the same have the same.
  uint64_t trace() const { return trace_; }

 private:
  friend class SimTransport;
  enum class Link : uint8_t { kCut, kHeld };
  using Pair = std::pair<uint64_t, uint64_t>;
  static Pair PairOf(uint64_t a, uint64_t b) { return a < b ? Pair{a, b} : Pair{b, a}; }

  Nanos Now() const { return options_.clock == nullptr ? 0 : options_.clock->Now(); }
  SimTransport* Find(uint64_t node) const;
  bool Is(uint64_t a, uint64_t b, Link link) const;
  void Break(SimTransport& a, SimTransport& b);
  // The living of two hosts, pair by pair, in an order of their own.
  std::vector<std::pair<SimTransport*, SimTransport*>> PairsOf(uint64_t a, uint64_t b) const;

  Options options_;
  Policy policy_;
  std::map<uint64_t, SimTransport*> nodes_;  // the living
  std::map<Pair, Link> links_;               // those that are not as they should be
  std::map<Pair, Link> host_links_;          // likewise
  size_t transports_ = 0;                    // dead or alive
  uint64_t last_node_ = 0;
  uint64_t sequence_ = 0;
  uint64_t messages_sent_ = 0;
  uint64_t trace_ = 0;
};

class SimTransport final : public Transport, private Payload::Source {
 public:
  // Says goodbye (the peers' endpoints go down), completes what is pending with kUnavailable, delivers nothing more.
  ~SimTransport() override;

  void SetReceiver(Receiver* receiver) override { receiver_ = receiver; }
  Bytes address() const override { return {address_, sizeof address_}; }
  Result<EndpointId> Connect(Bytes address) override;
  // Of a process of this host, as the real one.
  bool HasEnded(EndpointId endpoint) const override;
  void Close(EndpointId endpoint) override;
  Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) override;
  bool Progress() override;
  void Register(MutableBytes) override {}
  std::string Describe() const override { return "simulated"; }

  // Called before and after each send and each thing that happens, where a process may be killed inside a turn.
  void SetOnMoment(std::function<void()> fn) { on_moment_ = std::move(fn); }
  uint64_t node() const { return node_; }
  bool killed() const { return killed_; }
  Nanos next_event() const { return events_.empty() ? kNever : events_.begin()->first.first; }
  size_t pending_sends() const { return outgoing_.size(); }

 private:
  friend class SimNetwork;
  struct Endpoint {
    uint64_t peer = 0;           // node
    uint64_t peer_endpoint = 0;  // the other half of the pair, 0 while there is none
    bool down = false;
    bool peer_ended = false;  // as is seen on its host
  };
  // A send whose bytes are still the transport's.
  struct Outgoing {
    Completion* done = nullptr;
    uint64_t endpoint = 0;
    Bytes header, payload;
    uint64_t header_sum = 0;
    bool rendezvous = false;
    bool failed = false;
  };
  struct Message {
    uint64_t from = 0;      // node
    uint64_t outgoing = 0;  // of the sender's, for a rendezvous
    size_t bytes = 0;
    bool rendezvous = false;
    enum class Fetched : uint8_t { kNo, kRunning, kYes } fetched = Fetched::kNo;
    std::vector<uint8_t> header, eager;
  };
  struct Event {
    enum class Kind : uint8_t { kMessage, kComplete, kDown, kFetched };
    Kind kind = Kind::kComplete;
    uint64_t id = 0;                   // kComplete: outgoing, kDown: endpoint
    std::unique_ptr<Message> message;  // kMessage
    Message* fetched = nullptr;        // kFetched, with the two below
    MutableBytes to;
    Completion* done = nullptr;
  };
  using Key = std::pair<Nanos, uint64_t>;

  SimTransport(SimNetwork& network, uint64_t node, uint64_t host);
  void Fetch(void* token, MutableBytes to, Completion* done) override;
  void Drop(void* token) override;

  void Moment() {
    if (on_moment_) on_moment_();
  }
  Sent SendNow(EndpointId to, Bytes header, Bytes payload, Completion* done);
  void Post(Nanos due, Event event);
  void PostDown(uint64_t endpoint, Nanos due);
  void HandleNext();
  void Handle(Event& event);
  void HandleComplete(uint64_t outgoing);
  void HandleDown(uint64_t endpoint);
  void HandleFetched(const Event& event);
  void Deliver(std::unique_ptr<Message>& message);
  void Transmit(uint64_t peer, Bytes header, Bytes payload, bool rendezvous, uint64_t outgoing);
  // Ends what `endpoint` has pending, in the next Progress.
  void FailOutgoing(uint64_t endpoint);
  void FailEndpointsTo(uint64_t node, Nanos due);
  // Forgets the messages from `node` (0: from all) that did not arrive yet.
  void Purge(uint64_t node);
  void ReleaseHeld(uint64_t node);
  void Leave(Nanos notice, bool heard_first = false);
  Nanos LastFrom(uint64_t node) const;  // when the last message from there is due

  SimNetwork& network_;
  const uint64_t node_;
  const uint64_t host_;
  uint8_t address_[16];
  Receiver* receiver_ = nullptr;
  std::function<void()> on_moment_;
  bool killed_ = false;
  bool in_callback_ = false;
  uint64_t last_endpoint_ = 0;
  uint64_t last_outgoing_ = 0;
  uint32_t eager_sends_ = 0;
  std::map<uint64_t, Endpoint> endpoints_;
  std::map<uint64_t, Outgoing> outgoing_;
  std::map<Key, Event> events_;
  std::deque<Event> handling_;
  std::map<uint64_t, std::vector<Event>> held_;  // by the sender's node
  std::set<Message*> payloads_;                  // in the receiver's hands
};

}  // namespace mayfly
