// Calls that go well, and calls that only end: replies, payloads, deadlines, order, limits.
#include "unit/rpc/rpc_world.h"

namespace mayfly {
namespace {

TEST(Call, GetsItsReply) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  EXPECT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  EXPECT_EQ(w.shards[0]->executed["a"], 1);
  EXPECT_EQ(lane.caller->stats().connects, 1u);
  EXPECT_EQ(lane.caller->in_flight(), 0u);
  EXPECT_EQ(w.shards[0]->responder->connections(), 1u);
}

TEST(Call, TellsTheCodeOfTheHandler) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Lookup(0, "nothing")), Code::kNoEntry);
}

TEST(Call, RaisesTheGenerationThatRepliesName) {
  World w;
  TestLane& lane = w.AddLane();
  w.shards[0]->responder->SetGeneration(Generation(5));
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  EXPECT_EQ(lane.caller->generation(), Generation(5));
  w.shards[0]->responder->SetGeneration(Generation(9));
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  EXPECT_EQ(lane.caller->generation(), Generation(9));
  lane.caller->RaiseGeneration(Generation(3));
  EXPECT_EQ(lane.caller->generation(), Generation(9));
}

TEST(Call, ToAShardThatIsNotThereIsInvalid) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(7)), Code::kInvalid);
}

// Every size around the threshold between eager and rendezvous, each way, with both answers of Send.
class PayloadSizes : public testing::TestWithParam<std::tuple<size_t, uint32_t>> {};

TEST_P(PayloadSizes, ArriveWhole) {
  SimNetwork::Options net;
  net.eager_bytes_max = 1000;
  net.pending_every = std::get<1>(GetParam());
  World w(1, 1, net);
  TestLane& lane = w.AddLane();
  const size_t bytes = std::get<0>(GetParam());
  for (uint64_t inode = 1; inode <= 3; ++inode) {
    EXPECT_EQ(w.Await(lane.Write(0, inode, bytes)), Code::kOk);
    EXPECT_EQ(w.Await(lane.Read(0, inode, static_cast<uint32_t>(bytes))), Code::kOk);
  }
  EXPECT_EQ(w.shards[0]->bad_payloads, 0u);
  EXPECT_EQ(w.shards[0]->executed["write 3"], 1);
}

