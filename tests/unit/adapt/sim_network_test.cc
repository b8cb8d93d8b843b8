// What only the simulated network can do: death, cuts, holding, and a policy for each message.
#include "fake/sim_network.h"

#include "fake/sim_arena.h"
#include "fake/sim_clock.h"
#include "fake/sim_offload.h"
#include "fake/sim_random.h"
#include "unit/adapt/transport_testing.h"

namespace mayfly {
namespace {

struct SimNetworkTest : testing::Test {
  struct Node {
    Keeper keeper;
    std::unique_ptr<SimTransport> transport;
  };
  explicit SimNetworkTest(SimNetwork::Options options = {}) : network(With(options, &clock)) {
    for (Node* node : {&a, &b}) {
      node->transport = network.Create();
      node->transport->SetReceiver(&node->keeper);
    }
    a_to_b = *a.transport->Connect(b.transport->address());
    b_to_a = *b.transport->Connect(a.transport->address());
  }
  ~SimNetworkTest() override {
    a.keeper.messages.clear();
    b.keeper.messages.clear();
  }
  static SimNetwork::Options With(SimNetwork::Options options, Clock* clock) {
    options.clock = clock;
    return options;
  }
  // Until nothing is due now.
  void Settle() {
    bool worked = true;
    while (worked) {
      worked = false;
      for (Node* node : {&a, &b}) {
        if (node->transport) worked |= node->transport->Progress();
      }
    }
  }

