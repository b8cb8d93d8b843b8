// Lanes and shards in one process: Callers and Responders over a SimNetwork, stepped by hand under one clock. The
// shards serve a few methods in a way that tests can count and hold up.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "fake/sim_clock.h"
#include "fake/sim_network.h"
#include "fake/sim_random.h"
#include "rpc/caller.h"
#include "rpc/responder.h"

namespace mayfly {

inline std::vector<uint8_t> Pattern(uint64_t seed, size_t bytes) {
  std::vector<uint8_t> out(bytes);
  SimRandom(seed).Fill(out);
  return out;
}

inline std::vector<uint8_t> Copy(Bytes b) { return {b.begin(), b.end()}; }

inline Prefix PrefixOf(Bytes header) {
  Prefix prefix;
  Decoder d(header);
  d.Get(prefix);
  return prefix;
}

inline Secret SecretOf(uint8_t fill) {
  Secret secret;
  secret.fill(fill);
  return secret;
}

// Where the shards are now; a shard that moved has another address.
struct TestBook : AddressBook {
  std::vector<std::vector<uint8_t>> addresses;
  explicit TestBook(size_t shards) : addresses(shards) {}
  uint32_t shard_count() const override { return static_cast<uint32_t>(addresses.size()); }
  Bytes AddressOf(ShardId shard) const override { return addresses[shard.value]; }
  std::string NameOf(ShardId shard) const override { return fmt::format("node{0}, member {0}", shard.value); }
};

// Serves: Ping; Write: fetches, checks the bytes against Pattern(inode), counts; Read: gives Pattern(inode); Unlink:
// counts; Open: counts and gives Pattern(parent) as payload, one byte a byte of the name; Lookup: counts, kNoEntry.
struct TestShard {
  TestShard(SimNetwork& network, Clock& clock, Random& random, Responder::Options options)
      : executor(clock), transport(network.Create()), held(executor), gate(executor) {
    responder = std::make_unique<Responder>(executor, *transport, random, options, nullptr);
    transport->SetReceiver(responder.get());
    responder->SetOnProcessGone([this](ClientId process, bool) { gone.push_back(process); });
  }
  ~TestShard() {
    hold = false;
    held.WakeAll();
    responder->Close();
    while (gate.running() != 0) {
      if (!transport->Progress() && !executor.RunOnce()) break;
    }
    responder.reset();
    transport->SetReceiver(nullptr);
  }
  bool Step() {
    bool worked = transport->Progress();
    executor.Look();
    while (Request* request = responder->Next()) {
      worked = true;
      ++started;
      gate.Spawn(Serve(this, request), "a request");
    }
    return executor.RunOnce() || worked;
  }
  static Task<Status> Serve(TestShard* self, Request* r) {
    if (self->ahead) r->AnswerAhead(Empty());
    if (self->hold) (void)co_await self->held.Wait(kNever);
    if (self->delay) {
      auto sleep = self->executor.Sleep(self->delay());
      co_await sleep;
    }
    Decoder d(r->body());
    switch (r->method()) {
      case Method::kWrite:
        co_await Write(self, r, d);
        break;
      case Method::kRead:
        co_await Read(self, r, d);
        break;
      case Method::kLookup: {
        LookupRequest q;
        q.Fields(d);
        ++self->executed[std::string(q.name)];
        LookupReply a;
        co_await r->Reply(Code::kNoEntry, a, {});
        break;
      }
      case Method::kUnlink: {
        NameRequest q;
        q.Fields(d);
        ++self->executed[std::string(q.name)];
        self->order.emplace_back(q.name);
        Empty empty;
        co_await r->Reply(d.Finish().code(), empty, {});
        break;
      }
      case Method::kOpen: {
        OpenRequest q;
        q.Fields(d);
        ++self->executed[std::string(q.name)];
        OpenReply a;
        a.attr.inode = q.parent;
        std::vector<uint8_t> target = Pattern(q.parent.value, q.name.size());
        co_await r->Reply(Code::kOk, a, target);
        break;
      }
      default: {
        Empty empty;
        co_await r->Reply(Code::kOk, empty, {});
      }
    }
    r->Finish();
    co_return Code::kOk;
  }
  static Task<void> Write(TestShard* self, Request* r, Decoder d) {
    WriteRequest q;
    q.Fields(d);
    std::vector<uint8_t> bytes(r->payload().size());
    Status status = co_await r->Fetch(bytes);
    if (!status.ok()) {
      ++self->failed_fetches;
      r->Abandon();
      co_return;
    }
    if (bytes != Pattern(q.inode.value, bytes.size())) ++self->bad_payloads;
    ++self->executed[fmt::format("write {}", q.inode.value)];
    Empty empty;
    co_await r->Reply(Code::kOk, empty, {});
  }
  static Task<void> Read(TestShard* self, Request* r, Decoder d) {
    ReadRequest q;
    q.Fields(d);
    if (!d.Finish().ok() || q.bytes > kTransferBytesMax) {
      ReadReply none;
      co_await r->Reply(Code::kInvalid, none, {});
      co_return;
    }
    ++self->executed[fmt::format("read {}", q.inode.value)];
    std::vector<uint8_t> bytes = Pattern(q.inode.value, q.bytes);
    ReadReply a;
    a.size = q.bytes;
    co_await r->Reply(Code::kOk, a, bytes);
  }
  void Release() {
    hold = false;
    held.WakeAll();
  }

