// Many lanes and shards over a network that drops, doubles, delays, reorders and cuts, by seed: every call ends in its
// time, every request that executes once does so at most once, and exactly once if its call said so.
// One seed alone: MAYFLY_SEED=17 unit_rpc --gtest_filter='Storm*'.
#include <cstdlib>

#include "unit/rpc/rpc_world.h"

namespace mayfly {
namespace {

struct Weather {
  uint32_t drop = 0, duplicate = 0, delay = 0, long_delay = 0;  // of a thousand messages
  uint32_t breaks = 0, deaths = 0;                              // of a thousand steps of 10 ms
  uint32_t slow = 0;                                            // of a thousand requests
};

class Storm {
 public:
  Storm(uint64_t seed, Weather weather) : seed_(seed), chance_(seed), weather_(weather), world_(3, seed, Net(chance_)) {
    for (auto& shard : world_.shards) shard->delay = [this] { return Slowness(); };
    Caller::Timing timing;
    timing.resend_after = kSecond;
    for (int i = 0; i < 4; ++i) world_.AddLane(world_.Someone(), timing);
    world_.network.SetPolicy([this](const SimNetwork::Passing&) { return FateOfOne(); });
  }

  void Run(int steps) {
    SCOPED_TRACE(fmt::format("seed {}", seed_));
    for (int i = 0; i < steps; ++i) {
      for (uint64_t calls = chance_.Below(4); calls > 0; --calls) Start();
      Disturb();
      world_.RunFor(chance_.Below(20) * kMillisecond);
      Check();
    }
    world_.network.SetPolicy({});
    for (auto& shard : world_.shards) shard->delay = nullptr;
    for (auto& lane : world_.lanes) {
      for (auto& shard : world_.shards) world_.network.Mend(*lane->transport, *shard->transport);
    }
    world_.RunFor(40 * kSecond);
    Check();
    for (const Call& call : calls_) EXPECT_TRUE(call.task.done()) << call.name;
    // A call that ended well has had its effect once, another at most once.
    for (Call& call : calls_) {
      if (!call.task.done()) continue;
      const Code code = call.task.Take().code();
      ++outcomes_[code];
      EXPECT_TRUE(code == call.good || code == Code::kTimedOut || code == Code::kUnavailable)
          << call.name << ": " << TextOf(code);
      const int times = world_.shards[call.shard]->executed[call.name];
      if (call.once) {
        EXPECT_LE(times, 1) << call.name;
      }
      if (code == call.good) {
        EXPECT_GE(times, 1) << call.name;
      }
    }
    for (auto& shard : world_.shards) EXPECT_EQ(shard->bad_payloads, 0u);
    for (uint32_t shard = 0; shard < 3; ++shard) {
      for (auto& lane : world_.lanes) EXPECT_EQ(world_.Await(lane->Ping(shard)), Code::kOk);
    }
    for (auto& lane : world_.lanes) EXPECT_EQ(lane->caller->in_flight(), 0u);
  }
  size_t Outcomes(Code code) { return outcomes_[code]; }
  size_t calls() const { return calls_.size(); }
  uint64_t Repeated() {
    uint64_t n = 0;
    for (auto& shard : world_.shards) n += shard->responder->stats().repeated;
    return n;
  }

 private:
  struct Call {
    Task<Status> task;
    std::string name;  // what it is counted under
    uint32_t shard;
    Nanos deadline;
    bool once;
    Code good;
  };

