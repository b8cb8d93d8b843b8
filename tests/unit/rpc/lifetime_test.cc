// Ends: of processes, of lanes, of shards; in any state, with nothing left over (the sanitizers look on).
#include "rpc/history.h"
#include "rpc/places.h"
#include "unit/rpc/rpc_world.h"
#include "unit/wire/message_fill.h"

namespace mayfly {
namespace {

TEST(ProcessGone, IsToldOnceAfterItsLastConnection) {
  World w;
  Identity me = w.Someone();
  TestLane& first = w.AddLane(me);
  me.client = ClientId(me.client.value + 2);  // another lane of the same process
  TestLane& second = w.AddLane(me);
  EXPECT_EQ(w.Await(first.Ping(0)), Code::kOk);
  EXPECT_EQ(w.Await(second.Ping(0)), Code::kOk);
  EXPECT_EQ(w.shards[0]->responder->connections(), 2u);
  first.End();
  w.RunFor(20 * kSecond);
  EXPECT_TRUE(w.shards[0]->gone.empty());
  EXPECT_EQ(w.shards[0]->responder->connections(), 1u);
  second.End();
  w.RunFor(4 * kSecond);
  EXPECT_TRUE(w.shards[0]->gone.empty());
  w.RunFor(3 * kSecond);
  EXPECT_EQ(w.shards[0]->gone, std::vector<ClientId>{me.process});
  w.RunFor(60 * kSecond);
  EXPECT_EQ(w.shards[0]->gone.size(), 1u);
}

TEST(ProcessGone, IsToldOfAProcessThatWasKilled) {
  World w;
  Identity me = w.Someone();
  TestLane& lane = w.AddLane(me);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.network.Kill(*lane.transport);
  w.RunFor(7 * kSecond);
  EXPECT_EQ(w.shards[0]->gone, std::vector<ClientId>{me.process});
}

TEST(ProcessGone, IsToldSoonOfOneThatHasEndedButAfterWhatItAskedFor) {
  SimNetwork::Options net;
  net.host = 1;  // all of them
  World w(1, 1, net);
  Identity me = w.Someone();
  TestLane& lane = w.AddLane(me);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  Task<Status> last = lane.Unlink(0, "last");
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shards[0]->started, 2u);
  w.network.Kill(*lane.transport);
  w.RunFor(3 * kSecond);
  EXPECT_TRUE(w.shards[0]->gone.empty());
  w.shards[0]->Release();
  w.RunFor(200 * kMillisecond);
  EXPECT_EQ(w.shards[0]->executed["last"], 1);
  EXPECT_EQ(w.shards[0]->gone, std::vector<ClientId>{me.process});
  (void)w.Await(last, 60 * kSecond);
}

TEST(ProcessGone, IsNotToldOfOneThatComesBackInTime) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.network.Cut(*lane.transport, *w.shards[0]->transport);
  w.RunFor(4 * kSecond);
  w.network.Mend(*lane.transport, *w.shards[0]->transport);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.RunFor(60 * kSecond);
  EXPECT_TRUE(w.shards[0]->gone.empty());
}

// A process of this node may be too slow to connect again in time, and has its files open all the same.
TEST(ProcessGone, IsNotToldOfOneThatLives) {
  World w;
  bool lives = true;
  w.shards[0]->responder->SetLives([&](ClientId) { return lives; });
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.network.Kill(*lane.transport);
  w.RunFor(500 * kSecond);
  EXPECT_TRUE(w.shards[0]->gone.empty());
  lives = false;
  w.RunFor(2 * kSecond);
  EXPECT_EQ(w.shards[0]->gone.size(), 1u);
  // But not for ever: who has its memory may be a child that will never ask for anything.
  lives = true;
  TestLane& other = w.AddLane();
  EXPECT_EQ(w.Await(other.Ping(0)), Code::kOk);
  other.End();
  w.RunFor(700 * kSecond);
  EXPECT_EQ(w.shards[0]->gone.size(), 2u);
}

