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
};

// Serves until the session ends; its outcome as this rank knows it.
Outcome<Done> Serve(LocalShards& shards, Facts* facts) {
  const LocalShards::End end = shards.Wait();
  *facts = {end.sentence, end.missing, end.stuck};
  if (!end.complete) return Fail(Code::kIo, "{}", end.sentence);
  if (!end.request_failure.empty()) {
    return Fail(end.root_lost ? Code::kUnavailable : Code::kIo, "{}", end.request_failure);
  }
  return Done{};
}

}  // namespace

int RunServer(int argc, char** argv) {
  CommandLine line = ParseCommandLine(argc, argv);
  if (!line.print.empty()) {
    if (RankOfEnvironment() == 0) std::fputs(line.print.c_str(), stdout);
    return kExitDone;
  }
  Signals::Install();
  StartLog(LogLevel::kWarn);
  if (line.wrong.empty() && line.options.rejoin) return RunRejoin(std::move(line));
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
  if (first) RemoveVerdict(bootstrap.options().session);  // of an earlier session of this name
  if (first) SetLogLevel(asked.log_level);
  for (const std::string& line : bootstrap.shards().brought_back()) MAYFLY_INFO("{}", line);
  if (first) MAYFLY_INFO("{}, after {:.1f} s", bootstrap.ReadySentence(), (clock.Now() - started) / 1e9);

  watch.Ready();
  Facts facts;
  const Outcome<Done> mine = Serve(bootstrap.shards(), &facts);
  footprint.Remove();
  // From here on MPI again. Should a server have died, it may hang or fail: then this rank ends with what it knows.
  int code = mine.ok() ? kExitDone : kExitNotFlushed;
  const std::string sentence = mine.ok() ? std::string() : mine.failure().sentence;
  if (!mine.ok() && mine.failure().status.code() == Code::kUnavailable) watch.Quit(code, sentence);
  watch.Ending(clock.Now() + kEndWithin, code, sentence);
  world.OnError([&](const std::string&) { watch.Quit(code, sentence); });
  const Outcome<Done> end = world.Agree(mine);
  const std::string flushed = world.Share(facts.flushed, bootstrap.root_rank());
  const uint64_t teller = end.ok() ? 0 : world.Max(facts.missing.empty() ? 0 : world.rank() + 1);
  if (teller != 0) facts.missing = world.Share(std::move(facts.missing), static_cast<uint32_t>(teller - 1));
  code = end.ok() ? kExitDone : kExitNotFlushed;
  if (first && !end.ok()) SayFailure(end.failure().sentence);
  if (first && teller != 0) SayMissing(facts.missing);
  if (first && end.ok()) MAYFLY_INFO("the session has ended; {}", flushed);
  if (world.Max(warned ? 1 : 0) != 0 && first) {
    // Nobody waits for the outcome now; the job script's `mayfly stop` will ask for it when the servers are gone.
    const Outcome<Done> kept =
        WriteVerdict(bootstrap.options().session, geteuid(),
                     Verdict{end.ok(), end.ok() ? flushed : end.failure().sentence, facts.missing});
    if (!kept.ok()) MAYFLY_WARN("{}", kept.failure().sentence);
  }
  watch.Ending(clock.Now() + kFinalizeWithin, code, "");
  world.Finalize();
  if (facts.left_behind) _exit(code);
  return code;
}

}  // namespace mayfly
