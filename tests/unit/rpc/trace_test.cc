// A trace: what each stage comes to by the clock, when it is on, and what clients may say.
#include "rpc/trace.h"

#include "unit/rpc/strangers.h"

namespace mayfly {
namespace {

constexpr uint64_t kTrace = 7, kOther = 8;

// What a book holds: {count, sum} by method and stage.
using Sums = std::map<std::pair<Method, TraceStage>, std::pair<uint64_t, uint64_t>>;
Sums SumsOf(TraceBook& book) {
  Sums sums;
  const auto lines = book.Read(kTrace);
  if (!lines.ok()) return sums;
  for (const TraceLine& line : *lines) {
    uint64_t count = 0;
    for (const TraceBucket& bucket : line.buckets) count += bucket.count;
    sums[{line.method, line.stage}] = {count, line.sum};
  }
  return sums;
}

struct Trace : testing::Test {
  World w;
  TestLane& lane = w.AddLane();
  TestShard& shard = *w.shards[0];
  TraceBook& book = shard.responder->trace();

  void SwitchOn(Nanos how_long = kSecond) {
    ASSERT_TRUE(book.Switch(kTrace, how_long).ok());
    ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);  // it hears of it
    ASSERT_TRUE(lane.caller->trace().on());
  }
  // What is noted is sent with the next call, if it is not quite new.
  void Deliver() {
    w.clock.Advance(2 * TraceNotes::kSentEvery);
    ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
    w.RunFor(kMillisecond);
  }
};

TEST_F(Trace, GivesEachStageByTheClock) {
  SwitchOn();
  shard.paused = true;
  w.clock.Advance(1);
  lane.caller->trace().Enter(w.clock.Now());
  w.clock.Advance(100);
  Task<Status> call = lane.Unlink(0, "a");
  w.clock.Advance(1'000);
  shard.transport->Progress();
  w.clock.Advance(200);
  Request* request = shard.responder->Next();
  ASSERT_NE(request, nullptr);
  w.clock.Advance(30);
  EXPECT_EQ(shard.responder->Next(), nullptr);  // the handler waits for something
  w.clock.Advance(400);
  Empty nothing;
  (void)request->Reply(Code::kOk, nothing, {});
  for (int i = 0; i < 3; ++i) shard.transport->Progress();
  request->Finish();
  w.clock.Advance(2'000);
  lane.transport->Progress();
  w.clock.Advance(50);
  lane.executor.RunOnce();
  ASSERT_TRUE(call.done());
  EXPECT_EQ(call.Take().code(), Code::kOk);
  w.clock.Advance(5);
  lane.caller->trace().Leave();
  shard.paused = false;
  Deliver();

  Sums sums = SumsOf(book);
  std::erase_if(sums, [](const auto& one) { return one.first.first != Method::kUnlink; });
  const auto of = [](uint64_t ns) { return std::pair<uint64_t, uint64_t>(1, ns); };
  const Sums expected = {
      {{Method::kUnlink, TraceStage::kCall}, of(3'785)}, {{Method::kUnlink, TraceStage::kClientQueue}, of(100)},
      {{Method::kUnlink, TraceStage::kWire}, of(3'000)}, {{Method::kUnlink, TraceStage::kServerQueue}, of(200)},
      {{Method::kUnlink, TraceStage::kWork}, of(430)},   {{Method::kUnlink, TraceStage::kWait}, of(400)},
      {{Method::kUnlink, TraceStage::kWake}, of(50)}};
  EXPECT_EQ(sums, expected);
}

TEST_F(Trace, ACopyIsNoPartOfTheQueue) {
  SwitchOn();
  TraceNotes& notes = lane.caller->trace();
  notes.Enter(w.clock.Now());
  w.clock.Advance(10);
  const Nanos began = notes.Start();
  w.clock.Advance(700);
  notes.Copied(Method::kPing, began);
  w.clock.Advance(20);
  ASSERT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  notes.Leave();
  Deliver();
  Sums sums = SumsOf(book);
  EXPECT_EQ((sums[{Method::kPing, TraceStage::kCopy}]), (std::pair<uint64_t, uint64_t>(1, 700)));
  EXPECT_EQ((sums[{Method::kUnlink, TraceStage::kClientQueue}]), (std::pair<uint64_t, uint64_t>(1, 30)));
}

TEST_F(Trace, APayloadIsPulledWithinTheWork) {
  SwitchOn();
  for (const size_t bytes : {size_t{100}, size_t{100'000}}) {  // with the message, and by rendezvous
    ASSERT_EQ(w.Await(lane.Write(0, bytes, bytes)), Code::kOk);
  }
  Deliver();
  Sums sums = SumsOf(book);
  EXPECT_EQ((sums[{Method::kWrite, TraceStage::kWork}].first), 2u);
  EXPECT_EQ((sums[{Method::kWrite, TraceStage::kPull}].first), 2u);
  EXPECT_EQ((sums[{Method::kWrite, TraceStage::kWait}].first), 1u);  // the rendezvous
  EXPECT_EQ((sums[{Method::kWrite, TraceStage::kHold}].first), 0u);
}

// The network by a way that keeps messages until it is told to let them go.
struct SlowWay final : Transport {
  struct Waiting {
    EndpointId to;
    Bytes header, payload;
    Completion* done;
  };
  Transport* inner = nullptr;
  std::vector<Waiting> waiting;
  void SetReceiver(Receiver* receiver) override { inner->SetReceiver(receiver); }
  Bytes address() const override { return inner->address(); }
  Result<EndpointId> Connect(Bytes address) override { return inner->Connect(address); }
  bool HasEnded(EndpointId endpoint) const override { return inner->HasEnded(endpoint); }
  void Close(EndpointId endpoint) override { inner->Close(endpoint); }
  Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) override {
    waiting.push_back({to, header, payload, done});
    return Sent::kPending;
  }
  bool Progress() override { return false; }
  void Register(MutableBytes) override {}
  std::string Describe() const override { return "slow"; }
  void LetGo() {
    for (const Waiting& w : std::exchange(waiting, {})) {
      if (inner->Send(w.to, w.header, w.payload, w.done) == Sent::kDone) w.done->fn(w.done, Status());
    }
  }
};

TEST(TraceHeld, AReplyThatIsHeldBackShowsForHowLong) {
  World w;
  SlowWay slow;
  Responder::Options options = w.ShardOptions(0);
  options.held = &slow;
  options.holds = [](const Party&, Method method) { return method == Method::kUnlink; };
  TestShard& shard = w.StartShard(0, options);
  slow.inner = shard.transport.get();
  TestLane& lane = w.AddLane();
  TraceBook& book = shard.responder->trace();
  ASSERT_TRUE(book.Switch(kTrace, kSecond).ok());
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  Task<Status> call = lane.Unlink(0, "a");
  ASSERT_TRUE(w.RunUntil([&] { return !slow.waiting.empty(); }));
  w.clock.Advance(5'000);
  slow.LetGo();
  ASSERT_EQ(w.Await(call), Code::kOk);
  w.RunFor(2 * TraceNotes::kSentEvery);
  ASSERT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  w.RunFor(kMillisecond);
  Sums sums = SumsOf(book);
  EXPECT_EQ((sums[{Method::kUnlink, TraceStage::kHold}].first), 1u);
  EXPECT_GE((sums[{Method::kUnlink, TraceStage::kHold}].second), 5'000u);
  EXPECT_GE((sums[{Method::kUnlink, TraceStage::kWire}].second), 5'000u);  // which it is a part of
  EXPECT_EQ((sums[{Method::kUnlink, TraceStage::kWork}].second), 0u);
  EXPECT_EQ((sums[{Method::kPing, TraceStage::kHold}].first), 0u);
}

TEST_F(Trace, OffNothingIsSaidAndNothingIsNoted) {
  Tap replies(w, MessageKind::kReply, false);
  for (int i = 0; i < 10; ++i) ASSERT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  Deliver();
  EXPECT_FALSE(lane.caller->trace().on());
  EXPECT_TRUE(lane.caller->trace().empty());
  EXPECT_FALSE(book.collects());
  ASSERT_EQ(replies.seen.size(), 11u);
  for (const auto& reply : replies.seen) {
    Decoder d(Bytes(reply).subspan(Prefix::kBytes));
    ReplyHeader header;
    d.Get(header);
    EXPECT_FALSE(header.traced());
    EXPECT_EQ(header.had(), 0u);
  }
}

TEST_F(Trace, NotesOfManyCallsComeInFewMessagesAndAllOfThem) {
  SwitchOn(TraceRequest::kForMsMax * kMillisecond);
  Tap notes(w, MessageKind::kTrace, false);
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  Deliver();
  Sums sums = SumsOf(book);
  for (const TraceStage stage :
       {TraceStage::kClientQueue, TraceStage::kWire, TraceStage::kServerQueue, TraceStage::kWork, TraceStage::kWake}) {
    EXPECT_EQ((sums[{Method::kUnlink, stage}].first), 1'000u) << NameOf(stage);
  }
  EXPECT_GE(notes.seen.size(), 3'000 / TraceNotes::kNotesMax);
  EXPECT_LE(notes.seen.size(), 100u);
}

TEST_F(Trace, ALaneThatEndsSendsWhatItHas) {
  SwitchOn();
  ASSERT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  lane.caller->Shutdown();
  w.RunFor(kMillisecond);
  EXPECT_EQ((SumsOf(book)[{Method::kUnlink, TraceStage::kWire}].first), 1u);
}

TEST_F(Trace, NotesThatMayBeOfAnEarlierTraceAreDropped) {
  SwitchOn(TraceRequest::kForMsMax * kMillisecond);
  ASSERT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  ASSERT_FALSE(lane.caller->trace().empty());
  w.RunFor(TraceNotes::kTooOld);
  Deliver();
  EXPECT_EQ((SumsOf(book)[{Method::kUnlink, TraceStage::kWork}].first), 1u);
  EXPECT_EQ((SumsOf(book)[{Method::kUnlink, TraceStage::kWire}].first), 0u);
}

TEST_F(Trace, EndsAtItsDeadlineByItselfAndIsForgottenLater) {  // T1
  SwitchOn(3 * kSecond);
  w.RunFor(3 * kSecond - kMillisecond);
  EXPECT_TRUE(book.on());
  w.RunFor(2 * kMillisecond);
  EXPECT_FALSE(book.on());
  ASSERT_EQ(w.Await(lane.Unlink(0, "a")), Code::kOk);
  EXPECT_FALSE(lane.caller->trace().on());
  Deliver();
  EXPECT_EQ((SumsOf(book)[{Method::kUnlink, TraceStage::kWork}].first), 0u);
  EXPECT_EQ((SumsOf(book)[{Method::kPing, TraceStage::kWork}].first), 1u);
  w.RunFor(TraceBook::kKeptFor);
  EXPECT_FALSE(book.collects());
  EXPECT_EQ(book.Read(kTrace).code(), Code::kNoEntry);
}

TEST_F(Trace, IsNeverOnForLongUnlessItIsRenewed) {
  SwitchOn(kNever);
  w.RunFor(TraceRequest::kForMsMax * kMillisecond - kSecond);
  ASSERT_TRUE(book.Switch(kTrace, 2 * kSecond).ok());
  w.RunFor(2 * kSecond - kMillisecond);
  EXPECT_TRUE(book.on());
  w.RunFor(2 * kMillisecond);
  EXPECT_FALSE(book.on());
}

TEST_F(Trace, OneAtATime) {  // T2
  EXPECT_EQ(book.Switch(0, kSecond).code(), Code::kInvalid);
  ASSERT_TRUE(book.Switch(kTrace, kSecond).ok());
  EXPECT_EQ(book.Switch(kOther, kSecond).code(), Code::kBusy);
  ASSERT_TRUE(book.Read(kTrace).ok());  // while it is on
  EXPECT_EQ(book.Switch(kOther, kSecond).code(), Code::kBusy);
  ASSERT_TRUE(book.Switch(kTrace, 0).ok());
  EXPECT_FALSE(book.on());
  EXPECT_EQ(book.Switch(kOther, kSecond).code(), Code::kBusy);  // the first one will want to read
  ASSERT_TRUE(book.Read(kTrace).ok());
  EXPECT_TRUE(book.Switch(kOther, kSecond).ok());
  EXPECT_EQ(book.Read(kTrace).code(), Code::kNoEntry);
  EXPECT_EQ(book.Switch(kTrace, 0).code(), Code::kBusy);  // it is not that one's to end
  EXPECT_TRUE(book.on());
}

TEST_F(Trace, WhatIsNotSealedOrMakesNoSenseIsCountedAndNotNoted) {
  Insider insider(w);
  const auto send = [&](std::vector<uint8_t> body, const TagKey& key) {
    Prefix prefix;
    prefix.kind = MessageKind::kTrace;
    prefix.connection = insider.connection;
    std::vector<uint8_t> bytes(Prefix::kBytes);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    bytes.insert(bytes.end(), body.begin(), body.end());
    SealHeader(bytes, key);
    insider.Send(0, bytes);
  };
  const auto note = [](Method method, TraceStage stage, Nanos took) {
    std::vector<uint8_t> bytes(TraceNote::kBytes);
    Encoder e{MutableBytes(bytes)};
    e.Put(TraceNote{method, stage, took});
    EXPECT_EQ(e.size(), bytes.size());
    return bytes;
  };
  const std::vector<uint8_t> good = note(Method::kOpen, TraceStage::kWire, 5);
  send(good, insider.key);  // nothing is traced
  ASSERT_TRUE(book.Switch(kTrace, kSecond).ok());
  send(good, insider.key);
  send({}, insider.key);
  const ResponderStats& stats = shard.responder->stats();
  EXPECT_EQ(stats.malformed + stats.unauthenticated, 0u);
  EXPECT_EQ(SumsOf(book), (Sums{{{Method::kOpen, TraceStage::kWire}, {1, 5}}}));
  send(good, TagKey{});
  EXPECT_EQ(stats.unauthenticated, 1u);
  send({good.begin(), good.end() - 1}, insider.key);
  send(note(static_cast<Method>(0), TraceStage::kWire, 1), insider.key);
  send(note(Method::kOpen, static_cast<TraceStage>(0), 1), insider.key);
  send(note(Method::kOpen, TraceStage::kWork, 1), insider.key);  // which only the shard can say
  EXPECT_EQ(stats.malformed, 4u);
  EXPECT_EQ(SumsOf(book), (Sums{{{Method::kOpen, TraceStage::kWire}, {1, 5}}}));
  EXPECT_EQ(stats.requests, 0u);
}

}  // namespace
}  // namespace mayfly
