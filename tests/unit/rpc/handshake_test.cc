// Who gets in, who does not, and what becomes of messages that somebody tampered with or sends again (P1, P5).
#include "unit/rpc/strangers.h"

namespace mayfly {
namespace {

Responder::Options OwnedBy(World& w, uint32_t uid) {
  Responder::Options options = w.ShardOptions(0);
  options.uid = uid;
  return options;
}

TEST(Handshake, OfTheServersOwnUserIsWelcome) {
  World w;
  w.StartShard(0, OwnedBy(w, 1000));
  EXPECT_EQ(w.Await(w.AddLane().Ping(0)), Code::kOk);
}

TEST(Handshake, OfAnotherUserIsDeniedAtOnceUnlessTheServerIsRoot) {
  World w;
  w.StartShard(0, OwnedBy(w, 4711));
  TestLane& lane = w.AddLane();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(w.Await(lane.Ping(0), 10 * kMillisecond), Code::kDenied);
  w.RunFor(kSecond);
  EXPECT_EQ(w.Await(lane.Ping(0), 10 * kMillisecond), Code::kDenied);
  EXPECT_EQ(w.shards[0]->started, 0u);
  EXPECT_EQ(w.shards[0]->responder->connections(), 0u);
  EXPECT_EQ(w.shards[0]->responder->stats().denied, 2u);
  EXPECT_TRUE(w.shards[0]->responder->Parties().empty());
  w.StartShard(0, OwnedBy(w, 0));
  w.RunFor(kSecond);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
}

TEST(Handshake, WithAnotherSecretGetsNothing) {
  World w;
  Identity thief = w.Someone();
  thief.secret = SecretOf(99);
  TestLane& lane = w.AddLane(thief);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kUnavailable);
  EXPECT_GT(w.shards[0]->responder->stats().unauthenticated, 0u);
  EXPECT_EQ(w.shards[0]->responder->stats().hellos, 0u);
  EXPECT_EQ(w.shards[0]->responder->connections(), 0u);
  EXPECT_EQ(w.shards[0]->started, 0u);
}

TEST(Handshake, ForAnotherSessionGetsNothing) {
  World w;
  Identity other = w.Someone();
  other.uuid[3] ^= 1;
  TestLane& lane = w.AddLane(other);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kUnavailable);
  EXPECT_GT(w.shards[0]->responder->stats().unauthenticated, 0u);
  EXPECT_EQ(w.shards[0]->responder->connections(), 0u);
}

TEST(Handshake, OfAClientThatSaysItIsAPeerIsDenied) {
  World w;
  Identity liar = w.Someone();
  liar.peer = true;
  liar.shard = ShardId(0);
  EXPECT_EQ(w.Await(w.AddLane(liar).Ping(0)), Code::kDenied);
  liar.peer_proof = PeerProofKey(SecretOf(1));  // the session's secret is not the servers'
  liar.client = ClientId(liar.client.value + 2);
  EXPECT_EQ(w.Await(w.AddLane(liar).Ping(0)), Code::kDenied);
  EXPECT_EQ(w.shards[0]->responder->stats().denied, 2u);
}

TEST(Handshake, OfAPeerIsWelcomeWhateverItsUid) {
  World w;
  w.StartShard(0, OwnedBy(w, 4711));
  Identity peer = w.Someone();
  peer.peer = true;
  peer.shard = ShardId(5);
  peer.peer_proof = PeerProofKey(SecretOf(2));
  TestLane& lane = w.AddLane(peer);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  ASSERT_EQ(w.shards[0]->responder->Parties().size(), 1u);
  EXPECT_TRUE(w.shards[0]->responder->Parties()[0]->peer);
  EXPECT_EQ(w.shards[0]->responder->Parties()[0]->shard, ShardId(5));
}