TEST(ProcessGone, OfManyIsToldInOneOrder) {
  std::vector<ClientId> orders[2];
  for (auto& order : orders) {
    World w;
    for (int i = 0; i < 50; ++i) EXPECT_EQ(w.Await(w.AddLane().Ping(0)), Code::kOk);
    for (auto& lane : w.lanes) lane->End();
    w.RunFor(10 * kSecond);
    order = w.shards[0]->gone;
    EXPECT_EQ(order.size(), 50u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  }
  EXPECT_EQ(orders[0], orders[1]);
}

TEST(Responder, ForgetsALaneLongGoneAndThenSleeps) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  lane.End();
  w.RunFor(599 * kSecond);
  EXPECT_NE(w.shards[0]->executor.next_timer(), kNever);
  w.RunFor(3 * kSecond);
  EXPECT_EQ(w.shards[0]->executor.next_timer(), kNever);
}

TEST(Responder, ClosesRefusedConnections) {
  World w;
  Responder::Options options = w.ShardOptions(0);
  options.uid = 1;
  w.StartShard(0, options);
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kDenied);
  w.RunFor(5 * kSecond);
  EXPECT_EQ(w.shards[0]->executor.next_timer(), kNever);  // nothing left to look at
}

// ---- the end of a lane
// ------------------------------------------------------------------------------------------------

TEST(Shutdown, EndsCallsInEveryState) {
  World w(4);
  TestLane& lane = w.AddLane();
  for (uint32_t shard = 0; shard < 3; ++shard) ASSERT_EQ(w.Await(lane.Ping(shard)), Code::kOk);
  w.RunFor(kMillisecond);
  std::vector<Task<Status>> tasks;
  w.shards[0]->hold = true;
  for (uint32_t i = 0; i < Caller::kInFlightMax + 5; ++i) tasks.push_back(lane.Ping(0));  // sent, and waiting
  tasks.push_back(lane.Read(1, 1, 100'000));
  while (w.shards[1]->transport->pending_sends() == 0) w.Step();  // fetching
  w.shards[2]->paused = true;
  tasks.push_back(lane.Write(2, 1, 100'000));  // sending
  w.shards[3]->paused = true;
  tasks.push_back(lane.Ping(3));  // greeting
  tasks.push_back(lane.Ping(9));  // invalid already
  EXPECT_GT(lane.caller->in_flight(), 0u);
  lane.caller->Shutdown();
  lane.caller->Shutdown();
  const Nanos now = w.clock.Now();
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Code code = w.Await(tasks[i]);
    EXPECT_EQ(code, i + 1 == tasks.size() ? Code::kInvalid : Code::kShutdown);
  }
  EXPECT_LE(w.clock.Now(), now + kMillisecond);
  EXPECT_EQ(lane.caller->in_flight(), 0u);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kShutdown);
  EXPECT_EQ(lane.executor.next_timer(), kNever);
  w.RunFor(10 * kSecond);
}

TEST(Disown, EndsWhatExecutesOnceThenAndLater) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  std::vector<Task<Status>> tasks;
  tasks.push_back(lane.Unlink(0, "before"));
  tasks.push_back(lane.Open(0, 1, "still"));
  tasks.push_back(lane.Lookup(0, "read"));
  w.RunFor(kMillisecond);
  lane.caller->Disown([](Method m) { return m == Method::kOpen; });
  EXPECT_EQ(w.Await(tasks[0]), Code::kIo);
  EXPECT_EQ(w.Await(lane.Unlink(0, "after")), Code::kIo);
  w.shards[0]->Release();
  EXPECT_EQ(w.Await(tasks[1]), Code::kOk);
  EXPECT_EQ(w.Await(tasks[2]), Code::kNoEntry);
  EXPECT_EQ(w.Await(lane.Open(0, 1, "again")), Code::kOk);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.RunFor(20 * kSecond);
  EXPECT_EQ(w.shards[0]->executed["after"], 0);
}

TEST(Shutdown, WithAHelloUnderWayLeavesItToTheTransport) {
  for (uint32_t pending_every : {0u, 1u}) {
    SimNetwork::Options net;
    net.pending_every = pending_every;
    World w(1, 1, net);
    TestLane& lane = w.AddLane();
    Task<Status> ping = lane.Ping(0);
    lane.caller->Shutdown();
    while (!ping.done()) lane.executor.RunOnce();
    EXPECT_EQ(ping.Take().code(), Code::kShutdown);
    lane.caller.reset();  // before the transport had a chance
    lane.transport->SetReceiver(nullptr);
    w.RunFor(kSecond);
  }
}

TEST(Shutdown, IgnoresWhatArrivesAfterwards) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  std::vector<uint8_t> reply;
  {
    Tap tap(w, MessageKind::kReply, false);
    ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
    reply = tap.seen.at(0);
  }
  lane.caller->Shutdown();
  lane.caller->OnMessage(reply, Payload());
  lane.caller->OnEndpointDown(EndpointId(1));
  EXPECT_FALSE(lane.caller->HandleEndpointDown(EndpointId()));
}

