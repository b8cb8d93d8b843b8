// Running the session: reports, flush, stop.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/histogram.h"
#include "capi/entry.h"
#include "ring/balance.h"
#include "session/uuid.h"

using namespace mayfly;

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShardsAtOnce = 64;
constexpr Nanos kPingWithin = 5 * kSecond;
constexpr Nanos kLookFirst = 10 * kMillisecond, kLookMost = 400 * kMillisecond;
constexpr Nanos kGoneWithin = 30 * kSecond;
constexpr uint32_t kMissesMax = 5;  // of asking how a flush goes

// Each shard at most once, in groups: `start(shard)` makes a task, `take(shard, result)` gets what it gave.
template <class Start, class Take>
void ForEachShard(Engine& engine, uint32_t shards, Start start, Take take) {
  using T = decltype(start(ShardId(0)));
  for (uint32_t first = 0; first < shards; first += kShardsAtOnce) {
    const uint32_t end = std::min<uint32_t>(first + kShardsAtOnce, shards);
    std::vector<T> tasks;
    tasks.reserve(end - first);
    for (uint32_t s = first; s < end; ++s) tasks.push_back(start(ShardId(s)));
    for (uint32_t s = first; s < end; ++s) {
      engine.Finish(tasks[s - first]);
      take(ShardId(s), tasks[s - first].Take());
    }
  }
}

Json ClientJson(Engine& engine, Mount& mount) {
  const CallerStats& calls = engine.caller().stats();
  const MountCounters& counters = mount.counters();
  return {{"transport", engine.ground().transport().Describe()},
          {"calls", calls.calls},
          {"retries", calls.retries},
          {"timeouts", calls.timeouts},
          {"late_replies", calls.late_replies},
          {"refused_messages", calls.refused_messages},
          {"connects", calls.connects},
          {"checksum_mismatches", counters.checksum_mismatches.load()},
          {"writes_buffered", counters.writes_buffered.load()},
          {"buffers_sent", counters.buffers_sent.load()},
          {"revoked", counters.revoked.load()},
          {"read_ahead_hits", counters.read_ahead_hits.load()},
          {"made_ahead", mount.outbox().made()},
          {"closed_ahead", counters.closed_ahead.load()}};
}

Json MembersJson(const Layout& layout) {
  Json members = Json::array();
  for (const Member& member : layout.members()) {
    members.push_back({{"member", member.id.value},
                       {"host", member.host},
                       {"weight", member.weight},
                       {"first_shard", layout.FirstShardOf(member.id).value},
                       {"shards", member.shards}});
  }
  return members;
}

Json StatusReport(Engine& engine, Instance& instance) {
  Platform& platform = instance.platform();
  Json shards = Json::array();
  uint32_t answered = 0;
  ForEachShard(
      engine, platform.layout().shard_count(), [&](ShardId shard) { return engine.lane().ShardStatus(shard); },
      [&](ShardId shard, Result<std::string> status) {
        Json one = {{"shard", shard.value}, {"name", platform.book().NameOf(shard)}, {"reachable", status.ok()}};
        if (status.ok()) {
          ++answered;
          one["status"] = Json::parse(*status, nullptr, false);
        } else {
          one["error"] = std::string(TextOf(status.code()));
        }
        shards.push_back(std::move(one));
      });
  return {{"session", UuidText(platform.identity().uuid)},
          {"members", MembersJson(platform.layout())},
          {"shards_answering", answered},
          {"shards", std::move(shards)},
          {"client", ClientJson(engine, instance.mount())}};
}

Json SpreadJson(const LoadSpread& spread) {
  return {{"min_percent", spread.min}, {"mean_percent", spread.mean}, {"max_percent", spread.max}};
}