TEST(Handshake, APeersProofIsGoodForThatHelloOnly) {
  World w;
  Identity peer = w.Someone();
  peer.peer = true;
  peer.peer_proof = PeerProofKey(SecretOf(2));
  std::vector<uint8_t> hello;
  {
    Tap tap(w, MessageKind::kHello, false);
    EXPECT_EQ(w.Await(w.AddLane(peer).Ping(0)), Code::kOk);
    hello = tap.seen.at(0);
  }
  // A client (it has the session's secret) that got hold of it puts its own address, or lane, in.
  Decoder d(Bytes(hello).subspan(Prefix::kBytes));
  Hello stolen;
  stolen.Fields(d);
  ASSERT_TRUE(d.Finish().ok());
  Stranger eve(w);
  for (int what = 0; what < 4; ++what) {
    Hello mine = stolen;
    Prefix prefix = PrefixOf(hello);
    if (what == 0) mine.address = eve.transport->address();
    if (what == 1) mine.client = ClientId(1);
    if (what == 2) mine.shard = ShardId(9);
    if (what == 3) ++prefix.generation;
    std::vector<uint8_t> forged(Transport::kHeaderBytesMax);
    Encoder e{MutableBytes(forged)};
    e.Put(prefix);
    e.Put(mine);
    forged.resize(e.size());
    SealHeader(forged, HelloKey(peer.secret, peer.uuid));
    eve.Send(0, forged);
    EXPECT_EQ(w.shards[0]->responder->stats().denied, 1u + what);
  }
  EXPECT_EQ(w.shards[0]->responder->connections(), 1u);
}

// P5
TEST(Handshake, SentAgainMakesNoSecondConnection) {
  World w;
  std::vector<uint8_t> hello;
  TestLane& lane = w.AddLane();
  {
    Tap tap(w, MessageKind::kHello, false);
    EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
    hello = tap.seen.at(0);
  }
  Stranger eve(w);
  for (int i = 0; i < 3; ++i) eve.Send(0, hello);
  EXPECT_EQ(w.shards[0]->responder->stats().repeated, 3u);
  EXPECT_EQ(w.shards[0]->responder->connections(), 1u);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
}

TEST(Handshake, AWelcomeOfAnotherHelloIsRefused) {
  World w;
  std::vector<uint8_t> welcome;
  {
    Tap tap(w, MessageKind::kWelcome, false);
    EXPECT_EQ(w.Await(w.AddLane().Ping(0)), Code::kOk);
    welcome = tap.seen.at(0);
  }
  // The same shard, the same attempt: only the nonce of the hello differs.
  TestLane& victim = w.AddLane();
  Task<Status> ping = victim.Ping(0);
  victim.caller->OnMessage(welcome, Payload());
  EXPECT_EQ(victim.caller->stats().refused_messages, 1u);
  EXPECT_EQ(w.Await(ping), Code::kOk);
}

TEST(Handshake, AForgedRefusalDoesNotHurt) {
  World w;
  TestLane& lane = w.AddLane();
  Task<Status> ping = lane.Ping(0);
  Prefix prefix;
  prefix.kind = MessageKind::kWelcome;
  prefix.slot = 0;
  prefix.generation = 1;
  Welcome welcome;
  welcome.code = Code::kDenied;
  std::vector<uint8_t> forged(256);
  Encoder e{MutableBytes(forged)};
  e.Put(prefix);
  e.Put(welcome);
  forged.resize(e.size());
  lane.caller->OnMessage(forged, Payload());
  EXPECT_FALSE(ping.done());
  EXPECT_EQ(w.Await(ping), Code::kOk);
}

TEST(Handshake, ThatIsMalformedIsCountedAndDropped) {
  World w;
  Stranger eve(w);
  Identity me = w.Someone();
  auto send = [&](auto change) {
    Prefix prefix;
    prefix.kind = MessageKind::kHello;
    prefix.generation = 1;
    Hello hello;
    hello.uuid = me.uuid;
    hello.client = me.client;
    hello.process = me.process;
    hello.address = eve.transport->address();
    hello.host = "h";
    change(prefix, hello);
    std::vector<uint8_t> bytes(Transport::kHeaderBytesMax);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(hello);
    ASSERT_TRUE(e.ok());
    bytes.resize(e.size());
    SealHeader(bytes, HelloKey(me.secret, me.uuid));
    eve.Send(0, bytes);
  };
  const std::string long_host(65, 'h');
  send([](Prefix&, Hello& h) { h.protocol = kWireVersion + 1; });
  send([](Prefix&, Hello& h) { h.uuid[0] ^= 1; });
  send([](Prefix&, Hello& h) { h.client = ClientId(); });
  send([](Prefix&, Hello& h) { h.process = ClientId(); });
  send([](Prefix&, Hello& h) { h.cred.groups.resize(kGroupsMax + 1); });
  send([&](Prefix&, Hello& h) { h.host = long_host; });
  send([](Prefix& p, Hello&) { p.magic ^= 1; });
  send([](Prefix& p, Hello&) { p.version += 1; });
  EXPECT_EQ(w.shards[0]->responder->stats().malformed, 8u);
  EXPECT_EQ(w.shards[0]->responder->stats().hellos, 0u);
  EXPECT_TRUE(eve.got.empty());
  send([](Prefix&, Hello& h) { h.address = {}; });  // well formed, but there is no way back
  EXPECT_EQ(w.shards[0]->responder->stats().hellos, 1u);
  send([](Prefix&, Hello&) {});
  EXPECT_EQ(w.shards[0]->responder->connections(), 1u);
  EXPECT_EQ(eve.got.size(), 1u);
}