  Executor executor;
  std::unique_ptr<SimTransport> transport;
  std::unique_ptr<Responder> responder;
  WaitQueue held;
  Gate gate;
  bool hold = false;
  bool ahead = false;            // what the answer will be is said before `hold`
  std::function<Nanos()> delay;  // of a request, before it is executed
  bool paused = false;
  uint64_t started = 0, bad_payloads = 0, failed_fetches = 0;
  std::map<std::string, int> executed;
  std::vector<std::string> order;  // of Unlink
  std::vector<ClientId> gone;
};

struct TestLane {
  TestLane(SimNetwork& network, Clock& clock, Random& random, const AddressBook& book, Identity identity,
           Caller::Timing timing = {})
      : executor(clock), transport(network.Create()) {
    caller = std::make_unique<Caller>(executor, *transport, random, book, std::move(identity), timing);
    transport->SetReceiver(caller.get());
  }
  ~TestLane() { End(); }
  void End() {
    if (caller == nullptr) return;
    caller->Shutdown();
    while (caller->in_flight() != 0) {
      if (!transport->Progress() && !executor.RunOnce()) break;
    }
    caller.reset();
    transport->SetReceiver(nullptr);
  }
  bool Step() {
    bool worked = transport->Progress();
    return executor.RunOnce() || worked;
  }

  // Coroutines: they own their arguments.
  Task<Status> Ping(uint32_t shard, Nanos deadline = 0) {
    Empty request, reply;
    CallOptions options;
    options.deadline = deadline;
    co_return co_await caller->Call<Method::kPing>(ShardId(shard), request, &reply, options);
  }
  Task<Status> Unlink(uint32_t shard, std::string name, Nanos deadline = 0) {
    NameRequest request;
    request.name = name;
    Empty reply;
    CallOptions options;
    options.deadline = deadline;
    co_return co_await caller->Call<Method::kUnlink>(ShardId(shard), request, &reply, options);
  }
  Task<Status> Lookup(uint32_t shard, std::string name, Nanos deadline = 0) {
    LookupRequest request;
    request.name = name;
    LookupReply reply;
    CallOptions options;
    options.deadline = deadline;
    co_return co_await caller->Call<Method::kLookup>(ShardId(shard), request, &reply, options);
  }
  Task<Status> Write(uint32_t shard, uint64_t inode, size_t bytes, Nanos deadline = 0) {
    std::vector<uint8_t> payload = Pattern(inode, bytes);
    WriteRequest request;
    request.inode = InodeId(inode);
    Empty reply;
    CallOptions options;
    options.deadline = deadline;
    options.payload = payload;
    co_return co_await caller->Call<Method::kWrite>(ShardId(shard), request, &reply, options);
  }
  // kIo if the bytes are not what they should be.
  Task<Status> Read(uint32_t shard, uint64_t inode, uint32_t bytes, Nanos deadline = 0) {
    std::vector<uint8_t> into(bytes);
    size_t got = 0;
    ReadRequest request;
    request.inode = InodeId(inode);
    request.bytes = bytes;
    ReadReply reply;
    CallOptions options;
    options.deadline = deadline;
    options.reply_payload = into;
    options.reply_bytes = &got;
    Status status = co_await caller->Call<Method::kRead>(ShardId(shard), request, &reply, options);
    if (status.ok() && (got != bytes || reply.size != bytes || into != Pattern(inode, bytes))) co_return Code::kIo;
    if (!status.ok() && got != 0) co_return Code::kFault;
    co_return status;
  }
  // A once-request whose reply has a payload.
  Task<Status> Open(uint32_t shard, uint64_t parent, std::string name, Nanos deadline = 0) {
    std::vector<uint8_t> into(4096);
    size_t got = 0;
    OpenRequest request;
    request.parent = InodeId(parent);
    request.name = name;
    OpenReply reply;
    CallOptions options;
    options.deadline = deadline;
    options.reply_payload = into;
    options.reply_bytes = &got;
    Status status = co_await caller->Call<Method::kOpen>(ShardId(shard), request, &reply, options);
    into.resize(got);
    if (status.ok() && (into != Pattern(parent, name.size()) || reply.attr.inode.value != parent)) co_return Code::kIo;
    co_return status;
  }