Json RingReport(Instance& instance) {
  Platform& platform = instance.platform();
  const Placement& placement = platform.placement();
  Json report = {{"session", UuidText(platform.identity().uuid)},
                 {"shards", placement.shard_count()},
                 {"slots", placement.slot_count()},
                 {"order", placement.tables().order.size()},
                 {"root_shard", placement.RootShard().value},
                 {"points_per_member", platform.ring().points_per_member},
                 {"fingerprint", fmt::format("{:016x}", placement.Fingerprint())}};
  auto ring = Ring::Build(platform.layout(), platform.ring());
  if (ring.ok()) {
    const Balance balance = BalanceOf(platform.layout(), *ring, placement);
    report["plain_ring"] = SpreadJson(balance.ring);
    report["slot_table"] = SpreadJson(balance.table);
    Json members = MembersJson(platform.layout());
    for (size_t i = 0; i < members.size() && i < balance.members.size(); ++i) {
      members[i]["fair_percent"] = balance.members[i].fair;
      members[i]["ring_percent"] = balance.members[i].ring;
      members[i]["table_percent"] = balance.members[i].table;
    }
    report["members"] = std::move(members);
  }
  return report;
}

Task<Result<Nanos>> TimedPing(Lane* lane, ShardId shard) {
  const Nanos start = lane->executor().now();
  MAYFLY_CO_TRY(co_await lane->Ping(shard, start + kPingWithin));
  co_return lane->executor().now() - start;
}

Json PingReport(Engine& engine, Instance& instance) {
  Platform& platform = instance.platform();
  Json shards = Json::array();
  uint32_t answered = 0;
  ForEachShard(
      engine, platform.layout().shard_count(), [&](ShardId shard) { return TimedPing(&engine.lane(), shard); },
      [&](ShardId shard, Result<Nanos> took) {
        Json one = {{"shard", shard.value}, {"name", platform.book().NameOf(shard)}, {"answers", took.ok()}};
        if (took.ok()) {
          ++answered;
          one["microseconds"] = static_cast<double>(*took) / 1000.0;
        } else {
          one["error"] = std::string(TextOf(took.code()));
        }
        shards.push_back(std::move(one));
      });
  return {{"session", UuidText(platform.identity().uuid)},
          {"transport", engine.ground().transport().Describe()},
          {"shards_answering", answered},
          {"shards", std::move(shards)}};
}

// ---- a trace ------------------------------------------------------------------------------------------------------

constexpr uint32_t kTraceForMs = 3'000;             // the servers trace for so long
constexpr Nanos kTraceSayEvery = kSecond;           // unless they are told again
constexpr Nanos kNotesWithin = 100 * kMillisecond;  // clients that make calls have sent their notes by then

void DriveFor(Engine& engine, Nanos nanos) {
  const Nanos until = engine.now() + nanos;
  while (engine.now() < until) engine.TurnOrWait(until);
}

// The same to each shard. What those that did it give goes to `take`; the first error of the others.
template <class Take>
Status TraceAtAll(Engine& engine, uint32_t shards, TraceRequest request, Take take) {
  Status status;
  ForEachShard(
      engine, shards, [&](ShardId shard) { return engine.lane().Trace(shard, request); },
      [&](ShardId, const Result<std::vector<TraceLine>>& lines) {
        if (lines.ok()) take(*lines);
        if (!lines.ok() && status.ok()) status = lines.code();
      });
  return status;
}

using Stages = std::map<TraceStage, std::unique_ptr<Histogram>>;

void Collect(const std::vector<TraceLine>& lines, std::map<Method, Stages>* methods) {
  for (const TraceLine& line : lines) {
    auto& histogram = (*methods)[line.method][line.stage];
    if (histogram == nullptr) histogram = std::make_unique<Histogram>();
    uint64_t count = 0;
    for (const TraceBucket& bucket : line.buckets) {
      histogram->AddToBucket(bucket.bucket, bucket.count);
      count += bucket.count;
    }
    histogram->AddTotals(count, line.sum, line.max);
  }
}