TEST(Handshake, OfManyGroupsAndALongHostFits) {
  World w;
  Identity many = w.Someone();
  for (uint32_t g = 0; g < kGroupsMax; ++g) many.cred.groups.push_back(g * 1000);
  many.host = std::string(300, 'h');
  EXPECT_EQ(w.Await(w.AddLane(many).Ping(0)), Code::kOk);
  ASSERT_EQ(w.shards[0]->responder->Parties().size(), 1u);
  EXPECT_EQ(w.shards[0]->responder->Parties()[0]->host, std::string(64, 'h'));
  EXPECT_EQ(w.shards[0]->responder->Parties()[0]->cred.groups, many.cred.groups);
}

// ---- requests -------------------------------------------------------------------------------------------------------

// A request of a live connection, caught before it arrived.
struct Caught : World {
  Caught() : lane(AddLane()), shard(*shards[0]) {
    EXPECT_EQ(Await(lane.Ping(0)), Code::kOk);
    Tap tap(*this, MessageKind::kRequest, true);
    task.push_back(lane.Unlink(0, "victim", clock.Now() + 3 * kSecond));
    RunFor(kMillisecond);
    request = tap.seen.at(0);
    started = shard.started;
  }
  ~Caught() { Await(task[0]); }
  const ResponderStats& stats() { return shard.responder->stats(); }
  TestLane& lane;
  TestShard& shard;
  std::vector<Task<Status>> task;
  std::vector<uint8_t> request;
  uint64_t started = 0;
};

TEST(Tampering, WithAnyByteOfARequestIsNoticed) {
  Caught w;
  for (size_t i = 0; i < w.request.size(); ++i) {
    for (uint8_t flip : {0x01, 0x80, 0xff}) {
      std::vector<uint8_t> bad = w.request;
      bad[i] ^= flip;
      const ResponderStats before = w.stats();
      w.shard.responder->OnMessage(bad, Payload());
      const ResponderStats& after = w.stats();
      EXPECT_EQ(after.malformed + after.unauthenticated + after.unknown_connection,
                before.malformed + before.unauthenticated + before.unknown_connection + 1)
          << "byte " << i;
      EXPECT_EQ(after.requests, before.requests) << "byte " << i;
    }
  }
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shard.started, w.started);
  w.shard.responder->OnMessage(w.request, Payload());  // untouched it is good
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shard.started, w.started + 1);
}

TEST(Tampering, WithTheLengthOfARequestIsNoticed) {
  Caught w;
  for (size_t n = 0; n < w.request.size(); ++n) w.shard.responder->OnMessage(Bytes(w.request).first(n), Payload());
  std::vector<uint8_t> longer = w.request;
  longer.push_back(0);
  w.shard.responder->OnMessage(longer, Payload());
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shard.started, w.started);
  EXPECT_EQ(w.stats().truncated, Prefix::kBytes);
  EXPECT_EQ(w.stats().unauthenticated, w.request.size() - Prefix::kBytes + 1);
}

TEST(Tampering, WithAnyByteOfAReplyIsNoticed) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  std::vector<uint8_t> reply;
  Task<Status> task = lane.Open(0, 3, "name");
  {
    Tap tap(w, MessageKind::kReply, true);
    w.RunFor(kMillisecond);
    reply = tap.seen.at(0);
  }
  for (size_t i = 0; i < reply.size(); ++i) {
    std::vector<uint8_t> bad = reply;
    bad[i] ^= 0x10;
    const CallerStats before = lane.caller->stats();
    lane.caller->OnMessage(bad, Payload());
    EXPECT_EQ(lane.caller->stats().late_replies + lane.caller->stats().refused_messages,
              before.late_replies + before.refused_messages + 1);
    w.RunFor(kMicrosecond);
    ASSERT_FALSE(task.done()) << "byte " << i;
  }
  EXPECT_EQ(w.Await(task), Code::kOk);
}

