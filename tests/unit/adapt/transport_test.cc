// The contract of os/transport.h, run against every adapter. What only one of them can do is in its own test.
#include "os/transport.h"

#include "adapt/ucx/ucx_transport.h"
#include "fake/sim_network.h"
#include "unit/adapt/transport_testing.h"

namespace mayfly {
namespace {

constexpr size_t kThreshold = 8192;  // the largest eager payload in these tests

struct Net {
  virtual ~Net() = default;
  virtual std::unique_ptr<Transport> Make() = 0;
};

struct SimNet : Net {
  SimNet() : network({.eager_bytes_max = kThreshold}) {}
  std::unique_ptr<Transport> Make() override { return network.Create(); }
  SimNetwork network;
};

struct UcxNet : Net {
  explicit UcxNet(const char* tls, size_t eager_bytes_max = kThreshold) : tls(tls), eager_bytes_max(eager_bytes_max) {}
  std::unique_ptr<Transport> Make() override {
    std::string why;
    std::unique_ptr<Transport> made = UcxTransport::Create({.eager_bytes_max = eager_bytes_max, .tls = tls}, &why);
    EXPECT_TRUE(made != nullptr) << why;
    return made;
  }
  const char* tls;
  size_t eager_bytes_max;
};

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Net>()> make;
};

// Two transports, connected both ways.
class TransportTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    net = GetParam().make();
    a = net->Make();
    b = net->Make();
    ASSERT_TRUE(a && b);
    a->SetReceiver(&at_a);
    b->SetReceiver(&at_b);
    Result<EndpointId> to = a->Connect(b->address());
    ASSERT_TRUE(to.ok());
    a_to_b = *to;
    to = b->Connect(a->address());
    ASSERT_TRUE(to.ok());
    b_to_a = *to;
  }
  void TearDown() override {
    at_a.messages.clear();
    at_b.messages.clear();
  }
  bool PumpUntil(const std::function<bool()>& holds) { return Pump({a.get(), b.get()}, holds); }
  static bool PumpSeldom(Transport& often, Transport& seldom, const std::function<bool()>& holds) {
    return Pump({&seldom}, [&] {
      for (int i = 0; i < 100; ++i) often.Progress();
      return holds();
    });
  }
  // The bytes of an arrived payload, by either way.
  std::vector<uint8_t> Take(Payload payload) {
    if (payload.is_eager()) return {payload.eager().begin(), payload.eager().end()};
    std::vector<uint8_t> data(payload.size());
    Waiting fetched;
    payload.Fetch(data, &fetched);
    EXPECT_EQ(fetched.runs, 0) << "a completion ran inside Fetch";
    EXPECT_TRUE(PumpUntil([&] { return fetched.runs != 0; }));
    EXPECT_EQ(fetched.runs, 1);
    EXPECT_TRUE(fetched.status.ok());
    return data;
  }
  // Both ends know each other well: a rendezvous went each way, which needs a connection that is fully set up.
  void Warm() {
    Sending there("warm", Pattern(kThreshold + 1, 1)), back("warm", Pattern(kThreshold + 1, 1));
    there.Start(*a, a_to_b);
    back.Start(*b, b_to_a);
    ASSERT_TRUE(PumpUntil([&] {
      at_a.messages.clear();
      at_b.messages.clear();
      return there.finished() && back.finished();
    }));
  }

  std::unique_ptr<Net> net;
  Keeper at_a, at_b;
  std::unique_ptr<Transport> a, b;
  EndpointId a_to_b, b_to_a;
};

TEST_P(TransportTest, EverySizeArrivesWhole) {
  const size_t sizes[] = {
      0,         1,         64,        92,       100,           4096, kThreshold - 1, kThreshold, kThreshold + 1,
      65536 - 1, 65536 + 0, 65536 + 1, 4u << 20, (4u << 20) + 1};
  for (size_t size : sizes) {
    for (size_t header_bytes : {size_t{1}, size_t{64}, Transport::kHeaderBytesMax}) {
      SCOPED_TRACE(testing::Message() << size << " bytes, header " << header_bytes);
      Sending sending(std::string(header_bytes, static_cast<char>('a' + size % 26)),
                      Pattern(size, size + header_bytes));
      sending.Start(*a, a_to_b);
      ASSERT_TRUE(PumpUntil([&] { return !at_b.messages.empty(); }));
      Arrived arrived = std::move(at_b.messages.front());
      at_b.messages.pop_front();
      EXPECT_EQ(arrived.header, sending.header);
      ASSERT_EQ(arrived.payload.size(), size);
      EXPECT_EQ(arrived.payload.is_eager(), size <= kThreshold);
      EXPECT_EQ(Take(std::move(arrived.payload)), sending.payload);
      ASSERT_TRUE(PumpUntil([&] { return sending.finished(); }));
      EXPECT_EQ(sending.code(), Code::kOk);
    }
  }
  EXPECT_TRUE(at_b.messages.empty());
}

