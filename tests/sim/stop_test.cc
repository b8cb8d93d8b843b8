#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "sim/cluster.h"

namespace mayfly {
namespace {

Task<Status> Ask(SimCluster* cluster, Caller* caller, bool flush) {
  FlushRequest request;
  request.stop = true;
  request.flush = flush;
  FlushReply reply;
  CallOptions call;
  call.deadline = cluster->clock().Now() + kSecond;
  co_return co_await caller->Call<Method::kFlush>(cluster->placement().RootShard(), request, &reply, call);
}

Task<Status> Ping(SimCluster* cluster, Caller* caller) {
  Empty request, reply;
  CallOptions call;
  call.deadline = cluster->clock().Now() + kSecond;
  co_return co_await caller->Call<Method::kPing>(cluster->placement().RootShard(), request, &reply, call);
}

// Servers that all get a signal ask the root for the end one after the other; some ask when it is over.
TEST(Stop, ASecondAskerDoesNotHideTheFailureOfASignalsStop) {
  const std::string target = ::testing::TempDir() + "mayfly-stop-" + std::to_string(::getpid());
  std::ofstream(target) << "no directory";
  {
    SimClusterOptions options;
    options.members = 3;
    options.flush_target = target;
    SimCluster cluster(options);
    auto lane = cluster.NewLane();
    ASSERT_TRUE(cluster.Wait(Ping(&cluster, lane->caller.get())).ok());
    Shard& shard = cluster.shard(cluster.placement().RootShard().value);
    shard.BeginStop(true);
    while (!shard.stop_verdict().ended) ASSERT_TRUE(cluster.Turn());
    EXPECT_EQ(shard.stop_verdict().result, Code::kNotDirectory);
    const std::string report = shard.stop_report();
    for (const bool flush : {true, false}) {
      (void)cluster.Wait(Ask(&cluster, lane->caller.get(), flush));
      EXPECT_TRUE(shard.stop_verdict().ended);
      EXPECT_EQ(shard.stop_verdict().result, Code::kNotDirectory);
      EXPECT_EQ(shard.stop_report(), report);
    }
    cluster.CloseLane(std::move(lane));
  }
  std::remove(target.c_str());
}

}  // namespace
}  // namespace mayfly
