#include "node_memory.h"

#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "options.h"

namespace mayfly {
namespace {

constexpr uint64_t kMany = ~uint64_t{0};
constexpr uint64_t kUnit = uint64_t{2} << 20;

uint64_t MemAvailable() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    if (fields >> name >> kib && name == "MemAvailable:") return kib << 10;
  }
  return kMany;
}

// The number in a file; kMany for "max", and if there is none.
uint64_t ReadNumber(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kMany;
}

// What limit and use of one control group leave. Page cache counts as used there, but files of /dev/shm do too, so it
// is not taken off.
uint64_t Room(const std::string& directory, const char* limit, const char* used) {
  const uint64_t max = ReadNumber(directory + limit), now = ReadNumber(directory + used);
  if (max == kMany || now == kMany) return kMany;
  return max > now ? max - now : 0;
}

// The tightest of our control group and those around it, version 2 or 1.
uint64_t ControlGroupRoom() {
  std::ifstream file("/proc/self/cgroup");
  uint64_t room = kMany;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && controllers != "memory") continue;
    const std::string mount = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::filesystem::path at = line.substr(second + 1);; at = at.parent_path()) {
      const std::string directory = mount + at.string() + "/";
      room = std::min(room, v2 ? Room(directory, "memory.max", "memory.current")
                               : Room(directory, "memory.limit_in_bytes", "memory.usage_in_bytes"));
      if (!at.has_relative_path()) break;
    }
  }
  return room;
}

// Locked memory is not counted for processes with CAP_IPC_LOCK.
bool MayLockMemory() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    constexpr std::string_view kName = "CapEff:";
    constexpr int kIpcLock = 14;
    if (line.starts_with(kName)) return (std::stoull(line.substr(kName.size()), nullptr, 16) >> kIpcLock & 1) != 0;
  }
  return false;
}

}  // namespace

NodeMemory ReadNodeMemory(const std::string& runtime_path) {
  NodeMemory node;
  node.available = std::min(MemAvailable(), ControlGroupRoom());
  std::filesystem::path at = runtime_path;
  std::error_code error;
  if (!std::filesystem::exists(at, error)) at = at.parent_path();
  node.shared_path = at.string();
  struct statvfs file_system {};
  node.shared_free = kMany;
  if (statvfs(at.c_str(), &file_system) == 0) node.shared_free = file_system.f_bavail * file_system.f_frsize;
  return node;
}

Outcome<uint64_t> PlanMemory(const NodeMemory& node, const MemoryPlan& plan) {
  const uint64_t least = kShardMemoryMin * plan.shards;
  const bool shared_is_less = node.shared_free < node.available;
  const uint64_t free = std::min(node.shared_free, node.available);
  const auto too_little = [&](uint64_t wanted) {
    const std::string what = plan.members == 1 ? fmt::format("{} of memory", SizeText(wanted))
                                               : fmt::format("{} members of {} each", plan.members, SizeText(wanted));
    const uint64_t fits = free / plan.members;
    const std::string smaller = fits >= least && plan.asked_bytes != 0
                                    ? fmt::format("give --memory {}M or less, or ", fits >> 20)
                                    : std::string();
    if (shared_is_less) {
      return Fail(Code::kNoSpace,
                  "{} do not fit into the {} that are free in {}; {}remove files there (`mayfly clean` removes what "
                  "dead sessions left), or set MAYFLY_RUNTIME_DIR",
                  what, SizeText(free), node.shared_path, smaller);
    }
    return Fail(Code::kNoMemory, "{} do not fit into the {} of memory that are free; {}free some, or use more nodes",
                what, SizeText(free), smaller);
  };
  if (plan.asked_bytes != 0) {
    if (plan.asked_bytes < least) {
      return Fail(Code::kInvalid, "--memory {} is too little for {} of {} at least; give --memory {}M or more",
                  SizeText(plan.asked_bytes),
                  plan.shards == 1 ? std::string("a server thread") : fmt::format("{} server threads", plan.shards),
                  SizeText(kShardMemoryMin), least >> 20);
    }
    if (plan.asked_bytes > free / plan.members) return too_little(plan.asked_bytes);
    return plan.asked_bytes;
  }
  const uint64_t share = std::min(node.available / 4, node.shared_free / 2) / plan.members;
  const uint64_t chosen = std::max(share / kUnit * kUnit, least);
  if (chosen > free / plan.members) return too_little(chosen);
  return chosen;
}

std::string MemlockWarning(uint64_t member_bytes) {
  struct rlimit limit {};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  if (limit.rlim_cur >= member_bytes || MayLockMemory()) return {};
  return fmt::format(
      "the limit of locked memory is {}: over a fast network, transfers will be copied instead of sent from their "
      "place; raise it with `ulimit -l unlimited`",
      SizeText(limit.rlim_cur));
}

}  // namespace mayfly
