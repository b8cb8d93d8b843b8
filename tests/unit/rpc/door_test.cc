// What the door to the network may do besides: fail a send without an endpoint going down, say so late, run
// completions inside Close.
#include "unit/rpc/rpc_world.h"

namespace mayfly {
namespace {

// A SimTransport, except for the sends that `fails` names: these end with kUnavailable and nothing else, in Progress,
// or inside Close of their endpoint, or when `withhold` is lifted.
class Flaky final : public Transport {
 public:
  explicit Flaky(SimNetwork& network) : inner(network.Create()) {}
  void SetReceiver(Receiver* receiver) override { inner->SetReceiver(receiver); }
  Bytes address() const override { return long_address.empty() ? inner->address() : Bytes(long_address); }
  Result<EndpointId> Connect(Bytes to) override { return inner->Connect(to); }
  bool HasEnded(EndpointId endpoint) const override { return inner->HasEnded(endpoint); }
  void Close(EndpointId endpoint) override {
    inner->Close(endpoint);
    if (!withhold) Run(endpoint);
  }
  Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) override {
    if (!fails || !fails(PrefixOf(header).kind)) return inner->Send(to, header, payload, done);
    failing.emplace_back(to, done);
    return Sent::kPending;
  }
  bool Progress() override {
    bool worked = inner->Progress();
    if (!withhold && !only_in_close) worked |= Run(EndpointId());
    return worked;
  }
  void Register(MutableBytes) override {}
  std::string Describe() const override { return "flaky"; }
  bool Run(EndpointId only) {
    bool worked = false;
    for (auto [endpoint, done] : std::exchange(failing, {})) {
      if (only.value != 0 && endpoint != only) {
        failing.emplace_back(endpoint, done);
        continue;
      }
      done->fn(done, Code::kUnavailable);
      worked = true;
    }
    return worked;
  }

