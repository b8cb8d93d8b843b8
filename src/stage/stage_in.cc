#include "stage/stage_in.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "stage/worker.h"

namespace mayfly::stage {
namespace {

using SteadyClock = std::chrono::steady_clock;
// An earlier command that was killed holds its target until the servers have noticed.
constexpr auto kFreeWithin = std::chrono::seconds(20);
constexpr auto kAskAgain = std::chrono::milliseconds(200);
constexpr auto kLookFirst = std::chrono::milliseconds(2), kLookMost = std::chrono::milliseconds(200);
constexpr uint32_t kMissesMax = 5;
// From its cancellation on: what is being copied is brought to an end first.
constexpr auto kEndsWithin = std::chrono::seconds(60);
constexpr uint32_t kThreads = 8;  // of this command
constexpr uint32_t kRestartsMax =
    5;  // for servers that are killed, and are started again as often (mayflyd --supervise)

void Sleep(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

bool Start(mayfly_fs* fs, const StageSpec& spec, const std::atomic<bool>* stop, StageStartReply* started,
           StageResult* result) {
  const auto until = SteadyClock::now() + kFreeWithin;
  while (mayfly_stage_start(fs, spec, started) != 0) {
    if (errno != EBUSY) {
      result->broken = mayfly_error();
      return false;
    }
    if (stop->load()) {
      result->interrupted = true;
      return false;
    }
    if (SteadyClock::now() >= until) {
      result->broken = "another stage-in is writing to " + spec.target +
                       " or to something in or above it; wait until it has ended, or end it with Ctrl-C";
      return false;
    }
    Sleep(kAskAgain);
  }
  return true;
}

enum class Ended : uint8_t {
  kDone,       // as the result says
  kForgotten,  // the root's server was started again, and knows nothing of the job
  kMaimed,  // likewise as the result says, but a server was killed that took part, and what it had in work has failed
};

// `lost`: this command's own worker has given up, and what only that could do is not done.
Ended Follow(mayfly_fs* fs, uint64_t job, const std::function<void(const StageCounts&)>& show,
             const std::atomic<bool>* stop, const std::atomic<bool>* lost, StageResult* result) {
  uint32_t misses = 0, working_most = 0;
  auto cancelled_at = SteadyClock::time_point::max();
  for (auto pause = kLookFirst;; pause = std::min(pause * 2, kLookMost)) {
    StageStatusRequest request;
    request.job = job;
    request.cancel = stop->load() || lost->load();
    const auto now = SteadyClock::now();
    if (request.cancel) cancelled_at = std::min(cancelled_at, now);
    if (request.cancel && now - cancelled_at > kEndsWithin) {
      result->broken = "the servers do not end the copying that is under way";
      return Ended::kDone;
    }
    StageStatusReply reply;
    StageSummary summary;
    if (mayfly_stage_status(fs, request, &reply, &summary) != 0) {
      if (errno == ENOENT) return Ended::kForgotten;
      if (errno == ESHUTDOWN || ++misses >= kMissesMax) {
        result->broken = mayfly_error();
        return Ended::kDone;
      }
    } else {
      misses = 0;
      show(reply.counts);
      working_most = std::max(working_most, reply.working);
      if (reply.done) {
        result->counts = reply.counts;
        result->interrupted = reply.cancelled && !lost->load();
        result->shares = std::move(summary.shares);
        result->failures = std::move(summary.failures);
        const bool maimed = reply.counts.failed != 0 && reply.working < working_most && !request.cancel;
        return maimed ? Ended::kMaimed : Ended::kDone;
      }
    }
    Sleep(pause);
  }
}

// One job, from its start to its end.
Ended RunJob(mayfly_fs* fs, const StageSpec& spec, const std::function<void(const StageCounts&)>& show,
             const std::atomic<bool>* stop, StageResult* result) {
  StageStartReply started;
  if (!Start(fs, spec, stop, &started, result)) return Ended::kDone;
  Worker::Options mine;
  mine.job = started.job;
  mine.spec = spec;
  mine.spec.threads = std::min(started.streams, kThreads);
  std::atomic<bool> end{false}, lost{false};
  mine.stop = &end;
  Worker worker(fs, std::move(mine));
  std::thread working([&] { lost = worker.Run() != 0; });
  const Ended ended = Follow(fs, started.job, show, stop, &lost, result);
  const bool gave_up = lost;  // before it was told to end
  end = true;
  working.join();
  if (ended != Ended::kForgotten && gave_up && result->broken.empty()) result->broken = worker.failure();
  return ended;
}

}  // namespace

StageResult StageIn(mayfly_fs* fs, StageInOptions options, const std::function<void(const StageCounts&)>& show,
                    const std::atomic<bool>* stop) {
  StageResult result;
  StageSpec spec;
  spec.source = std::move(options.source);
  spec.target = std::move(options.target);
  spec.streams = options.streams;
  spec.members = options.members;
  struct stat st;
  if (::lstat(spec.source.c_str(), &st) != 0) {
    result.broken = spec.source + ": " + std::strerror(errno);
    return result;
  }
  spec.facts = FactsOf(st);
  // The root's shard keeps no word of a job. What was copied is there, and found; what was begun has ended before the
  // next begins: this command's own here, the servers' as their invitations ask them to (server/stage_board.h, B7).
  for (;;) {
    const Ended ended = RunJob(fs, spec, show, stop, &result);
    const bool again = ended == Ended::kForgotten || (ended == Ended::kMaimed && result.restarts < kRestartsMax &&
                                                      mayfly_stage_servers_come_back(fs));
    if (!again) break;
    if (stop->load()) {
      result.interrupted = true;
      break;
    }
    const uint32_t restarts = result.restarts + 1;
    result = StageResult();
    result.restarts = restarts;
  }
  return result;
}

}  // namespace mayfly::stage