  static SimNetwork::Options Net(SimRandom& chance) {
    SimNetwork::Options net;
    net.eager_bytes_max = 1000;
    net.pending_every = static_cast<uint32_t>(chance.Below(4));
    net.detect_nanos = chance.Below(100) * kMillisecond;
    return net;
  }
  SimNetwork::Fate FateOfOne() {
    SimNetwork::Fate fate;
    fate.drop = chance_.PerMille(weather_.drop);
    fate.duplicate = chance_.PerMille(weather_.duplicate);
    if (chance_.PerMille(weather_.delay)) fate.delay = chance_.Below(50) * kMillisecond;
    if (chance_.PerMille(weather_.long_delay)) fate.delay = chance_.Below(8000) * kMillisecond;
    return fate;
  }
  Nanos Slowness() {
    return chance_.PerMille(weather_.slow) ? chance_.Below(3000) * kMillisecond : chance_.Below(3) * kMillisecond;
  }
  void Start() {
    TestLane& lane = *world_.lanes[chance_.Below(world_.lanes.size())];
    const auto shard = static_cast<uint32_t>(chance_.Below(3));
    const Nanos deadline = world_.clock.Now() + (chance_.PerMille(300) ? chance_.Below(1000) : 20'000) * kMillisecond;
    const uint64_t number = calls_.size() + 1;
    const size_t bytes = chance_.Below(3000);
    const std::string name = fmt::format("call {}", number);
    switch (chance_.Below(5)) {
      case 0:
        calls_.push_back({lane.Unlink(shard, name, deadline), name, shard, deadline, true, Code::kOk});
        return;
      case 1:
        calls_.push_back({lane.Open(shard, number, name, deadline), name, shard, deadline, true, Code::kOk});
        return;
      case 2:
        calls_.push_back({lane.Write(shard, number, bytes, deadline), fmt::format("write {}", number), shard, deadline,
                          true, Code::kOk});
        return;
      case 3:
        calls_.push_back({lane.Read(shard, number, static_cast<uint32_t>(bytes), deadline),
                          fmt::format("read {}", number), shard, deadline, false, Code::kOk});
        return;
      default:
        calls_.push_back({lane.Lookup(shard, name, deadline), name, shard, deadline, false, Code::kNoEntry});
    }
  }
  void Disturb() {
    TestLane& lane = *world_.lanes[chance_.Below(world_.lanes.size())];
    TestShard& shard = *world_.shards[chance_.Below(3)];
    if (chance_.PerMille(weather_.breaks)) {
      if (chance_.PerMille(500)) {
        world_.network.Cut(*lane.transport, *shard.transport);
      } else {
        world_.network.Hold(*lane.transport, *shard.transport);
      }
    }
    if (chance_.PerMille(500)) world_.network.Mend(*lane.transport, *shard.transport);
    if (chance_.PerMille(weather_.deaths)) {  // the shard loses a connection alone
      shard.responder->OnEndpointDown(EndpointId(1 + chance_.Below(50)));
    }
  }
  // No call is open past its time: its deadline, a sweep, the grace of a transfer (and what the clock jumped).
  void Check() {
    const Nanos now = world_.clock.Now();
    for (const Call& call : calls_) {
      if (!call.task.done()) {
        EXPECT_LE(now, call.deadline + Caller::kFetchGrace + 4 * Caller::kSweepEvery) << call.name;
      }
    }
  }

  const uint64_t seed_;
  SimRandom chance_;
  const Weather weather_;
  World world_;
  std::vector<Call> calls_;
  std::map<Code, size_t> outcomes_;
};

void RunSeeds(const char* what, Weather weather, uint64_t seeds) {
  const char* only = std::getenv("MAYFLY_SEED");
  size_t calls = 0, good = 0;
  uint64_t repeated = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    if (only != nullptr && std::strtoull(only, nullptr, 10) != seed) continue;
    Storm storm(seed, weather);
    storm.Run(60);
    calls += storm.calls();
    good += storm.Outcomes(Code::kOk) + storm.Outcomes(Code::kNoEntry);
    repeated += storm.Repeated();
    if (testing::Test::HasFailure()) break;
  }
  fmt::print("{}: {} calls, {} ended well, {} repetitions recognized\n", what, calls, good, repeated);
}

TEST(Storm, FairWeather) { RunSeeds("fair", {}, 10); }

TEST(Storm, Copies) { RunSeeds("copies", {.duplicate = 500}, 40); }

TEST(Storm, AnotherOrder) { RunSeeds("order", {.delay = 700, .long_delay = 20, .slow = 50}, 40); }

TEST(Storm, Losses) { RunSeeds("losses", {.drop = 150, .slow = 50}, 40); }

TEST(Storm, Cuts) { RunSeeds("cuts", {.delay = 300, .breaks = 300, .slow = 100}, 60); }

TEST(Storm, ConnectionsLostOnOneSide) { RunSeeds("one side", {.deaths = 400, .slow = 100}, 40); }

TEST(Storm, Everything) {
  RunSeeds("everything",
           {.drop = 50, .duplicate = 100, .delay = 300, .long_delay = 20, .breaks = 150, .deaths = 100, .slow = 100},
           100);
}

}  // namespace
}  // namespace mayfly