INSTANTIATE_TEST_SUITE_P(, PayloadSizes,
                         testing::Combine(testing::Values(0, 1, 999, 1000, 1001, 100'000, kTransferBytesMax),
                                          testing::Values(0u, 1u, 2u)));

TEST(Call, WithALongerReplyThanItHasRoomForIsCorrupt) {
  World w;
  TestLane& lane = w.AddLane();
  auto read = [](TestLane& l, uint32_t bytes) -> Task<Status> {
    uint8_t small[10];
    size_t got = 99;
    ReadRequest request;
    request.inode = InodeId(1);
    request.bytes = bytes;
    ReadReply reply;
    CallOptions options;
    options.reply_payload = small;
    options.reply_bytes = &got;
    Status status = co_await l.caller->Call<Method::kRead>(ShardId(0), request, &reply, options);
    EXPECT_EQ(got, status.ok() ? bytes : 0u);
    co_return status;
  };
  EXPECT_EQ(w.Await(read(lane, 10)), Code::kOk);
  EXPECT_EQ(w.Await(read(lane, 11)), Code::kCorrupt);
  EXPECT_EQ(w.Await(read(lane, 100'000)), Code::kCorrupt);  // a rendezvous that is not fetched
  w.RunFor(kSecond);
  EXPECT_EQ(w.shards[0]->transport->pending_sends(), 0u);
}

TEST(Call, ManyAtOnceAllEnd) {
  World w(4);
  TestLane& lane = w.AddLane();
  std::vector<Task<Status>> tasks;
  for (int i = 0; i < 400; ++i) tasks.push_back(lane.Unlink(i % 4, fmt::format("{}", i)));
  for (int i = 0; i < 40; ++i) tasks.push_back(lane.Read(i % 4, i, 20'000));
  for (auto& task : tasks) EXPECT_EQ(w.Await(task), Code::kOk);
  for (int i = 0; i < 400; ++i) EXPECT_EQ(w.shards[i % 4]->executed[fmt::format("{}", i)], 1);
}

// ---- deadlines ----------------------------------------------------------------------------------------------------

TEST(Deadline, WithoutAReplyIsTimedOutAndNoLaterThanASweep) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  for (Nanos in : {Nanos{1}, 3 * kMillisecond, 10 * kMillisecond, 123 * kMillisecond, 4 * kSecond}) {
    const Nanos deadline = w.clock.Now() + in;
    EXPECT_EQ(w.Await(lane.Unlink(0, "late", deadline)), Code::kTimedOut);
    EXPECT_GE(w.clock.Now(), deadline);
    EXPECT_LE(w.clock.Now(), deadline + Caller::kSweepEvery);
  }
  EXPECT_EQ(lane.caller->stats().timeouts, 5u);
}

TEST(Deadline, EachOfManyIsMet) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  std::vector<std::pair<Nanos, Task<Status>>> calls;
  for (int i = 0; i < 100; ++i) {  // in no order
    const Nanos deadline = w.clock.Now() + (1 + (i * 37) % 100) * 7 * kMillisecond;
    calls.emplace_back(deadline, lane.Ping(0, deadline));
  }
  size_t open = calls.size();
  while (open != 0) {
    w.RunFor(kMillisecond);
    open = 0;
    for (auto& [deadline, task] : calls) {
      if (!task.done()) ++open;
      EXPECT_EQ(task.done(), w.clock.Now() >= deadline + (task.done() ? 0 : Caller::kSweepEvery + kMillisecond));
    }
  }
}

TEST(Deadline, InThePastIsNotSent) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  const uint64_t sent = w.network.messages_sent();
  EXPECT_EQ(w.Await(lane.Unlink(0, "x", w.clock.Now())), Code::kTimedOut);
  EXPECT_EQ(w.network.messages_sent(), sent);
}

TEST(Deadline, NeverIsNotAProblem) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0, kNever)), Code::kOk);
}

TEST(Deadline, AnIdleLaneNeedsNoTimer) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.RunFor(30 * kSecond);
  EXPECT_EQ(lane.executor.next_timer(), kNever);
}

TEST(Deadline, ALongCallIsLookedAtSeldom) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  Task<Status> poll = lane.Ping(0, w.clock.Now() + 20 * kSecond);
  int wakes = 0;
  while (!poll.done() && wakes < 100) {
    w.clock.AdvanceTo(std::max(w.NextEvent(), w.clock.Now() + kMicrosecond));
    wakes += lane.executor.next_timer() <= w.clock.Now();
    while (w.Step()) {
    }
  }
  EXPECT_EQ(w.Await(poll), Code::kTimedOut);
  EXPECT_LE(wakes, 8);  // a sign of life every resend_after, and the deadline
}

// L1
TEST(LateReply, IsDroppedAndNotGivenToTheNextCallOfTheSlot) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  std::vector<uint8_t> late;
  {
    Tap tap(w, MessageKind::kReply, true);
    EXPECT_EQ(w.Await(lane.Unlink(0, "first", w.clock.Now() + kSecond)), Code::kTimedOut);
    late = tap.seen.at(0);
  }
  w.shards[0]->hold = true;
  Task<Status> second = lane.Unlink(0, "second");
  w.RunFor(kMillisecond);
  const uint64_t before = lane.caller->stats().late_replies;
  lane.caller->OnMessage(late, Payload());
  EXPECT_EQ(lane.caller->stats().late_replies, before + 1);
  w.RunFor(kMillisecond);
  EXPECT_FALSE(second.done());
  w.shards[0]->Release();
  EXPECT_EQ(w.Await(second), Code::kOk);
}