Json StageJson(const Histogram& h) {
  const auto us = [](uint64_t ns) { return static_cast<double>(ns) / 1000; };
  return {{"count", h.count()},
          {"mean_us", us(h.count() == 0 ? 0 : h.sum() / h.count())},
          {"p50_us", us(h.Percentile(50))},
          {"p90_us", us(h.Percentile(90))},
          {"p99_us", us(h.Percentile(99))},
          {"max_us", us(h.max())}};
}

Json MethodsJson(const std::map<Method, Stages>& methods) {
  Json out = Json::array();
  for (const auto& [method, stages] : methods) {
    Json one = Json::object();
    for (const auto& [stage, histogram] : stages) one[std::string(NameOf(stage))] = StageJson(*histogram);
    const auto work = stages.find(TraceStage::kWork);
    out.push_back({{"method", std::string(InfoOf(method)->name)},
                   {"count", work != stages.end() ? work->second->count() : 0},
                   {"stages", std::move(one)}});
  }
  return out;
}

// Null with `why`: not all shards could be asked to.
Json TraceReport(Engine& engine, Instance& instance, Nanos how_long, Status* why) {
  const uint32_t shards = instance.platform().layout().shard_count();
  TraceRequest request;
  request.trace = engine.ground().random().U64() | 1;
  request.for_ms = kTraceForMs;
  const auto nothing = [](const std::vector<TraceLine>&) {};
  *why = TraceAtAll(engine, shards, request, nothing);
  const Nanos start = engine.now();
  while (why->ok() && engine.now() < start + how_long) {
    DriveFor(engine, std::min(kTraceSayEvery, start + how_long - engine.now()));
    if (engine.now() < start + how_long) *why = TraceAtAll(engine, shards, request, nothing);
  }
  const Nanos took = engine.now() - start;
  request.for_ms = 0;
  request.report = !why->ok();  // where it was on and not everywhere: nobody will want it, so the next one may begin
  const Status off = TraceAtAll(engine, shards, request, nothing);
  if (why->ok()) *why = off;
  if (!why->ok()) return nullptr;
  DriveFor(engine, kNotesWithin);
  request.report = true;
  std::map<Method, Stages> methods;
  *why = TraceAtAll(engine, shards, request, [&](const std::vector<TraceLine>& lines) { Collect(lines, &methods); });
  if (!why->ok()) return nullptr;
  return {{"session", UuidText(instance.platform().identity().uuid)},
          {"seconds", static_cast<double>(took) / static_cast<double>(kSecond)},
          {"shards", shards},
          {"methods", MethodsJson(methods)}};
}

// ---- flush and stop -----------------------------------------------------------------------------------------------

struct FlushCall {
  const Call& call;
  Instance& instance;
  mayfly_progress_fn progress;
  void* user;
  char** report;
  bool* kept;  // what outlives the servers stays
};

// Until `done`, for as long as the servers may take to leave.
template <class Fn>
bool WaitFor(Engine& engine, Fn done) {
  for (const Nanos until = engine.now() + kGoneWithin; !done();) {
    if (engine.now() >= until) return false;
    DriveFor(engine, kLookFirst);
  }
  return true;
}

FlushSpec SpecOf(const mayfly_flush_options* options) {
  FlushSpec spec;
  if (options == nullptr) return spec;
  if (options->source != nullptr) spec.source = options->source;
  if (options->target != nullptr) spec.target = options->target;
  if (options->pattern != nullptr) spec.pattern = options->pattern;
  spec.budget_ms = options->budget_ms;
  return spec;
}

void Report(const FlushCall& flush, const std::string& json) {
  if (flush.report != nullptr && !json.empty()) *flush.report = strdup(json.c_str());
}