  std::unique_ptr<SimTransport> inner;
  std::vector<uint8_t> long_address;
  std::function<bool(MessageKind)> fails;
  bool withhold = false;
  bool only_in_close = false;
  std::vector<std::pair<EndpointId, Completion*>> failing;
};

// A lane on a Flaky, beside the world's shards.
struct FlakyWorld : World {
  FlakyWorld() : flaky(network), executor(clock) {
    caller = std::make_unique<Caller>(executor, flaky, random, book, Someone(), Caller::Timing());
    flaky.SetReceiver(caller.get());
  }
  ~FlakyWorld() {
    flaky.withhold = flaky.only_in_close = false;
    caller->Shutdown();
    while (caller->in_flight() != 0 && (flaky.Progress() || executor.RunOnce())) {
    }
    caller.reset();
    flaky.SetReceiver(nullptr);
    flaky.Progress();
  }
  Task<Status> Unlink(std::string name, Nanos deadline = 0) {
    NameRequest request;
    request.name = name;
    Empty reply;
    CallOptions options;
    options.deadline = deadline;
    co_return co_await caller->Call<Method::kUnlink>(ShardId(0), request, &reply, options);
  }
  Code AwaitFlaky(Task<Status>& task, Nanos most) {
    const Nanos end = clock.Now() + most;
    while (!task.done() && clock.Now() < end) {
      while (Step() | flaky.Progress() | executor.RunOnce()) {
      }
      clock.AdvanceTo(std::max(clock.Now() + kMicrosecond, std::min(NextEvent(), executor.next_timer())));
    }
    EXPECT_TRUE(task.done());
    return task.Take().code();
  }
  void RunFlaky(Nanos time) {
    const Nanos end = clock.Now() + time;
    while (clock.Now() < end) {
      while (Step() | flaky.Progress() | executor.RunOnce()) {
      }
      clock.AdvanceTo(
          std::min(end, std::max(clock.Now() + kMicrosecond, std::min(NextEvent(), executor.next_timer()))));
    }
  }
  Flaky flaky;
  Executor executor;
  std::unique_ptr<Caller> caller;
};

TEST(Door, ARequestWhoseSendFailsIsSentOnANewConnection) {
  FlakyWorld w;
  int failed = 0;
  w.flaky.fails = [&](MessageKind kind) { return kind == MessageKind::kRequest && failed++ == 0; };
  Task<Status> unlink = w.Unlink("a");
  EXPECT_EQ(w.AwaitFlaky(unlink, kSecond), Code::kOk);
  EXPECT_EQ(w.caller->stats().connects, 2u);
  EXPECT_EQ(w.shards[0]->executed["a"], 1);
}

TEST(Door, AHelloWhoseSendFailsIsSentAgainSoon) {
  FlakyWorld w;
  int failed = 0;
  w.flaky.fails = [&](MessageKind kind) { return kind == MessageKind::kHello && failed++ == 0; };
  Task<Status> unlink = w.Unlink("a");
  EXPECT_EQ(w.AwaitFlaky(unlink, kSecond), Code::kOk);  // not when its welcome is overdue
  EXPECT_EQ(w.caller->stats().connects, 2u);
}

TEST(Door, AHelloThatFailsWhenTheNextIsUnderWayDoesNotDisturbIt) {
  FlakyWorld w;
  int hellos = 0;
  w.flaky.fails = [&](MessageKind kind) { return kind == MessageKind::kHello && ++hellos == 1; };
  w.flaky.withhold = true;
  Task<Status> unlink = w.Unlink("a");
  w.shards[0]->paused = true;
  w.RunFlaky(2100 * kMillisecond);  // the second hello is sent
  EXPECT_EQ(hellos, 2);
  w.flaky.withhold = false;
  w.RunFlaky(500 * kMillisecond);
  EXPECT_EQ(hellos, 2);
  w.shards[0]->paused = false;
  EXPECT_EQ(w.AwaitFlaky(unlink, kMillisecond), Code::kOk);
}

TEST(Door, CompletionsInsideCloseFindAllInOrder) {
  for (int round = 0; round < 3; ++round) {
    FlakyWorld w;
    bool bad = true;
    w.flaky.fails = [&](MessageKind kind) { return bad && (round != 1 || kind == MessageKind::kRequest); };
    w.flaky.only_in_close = true;
    std::vector<Task<Status>> tasks;
    for (int i = 0; i < 20; ++i) tasks.push_back(w.Unlink(fmt::format("{}", i)));
    w.RunFlaky(kMillisecond);
    if (round == 0) w.RunFlaky(5 * kSecond);  // drops by time
    if (round == 1) w.network.Cut(*w.flaky.inner, *w.shards[0]->transport);
    if (round == 2) w.caller->Shutdown();
    w.RunFlaky(kMillisecond);
    bad = false;
    w.network.Mend(*w.flaky.inner, *w.shards[0]->transport);
    for (auto& task : tasks) {
      const Code code = w.AwaitFlaky(task, 10 * kSecond);
      EXPECT_EQ(code, round == 0 ? Code::kUnavailable : round == 1 ? Code::kOk : Code::kShutdown);
    }
  }
}

TEST(Door, AnAnswerWhoseSendFailsIsTheEndOfItsConnection) {
  World w;
  Executor executor(w.clock);
  Flaky flaky(w.network);
  Responder responder(executor, flaky, w.random, w.ShardOptions(0), nullptr);
  flaky.SetReceiver(&responder);
  w.book.addresses[0] = Copy(flaky.address());
  flaky.fails = [failed = 0](MessageKind kind) mutable { return kind == MessageKind::kReply && failed++ == 0; };
  TestLane& lane = w.AddLane();
  Task<Status> unlink = lane.Unlink(0, "a");
  auto serve = [](Request* request) -> Task<Status> {
    Empty empty;
    co_await request->Reply(Code::kExists, empty, {});
    request->Finish();
    co_return Code::kOk;
  };
  Gate gate(executor);
  int served = 0;
  w.RunUntil(
      [&] {
        flaky.Progress();
        while (Request* request = responder.Next()) {
          ++served;
          gate.Spawn(serve(request), "a request");
        }
        executor.RunOnce();
        return unlink.done();
      },
      kSecond);
  EXPECT_EQ(w.Await(unlink), Code::kExists);  // on a new connection, from memory
  EXPECT_EQ(served, 1);
  EXPECT_EQ(lane.caller->stats().connects, 2u);
  lane.End();
  responder.Close();
  while (flaky.Progress() | executor.RunOnce()) {
  }
  flaky.SetReceiver(nullptr);
}

TEST(Door, AnAddressThatNoHelloCarriesIsUnavailableAndSaysWhy) {
  FlakyWorld w;
  w.flaky.long_address.resize(Hello::kAddressBytesMax + 1);
  Task<Status> unlink = w.Unlink("a");
  EXPECT_EQ(w.AwaitFlaky(unlink, 4 * kSecond), Code::kUnavailable);
  EXPECT_EQ(w.shards[0]->responder->stats().hellos, 0u);
}

// A payload that can be pulled whatever became of its sender, as by process_vm_readv.
struct Pulled final : Payload::Source {
  void Fetch(void*, MutableBytes to, Completion* done) override {
    into = to;
    waiting = done;
  }
  void Drop(void*) override { ++dropped; }
  void Complete() {
    const std::vector<uint8_t> bytes = Pattern(5, into.size());
    std::copy(bytes.begin(), bytes.end(), into.begin());
    Completion* done = std::exchange(waiting, nullptr);
    done->fn(done, Code::kOk);
  }
  MutableBytes into;
  Completion* waiting = nullptr;
  int dropped = 0;
};

// P6: a caller that has given up may use its buffer again.
TEST(Door, BytesThatWerePulledAfterTheirConnectionEndedAreNobodys) {
  for (bool ended : {false, true}) {
    SCOPED_TRACE(ended);
    World w;
    TestLane& lane = w.AddLane();
    EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
    TestShard& shard = *w.shards[0];
    Tap tap(w, MessageKind::kRequest, true);
    Task<Status> write = lane.Write(0, 5, 100'000);
    ASSERT_TRUE(w.RunUntil([&] { return !tap.seen.empty(); }));
    Pulled source;
    shard.responder->OnMessage(tap.seen[0], Payload(&source, nullptr, 100'000, {}));
    ASSERT_TRUE(w.RunUntil([&] { return source.waiting != nullptr; }));
    if (ended) {
      lane.End();
      ASSERT_TRUE(w.RunUntil([&] { return shard.responder->connections() == 0; }));
    }
    source.Complete();
    EXPECT_EQ(w.Await(write), ended ? Code::kShutdown : Code::kOk);
    w.RunFor(kMillisecond);
    EXPECT_EQ(shard.executed["write 5"], ended ? 0 : 1);
    EXPECT_EQ(shard.failed_fetches, ended ? 1u : 0u);
    EXPECT_EQ(source.dropped, 1);
  }
}

}  // namespace
}  // namespace mayfly