  Executor executor;
  std::unique_ptr<SimTransport> transport;
  std::unique_ptr<Caller> caller;
};

struct World {
  explicit World(size_t shard_count = 1, uint64_t seed = 1, SimNetwork::Options net = {})
      : random(seed), network(WithClock(net, &clock)), book(shard_count) {
    uuid.fill(7);
    for (size_t i = 0; i < shard_count; ++i) shards.push_back(nullptr);
    for (size_t i = 0; i < shard_count; ++i) StartShard(static_cast<uint32_t>(i));
  }
  static SimNetwork::Options WithClock(SimNetwork::Options net, Clock* clock) {
    net.clock = clock;
    return net;
  }
  Responder::Options ShardOptions(uint32_t shard) {
    Responder::Options options;
    options.secret = SecretOf(1);
    options.uuid = uuid;
    options.peer_proof = PeerProofKey(SecretOf(2));
    options.self = ShardId(shard);
    return options;
  }
  TestShard& StartShard(uint32_t shard) { return StartShard(shard, ShardOptions(shard)); }
  TestShard& StartShard(uint32_t shard, Responder::Options options) {
    shards[shard] = std::make_unique<TestShard>(network, clock, random, options);
    book.addresses[shard] = Copy(shards[shard]->transport->address());
    return *shards[shard];
  }
  Identity Someone() {
    Identity identity;
    identity.secret = SecretOf(1);
    identity.uuid = uuid;
    identity.client = ClientId(random.U64() | 1);
    identity.process = ClientId(random.U64() | 1);
    identity.cred.uid = 1000;
    identity.host = "node0";
    return identity;
  }
  TestLane& AddLane() { return AddLane(Someone()); }
  TestLane& AddLane(Identity identity, Caller::Timing timing = {}) {
    lanes.push_back(std::make_unique<TestLane>(network, clock, random, book, std::move(identity), timing));
    return *lanes.back();
  }
  // A dead shard is stepped only to let go of what it has.
  void KillShard(uint32_t shard) {
    network.Kill(*shards[shard]->transport);
    shards[shard].reset();
  }

  bool Step() {
    bool worked = false;
    for (auto& shard : shards) worked |= shard != nullptr && !shard->paused && shard->Step();
    for (auto& lane : lanes) worked |= lane != nullptr && lane->Step();
    for (SimTransport* other : others) worked |= other->Progress();
    return worked;
  }
  Nanos NextEvent() {
    Nanos next = network.next_event();
    for (auto& shard : shards) {
      if (shard != nullptr && !shard->paused) next = std::min(next, shard->executor.next_timer());
    }
    for (auto& lane : lanes) {
      if (lane != nullptr) next = std::min(next, lane->executor.next_timer());
    }
    return next;
  }
  // Runs until `done` or for `most` of simulated time; says which.
  bool RunUntil(const std::function<bool()>& done, Nanos most = 60 * kSecond) {
    const Nanos end = clock.Now() + most;
    for (;;) {
      for (int i = 0; i < 100'000; ++i) {
        if (done()) return true;
        if (!Step()) break;
      }
      if (done()) return true;
      if (clock.Now() >= end) return false;
      const Nanos next = NextEvent();
      clock.AdvanceTo(std::min(end, std::max(next, clock.Now() + kMicrosecond)));
    }
  }
  void RunFor(Nanos time) {
    RunUntil([] { return false; }, time);
  }
  // The status of a task that has to end.
  Code Await(Task<Status>& task, Nanos most = 60 * kSecond) {
    EXPECT_TRUE(RunUntil([&] { return task.done(); }, most));
    return task.Take().code();
  }
  Code Await(Task<Status>&& task, Nanos most = 60 * kSecond) { return Await(task, most); }

  SimClock clock;
  SimRandom random;
  SimNetwork network;
  SessionUuid uuid;
  TestBook book;
  std::vector<std::unique_ptr<TestShard>> shards;
  std::vector<std::unique_ptr<TestLane>> lanes;
  std::vector<SimTransport*> others;  // of parties that are neither
};

// A shard whose handlers the test is itself: the next request that arrives.
inline Request* NextOf(World& w, uint32_t index = 0) {
  TestShard& shard = *w.shards[index];
  shard.paused = true;
  Request* request = nullptr;
  w.RunUntil(
      [&] {
        shard.transport->Progress();
        shard.executor.Look();
        return (request = shard.responder->Next()) != nullptr;
      },
      kSecond);
  return request;
}

// Messages of one kind that pass, copied; optionally they go no further.
struct Tap {
  World& world;
  MessageKind kind;
  bool drop = false;
  std::vector<std::vector<uint8_t>> seen;
  Tap(World& w, MessageKind k, bool d) : world(w), kind(k), drop(d) {
    world.network.SetPolicy([this](const SimNetwork::Passing& passing) {
      SimNetwork::Fate fate;
      if (PrefixOf(passing.header).kind == kind) {
        seen.push_back(Copy(passing.header));
        fate.drop = drop;
      }
      return fate;
    });
  }
  ~Tap() { world.network.SetPolicy({}); }
};

}  // namespace mayfly
