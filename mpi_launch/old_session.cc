#include "old_session.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "node_book.h"
#include "session/runtime_dir.h"
#include "side_lane.h"

namespace mayfly {
namespace {

constexpr ProtocolRange kOurs{kWireVersion, kWireVersion};
constexpr uint32_t kMembersAsked = 8;
constexpr Nanos kAnswerWithin = 3 * kSecond;

Task<Status> PingOne(SideLane* lane, ShardId shard, bool* answered) {
  Empty request, reply;
  CallOptions options;
  options.deadline = lane->executor().now() + kAnswerWithin;
  const Status status = co_await lane->caller().Call<Method::kPing>(shard, request, &reply, options);
  *answered |= status.ok();
  co_return status;
}

Task<Status> PingSome(SideLane* lane, std::vector<ShardId> shards, bool* answered) {
  std::vector<Task<Status>> pings;
  for (ShardId shard : shards) pings.push_back(PingOne(lane, shard, answered));
  for (auto& ping : pings) (void)co_await ping;
  co_return Code::kOk;
}

}  // namespace

Outcome<std::optional<SessionFile>> ReadOldSession(const std::string& path) {
  Outcome<SessionFile> file = ReadSessionFile(path, geteuid(), kOurs);
  if (file.ok()) return std::optional<SessionFile>(std::move(*file));
  Failure failure = file.failure();
  if (failure.status.code() == Code::kNoEntry) return std::optional<SessionFile>();
  if (failure.status.code() == Code::kNotDirectory) failure.sentence += "; give another --session";
  return failure;
}

bool LivesHere(const std::string& runtime_path, const Uuid& uuid) {
  Outcome<RuntimeDir> runtime = RuntimeDir::Open(runtime_path, geteuid());
  if (!runtime.ok()) return false;
  const auto session = runtime->Find(uuid, kOurs);
  return session && session->liveness == Liveness::kAlive;
}

bool Answers(const SessionFile& file, const std::string& path, const UcxOptions& ucx, const std::string& host) {
  for (const std::string& map_path : {path + ".map", file.map_path}) {
    Outcome<NodeMap> map = NodeMap::Open(map_path, geteuid());
    if (!map.ok() || map->session() != file.uuid) continue;
    const NodeBook book(std::move(*map), map_path, geteuid());
    auto lane = SideLane::Create(ucx, book, file.secret, host);
    if (!lane.ok()) return false;
    const Layout& layout = book.map().layout();
    std::vector<ShardId> shards;
    for (uint32_t m = 0; m < std::min(layout.member_count(), kMembersAsked); ++m) {
      shards.push_back(layout.FirstShardOf(MemberId(static_cast<uint16_t>(m))));
    }
    bool answered = false;
    (void)(*lane)->Drive(PingSome(lane->get(), std::move(shards), &answered));
    return answered;
  }
  return false;
}

}  // namespace mayfly