TEST(LateReply, OfARendezvousIsDroppedUnread) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.network.SetPolicy([](const SimNetwork::Passing& p) {
    SimNetwork::Fate fate;
    if (p.payload_bytes > 0) fate.delay = 2 * kSecond;
    return fate;
  });
  EXPECT_EQ(w.Await(lane.Read(0, 1, 50'000, w.clock.Now() + kSecond)), Code::kTimedOut);
  EXPECT_EQ(w.shards[0]->transport->pending_sends(), 1u);
  w.RunFor(5 * kSecond);
  EXPECT_EQ(w.shards[0]->transport->pending_sends(), 0u);  // told
  EXPECT_EQ(lane.caller->stats().late_replies, 1u);
}

// L2
TEST(Buffers, OfASendUnderWayStayUntilTheTransportLetsGo) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->paused = true;  // takes nothing
  const Nanos deadline = w.clock.Now() + kSecond;
  Task<Status> write = lane.Write(0, 1, 100'000, deadline);
  w.RunUntil([&] { return write.done(); }, 2 * kSecond);
  EXPECT_EQ(lane.transport->pending_sends(), 0u);  // the endpoint was closed for it
  EXPECT_EQ(w.Await(write), Code::kTimedOut);
  EXPECT_LE(w.clock.Now(), deadline + Caller::kSweepEvery + kMillisecond);
  w.shards[0]->paused = false;
  EXPECT_EQ(w.Await(lane.Write(0, 2, 100'000)), Code::kOk);
  EXPECT_EQ(w.shards[0]->executed["write 1"], 0);  // its bytes were never seen
}

TEST(Buffers, OfARendezvousReplyUnderWayAtTheDeadlineStay) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.RunFor(kMillisecond);
  ASSERT_EQ(w.shards[0]->transport->pending_sends(), 0u);
  // The fetch hangs: the link stands still once the reply has arrived (in the same step in which it was sent).
  const Nanos deadline = w.clock.Now() + kSecond;
  Task<Status> read = lane.Read(0, 1, 100'000, deadline);
  ASSERT_TRUE(w.RunUntil([&] { return w.shards[0]->transport->pending_sends() == 1; }));
  w.network.Hold(*lane.transport, *w.shards[0]->transport);
  w.RunFor(kSecond + Caller::kSweepEvery);
  EXPECT_FALSE(read.done());  // the grace
  w.RunFor(3 * kSecond);
  EXPECT_FALSE(read.done());                             // the transport has not let go yet
  EXPECT_EQ(w.shards[0]->responder->connections(), 0u);  // but was asked to: the endpoint is closed
  w.network.Mend(*lane.transport, *w.shards[0]->transport);
  EXPECT_EQ(w.Await(read), Code::kTimedOut);
}

TEST(Buffers, OfAnAnsweredCallWhosePayloadNobodyTakesAreBackAtItsDeadline) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  Task<Status> write = lane.Write(0, 1, 100'000, w.clock.Now() + kSecond);
  Request* request = NextOf(w);
  ASSERT_NE(request, nullptr);
  Empty empty;
  (void)request->Reply(Code::kOk, empty, {});  // but it does not finish, and so holds the payload
  w.RunFor(500 * kMillisecond);
  EXPECT_FALSE(write.done());
  EXPECT_EQ(w.Await(write, kSecond), Code::kOk);
  w.RunUntil([&] { return !w.shards[0]->transport->Progress(); });
  request->Finish();
}

TEST(Buffers, OfACallThatIsAwaitedOnlyAfterItsReplyCameAreWaitedForToo) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  auto both = [](World& world, TestLane& l, bool* let_go) -> Task<Status> {
    std::vector<uint8_t> payload = Pattern(1, 100'000);
    WriteRequest write;
    write.inode = InodeId(1);
    Empty write_reply, ping, ping_reply;
    CallOptions ping_options, write_options;
    ping_options.deadline = world.clock.Now() + 500 * kMillisecond;
    write_options.payload = payload;
    auto writing = l.caller->Call<Method::kWrite>(ShardId(0), write, &write_reply, write_options);
    auto pinging = l.caller->Call<Method::kPing>(ShardId(0), ping, &ping_reply, ping_options);
    Status pinged = co_await pinging;
    EXPECT_EQ(pinged.code(), Code::kTimedOut);
    Status status = co_await writing;
    EXPECT_TRUE(*let_go);
    co_return status;
  };
  bool let_go = false;
  Task<Status> task = both(w, lane, &let_go);
  Request* request = NextOf(w);
  ASSERT_NE(request, nullptr);
  Empty empty;
  (void)request->Reply(Code::kOk, empty, {});
  w.RunFor(kSecond);
  EXPECT_FALSE(task.done());
  w.RunUntil([&] { return !w.shards[0]->transport->Progress(); });
  request->Finish();
  let_go = true;
  EXPECT_EQ(w.Await(task), Code::kOk);
}

// ---- L4 -----------------------------------------------------------------------------------------------------------

TEST(InFlight, IsBoundedAndTheOthersWaitTheirTurn) {
  World w(2);
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  w.shards[0]->started = 0;
  std::vector<Task<Status>> tasks;
  for (uint32_t i = 0; i < 3 * Caller::kInFlightMax; ++i) tasks.push_back(lane.Unlink(0, fmt::format("{}", i)));
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shards[0]->started, Caller::kInFlightMax);
  EXPECT_EQ(w.Await(lane.Ping(1)), Code::kOk);  // another shard is not held up
  w.shards[0]->Release();
  for (auto& task : tasks) ASSERT_EQ(w.Await(task), Code::kOk);
  for (uint32_t i = 0; i < 3 * Caller::kInFlightMax; ++i) {
    EXPECT_EQ(w.shards[0]->executed[fmt::format("{}", i)], 1);
  }
}

TEST(InFlight, APlaceIsFreeAsSoonAsACallEndedAwaitedOrNot) {
  World w;
  TestLane& lane = w.AddLane();
  auto last_first = [](TestLane& l) -> Task<Status> {
    using Awaiter = Caller::Awaiter<Method::kPing>;
    std::vector<Awaiter> calls;
    Empty request, reply;
    CallOptions options;
    for (uint32_t i = 0; i < Caller::kInFlightMax + 10; ++i) {
      calls.push_back(l.caller->Call<Method::kPing>(ShardId(0), request, &reply, options));
    }
    Status status;
    while (!calls.empty()) {
      Awaiter& call = calls.back();
      Status one = co_await call;
      if (!one.ok()) status = one;
      calls.pop_back();
    }
    co_return status;
  };
  EXPECT_EQ(w.Await(last_first(lane), 2 * kSecond), Code::kOk);
}

TEST(InFlight, OneSlowRequestHoldsUpNoOther) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.shards[0]->hold = true;
  Task<Status> slow = lane.Unlink(0, "slow");
  w.RunFor(kMillisecond);
  w.shards[0]->hold = false;  // for those that come now
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(w.Await(lane.Unlink(0, "fast"), kMillisecond), Code::kOk);
  EXPECT_FALSE(slow.done());
  w.shards[0]->Release();
  EXPECT_EQ(w.Await(slow), Code::kOk);
  EXPECT_EQ(w.shards[0]->executed["slow"], 1);
  EXPECT_EQ(w.shards[0]->executed["fast"], 10'000);
}

// P3
TEST(Expired, RequestsAreDroppedBeforeTheyStart) {
  World w;
  TestLane& lane = w.AddLane();
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  TestShard& shard = *w.shards[0];
  Task<Status> unlink = lane.Unlink(0, "late", w.clock.Now() + kSecond);
  // The message arrives, the server has no time for it.
  shard.paused = true;
  w.RunUntil([&] { return shard.transport->Progress(); }, kMillisecond);
  EXPECT_FALSE(shard.responder->idle());
  EXPECT_EQ(w.Await(unlink), Code::kTimedOut);
  shard.paused = false;
  w.RunFor(kSecond);
  EXPECT_EQ(shard.executed["late"], 0);
  EXPECT_EQ(shard.responder->stats().expired, 1u);
}

}  // namespace
}  // namespace mayfly
