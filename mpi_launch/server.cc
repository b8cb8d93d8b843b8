#include "server.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "bootstrap.h"
#include "rejoin.h"
#include "server_log.h"
#include "session/verdict.h"
#include "signals.h"
#include "stop_report.h"
#include "supervisor.h"

namespace mayfly {
namespace {

constexpr Nanos kFinalizeWithin = 5 * kSecond;
// Until all ranks have drained and said how. A dead one never will, and each end after a death takes so long.
constexpr Nanos kEndWithin = 8 * kSecond;

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

void SayMissing(const std::string& lines) {
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    SayFailure("missing: " + lines.substr(at, end - at));
    at = end + 1;
  }
}

// What a rank knows of the end of the session besides its outcome.
struct Facts {
  std::string flushed;       // as a sentence; on the root's rank
  std::string missing;       // a line each; where the stop's report was seen
  bool left_behind = false;  // something of ours cannot be ended
  bool kept = false;         // what outlives the servers stays
};

// Serves until the session ends; its outcome as this rank knows it.
Outcome<Done> Serve(LocalShards& shards, Facts* facts) {
  const LocalShards::End end = shards.Wait();
  *facts = {end.sentence, end.missing, end.stuck, end.kept};
  if (!end.complete) return Fail(Code::kIo, "{}", end.sentence);
  if (!end.request_failure.empty()) {
    return Fail(end.root_lost ? Code::kUnavailable : Code::kIo, "{}", end.request_failure);
  }
  return Done{};
}

// The end without the others, of whom one that died and came back is not in MPI, or all have left it at the start. Each
// rank says what it knows; the root's knows how it went.
void EndAlone(const Bootstrap& bootstrap, const Outcome<Done>& mine, const Facts& facts, bool has_root, bool warned) {
  const std::string said = mine.ok() ? facts.flushed : mine.failure().sentence;
  if (!mine.ok()) SayFailure(HostName() + ": " + said);
  if (!has_root) return;
  SayMissing(facts.missing);
  SetLogLevel(bootstrap.options().log_level);
  if (mine.ok()) MAYFLY_INFO("the session has ended; {}", said);
  if (warned) KeepVerdict(bootstrap.options().session, {mine.ok(), said, facts.missing});
}

// The end as all agree on it, and the first rank tells it.
int EndTogether(World& world, const Bootstrap& bootstrap, const Outcome<Done>& mine, Facts facts, bool warned) {
  const Outcome<Done> end = world.Agree(mine);
  const std::string flushed = world.Share(facts.flushed, bootstrap.root_rank());
  const uint64_t teller = end.ok() ? 0 : world.Max(facts.missing.empty() ? 0 : world.rank() + 1);
  if (teller != 0) facts.missing = world.Share(std::move(facts.missing), static_cast<uint32_t>(teller - 1));
  const bool first = world.rank() == 0;
  if (first && !end.ok()) SayFailure(end.failure().sentence);
  if (first && teller != 0) SayMissing(facts.missing);
  if (first && end.ok()) MAYFLY_INFO("the session has ended; {}", flushed);
  if (world.Max(warned ? 1 : 0) != 0 && first) {
    KeepVerdict(bootstrap.options().session, {end.ok(), end.ok() ? flushed : end.failure().sentence, facts.missing});
  }
  return end.ok() ? kExitDone : kExitNotFlushed;
}

int ExitOf(Bootstrap::Replayed replayed) {
  switch (replayed) {
    case Bootstrap::Replayed::kWhole:
      return kExitDone;
    case Bootstrap::Replayed::kDamaged:
      return kExitNotFlushed;
    case Bootstrap::Replayed::kRefused:
      return kExitNotStarted;
  }
  return kExitNotStarted;
}

// What a dry run found, on standard output.
int SayReplay(const Bootstrap& bootstrap) {
  std::fputs(bootstrap.replay_report().c_str(), stdout);
  const char* verdict = nullptr;
  switch (bootstrap.replayed()) {
    case Bootstrap::Replayed::kWhole:
      verdict = "--recover would bring back all of it";
      break;
    case Bootstrap::Replayed::kDamaged:
      verdict = "--recover would bring back what is not damaged";
      break;
    case Bootstrap::Replayed::kRefused:
      verdict = "--recover would refuse, --recover degraded would serve what is there, to read";
      break;
  }
  std::fputs(fmt::format("dry run: nothing was written; {}\n", verdict).c_str(), stdout);
  return ExitOf(bootstrap.replayed());
}

int RunRank(int argc, char** argv, CommandLine line, const ParentLine& parent) {
  const std::string host = HostName();
  const ServerOptions asked = line.options;
  PosixClock clock;
  const Nanos started = clock.Now();
  Footprint footprint;
  Watch watch(footprint, host, RankOfEnvironment() == 0);
  watch.SetStep("waiting for the other ranks in MPI_Init");
  watch.Starting(started + asked.start_timeout_s * kSecond);

  World world(&argc, &argv);
  const bool first = world.rank() == 0;
  watch.SetSpeaker(first);
  if (asked.log_level_given) SetLogLevel(asked.log_level);
  world.OnError([&](const std::string& cause) { watch.Quit(kExitNotStarted, cause); });
  Bootstrap bootstrap(world, watch, footprint, std::move(line));
  std::atomic<bool> warned{false};
  const Outcome<Done> start = bootstrap.Run([&] {
    watch.Serving([&](const std::string& signal, bool warning) {
      MAYFLY_INFO("{}: ending the session", signal);
      warned = warning;
      bootstrap.shards().RequestStop(bootstrap.options());
    });
  });
  if (!start.ok()) {
    const int code = bootstrap.wrong_options() ? kExitUsage : kExitNotStarted;
    watch.Ending(clock.Now() + kFinalizeWithin, code, "");
    footprint.Remove();
    if (first) SayFailure(start.failure().sentence);
    world.Finalize();
    return code;
  }
  if (asked.dry_run) {
    watch.Ending(clock.Now() + kFinalizeWithin, kExitDone, "");
    footprint.Remove();
    const int code = first ? SayReplay(bootstrap) : ExitOf(bootstrap.replayed());
    world.Finalize();
    return code;
  }
  if (asked.supervise) {
    // A launcher takes the death of a process in MPI for the job's. Now all live, and the start's deadline holds.
    watch.SetStep("leaving MPI");
    world.Finalize();
  }
  if (first) RemoveVerdict(bootstrap.options().session);  // of an earlier session of this name
  if (first) SetLogLevel(asked.log_level);
  for (const std::string& line : bootstrap.shards().brought_back()) MAYFLY_INFO("{}", line);
  for (const std::string& line : bootstrap.shards().lacks().refusals) MAYFLY_ERROR("missing: {}", line);
  if (first) {
    for (const std::string& line : bootstrap.missing()) MAYFLY_ERROR("missing: {}", line);
  }
  if (first) MAYFLY_INFO("{}, after {:.1f} s", bootstrap.ReadySentence(), (clock.Now() - started) / 1e9);

  watch.Ready();
  parent.Serving({bootstrap.member(), bootstrap.options().session, bootstrap.runtime_path()});
  Facts facts;
  const Outcome<Done> mine = Serve(bootstrap.shards(), &facts);
  parent.Ending();
  if (facts.kept) footprint.KeepSession();
  footprint.Remove();
  int code = mine.ok() ? kExitDone : kExitNotFlushed;
  const std::string sentence = mine.ok() ? std::string() : mine.failure().sentence;
  if (asked.supervise || bootstrap.SomeoneCameBack()) {
    watch.Ending(clock.Now() + kEndWithin, code, "");
    EndAlone(bootstrap, mine, facts, bootstrap.root_rank() == world.rank(), warned);
    if (!asked.supervise) watch.Quit(code, "");  // without MPI_Finalize, which would wait for the others
    if (facts.left_behind) _exit(code);
    return code;
  }
  // From here on MPI again. Should a server have died, it may hang or fail: then this rank ends with what it knows.
  if (!mine.ok() && mine.failure().status.code() == Code::kUnavailable) watch.Quit(code, sentence);
  watch.Ending(clock.Now() + kEndWithin, code, sentence);
  world.OnError([&](const std::string&) { watch.Quit(code, sentence); });
  code = EndTogether(world, bootstrap, mine, facts, warned);
  watch.Ending(clock.Now() + kFinalizeWithin, code, "");
  world.Finalize();
  if (facts.left_behind) _exit(code);
  return code;
}

}  // namespace

int RunServer(int argc, char** argv) {
  CommandLine line = ParseCommandLine(argc, argv);
  if (!line.print.empty()) {
    if (RankOfEnvironment() == 0) std::fputs(line.print.c_str(), stdout);
    return kExitDone;
  }
  StartLog(LogLevel::kWarn);
  const auto serve = [&](CommandLine server, const ParentLine& parent) {
    Signals::Install();
    if (server.wrong.empty() && server.options.rejoin) return RunRejoin(std::move(server), parent);
    return RunRank(argc, argv, std::move(server), parent);
  };
  // What is wrong all ranks agree on first.
  if (line.wrong.empty() && line.options.supervise) return Supervise(std::move(line), serve);
  return serve(std::move(line), ParentLine());
}

}  // namespace mayfly
