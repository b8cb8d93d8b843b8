// Connections that break, answers that get lost, shards that die and come back: what is retried, and that a request
// that executes once does (P2, L3, L5).
#include "unit/rpc/rpc_world.h"

namespace mayfly {
namespace {

// A lane with a connection to shard 0.
struct Connected : World {
  explicit Connected(size_t shard_count = 1) : World(shard_count), lane(AddLane()), shard(*shards[0]) {
    EXPECT_EQ(Await(lane.Ping(0)), Code::kOk);
    RunFor(kMillisecond);
  }
  // Both sides lose the connection, the network is whole again at once.
  void Break() {
    network.Cut(*lane.transport, *shards[0]->transport);
    while (Step()) {
    }
    network.Mend(*lane.transport, *shards[0]->transport);
  }
  TestLane& lane;
  TestShard& shard;
};

TEST(Retry, AfterTheEndpointWentDownInTheMiddle) {
  Connected w;
  w.shard.hold = true;
  std::vector<Task<Status>> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back(w.lane.Unlink(0, fmt::format("{}", i)));
  tasks.push_back(w.lane.Read(0, 1, 50'000));
  tasks.push_back(w.lane.Write(0, 2, 50'000));
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shard.started, 1 + 12u);
  w.Break();
  w.RunFor(kSecond);  // the retries arrive while the first ones are still being worked on
  EXPECT_EQ(w.lane.caller->stats().connects, 2u);
  EXPECT_EQ(w.shard.responder->stats().repeated, 12u);
  EXPECT_EQ(w.shard.started, 1 + 12u);
  w.shard.Release();
  for (auto& task : tasks) EXPECT_EQ(w.Await(task, kSecond), Code::kOk);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(w.shard.executed[fmt::format("{}", i)], 1);
  EXPECT_EQ(w.shard.executed["write 2"], 1);
  EXPECT_EQ(w.shard.bad_payloads, 0u);
}

// Nobody has a call for the shard: it must not take the process for dead all the same.
TEST(Retry, OfAConnectionThatWasUsedNeedsNoCall) {
  Connected w;
  w.Break();
  EXPECT_EQ(w.shard.responder->connections(), 0u);
  w.RunFor(kSecond);
  EXPECT_EQ(w.lane.caller->stats().connects, 2u);
  EXPECT_EQ(w.shard.responder->connections(), 1u);
}

TEST(Retry, AfterTheAnswerWasSentButLostGetsThatAnswer) {
  Connected w;
  Task<Status> unlink = w.lane.Unlink(0, "a");
  Task<Status> open = w.lane.Open(0, 77, "forty characters of a symbolic link here");
  {
    Tap tap(w, MessageKind::kReply, true);
    w.RunFor(kMillisecond);
    EXPECT_EQ(tap.seen.size(), 2u);
  }
  EXPECT_EQ(w.shard.executed["a"], 1);
  w.Break();
  EXPECT_EQ(w.Await(unlink, kSecond), Code::kOk);
  EXPECT_EQ(w.Await(open, kSecond), Code::kOk);  // with its payload
  EXPECT_EQ(w.shard.executed["a"], 1);
  EXPECT_EQ(w.shard.executed["forty characters of a symbolic link here"], 1);
}

TEST(Retry, OnTheSameConnectionWhenAReplyIsMissing) {
  Connected w;
  Task<Status> unlink = w.lane.Unlink(0, "a");
  Task<Status> lookup = w.lane.Lookup(0, "b");
  {
    Tap tap(w, MessageKind::kReply, true);
    w.RunFor(kMillisecond);
  }
  EXPECT_EQ(w.Await(unlink, 6 * kSecond), Code::kOk);
  EXPECT_EQ(w.Await(lookup, 6 * kSecond), Code::kNoEntry);
  EXPECT_EQ(w.shard.executed["a"], 1);
  EXPECT_EQ(w.shard.executed["b"], 2);  // may be executed twice
  EXPECT_EQ(w.lane.caller->stats().connects, 1u);
}

TEST(Retry, OfARequestThatGotLostExecutesIt) {
  Connected w;
  std::vector<Task<Status>> unlink;
  {
    Tap tap(w, MessageKind::kRequest, true);
    unlink.push_back(w.lane.Unlink(0, "a"));
    w.RunFor(kMillisecond);
    EXPECT_EQ(tap.seen.size(), 1u);
  }
  EXPECT_EQ(w.Await(unlink[0], 6 * kSecond), Code::kOk);
  EXPECT_EQ(w.shard.executed["a"], 1);
}

TEST(Retry, WhileTheFirstIsWorkedOnIsNoReasonToReconnectNorToExecuteAgain) {
  Connected w;
  w.shard.hold = true;
  Task<Status> once = w.lane.Unlink(0, "once", w.clock.Now() + 60 * kSecond);
  Task<Status> any = w.lane.Lookup(0, "any");
  w.RunFor(24 * kSecond);
  EXPECT_EQ(w.lane.caller->stats().connects, 1u);
  EXPECT_GE(w.lane.caller->stats().retries, 8u);
  w.shard.Release();
  EXPECT_EQ(w.Await(once), Code::kOk);
  EXPECT_EQ(w.Await(any), Code::kNoEntry);
  EXPECT_EQ(w.shard.executed["once"], 1);
  EXPECT_EQ(w.shard.executed["any"], 1);
}

// L5: the server lost the connection, its goodbye did not arrive.
TEST(Retry, MakesANewConnectionWhenTheOldOneIsSilent) {
  Connected w;
  uint64_t lost = 0;
  w.network.SetPolicy([&lost](const SimNetwork::Passing& p) {
    SimNetwork::Fate fate;
    const Prefix prefix = PrefixOf(p.header);
    if (prefix.kind == MessageKind::kRequest && lost == 0) lost = prefix.connection;
    fate.drop = prefix.kind == MessageKind::kRequest && prefix.connection == lost;
    return fate;
  });
  Task<Status> unlink = w.lane.Unlink(0, "a");
  EXPECT_EQ(w.Await(unlink, 11 * kSecond), Code::kOk);
  EXPECT_EQ(w.lane.caller->stats().connects, 2u);
  EXPECT_EQ(w.shard.executed["a"], 1);
}

TEST(Retry, OfAWriteWhosePayloadWasLostExecutesTheRepetition) {
  Connected w;
  // The server has the first request, then the connection breaks: its fetch fails when it gets to it.
  w.shard.hold = true;
  Task<Status> write = w.lane.Write(0, 5, 100'000);
  w.RunFor(kMillisecond);
  w.Break();
  w.RunFor(200 * kMillisecond);  // the repetition has arrived and stands by
  EXPECT_EQ(w.shard.responder->stats().repeated, 1u);
  w.shard.Release();
  EXPECT_EQ(w.Await(write, 100 * kMillisecond), Code::kOk);  // at once, not when the next repetition is due
  EXPECT_EQ(w.shard.failed_fetches, 1u);
  EXPECT_EQ(w.shard.executed["write 5"], 1);
  EXPECT_EQ(w.shard.bad_payloads, 0u);
}

TEST(Retry, OfAReplyWhosePayloadWasLostGetsItAgain) {
  Connected w;
  Task<Status> read = w.lane.Read(0, 5, 100'000);
  while (w.shard.transport->pending_sends() == 0) w.Step();  // the reply is there, its payload not yet
  w.Break();
  EXPECT_EQ(w.Await(read, kSecond), Code::kOk);
  EXPECT_EQ(w.shard.executed["read 5"], 2);
}

TEST(Retry, OfARequestThatWasAbandonedIsKnownByItsOwnRepetitions) {
  Connected w;
  Task<Status> lookup = w.lane.Lookup(0, "a");
  Request* first = NextOf(w);
  ASSERT_NE(first, nullptr);
  w.RunUntil([&] { return w.shard.transport->Progress() && w.shard.responder->stats().repeated == 1; }, 6 * kSecond);
  EXPECT_EQ(w.shard.responder->Next(), nullptr);
  first->Abandon();
  first->Finish();
  Request* second = w.shard.responder->Next();  // at once
  ASSERT_NE(second, nullptr);
  w.RunUntil([&] { return w.shard.transport->Progress() && w.shard.responder->stats().repeated == 2; }, 6 * kSecond);
  EXPECT_EQ(w.shard.responder->stats().repeated, 2u);
  EXPECT_EQ(w.shard.responder->Next(), nullptr);
  LookupReply reply;
  (void)second->Reply(Code::kNotEmpty, reply, {});
  w.RunUntil([&] { return !w.shard.transport->Progress(); });
  second->Finish();
  EXPECT_EQ(w.Await(lookup, kMillisecond), Code::kNotEmpty);
}

// A checkpoint that is made while a request still waits, after its answer went to the journal.
TEST(Retry, AnAnswerThatIsKnownAheadIsInACheckpointToo) {
  Connected w;
  TlvWriter journal, before, during, after;
  w.shard.responder->SetRecorder(&journal);
  w.shard.hold = w.shard.ahead = true;
  Task<Status> unlink = w.lane.Unlink(0, "a", w.clock.Now() + 60 * kSecond);
  w.RunFor(kMillisecond);
  ASSERT_EQ(w.shard.responder->Lanes().size(), 1u);
  const ClientId lane = w.shard.responder->Lanes()[0];
  ASSERT_FALSE(journal.empty());
  const auto record = [&](TlvWriter* out) {
    size_t place = 0;
    EXPECT_FALSE(w.shard.responder->RecordAnswers(lane, &place, out, 64 << 10));
  };
  record(&during);
  const auto equal = [](const TlvWriter& a, const TlvWriter& b) {
    return std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end());
  };
  EXPECT_TRUE(equal(during, journal));
  w.shard.Release();
  EXPECT_EQ(w.Await(unlink), Code::kOk);
  record(&after);
  EXPECT_TRUE(equal(after, during));
  // One that is not known yet is not there.
  w.shard.ahead = false;
  w.shard.hold = true;
  Task<Status> other = w.lane.Unlink(0, "b", w.clock.Now() + 60 * kSecond);
  w.RunFor(kMillisecond);
  record(&before);
  size_t place = 0;  // what does not fit is left for the next step
  EXPECT_TRUE(w.shard.responder->RecordAnswers(lane, &place, &before, 0));
  EXPECT_EQ(place, 0u);
  EXPECT_TRUE(before.empty());
  w.shard.Release();
  EXPECT_EQ(w.Await(other), Code::kOk);
  w.shard.responder->SetRecorder(nullptr);
}

TEST(Retry, GoesBeforeWhatWaitedBehindIt) {
  Connected w;
  w.shard.paused = true;
  std::vector<Task<Status>> tasks;
  for (uint32_t i = 0; i < 2 * Caller::kInFlightMax; ++i) tasks.push_back(w.lane.Unlink(0, fmt::format("{}", i)));
  w.Break();
  w.shard.paused = false;
  for (auto& task : tasks) ASSERT_EQ(w.Await(task), Code::kOk);
  ASSERT_EQ(w.shard.order.size(), 2 * Caller::kInFlightMax);
  for (uint32_t i = 0; i < Caller::kInFlightMax; ++i) ASSERT_EQ(w.shard.order[i], fmt::format("{}", i));
}

// ---- shards that die ------------------------------------------------------------------------------------------------

TEST(Dead, ForGoodIsUnavailableInTimeAndThenAtOnce) {
  Connected w;
  const Nanos start = w.clock.Now();
  Task<Status> unlink = w.lane.Unlink(0, "a");
  w.KillShard(0);
  EXPECT_EQ(w.Await(unlink), Code::kUnavailable);
  EXPECT_GE(w.clock.Now(), start + 2 * kSecond);  // it was tried
  EXPECT_LE(w.clock.Now(), start + 3 * kSecond + 2 * Caller::kSweepEvery);
  EXPECT_TRUE(w.lane.caller->Unreachable(ShardId(0)));
  for (int i = 0; i < 20; ++i) {
    const Nanos before = w.clock.Now();
    EXPECT_EQ(w.Await(w.lane.Ping(0)), Code::kUnavailable);
    EXPECT_LE(w.clock.Now(), before + Caller::kProbeWait + Caller::kSweepEvery);
    w.RunFor(20 * kMillisecond);
  }
}

TEST(Dead, AndSilentIsUnavailableInTimeAndThenSoon) {
  Connected w;
  w.network.Hold(*w.lane.transport, *w.shard.transport);  // a host without power: nobody says anything
  const Nanos start = w.clock.Now();
  Task<Status> unlink = w.lane.Unlink(0, "a", start + 60 * kSecond);
  EXPECT_EQ(w.Await(unlink), Code::kUnavailable);
  EXPECT_LE(w.clock.Now(), start + (2 * 5 + 3) * kSecond + 3 * Caller::kSweepEvery);
  for (int i = 0; i < 20; ++i) {
    const Nanos before = w.clock.Now();
    EXPECT_EQ(w.Await(w.lane.Ping(0)), Code::kUnavailable);
    EXPECT_LE(w.clock.Now(), before + Caller::kProbeWait + Caller::kSweepEvery);
  }
  w.network.Mend(*w.lane.transport, *w.shard.transport);
  w.RunFor(3 * kSecond);
  EXPECT_EQ(w.Await(w.lane.Ping(0)), Code::kOk);
}

TEST(Dead, FromTheStartIsUnavailable) {
  World w;
  w.KillShard(0);
  TestLane& lane = w.AddLane();
  const Nanos start = w.clock.Now();
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kUnavailable);
  EXPECT_LE(w.clock.Now(), start + 3 * kSecond + 2 * Caller::kSweepEvery);
}

TEST(Dead, WithAnAddressThatIsNoneIsUnavailable) {
  World w;
  w.book.addresses[0] = {1, 2, 3};
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0), 4 * kSecond), Code::kUnavailable);
}

TEST(Dead, ADeadlineBeforeThatIsKept) {
  World w;
  w.KillShard(0);
  TestLane& lane = w.AddLane();
  const Nanos deadline = w.clock.Now() + kSecond;
  EXPECT_EQ(w.Await(lane.Ping(0, deadline)), Code::kUnavailable);
  EXPECT_LE(w.clock.Now(), deadline + Caller::kSweepEvery);
}

TEST(Dead, AndBackServesTheWaitingCalls) {
  Connected w;
  Task<Status> unlink = w.lane.Unlink(0, "a");
  w.KillShard(0);
  w.RunFor(kSecond);
  EXPECT_FALSE(unlink.done());
  w.StartShard(0);
  EXPECT_EQ(w.Await(unlink, kSecond), Code::kOk);
  EXPECT_FALSE(w.lane.caller->Unreachable(ShardId(0)));
}

TEST(Dead, AndBackAfterItWasGivenUpServesTheNextCall) {
  Connected w;
  w.KillShard(0);
  EXPECT_EQ(w.Await(w.lane.Ping(0)), Code::kUnavailable);
  w.RunFor(10 * kSecond);
  w.StartShard(0);
  EXPECT_EQ(w.Await(w.lane.Ping(0)), Code::kOk);
  EXPECT_FALSE(w.lane.caller->Unreachable(ShardId(0)));
}

TEST(Dead, LongAgoWithoutACallIsTriedAfresh) {
  Connected w;
  w.network.Cut(*w.lane.transport, *w.shard.transport);
  w.RunFor(60 * kSecond);  // nobody called: that nobody answered means nothing
  Task<Status> ping = w.lane.Ping(0);
  w.RunFor(kSecond);
  EXPECT_FALSE(ping.done());
  w.network.Mend(*w.lane.transport, *w.shard.transport);
  EXPECT_EQ(w.Await(ping, kSecond), Code::kOk);
}

// A connection that was used is made again for a while without a call. Then nobody tries, and what was found out is
// old.
TEST(Dead, IsNoShardThatNobodyTriedToReachJustNow) {
  Connected w;
  w.network.Cut(*w.lane.transport, *w.shard.transport);
  w.RunFor(2500 * kMillisecond);
  w.network.Mend(*w.lane.transport, *w.shard.transport);
  w.RunFor(600 * kMillisecond);
  w.network.SetPolicy([](const SimNetwork::Passing&) { return SimNetwork::Fate{.delay = kMillisecond}; });
  EXPECT_EQ(w.Await(w.lane.Ping(0), kSecond), Code::kOk);
}

// Its job was suspended, say, or its host busy: time that passed while it could not listen tells nothing of the shard.
TEST(Dead, IsNoShardWhoseCallerWasNotRunForSeconds) {
  World w;
  TestLane& lane = w.AddLane();
  Task<Status> ping = lane.Ping(0);
  lane.executor.RunOnce();  // it says hello
  w.clock.Advance(10 * kSecond);
  lane.executor.RunOnce();
  EXPECT_FALSE(ping.done());
  EXPECT_EQ(w.Await(ping, kSecond), Code::kOk);
}

TEST(Dead, IsFoundOutByCallsWithShortDeadlinesToo) {
  for (bool silent : {false, true}) {
    Connected w;
    if (silent) {
      w.network.Hold(*w.lane.transport, *w.shard.transport);
      w.lane.caller->OnEndpointDown(EndpointId(1));
    } else {
      w.KillShard(0);
    }
    const Nanos start = w.clock.Now();
    while (w.clock.Now() < start + 4 * kSecond) {
      EXPECT_EQ(w.Await(w.lane.Ping(0, w.clock.Now() + 300 * kMillisecond)), Code::kUnavailable);
      w.RunFor(200 * kMillisecond);
    }
    EXPECT_TRUE(w.lane.caller->Unreachable(ShardId(0)));
    const Nanos before = w.clock.Now();
    EXPECT_EQ(w.Await(w.lane.Ping(0)), Code::kUnavailable);
    EXPECT_LE(w.clock.Now(), before + Caller::kProbeWait + Caller::kSweepEvery);
  }
}

// L5: the network takes every message, and nobody answers. No call is long enough to be sent again.
TEST(Dead, AndSilentIsFoundOutByCallsWithShortDeadlinesToo) {
  Connected w;
  w.network.Hold(*w.lane.transport, *w.shard.transport);
  const Nanos start = w.clock.Now();
  while (!w.lane.caller->Unreachable(ShardId(0))) {
    ASSERT_LT(w.clock.Now(), start + (2 * 5 + 3 + 1) * kSecond);
    EXPECT_NE(w.Await(w.lane.Ping(0, w.clock.Now() + kSecond)), Code::kOk);
  }
  const Nanos before = w.clock.Now();
  EXPECT_EQ(w.Await(w.lane.Ping(0, before + kSecond)), Code::kUnavailable);
  EXPECT_LE(w.clock.Now(), before + Caller::kProbeWait + Caller::kSweepEvery);
}

TEST(Dead, IsNoShardThatIsSlowWithOneCallAndAnswersOthers) {
  Connected w;
  w.shard.hold = true;
  const Nanos start = w.clock.Now();
  Task<Status> slow = w.lane.Unlink(0, "a", start + 60 * kSecond);
  while (w.clock.Now() < start + 30 * kSecond) {
    EXPECT_EQ(w.Await(w.lane.Ping(0, w.clock.Now() + kSecond)), Code::kTimedOut);
  }
  EXPECT_FALSE(slow.done());
  w.shard.Release();
  EXPECT_EQ(w.Await(slow), Code::kOk);
  EXPECT_EQ(w.shard.executed["a"], 1);
}

TEST(Dead, OneShardOfManyDoesNotConcernTheOthers) {
  Connected w(3);
  std::vector<Task<Status>> tasks;
  w.shards[1]->hold = true;
  tasks.push_back(w.lane.Unlink(0, "a"));
  tasks.push_back(w.lane.Unlink(1, "b"));
  tasks.push_back(w.lane.Unlink(2, "c"));
  w.RunFor(kMillisecond);
  w.KillShard(1);
  EXPECT_EQ(w.Await(tasks[0], kSecond), Code::kOk);
  EXPECT_EQ(w.Await(tasks[2], kSecond), Code::kOk);
  EXPECT_EQ(w.Await(tasks[1]), Code::kUnavailable);
  EXPECT_EQ(w.Await(w.lane.Ping(2), kMillisecond), Code::kOk);
}

TEST(Dead, AnotherShardAtItsAddressIsNotTakenForIt) {
  Connected w(2);
  w.book.addresses[0] = w.book.addresses[1];  // the address was given to another
  w.KillShard(0);
  EXPECT_EQ(w.Await(w.lane.Unlink(0, "a")), Code::kUnavailable);
  EXPECT_EQ(w.shards[1]->executed["a"], 0);
  EXPECT_GT(w.shards[1]->responder->stats().denied, 0u);
}

TEST(Dead, TheServersLossOfOneReplyEndpointOnlyIsHealed) {
  Connected w;
  w.shard.hold = true;
  Task<Status> unlink = w.lane.Unlink(0, "a");
  w.RunFor(kMillisecond);
  // The server's endpoint fails; the pair takes the lane's down too.
  w.shard.responder->OnEndpointDown(EndpointId(1));
  EXPECT_EQ(w.shard.responder->connections(), 0u);
  w.RunFor(kSecond);
  EXPECT_EQ(w.shard.responder->connections(), 1u);
  w.shard.Release();
  EXPECT_EQ(w.Await(unlink, kSecond), Code::kOk);
  EXPECT_EQ(w.shard.executed["a"], 1);
}

// ---- copies that come late (the network is worse than UCX here)
// -------------------------------------------------------

TEST(Copies, OfAnAnsweredCallAreNotExecutedWhenItsPlaceIsUsedAgain) {
  Connected w;
  std::vector<uint8_t> first;
  {
    Tap tap(w, MessageKind::kRequest, false);
    EXPECT_EQ(w.Await(w.lane.Unlink(0, "a")), Code::kOk);
    first = tap.seen.at(0);
  }
  w.shard.responder->OnMessage(first, Payload());  // answered: the same answer again
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.lane.caller->stats().late_replies, 1u);
  EXPECT_EQ(w.Await(w.lane.Unlink(0, "b")), Code::kOk);
  w.shard.responder->OnMessage(first, Payload());  // forgotten: not even that
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.lane.caller->stats().late_replies, 1u);
  EXPECT_EQ(w.shard.executed["a"], 1);
  EXPECT_EQ(w.shard.responder->stats().repeated, 2u);
}