TEST(Shutdown, InEveryStepOfABusyLane) {
  for (int steps = 0; steps < 40; ++steps) {
    SimNetwork::Options net;
    net.eager_bytes_max = 100;
    World w(2, 1 + steps, net);
    TestLane& lane = w.AddLane();
    std::vector<Task<Status>> tasks;
    for (uint32_t i = 0; i < 8; ++i) {
      tasks.push_back(lane.Unlink(i % 2, fmt::format("{}", i)));
      tasks.push_back(lane.Write(i % 2, i, 50 + 20 * i));
      tasks.push_back(lane.Read(i % 2, i, 50 + 20 * i));
    }
    for (int i = 0; i < steps; ++i) {  // finer than a whole step
      if (i % 2 == 0) {
        lane.transport->Progress();
      } else {
        for (auto& shard : w.shards) shard->Step();
        lane.executor.RunOnce();
      }
    }
    lane.caller->Shutdown();
    for (auto& task : tasks) {
      const Code code = w.Await(task, kSecond);
      EXPECT_TRUE(code == Code::kOk || code == Code::kShutdown);
    }
    lane.End();
  }
}

// ---- the end of a shard
// -----------------------------------------------------------------------------------------------

TEST(Close, InEveryStepOfABusyShard) {
  for (int steps = 0; steps < 40; ++steps) {
    SimNetwork::Options net;
    net.eager_bytes_max = 100;
    World w(1, 1 + steps, net);
    TestLane& lane = w.AddLane();
    std::vector<Task<Status>> tasks;
    for (uint32_t i = 0; i < 8; ++i) {
      tasks.push_back(lane.Unlink(0, fmt::format("{}", i)));
      tasks.push_back(lane.Write(0, i, 50 + 20 * i));
      tasks.push_back(lane.Read(0, i, 50 + 20 * i));
    }
    for (int i = 0; i < steps; ++i) {
      if (i % 3 == 0) lane.Step();
      if (i % 3 == 1) w.shards[0]->transport->Progress();
      if (i % 3 == 2) w.shards[0]->Step();
    }
    w.shards[0]->responder->Close();
    w.shards[0]->responder->Close();
    EXPECT_EQ(w.shards[0]->responder->connections(), 0u);
    w.RunFor(100 * kMillisecond);
    EXPECT_EQ(w.shards[0]->gate.running(), 0u);
    w.shards[0].reset();  // with lanes that still talk to it
    for (auto& task : tasks) {
      const Code code = w.Await(task);
      EXPECT_TRUE(code == Code::kOk || code == Code::kUnavailable);
    }
    EXPECT_EQ(w.Await(lane.Ping(0)), Code::kUnavailable);
  }
}

TEST(Close, AnswersNothingAnyMore) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  Task<Status> unlink = lane.Unlink(0, "a");
  w.RunFor(kMillisecond);
  w.shards[0]->responder->Close();
  w.shards[0]->Release();
  EXPECT_EQ(w.Await(unlink), Code::kUnavailable);
  EXPECT_EQ(w.shards[0]->executed["a"], 1);  // it had begun
  EXPECT_EQ(w.shards[0]->responder->Next(), nullptr);
}

TEST(Close, WithARequestAndItsRepetitionUnderWay) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  Task<Status> write = lane.Write(0, 1, 100'000, w.clock.Now() + 2 * kSecond);
  w.RunFor(kMillisecond);
  w.network.Cut(*lane.transport, *w.shards[0]->transport);
  w.RunFor(kMillisecond);
  w.network.Mend(*lane.transport, *w.shards[0]->transport);
  w.RunFor(kSecond);
  ASSERT_EQ(w.shards[0]->responder->stats().repeated, 1u);
  w.shards[0]->responder->Close();
  w.shards[0]->Release();
  EXPECT_EQ(w.Await(write), Code::kUnavailable);
  EXPECT_EQ(w.shards[0]->executed["write 1"], 0);
}

