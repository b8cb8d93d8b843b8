// stage-in, stage-out (flush), stop: data on its way between the session and the parallel filesystem.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/status.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "session/verdict.h"
#include "stage/stage_in.h"

namespace mayfly::cli {
namespace {

using Json = nlohmann::json;

// Ctrl-C and TERM end the work between two steps; what is done stays done, and the same command continues.
std::atomic<bool> stop_asked{false};
void AskToStop(int) { stop_asked = true; }
void CatchSignals() {
  struct sigaction action {};
  action.sa_handler = AskToStop;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

std::string Absolute(const std::string& path) {
  if (path.empty() || path[0] == '/') return path;
  char here[PATH_MAX];
  return ::getcwd(here, sizeof here) == nullptr ? path : std::string(here) + "/" + path;
}

// ---- in ---------------------------------------------------------------------------------------------------------

struct In {
  stage::StageInOptions options;
  bool here = false, as_json = false;
};

Json CountsJson(const StageCounts& counts) {
  return {{"files", counts.files_done},
          {"bytes", counts.bytes_done},
          {"skipped", counts.skipped},
          {"failed", counts.failed}};
}

std::string ReportOf(const stage::StageResult& result, double seconds) {
  Json report = CountsJson(result.counts);
  report["result"] = result.ok() ? "ok" : result.interrupted ? "interrupted" : "failed";
  report["seconds"] = seconds;
  report["restarts"] = result.restarts;
  report["workers"] = Json::array();
  for (const StageShare& share : result.shares) {
    Json one = CountsJson(share.counts);
    one["host"] = share.worker == 0 ? "this command" : share.host;
    report["workers"].push_back(std::move(one));
  }
  report["errors"] = Json::array();
  for (const std::string& failure : result.failures) report["errors"].push_back(Quoted(failure));
  return report.dump(2, ' ', false, Json::error_handler_t::replace);
}

// The source as every node can know it; empty after a sentence.
std::string RealSource(const std::string& named) {
  char* const real = ::realpath(named.c_str(), nullptr);
  std::string source = real != nullptr ? real : "";
  std::free(real);
  if (real == nullptr || ::access(source.c_str(), R_OK) != 0) {
    Fail(fmt::format("{}: {}; name a file or directory that this node can read", Quoted(named), std::strerror(errno)));
    return "";
  }
  return source;
}

int StageInCommand(const Context& c, In in) {
  std::string& target = in.options.target;
  if (target.empty() || target[0] != '/') target.insert(0, 1, '/');
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  in.options.source = RealSource(in.options.source);
  if (in.options.source.empty()) return kFailed;
  in.options.members = !in.here;
  Session session(c);
  if (!session) return kFailed;
  // The target's parents, as a user expects of a copy to a place that he names.
  for (size_t at = 1; at < target.size(); ++at) {
    if (target[at] == '/') (void)mayfly_mkdir(session.get(), target.substr(0, at).c_str(), 0777);
  }
  CatchSignals();
  Progress progress("stage-in");
  const auto show = [&progress](const StageCounts& now) {
    progress.Show({now.files_done, now.files_found, now.bytes_done, now.bytes_found});
  };
  stage::StageResult result = stage::StageIn(session.get(), in.options, show, &stop_asked);
  if (!session.Close() && result.ok()) result.broken = Why("the last data");
  progress.Finish(result.counts.files_done, result.counts.bytes_done);
  if (in.as_json) fmt::print("{}\n", ReportOf(result, progress.seconds()));
  size_t servers = 0;
  for (const StageShare& share : result.shares) servers += share.worker != 0;
  if (servers != 0) {
    std::fprintf(stderr, "%zu server%s took part\n", servers, servers == 1 ? "" : "s");
  } else if (!in.here && !result.shares.empty()) {
    std::fprintf(stderr, "no server sees the source, or may read it for you: this command copied everything itself\n");
  }
  if (result.restarts != 0) {
    std::fprintf(stderr, "servers were killed and started again; so was the copying, %u time%s\n", result.restarts,
                 result.restarts == 1 ? "" : "s");
  }
  if (result.counts.skipped != 0)
    std::fprintf(stderr, "%llu were there already\n", static_cast<unsigned long long>(result.counts.skipped));
  for (const std::string& failure : result.failures) Fail(Quoted(failure));
  if (!result.broken.empty()) return Fail(result.broken + "; the same command, run again, continues");
  if (result.interrupted) return Fail("interrupted; the same command continues where it stopped");
  if (result.counts.failed != 0) {
    return Fail(fmt::format("{} entries were not staged in; the same command, run again, tries them once more",
                            result.counts.failed));
  }
  return kDone;
}

// ---- out --------------------------------------------------------------------------------------------------------

struct Out {
  std::string source, target, pattern;
  double budget_seconds = 0;
  bool no_flush = false, keep = false, as_json = false;
};

int OnProgress(const mayfly_progress* now, void* user) {
  static_cast<Progress*>(user)->Show({now->files_done, now->files_total, now->bytes_done, now->bytes_total});
  return stop_asked ? 1 : 0;
}

void PrintList(const Json& report, const char* key, const char* what) {
  const auto it = report.find(key);
  if (it == report.end() || !it->is_array()) return;
  for (const Json& line : *it)
    Fail(fmt::format("{}{}", what, line.is_string() ? line.get<std::string>() : line.dump()));
}

// What a flush's or a stop's report says, to a person; the exit code.
int Explain(const std::string& text, bool ok, const Out& o, Progress* progress, const char* what) {
  if (o.as_json) fmt::print("{}\n", text.empty() ? "null" : text);
  Json report = Json::parse(text, nullptr, false);
  if (report.is_discarded()) report = Json::object();
  PrintList(report, "unsent", "not sent: ");
  const Json flush = report.contains("flush") ? report["flush"] : report;
  if (flush.is_object()) {
    if (flush.contains("files")) progress->Finish(flush.value("files", uint64_t{0}), flush.value("bytes", uint64_t{0}));
    if (flush.value("skipped", uint64_t{0}) != 0) {
      std::fprintf(stderr, "%llu were there already\n",
                   static_cast<unsigned long long>(flush.value("skipped", uint64_t{0})));
    }
    PrintList(flush, "errors", "");
    PrintList(flush, "missing", "missing: ");
    PrintList(flush, "refusals", "attribute refused: ");
    if (ok && flush.value("refused", uint64_t{0}) != 0) {
      Fail(fmt::format("all data is there and verified; the target refused {} attributes",
                       flush.value("refused", uint64_t{0})));
      return kAttributesRefused;
    }
  }
  if (report.value("kept", false)) {
    std::fprintf(stderr, "the servers have ended; what they held is kept, for mayflyd --recover\n");
  }
  if (ok) return kDone;
  std::string result = flush.is_object() ? flush.value("result", "") : report.value("result", "");
  const auto unsent = report.find("unsent");
  if (unsent != report.end() && !unsent->empty() && (!flush.is_object() || result == TextOf(Code::kOk))) {
    result = "programs did not send what they hold of these files; let them go on, or end them, and stop again";
  }
  std::string counts;
  if (flush.is_object() && flush.value("missing_count", uint64_t{0}) != 0) {
    counts = fmt::format("; {} files are there and verified, {} are missing",
                         flush.value("files", uint64_t{0}) + flush.value("skipped", uint64_t{0}),
                         flush.value("missing_count", uint64_t{0}));
  }
  return Fail(fmt::format("{} failed{}{}{}", what, result.empty() ? "" : ": ", result, counts));
}

int StageOut(const Context& c, Out o) {
  Session session(c);
  if (!session) return kFailed;
  o.target = Absolute(o.target);
  CatchSignals();
  mayfly_flush_options options;
  mayfly_flush_options_init(&options);
  options.source = o.source.empty() ? nullptr : o.source.c_str();
  options.target = o.target.empty() ? nullptr : o.target.c_str();
  options.pattern = o.pattern.empty() ? nullptr : o.pattern.c_str();
  options.budget_ms = static_cast<uint32_t>(o.budget_seconds * 1000);
  Progress progress("stage-out");
  char* report = nullptr;
  const bool ok = mayfly_flush(session.get(), &options, OnProgress, &progress, &report) == 0;
  progress.Clear();
  const std::string why = ok ? "" : mayfly_error();
  const std::string text = report != nullptr ? report : "";
  std::free(report);
  if (!ok && text.empty()) return Fail(why);
  return Explain(text, ok, o, &progress, "stage-out");
}

// The servers of a session that a signal ended left word of how it went; true if there is such word.
bool ToldBySignal(const Context& c, int* code) {
  const char* variable = std::getenv("MAYFLY_SESSION");
  const std::string path = !c.session.empty() ? c.session : variable != nullptr ? variable : "";
  if (path.empty() || ::access(path.c_str(), F_OK) == 0) return false;
  auto verdict = ReadVerdict(path, ::geteuid());
  if (!verdict.ok()) {
    if (verdict.failure().status.code() != Code::kNoEntry) Fail(verdict.failure().sentence);
    return false;
  }
  RemoveVerdict(path);
  if (verdict->complete) {
    std::fprintf(stderr, "the session was ended by a signal; %s\n", verdict->sentence.c_str());
    *code = kDone;
  } else {
    for (size_t at = 0; at < verdict->missing.size();) {
      const size_t end = std::min(verdict->missing.find('\n', at), verdict->missing.size());
      Fail("missing: " + verdict->missing.substr(at, end - at));
      at = end + 1;
    }
    *code = Fail("the session was ended by a signal; " + verdict->sentence);
  }
  return true;
}

int Suspend(mayfly_fs* fs, const Out& o) {
  char* report = nullptr;
  const bool ok = mayfly_suspend(fs, &report) == 0;
  const std::string why = ok ? "" : mayfly_error();
  const std::string text = report != nullptr ? report : "";
  std::free(report);
  if (!ok && text.empty()) return Fail(why);
  Progress progress("stop");
  return Explain(text, ok, o, &progress, "stop");
}

int Stop(const Context& c, Out o) {
  int code = kDone;
  if (ToldBySignal(c, &code)) return code;
  Session session(c);
  if (!session) return ToldBySignal(c, &code) ? code : kFailed;  // it may have ended just now
  if (o.keep) return Suspend(session.get(), o);
  CatchSignals();
  mayfly_flush_options options;
  mayfly_flush_options_init(&options);
  options.pattern = o.pattern.empty() ? nullptr : o.pattern.c_str();
  options.budget_ms = static_cast<uint32_t>(o.budget_seconds * 1000);
  Progress progress("flush");
  char* report = nullptr;
  const bool ok = mayfly_stop(session.get(), o.no_flush ? nullptr : &options, OnProgress, &progress, &report) == 0;
  progress.Clear();
  const std::string why = ok ? "" : mayfly_error();
  const std::string text = report != nullptr ? report : "";
  std::free(report);
  if (!ok && text.empty()) return Fail(why);
  return Explain(text, ok, o, &progress, "stop");
}

}  // namespace

void AddStaging(CLI::App& app, Context* context) {
  auto in = std::make_shared<In>();
  CLI::App* stage_in = app.add_subcommand(
      "stage-in",
      "Copy a file or a tree into the session.\n"
      "All servers that see the source copy together; a target is made to be like its source (content, modes, times,\n"
      "symlinks, hard links, holes, user attributes), and what is in the target besides stays.\n"
      "Interrupted or failed, the same command continues: what has its source's size and time is not copied again.");
  stage_in->add_option("source", in->options.source, "File or directory on a filesystem that the nodes share")
      ->required();
  stage_in->add_option("target", in->options.target, "Path in the session that becomes its copy, such as /in")
      ->required();
  stage_in
      ->add_option("--stage-streams", in->options.streams,
                   "How many files or parts of large files are copied at a time, by all servers together "
                   "(default: 4 a server, 8 to 64 in all)")
      ->check(CLI::Range(1, 4096));
  stage_in->add_flag("--here", in->here, "Copy in this command alone: for a source that only this node should read");
  stage_in->add_flag("--json", in->as_json, "Print a report, with what each server did, for programs");
  stage_in->callback([=] { context->run = [=] { return StageInCommand(*context, *in); }; });

  auto out = std::make_shared<Out>();
  CLI::App* stage_out =
      app.add_subcommand("stage-out", "Copy a tree of the session to the parallel filesystem and verify every byte");
  stage_out->alias("flush");
  stage_out->add_option("source", out->source, "Path in the session (default: all)");
  stage_out->add_option("target", out->target, "Directory that becomes its copy (default: the session's --flush-to)");
  stage_out->add_option("--pattern", out->pattern, "Only paths below the source that match, such as '*.h5'");
  stage_out->add_option("--budget", out->budget_seconds, "Seconds; then stop and list what is missing");
  stage_out->add_flag("--json", out->as_json, "Print the report, for programs");
  stage_out->callback([=] { context->run = [=] { return StageOut(*context, *out); }; });

  auto end = std::make_shared<Out>();
  CLI::App* stop = app.add_subcommand(
      "stop", "End the session: flush to the directory of --flush-to, verify, remove everything from the nodes");
  CLI::Option* no_flush = stop->add_flag("--no-flush", end->no_flush, "Throw the data away");
  CLI::Option* only = stop->add_option("--flush-only", end->pattern, "Flush only paths that match, such as 'out/*'");
  stop->add_flag("--keep", end->keep,
                 "End the servers but keep the session, for mayflyd --recover: nothing is flushed, the journals are\n"
                 "closed in order, and what lies in mayflyd's --dir and the nodes' memory stays")
      ->excludes(no_flush)
      ->excludes(only);
  stop->add_option(
      "--budget", end->budget_seconds,
      "Seconds for the flush; then list what is missing and go on serving (default: mayflyd's --flush-by)");
  stop->add_flag("--json", end->as_json, "Print the report, for programs");
  stop->callback([=] { context->run = [=] { return Stop(*context, *end); }; });
}

}  // namespace mayfly::cli