TEST(Copies, OfACallThatTimedOutDoNotTakeTheNextOnesPlace) {
  Connected w;
  w.shard.hold = true;
  std::vector<uint8_t> first;
  {
    Tap tap(w, MessageKind::kRequest, false);
    EXPECT_EQ(w.Await(w.lane.Unlink(0, "a", w.clock.Now() + kSecond)), Code::kTimedOut);
    first = tap.seen.at(0);
  }
  // "a" is still being worked on when "b" comes in the same place.
  Task<Status> b = w.lane.Unlink(0, "b");
  w.RunFor(kMillisecond);
  w.shard.responder->OnMessage(first, Payload());
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shard.started, 3u);
  w.shard.Release();
  EXPECT_EQ(w.Await(b), Code::kOk);
  EXPECT_EQ(w.shard.executed["a"], 1);
  EXPECT_EQ(w.shard.executed["b"], 1);
}

TEST(Copies, OfAReplyOnAnEarlierConnectionAreLate) {
  Connected w;
  Task<Status> unlink = w.lane.Unlink(0, "a");
  std::vector<uint8_t> reply;
  {
    Tap tap(w, MessageKind::kReply, true);
    w.RunFor(kMillisecond);
    reply = tap.seen.at(0);
    w.Break();
    w.RunUntil([&] { return tap.seen.size() == 2; }, kSecond);  // the same answer, on the new connection
  }
  w.lane.caller->OnMessage(reply, Payload());
  EXPECT_EQ(w.lane.caller->stats().late_replies, 1u);
  EXPECT_EQ(w.lane.caller->stats().refused_messages, 0u);
  EXPECT_EQ(w.Await(unlink, 6 * kSecond), Code::kOk);
}

}  // namespace
}  // namespace mayfly