TEST(Close, WithAWelcomeUnderWay) {
  SimNetwork::Options net;
  net.pending_every = 1;
  World w(1, 1, net);
  TestLane& lane = w.AddLane();
  Task<Status> ping = lane.Ping(0, w.clock.Now() + kSecond);
  w.shards[0]->transport->Progress();
  EXPECT_EQ(w.shards[0]->responder->connections(), 1u);
  w.shards[0]->responder.reset();
  w.shards[0]->responder =
      std::make_unique<Responder>(w.shards[0]->executor, *w.shards[0]->transport, w.random, w.ShardOptions(0), nullptr);
  w.shards[0]->transport->SetReceiver(w.shards[0]->responder.get());
  EXPECT_EQ(w.Await(ping), Code::kOk);
}

// ---- the parts
// --------------------------------------------------------------------------------------------------------

TEST(Places, LowestFirstAndAllOfThem) {
  Places places;
  for (uint32_t i = 0; i < Sequence::kPlacesMax; ++i) EXPECT_EQ(places.Take(), i);
  EXPECT_TRUE(places.full());
  for (uint32_t i : {700u, 63u, 64u, 1023u, 0u}) places.Give(i);
  EXPECT_EQ(places.taken(), Sequence::kPlacesMax - 5);
  for (uint32_t i : {0u, 63u, 64u, 700u, 1023u}) EXPECT_EQ(places.Take(), i);
  EXPECT_TRUE(places.full());
}

TEST(History, GrowsToThePlacesInUseAndKeepsItsAnswers) {
  History history;
  EXPECT_EQ(history.places(), 0u);
  std::vector<uint8_t> body(History::kBodyMax);
  for (uint32_t place = 0; place < Sequence::kPlacesMax; ++place) {
    const uint64_t sequence = Sequence::Make(place + 1, place);
    History::Begin(history.At(sequence), sequence, nullptr);
    body[0] = static_cast<uint8_t>(place);
    History::End(history.At(sequence), Code::kExists, body, body);
    EXPECT_LE(history.places(), std::bit_ceil(place + 1));
  }
  for (uint32_t place = 0; place < Sequence::kPlacesMax; ++place) {
    const History::Answer& answer = history.At(Sequence::Make(1, place));
    EXPECT_EQ(answer.sequence, Sequence::Make(place + 1, place));
    EXPECT_EQ(answer.code, Code::kExists);
    EXPECT_EQ(answer.body_view()[0], static_cast<uint8_t>(place));
    EXPECT_EQ(answer.payload_view().size(), History::kBodyMax);
  }
}

TEST(History, HasRoomForTheReplyOfEveryMethodThatExecutesOnce) {
  Filler filler(1, Filler::How::kLargest);
#define MAYFLY_EACH(name, number, request, reply_type, once, who) \
  if (once) {                                                     \
    reply_type reply;                                             \
    filler(reply);                                                \
    EXPECT_LE(Encoded(reply).size(), History::kBodyMax) << #name; \
  }
  MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
}

struct TagA;
struct TagB;
struct Item : ChainNode<TagA>, ChainNode<TagB> {};

TEST(Chain, KeepsOrderWhereverMembersLeave) {
  Chain<Item, TagA> a;
  Chain<Item, TagB> b;
  Item items[5];
  for (Item& item : items) {
    a.PushBack(&item);
    b.PushFront(&item);
  }
  a.Remove(&items[2]);
  a.Remove(&items[0]);
  a.Remove(&items[4]);
  EXPECT_EQ(a.first(), &items[1]);
  EXPECT_EQ(a.Next(&items[1]), &items[3]);
  EXPECT_EQ(a.last(), &items[3]);
  EXPECT_EQ(a.Prev(&items[3]), &items[1]);
  EXPECT_EQ(b.size(), 5u);
  for (int i = 4; i >= 0; --i) EXPECT_EQ(b.PopFront(), &items[i]);
  EXPECT_EQ(b.PopFront(), nullptr);
  EXPECT_TRUE(b.empty());
}

}  // namespace
}  // namespace mayfly
