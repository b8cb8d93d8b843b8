// What needs a second process: its death, its return, its silence, and sleeping until it speaks.
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "adapt/posix/clock.h"
#include "adapt/posix/idle.h"
#include "adapt/ucx/ucx_transport.h"
#include "unit/adapt/peer_process.h"
#include "unit/adapt/transport_testing.h"

namespace mayfly {
namespace {

constexpr size_t kEagerMax = 16384;

class UcxPeerTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string why;
    mine = UcxTransport::Create({.eager_bytes_max = kEagerMax, .tls = GetParam()}, &why);
    ASSERT_TRUE(mine != nullptr) << why;
    mine->SetReceiver(&keeper);
  }
  void TearDown() override { keeper.messages.clear(); }
  // A peer process that knows us, and an endpoint to it over which a message went each way.
  std::unique_ptr<PeerProcess> Start(const std::string& behaviour) {
    auto peer = std::make_unique<PeerProcess>(behaviour, GetParam());
    peer->Introduce(mine->address());
    Result<EndpointId> connected = mine->Connect(peer->address());
    EXPECT_TRUE(connected.ok());
    to_peer = *connected;
    // A rendezvous each way sets the connection up fully; a peer that holds payloads would never end one.
    Sending hello("hello", Pattern(behaviour == "echo" ? kEagerMax + 1 : 0, 7));
    hello.Start(*mine, to_peer);
    EXPECT_TRUE(PumpUntil([&] { return !keeper.messages.empty() && hello.finished(); }));
    keeper.messages.clear();
    return peer;
  }
  bool PumpUntil(const std::function<bool()>& holds) { return Pump({mine.get()}, holds); }
  // Sleeps in between, as servers do.
  bool SleepUntil(const std::function<bool()>& holds, Nanos within) {
    PosixClock clock;
    PosixIdle idle;
    idle.Add(mine.get());
    const Nanos give_up = clock.Now() + within;
    while (!holds() && clock.Now() < give_up) {
      if (!mine->Progress()) idle.Sleep(give_up);
    }
    idle.Remove(mine.get());
    return holds();
  }
  void ExpectEcho() {
    for (size_t size : {size_t{0}, size_t{100}, kEagerMax, size_t{1} << 20}) {
      Sending sending("echo", Pattern(size, size));
      sending.Start(*mine, to_peer);
      ASSERT_TRUE(PumpUntil([&] { return !keeper.messages.empty(); }));
      Payload payload = std::move(keeper.messages.front().payload);
      keeper.messages.clear();
      std::vector<uint8_t> data(payload.eager().begin(), payload.eager().end());
      if (!payload.is_eager()) {
        data.resize(payload.size());
        Waiting fetched;
        payload.Fetch(data, &fetched);
        ASSERT_TRUE(PumpUntil([&] { return fetched.runs != 0; }));
        EXPECT_TRUE(fetched.status.ok());
      }
      EXPECT_EQ(data, sending.payload);
      ASSERT_TRUE(PumpUntil([&] { return sending.finished(); }));
    }
  }

  Keeper keeper;
  std::unique_ptr<UcxTransport> mine;
  EndpointId to_peer;
};

