#include "scale/cluster.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "ring/placement.h"

namespace mayfly::scale {
namespace {

Outcome Simulated(const Options& options) { return Simulate(options).value(); }

Options Steady(uint32_t members) {
  Options o;
  o.members = members;
  o.lease_renewal = 0;
  return o;
}

TEST(ScaleCluster, OneClientOfOneServerWaitsForEachOfItsCreates) {
  Options o = Steady(1);
  o.clients = 1;
  const double round = static_cast<double>(o.costs.create + o.costs.client + 2 * o.costs.hop_here);
  EXPECT_NEAR(Simulated(o).rate * round / 1e9, 1, 0.001);
  o.cold = true;
  o.creates = 10;
  // And a handshake with its way there and back. The last answer need not arrive for the server to have done it.
  const double first = static_cast<double>(o.costs.hello + 2 * o.costs.hop_here);
  const double last = static_cast<double>(o.costs.hop_here);
  EXPECT_NEAR(Simulated(o).seconds * 1e9, 10 * round + first - last, 1);
}

TEST(ScaleCluster, AServerWithEnoughClientsIsNeverIdle) {
  const Options o = Steady(1);
  const Outcome out = Simulated(o);
  EXPECT_NEAR(out.rate * static_cast<double>(o.costs.create) / 1e9, 1, 0.001);
  EXPECT_NEAR(out.busy_mean, 1, 0.001);
}

TEST(ScaleCluster, MoreInFlightThanAClientHasTimeForAreBoundByTheClient) {
  Options o = Steady(2);
  o.clients_total = 1;
  o.window = 64;
  o.costs.client = 4000;
  EXPECT_NEAR(Simulated(o).rate * 4000 / 1e9, 1, 0.01);
}

// Exponential service, no way between and nothing to do for clients: a closed network of product form, in which M
// servers and C clients have a throughput of M / create x C / (C + M - 1).
TEST(ScaleCluster, AClosedNetworkHasTheThroughputOfTheFormula) {
  for (const uint32_t clients : {1u, 4u, 16u}) {
    Options o = Steady(64);
    o.clients = clients;
    o.creates = 40'000;
    o.warm_up = 2000;
    o.costs.exponential = true;
    o.costs.hop = o.costs.hop_here = o.costs.client = 0;
    const double all = 64.0 * clients;
    const double formula = 64e9 / static_cast<double>(o.costs.create) * all / (all + 63);
    EXPECT_NEAR(Simulated(o).rate / formula, 1, 0.01) << clients << " clients a member";
  }
}

TEST(ScaleCluster, EveryCreateOfAColdRunEndsAndEachConnectionAndJoinIsMadeOnce) {
  for (const bool shared : {false, true}) {
    Options o = Steady(5);
    o.clients = 3;
    o.cold = true;
    o.creates = 20;
    o.shared_directory = shared;
    const Outcome out = Simulated(o);
    EXPECT_EQ(out.begun, 300u);
    EXPECT_EQ(out.ended, 300u);
    EXPECT_EQ(out.creates, 300u);
    // The same by the placement alone.
    std::vector<Member> members(5);
    for (uint16_t i = 0; i < 5; ++i) members[i] = {.id = MemberId(i)};
    const Placement placement = Placement::Build(Layout::Build(members).value()).value();
    const InodeId top = InodeId::Make(placement.DentryShard(placement.RootInode(), "mdtest"), 2);
    std::set<std::pair<uint32_t, uint32_t>> connections, joins;
    for (uint32_t c = 0; c < 15; ++c) {
      const std::string own = std::to_string(c);
      const InodeId dir = shared ? top : InodeId::Make(placement.DentryShard(top, own), 3 + c);
      for (int i = 0; i < 20; ++i) {
        const ShardId shard = placement.DentryShard(dir, (shared ? "file." + own + "." : "file.") + std::to_string(i));
        connections.emplace(c, shard.value);
        if (shard != dir.home()) joins.emplace(shared ? 0 : c, shard.value);
      }
    }
    EXPECT_EQ(out.hellos, connections.size());
    EXPECT_EQ(out.joins, joins.size());
  }
}

TEST(ScaleCluster, AColdRunCostsTheHandshakesAndJoinsOnTop) {
  Options o = Steady(8);
  o.cold = true;
  o.creates = 200;
  const Outcome out = Simulated(o);
  const double work =
      static_cast<double>(out.creates * o.costs.create + out.hellos * o.costs.hello + 2 * out.joins * o.costs.message);
  EXPECT_NEAR(out.busy_mean * 8 * out.seconds * 1e9 / work, 1, 0.001);
}

TEST(ScaleCluster, EachShardButTheRootsRenewsItsLeaseThere) {
  Options o = Steady(16);
  o.lease_renewal = 200 * kMicrosecond;
  o.costs.message = 1;
  const Outcome out = Simulated(o);
  const double ways = static_cast<double>(2 * o.costs.hop);
  const double waits = out.seconds * (1 + static_cast<double>(o.warm_up) / static_cast<double>(o.creates)) * 1e9;
  const double rounds = waits / (static_cast<double>(o.lease_renewal) + ways);
  EXPECT_GT(static_cast<double>(out.leases), 15 * rounds * 0.8);  // they wait in the queues of both ends besides
  EXPECT_LE(static_cast<double>(out.leases), 15 * (rounds + 1));
  EXPECT_GT(out.busy_root, 0.9);
}

TEST(ScaleCluster, ClosesThatComeAloneTakeTheServersTime) {
  Options o = Steady(1);
  const double batched = Simulated(o).rate;
  o.closes_a_message = 4;
  const double alone = 1.0 / 4 - 1.0 / 32;
  const double create = static_cast<double>(o.costs.create), message = static_cast<double>(o.costs.message);
  o.creates = 100'000;
  EXPECT_NEAR(Simulated(o).rate / batched, create / (create + alone * message), 0.003);
}

TEST(ScaleCluster, ProcessesThatShareCoresGetNoMoreThanTheseHave) {
  Options o = Steady(4);
  o.clients_total = 4;
  o.window = 16;
  o.cores = 2;
  o.creates = 20'000;
  EXPECT_NEAR(Simulated(o).rate * static_cast<double>(o.costs.create + o.costs.client) / 2e9, 1, 0.01);
}

TEST(ScaleCluster, ACreateCostsMoreTheMoreClientsThereAre) {
  Costs costs;
  EXPECT_EQ(GrowthAt(costs, 1000), 0u);
  costs.growth = {{16, 0}, {256, 400}, {65'536, 1000}};
  EXPECT_EQ(GrowthAt(costs, 1), 0u);
  EXPECT_EQ(GrowthAt(costs, 16), 0u);
  EXPECT_EQ(GrowthAt(costs, 64), 200u);
  EXPECT_EQ(GrowthAt(costs, 256), 400u);
  EXPECT_EQ(GrowthAt(costs, 4096), 700u);
  EXPECT_EQ(GrowthAt(costs, 1'000'000), 1000u);
  Options o = Steady(1);
  o.clients = 64;
  o.costs.growth = costs.growth;
  EXPECT_NEAR(Simulated(o).rate * static_cast<double>(o.costs.create + 200) / 1e9, 1, 0.001);
}

TEST(ScaleCluster, ASpreadOfTimesKeepsTheMean) {
  Options o = Steady(1);
  o.costs.create_spread = {-1000, -500, 0, 1500};
  o.creates = 200'000;
  EXPECT_NEAR(Simulated(o).rate * static_cast<double>(o.costs.create) / 1e9, 1, 0.01);
}

TEST(ScaleCluster, ARunIsAFunctionOfItsOptions) {
  Options o = Steady(16);
  o.costs.exponential = true;
  const Outcome a = Simulated(o), b = Simulated(o);
  EXPECT_EQ(a.seconds, b.seconds);
  o.seed = 2;
  EXPECT_NE(Simulated(o).seconds, a.seconds);
}

TEST(ScaleCluster, OptionsThatMakeNoClusterAreRefused) {
  for (const auto spoil : {+[](Options& o) { o.members = 0; }, +[](Options& o) { o.members = 70'000; },
                           +[](Options& o) { o.clients = 0; }, +[](Options& o) { o.window = 0; },
                           +[](Options& o) { o.creates = 0; }, +[](Options& o) { o.closes_a_message = 0; }}) {
    Options o;
    spoil(o);
    EXPECT_EQ(Simulate(o).status().code(), Code::kInvalid);
  }
}

// Many closes to a shard fill batches; few wait for a second and half a second more on average until the helper looks.
TEST(ScaleCloses, BatchesAreFullOrASecondOld) {
  EXPECT_NEAR(ClosesAMessage(1, 40'000, 1), 32, 0.5);
  EXPECT_NEAR(ClosesAMessage(1000, 1'000'000, 1), 32, 0.5);
  EXPECT_NEAR(ClosesAMessage(10'000, 40'000, 1), 1 + 4 * 1.25, 0.4);
  EXPECT_NEAR(ClosesAMessage(100'000, 10'000, 1), 1 + 0.1 * 1.25, 0.05);
}

}  // namespace
}  // namespace mayfly::scale