// Follows a flush to its end.
int64_t Follow(const FlushCall& flush, Engine& engine, uint64_t job) {
  bool cancel = false;
  uint32_t misses = 0;
  for (Nanos pause = kLookFirst;; pause = std::min(pause * 2, kLookMost)) {
    FlushStatusReply reply;
    std::string report;
    auto task = engine.lane().FlushProgress(job, cancel, &reply, &report);
    engine.Finish(task);
    const Status status = task.Take();
    if (!status.ok()) {
      if (status.code() == Code::kNoEntry) {
        return FailSaying(ErrnoOf(status.code()),
                          fmt::format("{}: the servers were started again and know nothing of it, so it did not end; "
                                      "run it again",
                                      flush.call.name));
      }
      if (++misses >= kMissesMax || status.code() == Code::kInvalid) {
        return FailSaying(
            ErrnoOf(status.code()),
            fmt::format("{}: the server that leads it does not answer ({}), so its outcome is unknown; ask "
                        "again, or look at the target directory",
                        flush.call.name, TextOf(status.code())));
      }
    } else {
      misses = 0;
      const mayfly_progress now{reply.files_done, reply.files_total, reply.bytes_done, reply.bytes_total};
      if (flush.progress != nullptr && flush.progress(&now, flush.user) != 0) cancel = true;
      if (reply.done) {
        Report(flush, report);
        *flush.kept = report.find("\"kept\":true") != std::string::npos;
        if (reply.result == Code::kOk) return 0;
        return FailSaying(ErrnoOf(reply.result), fmt::format("{}: not everything was copied and verified ({}); the "
                                                             "report lists what is missing and why",
                                                             flush.call.name, TextOf(reply.result)));
      }
    }
    DriveFor(engine, pause);
  }
}

int64_t RunFlush(const FlushCall& flush, Engine& engine, FlushRequest what, const FlushSpec& spec) {
  if (flush.report != nullptr) *flush.report = nullptr;
  Status sent = flush.instance.FlushFiles(engine);
  if (!sent.ok()) {
    return FailSaying(ErrnoOf(sent.code()), fmt::format("{}: this process could not send what it had buffered ({})",
                                                        flush.call.name, TextOf(sent.code())));
  }
  auto start = engine.lane().StartFlush(what, spec);
  engine.Finish(start);
  auto job = start.Take();
  if (!job.ok()) {
    if (job.code() == Code::kInvalid) {
      return FailSaying(
          EINVAL,
          fmt::format("{}: no target directory; name one here or start the servers with --flush-to", flush.call.name));
    }
    if (job.code() == Code::kNotSupported && what.keep) {
      return FailSaying(ENOTSUP, fmt::format("{}: the servers were started with --durability none and keep nothing; "
                                             "flush and stop them",
                                             flush.call.name));
    }
    return Fail(flush.call, job.code());
  }
  return Follow(flush, engine, *job);
}

mayfly_flush_options CompletedFlush(const mayfly_flush_options* given) {
  mayfly_flush_options options;
  mayfly_flush_options_init(&options);
  if (given != nullptr) memcpy(&options, given, std::min<size_t>(given->struct_bytes, sizeof options));
  return options;
}

}  // namespace