TEST(Tampering, ARequestOnAnotherConnectionIsRefused) {
  Caught w;
  TestLane& other = w.AddLane();
  std::vector<uint8_t> theirs;
  {
    Tap tap(w, MessageKind::kRequest, false);
    EXPECT_EQ(w.Await(other.Ping(0)), Code::kOk);
    theirs = tap.seen.at(0);
  }
  std::vector<uint8_t> moved = w.request;  // under the other connection's name
  std::memcpy(moved.data() + 16, theirs.data() + 16, 8);
  ASSERT_EQ(PrefixOf(moved).connection, PrefixOf(theirs).connection);
  const uint64_t before = w.stats().unauthenticated;
  w.shard.responder->OnMessage(moved, Payload());
  EXPECT_EQ(w.stats().unauthenticated, before + 1);
  EXPECT_EQ(w.shard.executed["victim"], 0);
}

TEST(Tampering, ARequestAfterItsConnectionEndedIsRefused) {
  Caught w;
  w.lane.caller->OnEndpointDown(EndpointId(1));  // the lane makes a new one
  w.RunUntil([&] { return w.shard.responder->connections() == 0; }, kSecond);
  const uint64_t before = w.stats().unknown_connection;
  w.shard.responder->OnMessage(w.request, Payload());
  EXPECT_EQ(w.stats().unknown_connection, before + 1);
}

TEST(Tampering, AReplySentBackAsARequestIsRefused) {
  World w;
  TestLane& lane = w.AddLane();
  std::vector<uint8_t> reply;
  {
    Tap tap(w, MessageKind::kReply, false);
    EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
    reply = tap.seen.at(0);
  }
  const uint64_t started = w.shards[0]->started;
  w.shards[0]->responder->OnMessage(reply, Payload());
  reply[11] = static_cast<uint8_t>(MessageKind::kRequest);
  w.shards[0]->responder->OnMessage(reply, Payload());
  w.RunFor(kMillisecond);
  EXPECT_EQ(w.shards[0]->responder->stats().unauthenticated, 1u);
  EXPECT_EQ(w.shards[0]->started, started);
}

// ---- requests that are sealed well, and wrong
// ------------------------------------------------------------------------

TEST(Refusal, OfMethodsForPeersIsCountedForEveryClient) {
  World w;
  Insider client(w);
  uint64_t refused = 0;
#define MAYFLY_TRY_METHOD(name, number, request, reply, once, who) \
  if (Who::who == Who::kPeer) {                                    \
    client.Request(number, once ? Sequence::Make(1, 0) : 0, {});   \
    ++refused;                                                     \
    EXPECT_EQ(w.shards[0]->responder->stats().denied, refused);    \
  }
  MAYFLY_METHODS(MAYFLY_TRY_METHOD)
#undef MAYFLY_TRY_METHOD
  EXPECT_GT(refused, 10u);
  EXPECT_EQ(w.shards[0]->started, 0u);
  Insider peer(w, true);
  peer.Request(static_cast<uint16_t>(Method::kLease), 0, {});
  EXPECT_EQ(w.shards[0]->started, 1u);
}

TEST(Refusal, OfUnknownMethodsAndPlaces) {
  World w;
  Insider client(w);
  const auto unlink = static_cast<uint16_t>(Method::kUnlink);
  client.Request(0, 0, {});
  client.Request(0xffff, 0, {});
  client.Request(unlink, 0, {});                                        // no count
  client.Request(unlink, 7, {});                                        // no count
  client.Request(unlink, Sequence::Make(1, Sequence::kPlacesMax), {});  // no place
  client.Request(unlink, Sequence::Make(1, (1u << Sequence::kPlaceBits) - 1), {});
  EXPECT_EQ(w.shards[0]->responder->stats().malformed, 6u);
  EXPECT_EQ(w.shards[0]->started, 0u);
  client.Request(unlink, Sequence::Make(1, Sequence::kPlacesMax - 1), {});
  EXPECT_EQ(w.shards[0]->started, 1u);
  client.Request(unlink, Sequence::Make(~uint64_t{0} >> 16, 3), {});
  EXPECT_EQ(w.shards[0]->started, 2u);
}