TEST_P(TransportTest, AKeptPayloadStaysAsItWas) {
  const size_t sizes[] = {1, 50, 1000, 5000, kThreshold};
  std::deque<Sending> sendings;
  for (int round = 0; round < 40; ++round) {
    for (size_t size : sizes) {
      sendings.emplace_back(std::to_string(sendings.size()), Pattern(size, sendings.size()));
      sendings.back().Start(*a, a_to_b);
    }
  }
  ASSERT_TRUE(PumpUntil([&] { return at_b.messages.size() == sendings.size(); }));
  for (Arrived& arrived : at_b.messages) {
    const Bytes bytes = arrived.payload.eager();
    const auto& want = sendings[std::stoul(arrived.header)].payload;
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), want.begin(), want.end())) << arrived.header;
  }
  ASSERT_TRUE(PumpUntil(
      [&] { return std::all_of(sendings.begin(), sendings.end(), [](const Sending& s) { return s.finished(); }); }));
}

TEST_P(TransportTest, DroppedPayloadsCompleteTheirSends) {
  for (bool inside : {true, false}) {  // dropped inside OnMessage, and later
    at_b.on_message = [&](Bytes, Payload& payload) {
      if (inside) payload.Reset();
      return inside;
    };
    for (size_t size : {size_t{1}, size_t{4000}, kThreshold, kThreshold + 1, size_t{1} << 20}) {
      Sending sending("drop", Pattern(size, 3));
      sending.Start(*a, a_to_b);
      if (!inside) {
        ASSERT_TRUE(PumpUntil([&] { return !at_b.messages.empty(); }));
        at_b.messages.clear();
      }
      ASSERT_TRUE(PumpUntil([&] { return sending.finished(); })) << size;
      EXPECT_EQ(sending.code(), Code::kOk);
    }
  }
}

TEST_P(TransportTest, ManyInFlightBothWaysAllArriveOnce) {
  constexpr size_t kCount = 2000;
  std::deque<Sending> sendings;
  std::vector<int> seen_a(kCount, 0), seen_b(kCount, 0);
  size_t good = 0;
  // Each rendezvous is fetched into a buffer of its own, with many fetches in flight.
  struct Fetching {
    Payload payload;
    std::vector<uint8_t> data;
    Waiting done;
    size_t index;
  };
  std::deque<Fetching> fetches;
  auto collect = [&](std::vector<int>& seen) {
    return [&](Bytes header, Payload& payload) {
      const size_t index = std::stoul(std::string(AsText(header)));
      ++seen[index];
      const std::vector<uint8_t> want = Pattern(payload.size(), index);
      if (payload.is_eager()) {
        good += std::equal(payload.eager().begin(), payload.eager().end(), want.begin());
      } else {
        Fetching& fetching = fetches.emplace_back();
        fetching.index = index;
        fetching.data.resize(payload.size());
        fetching.payload = std::move(payload);
        fetching.payload.Fetch(fetching.data, &fetching.done);  // inside OnMessage
        EXPECT_EQ(fetching.done.runs, 0);
      }
      return true;
    };
  };
  at_a.on_message = collect(seen_a);
  at_b.on_message = collect(seen_b);
  for (size_t i = 0; i < kCount; ++i) {
    const size_t size = i % 50 == 0 ? 100'000 + i : i % 7 == 0 ? 5000 : i % 90;
    for (int way = 0; way < 2; ++way) {
      sendings.emplace_back(std::to_string(i), Pattern(size, i));
      sendings.back().Start(way == 0 ? *a : *b, way == 0 ? a_to_b : b_to_a);
    }
    if (i % 64 == 0) {
      a->Progress();
      b->Progress();
    }
  }
  ASSERT_TRUE(PumpUntil([&] {
    for (const Sending& s : sendings) {
      if (!s.finished()) return false;
    }
    for (const Fetching& f : fetches) {
      if (f.done.runs == 0) return false;
    }
    return std::count(seen_a.begin(), seen_a.end(), 1) + std::count(seen_b.begin(), seen_b.end(), 1) == 2 * kCount;
  }));
  for (Fetching& fetching : fetches) {
    EXPECT_TRUE(fetching.done.status.ok());
    good += fetching.data == Pattern(fetching.data.size(), fetching.index);
  }
  EXPECT_EQ(good, 2 * kCount);
}