char* mayfly_report(mayfly_fs* fs, const char* what) {
  const Call call{"mayfly_report", what != nullptr ? what : ""};
  if (fs == nullptr || what == nullptr) {
    FailErrno(call, EFAULT);
    return nullptr;
  }
  char* text = nullptr;
  const std::string_view kind(what);
  Instance& instance = InstanceOf(fs);
  const int64_t entered = Enter(call, instance, [&](Engine& engine) -> int64_t {
    Json report;
    if (kind == "status") {
      report = StatusReport(engine, instance);
    } else if (kind == "ring") {
      report = RingReport(instance);
    } else if (kind == "ping") {
      report = PingReport(engine, instance);
    } else {
      return FailErrno(call, EINVAL);
    }
    text = strdup(report.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return text != nullptr ? 0 : FailErrno(call, ENOMEM);
  });
  return entered == 0 ? text : nullptr;
}

char* mayfly_trace(mayfly_fs* fs, unsigned milliseconds) {
  const Call call{"mayfly_trace", ""};
  if (fs == nullptr) {
    FailErrno(call, EFAULT);
    return nullptr;
  }
  char* text = nullptr;
  Instance& instance = InstanceOf(fs);
  const int64_t entered = Enter(call, instance, [&](Engine& engine) -> int64_t {
    Status why;
    const Json report = TraceReport(engine, instance, milliseconds * kMillisecond, &why);
    if (why.code() == Code::kBusy) {
      return FailSaying(EBUSY, "mayfly_trace: these servers are being traced already; try again when that has ended");
    }
    if (!why.ok()) {
      return FailSaying(ErrnoOf(why.code()), fmt::format("mayfly_trace: not every server could be traced ({}); "
                                                         "`mayfly wait` names those that do not answer",
                                                         TextOf(why.code())));
    }
    text = strdup(report.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return text != nullptr ? 0 : FailErrno(call, ENOMEM);
  });
  return entered == 0 ? text : nullptr;
}

void mayfly_flush_options_init(mayfly_flush_options* options) {
  memset(options, 0, sizeof *options);
  options->struct_bytes = sizeof *options;
}

int mayfly_flush(mayfly_fs* fs, const mayfly_flush_options* options, mayfly_progress_fn progress, void* user,
                 char** report) {
  const Call call{"mayfly_flush", ""};
  MAYFLY_NEED(call, fs != nullptr);
  const mayfly_flush_options completed = CompletedFlush(options);
  Instance& instance = InstanceOf(fs);
  bool kept = false;
  const FlushCall flush{call, instance, progress, user, report, &kept};
  return static_cast<int>(Enter(call, instance, [&](Engine& engine) {
    FlushRequest what;
    return RunFlush(flush, engine, what, SpecOf(&completed));
  }));
}

int mayfly_suspend(mayfly_fs* fs, char** report) {
  const Call call{"mayfly_suspend", ""};
  MAYFLY_NEED(call, fs != nullptr);
  Instance& instance = InstanceOf(fs);
  bool kept = false;
  const FlushCall flush{call, instance, nullptr, nullptr, report, &kept};
  return static_cast<int>(Enter(call, instance, [&](Engine& engine) -> int64_t {
    FlushRequest what;
    what.stop = what.keep = true;
    what.flush = false;
    const int64_t result = RunFlush(flush, engine, what, FlushSpec());
    if (result != 0) return result;
    const auto left = [&] { return instance.platform().ServersHaveLeft(); };
    if (WaitFor(engine, left)) return 0;
    return FailSaying(ETIMEDOUT,
                      "mayfly_suspend: the servers of this node have not left yet; `mayfly journal stat` says when "
                      "their journals are closed");
  }));
}

int mayfly_stop(mayfly_fs* fs, const mayfly_flush_options* options, mayfly_progress_fn progress, void* user,
                char** report) {
  const Call call{"mayfly_stop", ""};
  MAYFLY_NEED(call, fs != nullptr);
  const mayfly_flush_options completed = CompletedFlush(options);
  Instance& instance = InstanceOf(fs);
  bool kept = false;
  const FlushCall flush{call, instance, progress, user, report, &kept};
  return static_cast<int>(Enter(call, instance, [&](Engine& engine) -> int64_t {
    FlushRequest what;
    what.stop = true;
    what.flush = options != nullptr;
    const int64_t result = RunFlush(flush, engine, what, SpecOf(&completed));
    if (result != 0) return result;
    const auto gone = [&] {
      return kept ? instance.platform().ServersHaveLeft() : instance.platform().SessionIsGone();
    };
    if (WaitFor(engine, gone)) return 0;
    return FailSaying(ETIMEDOUT,
                      "mayfly_stop: all is verified, but the servers of this node have not left; 'mayfly clean' "
                      "removes what they leave behind");
  }));
}