TEST_P(UcxPeerTest, EverySendToAKilledPeerEndsAndItsSuccessorIsReached) {
  for (const char* behaviour : {"hold", "stuck"}) {
    SCOPED_TRACE(behaviour);
    std::unique_ptr<PeerProcess> peer = Start(behaviour);
    std::deque<Sending> sendings;
    auto send = [&](const char* header, size_t bytes) {
      sendings.emplace_back(header, Pattern(bytes, 1));
      sendings.back().Start(*mine, to_peer);
    };
    send("stop", 0);
    for (int i = 0; i < 300; ++i) send("eager", i % 3 == 0 ? 10'000 : 64);
    for (int i = 0; i < 10; ++i) send("bulk", 1 << 20);
    for (int i = 0; i < 100; ++i) mine->Progress();
    EXPECT_FALSE(sendings.back().finished()) << "nobody fetched";
    peer->Kill();
    send("late", 1 << 20);
    auto all = [&] { return std::all_of(sendings.begin(), sendings.end(), [](auto& s) { return s.finished(); }); };
    ASSERT_TRUE(PumpUntil([&] { return all() && keeper.IsDown(to_peer); }));
    EXPECT_EQ(sendings.back().code(), Code::kUnavailable);
    EXPECT_EQ(std::count(keeper.down.begin(), keeper.down.end(), to_peer), 1);
    Sending after("after", {});
    after.Start(*mine, to_peer);
    ASSERT_TRUE(PumpUntil([&] { return after.finished(); }));
    EXPECT_EQ(after.code(), Code::kUnavailable);
    mine->Close(to_peer);
    keeper.messages.clear();

    peer = Start("echo");  // on the same worker
    ExpectEcho();
    mine->Close(to_peer);
  }
}

TEST_P(UcxPeerTest, AFetchFromAKilledPeerEnds) {
  for (bool before : {true, false}) {  // asked for before or after the death
    SCOPED_TRACE(before);
    std::unique_ptr<PeerProcess> peer = Start("echo");
    peer->Command('b');
    ASSERT_TRUE(PumpUntil([&] { return !keeper.messages.empty(); }));
    Payload payload = std::move(keeper.messages.front().payload);
    keeper.messages.clear();
    ASSERT_FALSE(payload.is_eager());
    std::vector<uint8_t> data(payload.size());
    Waiting fetched;
    if (before) payload.Fetch(data, &fetched);
    peer->Kill();
    if (!before) payload.Fetch(data, &fetched);
    EXPECT_EQ(fetched.runs, 0);
    ASSERT_TRUE(PumpUntil([&] { return fetched.runs != 0 && keeper.IsDown(to_peer); }));
    EXPECT_EQ(fetched.runs, 1);
    if (fetched.status.ok()) {
      EXPECT_TRUE(before);
      EXPECT_EQ(data, Pattern(data.size(), 2));
    }
    payload.Reset();
    mine->Close(to_peer);
  }
}

TEST_P(UcxPeerTest, APeerKilledAmidTrafficLeavesNothingPending) {
  struct Fetching {
    Payload payload;
    std::vector<uint8_t> data;
    Waiting done;
  };
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(round);
    std::unique_ptr<PeerProcess> peer = Start("echo");
    std::deque<Sending> sendings;
    std::deque<Fetching> fetches;
    keeper.on_message = [&](Bytes, Payload& payload) {
      if (payload.is_eager()) return true;
      Fetching& fetching = fetches.emplace_back();
      fetching.data.resize(payload.size());
      fetching.payload = std::move(payload);
      fetching.payload.Fetch(fetching.data, &fetching.done);
      return true;
    };
    for (int i = 0; i < 400; ++i) {
      const size_t sizes[] = {0, 64, 5000, kEagerMax, 200'000};
      sendings.emplace_back(std::to_string(i), Pattern(sizes[i % 5], 1));
      sendings.back().Start(*mine, to_peer);
      mine->Progress();
      if (i == 100 + 40 * round) peer->Kill();
    }
    EXPECT_TRUE(PumpUntil([&] {
      return keeper.IsDown(to_peer) &&
             std::all_of(sendings.begin(), sendings.end(), [](auto& s) { return s.finished(); }) &&
             std::all_of(fetches.begin(), fetches.end(), [](auto& f) { return f.done.runs != 0; });
    }));
    for (Fetching& fetching : fetches) EXPECT_EQ(fetching.done.runs, 1);
    keeper.on_message = nullptr;
    keeper.messages.clear();
    mine->Close(to_peer);
  }
  // The dead ones' queues are full, and UCX wants to look after them; we sleep all the same, and then they are emptied.
  PosixClock clock;
  PosixIdle idle;
  idle.Add(mine.get());
  timespec before{}, after{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  const Nanos until = clock.Now() + 300 * kMillisecond;
  while (clock.Now() < until) {
    if (!mine->Progress()) idle.Sleep(until);
  }
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  const double used =
      static_cast<double>(after.tv_sec - before.tv_sec) + 1e-9 * static_cast<double>(after.tv_nsec - before.tv_nsec);
  EXPECT_LT(used, 0.1);
  idle.Remove(mine.get());
  EXPECT_TRUE(PumpUntil([&] { return mine->Arm() && !mine->deaf(); }));
}

TEST_P(UcxPeerTest, APayloadOfADeadPeerCanBeDropped) {
  std::unique_ptr<PeerProcess> peer = Start("echo");
  peer->Command('b');
  peer->Command('s');
  ASSERT_TRUE(PumpUntil([&] { return keeper.messages.size() == 2; }));
  peer->Kill();
  ASSERT_TRUE(PumpUntil([&] { return keeper.IsDown(to_peer); }));
  for (Arrived& arrived : keeper.messages) {
    if (!arrived.payload.is_eager()) continue;
    EXPECT_EQ(std::vector<uint8_t>(arrived.payload.eager().begin(), arrived.payload.eager().end()), Pattern(100, 1));
  }
  keeper.messages.clear();
}

TEST_P(UcxPeerTest, AQuietPeersDeathIsNoticed) {
  std::unique_ptr<PeerProcess> peer = Start("echo");
  peer->Kill();
  EXPECT_TRUE(PumpUntil([&] { return keeper.IsDown(to_peer); }));
}

TEST_P(UcxPeerTest, APeerThatLeavesIsNoticed) {
  std::unique_ptr<PeerProcess> peer = Start("echo");
  std::thread leaving([&] { EXPECT_TRUE(peer->Leave()); });
  EXPECT_TRUE(PumpUntil([&] { return keeper.IsDown(to_peer); }));
  leaving.join();
}

TEST_P(UcxPeerTest, AnAddressOfTheDeadGoesDown) {
  std::unique_ptr<PeerProcess> peer = Start("echo");
  const std::vector<uint8_t> address(peer->address().begin(), peer->address().end());
  peer->Kill();
  Result<EndpointId> late = mine->Connect(address);
  ASSERT_TRUE(late.ok());
  Sending small("x", {}), bulk("x", Pattern(1 << 20, 1));
  small.Start(*mine, *late);
  bulk.Start(*mine, *late);
  ASSERT_TRUE(PumpUntil([&] { return bulk.finished() && small.finished() && keeper.IsDown(*late); }));
  EXPECT_EQ(bulk.code(), Code::kUnavailable);
}

TEST_P(UcxPeerTest, SleepEndsWhenAMessageArrivesAndCostsNothingBefore) {
  std::unique_ptr<PeerProcess> peer = Start("echo");
  PosixClock clock;
  PosixIdle idle;
  idle.Add(mine.get());
  // Quiet: a round is a wake-up. The keepalive timer makes a few.
  const Nanos quiet_until = clock.Now() + 300 * kMillisecond;
  int rounds = 0;
  while (clock.Now() < quiet_until) {
    while (mine->Progress()) {
    }
    idle.Sleep(quiet_until);
    ++rounds;
  }
  EXPECT_LT(rounds, 100);
  for (int i = 0; i < 5; ++i) {
    const Nanos start = clock.Now();
    std::thread asking([&] { peer->Command('s'); });
    while (keeper.messages.empty() && clock.Now() < start + 20 * kSecond) {
      if (!mine->Progress()) idle.Sleep(start + 20 * kSecond);
    }
    asking.join();
    EXPECT_FALSE(keeper.messages.empty());
    EXPECT_LT(clock.Now() - start, 10 * kSecond);
    keeper.messages.clear();
  }
  // Nothing to come, but another thread wakes us.
  std::thread waking([&] { idle.Wake(); });
  const Nanos start = clock.Now();
  bool woken = false;
  while (!woken && clock.Now() < start + 20 * kSecond) {
    while (mine->Progress()) {
    }
    idle.Sleep(start + 20 * kSecond);
    woken = true;  // by Wake, or by the keepalive timer at worst
  }
  EXPECT_LT(clock.Now() - start, 10 * kSecond);
  waking.join();
  idle.Remove(mine.get());
}

TEST_P(UcxPeerTest, OthersAreHeardAfterOneWasKilledInTheMidstOfWritingToUs) {
  std::unique_ptr<PeerProcess> killed = Start("echo"), other = Start("echo");
  EXPECT_EQ(mine->fifos().empty(), *GetParam() != 0);
  for (SharedFifo& fifo : mine->fifos()) {  // as two senders do that are killed before they write
    fifo.TakeSlot();
    fifo.TakeSlot();
  }
  killed->Kill();
  other->Command('s');
  EXPECT_TRUE(SleepUntil([&] { return !keeper.messages.empty(); }, 30 * kSecond));
  ASSERT_EQ(keeper.messages.size(), 1u);
  keeper.messages.clear();
  ExpectEcho();
}

// Without an endpoint UCX does not look at the queue, and lets us sleep whatever is in it.
TEST_P(UcxPeerTest, OthersAreHeardAfterTheOnlyOneWasKilledInTheMidstOfWritingToUs) {
  for (const bool writes : {false, true}) {
    SCOPED_TRACE(writes);
    std::unique_ptr<PeerProcess> killed = Start("echo");
    (void)SleepUntil([] { return false; }, 100 * kMillisecond);
    killed->Kill();
    for (SharedFifo& fifo : mine->fifos()) fifo.TakeSlot(writes);
    ASSERT_TRUE(SleepUntil([&] { return keeper.IsDown(to_peer); }, 20 * kSecond));
    mine->Close(to_peer);
    keeper.down.clear();
    PeerProcess other("echo", GetParam());
    other.Introduce(mine->address());
    other.Command('s');
    EXPECT_TRUE(SleepUntil([&] { return !keeper.messages.empty(); }, 8 * kSecond));
    keeper.messages.clear();
  }
}

// Nor before the first endpoint.
TEST_P(UcxPeerTest, OthersAreHeardAfterAStrangerWasKilledBeforeItWokeUs) {
  for (SharedFifo& fifo : mine->fifos()) fifo.TakeSlot(true);
  PeerProcess other("echo", GetParam());
  other.Introduce(mine->address());
  other.Command('s');
  EXPECT_TRUE(SleepUntil([&] { return !keeper.messages.empty(); }, 8 * kSecond));
}

TEST_P(UcxPeerTest, APendingCompletionIsNotSleptOn) {
  Sending nowhere("x", {});
  nowhere.Start(*mine, EndpointId(99));
  EXPECT_FALSE(mine->Arm());
  ASSERT_TRUE(PumpUntil([&] { return nowhere.finished(); }));
}

TEST_P(UcxPeerTest, AForkedChildAbandonsAndTheParentGoesOn) {
  std::unique_ptr<PeerProcess> peer = Start("echo");
  Sending sending("pending", Pattern(1 << 20, 1));
  sending.Start(*mine, to_peer);
  const pid_t child = fork();
  if (child == 0) {
    mine->Abandon();
    mine.reset();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(PumpUntil([&] { return sending.finished() && !keeper.messages.empty(); }));
  EXPECT_EQ(sending.code(), Code::kOk);
  keeper.messages.clear();
  ExpectEcho();
}

TEST_P(UcxPeerTest, ItsTransportsAreNamed) {
  EXPECT_EQ(mine->Describe(), "none yet");
  std::unique_ptr<PeerProcess> peer = Start("echo");
  const std::string name = mine->Describe();
  if (*GetParam() != 0) {
    EXPECT_EQ(name, "tcp");
  } else {
    EXPECT_TRUE(name.find("posix") != name.npos || name.find("sysv") != name.npos) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, UcxPeerTest, testing::Values("", "tcp,self"),
                         [](const auto& info) { return *info.param == 0 ? "default" : "tcp"; });

TEST(UcxTransport, BulkDataOnOneHostIsCopiedOnce) {
  char from = 1, to = 0;
  iovec local{&to, 1}, remote{&from, 1};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != 1) GTEST_SKIP() << "no CMA here";
  for (bool cma : {true, false}) {
    std::string why;
    auto mine = UcxTransport::Create({.tls = "posix,cma,self", .cma = cma}, &why);
    ASSERT_TRUE(mine != nullptr) << why;
    Keeper keeper;
    mine->SetReceiver(&keeper);
    PeerProcess peer("echo", "posix,cma,self");
    peer.Introduce(mine->address());
    Result<EndpointId> to_peer = mine->Connect(peer.address());
    ASSERT_TRUE(to_peer.ok());
    Sending hello("hello", {});
    hello.Start(*mine, *to_peer);
    ASSERT_TRUE(Pump({mine.get()}, [&] { return !keeper.messages.empty() && hello.finished(); }));
    EXPECT_EQ(mine->Describe(), cma ? "posix+cma" : "posix");
  }
}

TEST(UcxTransport, WhatCannotStartSaysWhy) {
  std::string why;
  EXPECT_EQ(UcxTransport::Create({.tls = "no_such_transport"}, &why), nullptr);
  EXPECT_NE(why.find("UCX"), std::string::npos) << why;
}

}  // namespace
}  // namespace mayfly