TEST(Copies, FromAnEarlierConnectionDoNotMisleadTheAnswer) {
  World w;
  w.shards[0]->hold = true;
  Insider client(w);
  const uint64_t first = client.connection;
  const auto unlink = static_cast<uint16_t>(Method::kUnlink);
  const uint64_t sequence = Sequence::Make(1, 0);
  std::vector<uint8_t> body(12);  // an empty name
  client.Request(unlink, sequence, body);
  const std::vector<uint8_t> late = client.sent;
  client.Greet(2);  // a new connection of the same lane; the server still has the old one
  client.Request(unlink, sequence, body, 1);
  ASSERT_EQ(client.got.size(), 1u);  // a sign of life
  EXPECT_EQ(PrefixOf(client.got[0]).kind, MessageKind::kWorking);
  EXPECT_TRUE(HeaderIsSealed(client.got[0], client.key));
  client.got.clear();
  client.Send(0, late);
  EXPECT_EQ(w.shards[0]->responder->stats().repeated, 2u);
  w.shards[0]->Release();
  w.RunFor(kMillisecond);
  client.transport->Progress();
  ASSERT_EQ(client.got.size(), 1u);
  EXPECT_NE(client.connection, first);
  EXPECT_EQ(PrefixOf(client.got[0]).kind, MessageKind::kReply);
  EXPECT_EQ(PrefixOf(client.got[0]).connection, client.connection);
  EXPECT_EQ(w.shards[0]->started, 1u);
}

TEST(Refusal, OfARequestWithoutItsHeader) {
  World w;
  Insider client(w);
  for (size_t n = 0; n <= RequestHeader::kBytes; ++n) {
    Prefix prefix;
    prefix.connection = client.connection;
    std::vector<uint8_t> bytes(Prefix::kBytes + n);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    if (n >= 2) e.Put(Method::kPing);
    SealHeader(bytes, client.key);
    client.Send(0, bytes);
  }
  EXPECT_EQ(w.shards[0]->responder->stats().truncated, RequestHeader::kBytes);
  EXPECT_EQ(w.shards[0]->responder->stats().requests, 1u);
}

TEST(Refusal, OfAPayloadThatIsTooLarge) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Write(0, 1, kTransferBytesMax)), Code::kOk);
  EXPECT_EQ(w.Await(lane.Write(0, 2, kTransferBytesMax + 1, w.clock.Now() + kSecond)), Code::kTimedOut);
  EXPECT_EQ(w.shards[0]->responder->stats().oversized, 1u);
  EXPECT_EQ(w.shards[0]->executed["write 2"], 0);
}

// A network may carry longer ones than ours: such a header must not find its way into a request's place.
TEST(Refusal, OfAHeaderThatIsTooLong) {
  World w;
  Insider client(w);
  TestLane& lane = w.AddLane();
  for (size_t size : {Transport::kHeaderBytesMax, Transport::kHeaderBytesMax + 1, size_t{8192}}) {
    Prefix prefix;
    prefix.connection = client.connection;
    RequestHeader header;
    header.method = Method::kPing;
    header.time_left_ms = 1000;
    std::vector<uint8_t> bytes(size);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(header);
    SealHeader(bytes, client.key);
    w.shards[0]->responder->OnMessage(bytes, Payload());
    lane.caller->OnMessage(bytes, Payload());
  }
  EXPECT_EQ(w.shards[0]->responder->stats().oversized, 2u);
  EXPECT_EQ(w.shards[0]->responder->stats().requests, 1u);
  EXPECT_EQ(lane.caller->stats().refused_messages, 3u);
}

TEST(Refusal, OfMessagesThatAreNone) {
  World w;
  TestLane& lane = w.AddLane();
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
  for (size_t n = 0; n < 200; ++n) {
    w.shards[0]->responder->OnMessage(Pattern(n, n), Payload());
    lane.caller->OnMessage(Pattern(n, n), Payload());
  }
  EXPECT_EQ(w.shards[0]->responder->stats().truncated, Prefix::kBytes);
  EXPECT_EQ(w.shards[0]->responder->stats().malformed, 200u - Prefix::kBytes);
  EXPECT_EQ(lane.caller->stats().refused_messages, 200u);
  EXPECT_EQ(w.Await(lane.Ping(0)), Code::kOk);
}

}  // namespace
}  // namespace mayfly