TEST_P(TransportTest, CallbacksMaySendConnectAndClose) {
  // b answers from inside OnMessage, over an endpoint it opens there; a closes from inside its own.
  std::deque<Sending> answers;
  at_b.on_message = [&](Bytes, Payload&) {
    Result<EndpointId> back = b->Connect(a->address());
    EXPECT_TRUE(back.ok());
    answers.emplace_back("answer", Pattern(20'000, 5));
    answers.back().Start(*b, *back);
    return true;
  };
  std::vector<uint8_t> data(20'000);
  Waiting fetched;
  Payload kept;
  at_a.on_message = [&](Bytes, Payload& payload) {
    kept = std::move(payload);
    kept.Fetch(data, &fetched);
    return true;
  };
  bool closed = false;
  fetched.then = [&] {
    kept.Reset();
    a->Close(a_to_b);
    closed = true;
  };
  Sending question("question", {});
  question.Start(*a, a_to_b);
  ASSERT_TRUE(PumpUntil([&] { return closed && question.finished() && answers.front().finished(); }));
  EXPECT_TRUE(fetched.status.ok());
  EXPECT_EQ(data, Pattern(20'000, 5));
}

// With UCX over tcp the connection that the peer made becomes that of the new endpoint, while it is being read: in the
// callback only if the peer has given up another before, by which the two count their connections differently.
TEST_P(TransportTest, ACallbackMayConnectWhileMoreOfItsPeerHasArrived) {
  constexpr size_t kMessages = 30;
  Keeper at_first, at_second;
  std::deque<Sending> sendings, answers;
  const auto first = net->Make(), second = net->Make();
  first->SetReceiver(&at_first);
  second->SetReceiver(&at_second);
  size_t arrived = 0;
  at_second.on_message = [&](Bytes, Payload&) {
    if (arrived++ != 0) return true;
    Result<EndpointId> back = second->Connect(first->address());
    EXPECT_TRUE(back.ok());
    answers.emplace_back("answer", Pattern(5'000, 5));
    answers.back().Start(*second, *back);
    Result<EndpointId> other = second->Connect(first->address());
    EXPECT_TRUE(other.ok());
    answers.emplace_back("perhaps", Pattern(10, 5));
    answers.back().Start(*second, *other);
    second->Close(*other);
    return true;
  };
  size_t answered = 0;
  at_first.on_message = [&](Bytes header, Payload& payload) {
    if (AsText(header) != "answer") return true;
    ++answered;
    EXPECT_EQ(std::vector<uint8_t>(payload.eager().begin(), payload.eager().end()), Pattern(5'000, 5));
    return true;
  };
  const auto given_up = first->Connect(second->address());
  ASSERT_TRUE(given_up.ok());
  first->Close(*given_up);
  Pump(
      {first.get()}, [] { return false; }, 1);  // until it is closed, unheard
  const auto to_second = first->Connect(second->address());
  ASSERT_TRUE(to_second.ok());
  for (size_t i = 0; i < kMessages; ++i) {
    sendings.emplace_back("one of many", Pattern(i, i));
    sendings.back().Start(*first, *to_second);
  }
  const auto all_is_done = [&] {
    const auto finished = [](Sending& one) { return one.finished(); };
    return arrived == kMessages && answered != 0 && std::all_of(sendings.begin(), sendings.end(), finished) &&
           std::all_of(answers.begin(), answers.end(), finished);
  };
  // The second looks seldom, so that much has come when it does.
  ASSERT_TRUE(PumpSeldom(*first, *second, all_is_done));
  EXPECT_EQ(answers[0].code(), Code::kOk);
  EXPECT_EQ(answered, 1u);
}

TEST_P(TransportTest, SendsToAnUnknownOrClosedEndpointFailFromProgress) {
  Sending unknown("x", Pattern(10, 1)), none("x", {}), closed("x", Pattern(100'000, 1));
  unknown.Start(*a, EndpointId((uint64_t{77} << 32) + 77));
  none.Start(*a, EndpointId());
  a->Close(a_to_b);
  closed.Start(*a, a_to_b);
  EXPECT_TRUE(unknown.pending && none.pending && closed.pending);
  ASSERT_TRUE(PumpUntil([&] { return unknown.finished() && none.finished() && closed.finished(); }));
  EXPECT_EQ(unknown.code(), Code::kUnavailable);
  EXPECT_EQ(none.code(), Code::kUnavailable);
  EXPECT_EQ(closed.code(), Code::kUnavailable);
  a->Close(a_to_b);  // ignored
  a->Close(EndpointId(12345));
  EXPECT_FALSE(at_a.IsDown(a_to_b));
}

TEST_P(TransportTest, CloseEndsWhatIsPendingAndTheIdIsNotUsedAgain) {
  Warm();
  std::deque<Sending> sendings;
  for (int i = 0; i < 20; ++i) {
    sendings.emplace_back("bulk", Pattern(100'000, 1));
    sendings.back().Start(*a, a_to_b);
    EXPECT_TRUE(sendings.back().pending);  // nobody fetches
  }
  a->Progress();
  const EndpointId old = a_to_b;
  a->Close(a_to_b);
  ASSERT_TRUE(Pump({a.get()}, [&] {  // without the peer's help
    return std::all_of(sendings.begin(), sendings.end(), [](const Sending& s) { return s.finished(); });
  }));
  for (const Sending& sending : sendings) EXPECT_EQ(sending.code(), Code::kUnavailable);
  for (int i = 0; i < 5; ++i) {
    Result<EndpointId> again = a->Connect(b->address());
    ASSERT_TRUE(again.ok());
    EXPECT_NE(*again, old);
    a->Close(*again);
  }
  // What b holds of those sends now fails to fetch, or is dropped; both end.
  ASSERT_TRUE(PumpUntil([&] { return at_b.IsDown(b_to_a); })) << "the peer learns of a clean close";
  while (!at_b.messages.empty()) {
    Payload payload = std::move(at_b.messages.front().payload);
    at_b.messages.pop_front();
    if (at_b.messages.size() % 2 == 0) continue;
    std::vector<uint8_t> data(payload.size());
    Waiting fetched;
    payload.Fetch(data, &fetched);
    ASSERT_TRUE(PumpUntil([&] { return fetched.runs != 0; }));
    EXPECT_EQ(fetched.status.code(), Code::kUnavailable);
  }
}

TEST_P(TransportTest, AfterACloseANewPairWorks) {
  Warm();
  a->Close(a_to_b);
  ASSERT_TRUE(PumpUntil([&] { return at_b.IsDown(b_to_a); }));
  b->Close(b_to_a);
  a_to_b = *a->Connect(b->address());
  b_to_a = *b->Connect(a->address());
  Warm();
  Sending bulk("bulk", Pattern(1 << 20, 9));
  bulk.Start(*a, a_to_b);
  ASSERT_TRUE(PumpUntil([&] { return !at_b.messages.empty(); }));
  EXPECT_EQ(Take(std::move(at_b.messages.front().payload)), bulk.payload);
  ASSERT_TRUE(PumpUntil([&] { return bulk.finished(); }));
}

TEST_P(TransportTest, DestroyingTheTransportEndsItsSendsAndThePeerLearns) {
  Warm();
  std::deque<Sending> mine, theirs;
  for (int i = 0; i < 10; ++i) {
    mine.emplace_back("a", Pattern(100'000, 1));
    mine.back().Start(*a, a_to_b);
    theirs.emplace_back("b", Pattern(100'000, 1));
    theirs.back().Start(*b, b_to_a);
  }
  a.reset();
  for (const Sending& sending : mine) EXPECT_EQ(sending.code(), Code::kUnavailable);
  ASSERT_TRUE(Pump({b.get()}, [&] {
    return at_b.IsDown(b_to_a) &&
           std::all_of(theirs.begin(), theirs.end(), [](const Sending& s) { return s.finished(); });
  }));
  for (const Sending& sending : theirs) EXPECT_EQ(sending.code(), Code::kUnavailable);
  Sending late("late", {});
  late.Start(*b, b_to_a);
  ASSERT_TRUE(Pump({b.get()}, [&] { return late.finished(); }));
  EXPECT_EQ(late.code(), Code::kUnavailable);
  EXPECT_EQ(at_b.down.size(), 1u);
}

TEST_P(TransportTest, ATransportTalksToItself) {
  EndpointId self = *a->Connect(a->address());
  for (size_t size : {size_t{0}, size_t{10}, kThreshold, size_t{1} << 20}) {
    Sending sending("self", Pattern(size, 4));
    sending.Start(*a, self);
    ASSERT_TRUE(PumpUntil([&] { return !at_a.messages.empty(); }));
    EXPECT_EQ(Take(std::move(at_a.messages.front().payload)), sending.payload);
    at_a.messages.clear();
    ASSERT_TRUE(PumpUntil([&] { return sending.finished(); }));
  }
}

TEST_P(TransportTest, AddressesThatAreNoneAreRefused) {
  EXPECT_LE(a->address().size(), Transport::kAddressBytesMax);
  std::vector<uint8_t> address(b->address().begin(), b->address().end());
  EXPECT_EQ(a->Connect({}).code(), Code::kInvalid);
  EXPECT_EQ(a->Connect(Bytes(address).first(address.size() - 1)).code(), Code::kInvalid);
  address[0] ^= 1;
  EXPECT_EQ(a->Connect(address).code(), Code::kInvalid);
}

TEST_P(TransportTest, RegisteredMemoryIsFetchedInto) {
  std::vector<uint8_t> arena(8 << 20);
  b->Register(arena);
  Sending sending("bulk", Pattern(4 << 20, 8));
  a->Register(sending.payload);
  sending.Start(*a, a_to_b);
  ASSERT_TRUE(PumpUntil([&] { return !at_b.messages.empty(); }));
  Payload payload = std::move(at_b.messages.front().payload);
  at_b.messages.clear();
  Waiting fetched;
  const MutableBytes to = MutableBytes(arena).subspan(12345, payload.size());
  payload.Fetch(to, &fetched);
  ASSERT_TRUE(PumpUntil([&] { return fetched.runs != 0 && sending.finished(); }));
  EXPECT_TRUE(std::equal(to.begin(), to.end(), sending.payload.begin()));
}

// Both ends of the option, and what is between: everything is pulled, or nothing is.
TEST(Threshold, IsKeptWhereverItIsSet) {
  for (const char* tls : {"posix,cma,self", "posix,self", "tcp,self"}) {
    for (size_t threshold : {size_t{0}, size_t{1}, size_t{2000}, size_t{1} << 20, size_t{4} << 20, SIZE_MAX}) {
      UcxNet net(tls, threshold);
      Keeper keeper;
      std::unique_ptr<Transport> a = net.Make(), b = net.Make();
      ASSERT_TRUE(a && b);
      b->SetReceiver(&keeper);
      const EndpointId a_to_b = *a->Connect(b->address());
      std::vector<size_t> sizes = {0, 1, 4096, 4 << 20};
      if (threshold < SIZE_MAX) sizes.insert(sizes.end(), {threshold - (threshold > 0), threshold, threshold + 1});
      for (size_t size : sizes) {
        SCOPED_TRACE(testing::Message() << tls << ", threshold " << threshold << ", " << size << " bytes");
        Sending sending(std::string(Transport::kHeaderBytesMax, 'h'), Pattern(size, size));
        sending.Start(*a, a_to_b);
        ASSERT_TRUE(Pump({a.get(), b.get()}, [&] { return !keeper.messages.empty(); }));
        Payload payload = std::move(keeper.messages.front().payload);
        keeper.messages.clear();
        ASSERT_EQ(payload.size(), size);
        EXPECT_EQ(payload.is_eager(), size <= threshold);
        std::vector<uint8_t> data(size);
        Waiting fetched;
        if (payload.is_eager()) {
          data.assign(payload.eager().begin(), payload.eager().end());
        } else {
          payload.Fetch(data, &fetched);
          ASSERT_TRUE(Pump({a.get(), b.get()}, [&] { return fetched.runs != 0; }));
          EXPECT_TRUE(fetched.status.ok());
        }
        payload.Reset();
        EXPECT_EQ(data, sending.payload);
        ASSERT_TRUE(Pump({a.get(), b.get()}, [&] { return sending.finished(); }));
        EXPECT_EQ(sending.code(), Code::kOk);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TransportTest,
                         testing::Values(Kind{"sim", [] { return std::make_unique<SimNet>(); }},
                                         Kind{"ucx_memory", [] { return std::make_unique<UcxNet>("posix,cma,self"); }},
                                         Kind{"ucx_memory_without_cma",
                                              [] { return std::make_unique<UcxNet>("posix,self"); }},
                                         Kind{"ucx_tcp", [] { return std::make_unique<UcxNet>("tcp,self"); }}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mayfly