  SimClock clock;
  SimNetwork network;
  Node a, b;
  EndpointId a_to_b, b_to_a;
};

TEST_F(SimNetworkTest, HalfOfTheEagerSendsStayPending) {
  Sending first("1", {}), second("2", {});
  first.Start(*a.transport, a_to_b);
  second.Start(*a.transport, a_to_b);
  EXPECT_NE(first.pending, second.pending);
  Settle();
  EXPECT_TRUE(first.finished() && second.finished());
}

TEST_F(SimNetworkTest, AKilledPeerTakesItsEndpointsAndFetchesDown) {
  Sending unfetched("x", Pattern(100'000, 1)), theirs("y", Pattern(100'000, 2));
  theirs.Start(*b.transport, b_to_a);
  Settle();
  std::vector<uint8_t> data(100'000);
  Waiting fetched;
  a.keeper.messages.front().payload.Fetch(data, &fetched);
  unfetched.Start(*a.transport, a_to_b);
  network.Kill(*b.transport);
  Settle();
  EXPECT_TRUE(a.keeper.IsDown(a_to_b));
  EXPECT_EQ(unfetched.code(), Code::kUnavailable);
  EXPECT_EQ(fetched.status.code(), Code::kUnavailable);
  EXPECT_EQ(data[0], 0xee) << "a torn transfer leaves rubbish";
  EXPECT_EQ(theirs.code(), Code::kUnavailable) << "the dead one winds up too";
  Result<EndpointId> again = a.transport->Connect(b.transport->address());
  ASSERT_TRUE(again.ok());
  Settle();
  EXPECT_TRUE(a.keeper.IsDown(*again));
}

struct SimSlowDetectionTest : SimNetworkTest {
  SimSlowDetectionTest() : SimNetworkTest({.detect_nanos = 2 * kSecond}) {}
};

TEST_F(SimSlowDetectionTest, SendsToADeadPeerAreAcceptedUntilItIsNoticed) {
  network.Kill(*b.transport);
  Sending small("x", {}), large("x", Pattern(100'000, 1));
  small.Start(*a.transport, a_to_b);
  large.Start(*a.transport, a_to_b);
  Settle();
  EXPECT_EQ(small.code(), Code::kOk);
  EXPECT_FALSE(large.finished());
  EXPECT_EQ(network.next_event(), clock.Now() + 2 * kSecond);
  clock.AdvanceTo(network.next_event());
  Settle();
  EXPECT_EQ(large.code(), Code::kUnavailable);
  EXPECT_TRUE(a.keeper.IsDown(a_to_b));
}

TEST_F(SimNetworkTest, ACutLinkGoesDownOnBothSidesUntilItIsMended) {
  Sending lost("lost", Pattern(10, 1));
  lost.Start(*a.transport, a_to_b);
  network.Cut(*a.transport, *b.transport);
  Settle();
  EXPECT_TRUE(b.keeper.messages.empty());
  EXPECT_TRUE(a.keeper.IsDown(a_to_b) && b.keeper.IsDown(b_to_a));
  EndpointId early = *a.transport->Connect(b.transport->address());
  Settle();
  EXPECT_TRUE(a.keeper.IsDown(early));
  network.Mend(*a.transport, *b.transport);
  EndpointId late = *a.transport->Connect(b.transport->address());
  Sending found("found", Pattern(10, 1));
  found.Start(*a.transport, late);
  Settle();
  EXPECT_FALSE(a.keeper.IsDown(late));
  EXPECT_EQ(b.keeper.messages.size(), 1u);
}

TEST_F(SimNetworkTest, AHeldLinkDelaysMessagesAndFetchesAndTellsNobody) {
  Sending large("large", Pattern(100'000, 1)), small("small", {});
  large.Start(*a.transport, a_to_b);
  Settle();
  network.Hold(*a.transport, *b.transport);
  std::vector<uint8_t> data(100'000);
  Waiting fetched;
  b.keeper.messages.front().payload.Fetch(data, &fetched);
  small.Start(*a.transport, a_to_b);
  Settle();
  EXPECT_EQ(fetched.runs, 0);
  EXPECT_EQ(b.keeper.messages.size(), 1u);
  EXPECT_TRUE(a.keeper.down.empty() && b.keeper.down.empty());
  network.Mend(*a.transport, *b.transport);
  Settle();
  EXPECT_TRUE(fetched.status.ok());
  EXPECT_EQ(data, large.payload);
  EXPECT_EQ(b.keeper.messages.size(), 2u);
}

TEST_F(SimNetworkTest, ThePolicyDropsDelaysAndDuplicates) {
  network.SetPolicy([&](const SimNetwork::Passing& passing) {
    SimNetwork::Fate fate;
    const std::string_view header = AsText(passing.header);
    fate.drop = header == "drop";
    fate.duplicate = header == "twice";
    fate.delay = header == "late" ? kSecond : 0;
    return fate;
  });
  std::deque<Sending> sendings;
  for (const char* header : {"drop", "late", "twice", "plain"}) {
    for (size_t size : {size_t{10}, size_t{100'000}}) {
      sendings.emplace_back(header, Pattern(size, size));
      sendings.back().Start(*a.transport, a_to_b);
    }
  }
  Settle();
  std::vector<std::string> headers;
  for (const Arrived& arrived : b.keeper.messages) headers.push_back(arrived.header);
  EXPECT_EQ(headers, (std::vector<std::string>{"twice", "twice", "twice", "twice", "plain", "plain"}));
  EXPECT_TRUE(sendings[1].finished()) << "the sender of a dropped rendezvous is not stuck";
  clock.AdvanceTo(network.next_event());
  Settle();
  EXPECT_EQ(b.keeper.messages.size(), 8u);
  b.keeper.messages.clear();
  Settle();
}

TEST_F(SimNetworkTest, AReusedHeaderOfAPendingSendIsCaught) {
  EXPECT_DEATH(
      {
        Sending sending("header", Pattern(100'000, 1));
        sending.Start(*a.transport, a_to_b);
        sending.header = "HEADER";
        Settle();
        b.keeper.messages.clear();
        Settle();
      },
      "header_sum");
}

TEST(SimRandom, OneSeedGivesOneStream) {
  SimRandom a(7), b(7), c(8);
  const uint64_t first = a.U64();
  EXPECT_EQ(first, b.U64());
  EXPECT_NE(first, c.U64());
  for (int i = 0; i < 1000; ++i) EXPECT_LT(a.Below(3), 3u);
  EXPECT_FALSE(a.PerMille(0));
  EXPECT_TRUE(a.PerMille(1000));
}

TEST(SimOffload, RunsInsidePollInOrder) {
  SimOffload offload;
  std::string log;
  offload.Run(
      [&] {
        log += "w1";
        offload.Run([] {}, [&] { log += "d3"; });
      },
      [&] { log += "d1"; });
  offload.Run([&] { log += "w2"; }, [&] { log += "d2"; });
  EXPECT_EQ(log, "");
  EXPECT_TRUE(offload.Poll());
  EXPECT_EQ(log, "w1d1w2d2");
  EXPECT_TRUE(offload.Poll());
  EXPECT_EQ(log, "w1d1w2d2d3");
  EXPECT_FALSE(offload.Poll());
}

TEST(SimArena, TheLimitIsNoSpace) {
  SimArenaMemory arena(4 << 20);
  MutableBytes first = *arena.Map(2 << 20);
  EXPECT_EQ(arena.Map(4 << 20).code(), Code::kNoSpace);
  EXPECT_TRUE(arena.Map(2 << 20).ok());
  EXPECT_EQ(arena.Map(2 << 20).code(), Code::kNoSpace);
  arena.Unmap(first);
  EXPECT_TRUE(arena.Map(2 << 20).ok());
}

}  // namespace
}  // namespace mayfly
