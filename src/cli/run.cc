// run: servers, stage-in, the program, stage-out and the end, in one command.
//   mayfly run --stage-in data:/in --stage-out /out:results -- mpirun ./app
// Uses the commands of this program and of mayflyd: what it does can be done by hand.
#include <fmt/format.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "cli/children.h"
#include "cli/cli.h"

namespace mayfly::cli {
namespace {

constexpr double kServersEndWithin = 60, kServersDieWithin = 20;  // seconds

struct RunOptions {
  std::vector<std::string> in, out;  // SOURCE:TARGET
  std::vector<std::string> program, server_options;
  uint32_t servers = 0;  // 0: one a node in a batch job, one otherwise
  uint32_t wait_seconds = 120;
  bool keep_on_failure = false;
};

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Everything that a shell command prints.
std::string OutputOf(const std::string& command) {
  std::string text;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, n);
  ::pclose(pipe);
  return text;
}

// As share/mayfly-env.sh does it for job scripts. One server a node, beside the application: all cores and all memory,
// but none of them for itself.
Words SrunServers(const std::string& srun, const RunOptions& o) {
  const std::string all = Variable("SLURM_JOB_NUM_NODES");
  const std::string nodes = o.servers != 0 ? std::to_string(o.servers) : all.empty() ? "1" : all;
  Words words = {srun,      "--overlap",       "--nodes=" + nodes, "--ntasks=" + nodes, "--ntasks-per-node=1",
                 "--mem=0", "--cpu-bind=none", "--gres=none",      "--no-kill",         "--kill-on-bad-exit=0"};
  if (OutputOf(srun + " --mpi=list 2>&1").find("pmix") != std::string::npos) words.push_back("--mpi=pmix");
  return words;
}

Words MpirunServers(const std::string& mpirun, const RunOptions& o) {
  Words words = {mpirun, "--bind-to", "none"};
  if (::geteuid() == 0) words.push_back("--allow-run-as-root");
  if (o.servers == 0) {
    words.insert(words.end(), {"--map-by", "ppr:1:node"});
  } else {
    words.insert(words.end(), {"--oversubscribe", "-n", std::to_string(o.servers)});
  }
  return words;
}

Words ServerCommand(const RunOptions& o, const std::string& session) {
  std::string launcher = Variable("MAYFLY_LAUNCHER");
  if (launcher.empty()) launcher = Variable("SLURM_JOB_ID").empty() ? "mpirun" : "srun";
  const bool by_srun = launcher.ends_with("srun");
  Words words = by_srun ? SrunServers(launcher, o) : MpirunServers(launcher, o);
  std::istringstream flags(Variable("MAYFLY_LAUNCHER_FLAGS"));
  for (std::string flag; flags >> flag;) words.push_back(flag);
  // Slurm sends its warning before the time limit to all steps. The program may want it; the servers must outlive the
  // program, to be staged out.
  if (by_srun) words.insert(words.end(), {"sh", "-c", "trap '' USR1 USR2; exec \"$0\" \"$@\""});
  words.push_back(ProgramBeside("mayflyd", "mpi_launch"));
  if (!by_srun && o.servers != 0) words.insert(words.end(), {"--member-per", "rank"});
  words.insert(words.end(), {"--session", session});
  words.insert(words.end(), o.server_options.begin(), o.server_options.end());
  return words;
}

// "A:B", split at the last ':' that has something on both sides.
bool Split(const std::string& pair, std::string* a, std::string* b) {
  const size_t colon = pair.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == pair.size()) return false;
  *a = pair.substr(0, colon);
  *b = pair.substr(colon + 1);
  return true;
}

// Where the session file goes: an absolute path, as the servers' nodes see it; empty if there is none to be had.
std::string SessionPath(const Context& context) {
  if (context.session.starts_with('/')) return context.session;
  char here[PATH_MAX], host[HOST_NAME_MAX + 1] = {};
  if (::getcwd(here, sizeof here) == nullptr) return "";
  if (!context.session.empty()) return fmt::format("{}/{}", here, context.session);
  ::gethostname(host, sizeof host - 1);
  return fmt::format("{}/.mayfly-run-{}-{}.json", here, host, ::getpid());
}

class Runner {
 public:
  Runner(const RunOptions& options, std::string session) : o_(options), session_(std::move(session)) {}

  int Run() {
    ::setenv("MAYFLY_SESSION", session_.c_str(), 1);
    servers_ = children_.Start(ServerCommand(o_, session_),
                               o_.keep_on_failure ? Children::How::kDetached : Children::How::kBackground);
    if (!WaitForServers()) return EndServers(kFailed, 0);
    int result = StageIn();
    int program = 0;
    if (result == 0 && children_.asked_to_end() == 0) {
      program = RunProgram();
      result = StageOut();
    } else if (result == 0) {
      result = Fail("asked to end before the program was started");
    }
    if (result != 0 && o_.keep_on_failure && !children_.Ended(servers_)) {
      Fail(fmt::format("the servers go on running; look, and end them with `mayfly --session {} stop`", session_));
      return program != 0 ? program : result;
    }
    return EndServers(result, program);
  }

 private:
  bool WaitForServers() {
    const pid_t asker =
        children_.Start({self_, "wait", "--timeout", std::to_string(o_.wait_seconds)}, Children::How::kHelper);
    const auto over = [&] { return children_.Ended(asker) || children_.Ended(servers_); };
    while (!children_.WaitUntil(over, asker, 3600)) {
    }
    if (!children_.Ended(servers_)) return children_.StatusOf(asker) == 0;
    children_.Send(asker, SIGTERM);
    (void)children_.Wait(asker, 0);
    Fail(fmt::format("the servers ended before they were ready (status {}); what they said is above",
                     children_.StatusOf(servers_)));
    return false;
  }

  int StageIn() {
    std::string a, b;
    for (const std::string& pair : o_.in) {
      Split(pair, &a, &b);
      const int result = children_.Run({self_, "stage-in", "--", a, b}, Children::How::kHelper);
      if (result != 0) return result;
    }
    return 0;
  }

  int RunProgram() {
    const int status = children_.Run(o_.program, Children::How::kFront);
    if (status > 128) {
      Fail(fmt::format("{} was ended by signal {}", o_.program[0], status - 128));
    } else if (status != 0) {
      Fail(fmt::format("{} ended with status {}", o_.program[0], status));
    }
    return status;
  }

  // What a failed program wrote may be what is needed most: it is staged out all the same. A signal that comes only now
  // ends the staging.
  int StageOut() {
    const int asked_before = children_.asked_to_end();
    int result = 0;
    std::string a, b;
    for (const std::string& pair : o_.out) {
      Split(pair, &a, &b);
      if (children_.asked_to_end() != asked_before) {
        result = Fail(fmt::format("{} was not staged out: asked to end", a));
        continue;
      }
      const int out = children_.Run({self_, "stage-out", "--", a, b}, Children::How::kHelper);
      if (out != 0 && result == 0) result = out;
    }
    if (result != 0 && result != kAttributesRefused && !o_.keep_on_failure) {
      Fail("what was not staged out is lost; --keep-on-failure would leave the servers running");
    }
    return result;
  }

  // The exit code of all.
  int EndServers(int result, int program) {
    if (!children_.Ended(servers_)) {
      bool flush = false;
      for (const std::string& option : o_.server_options) flush |= option.starts_with("--flush-to");
      Words stop = {self_, "stop"};
      if (!flush) stop.push_back("--no-flush");
      const int stopped = children_.Run(stop, Children::How::kHelper);
      if (stopped != 0 && result == 0) result = stopped;
      if (stopped != 0) children_.Send(servers_, SIGTERM);
    }
    const auto ended = [&] { return children_.Ended(servers_); };
    if (!children_.WaitUntil(ended, 0, kServersEndWithin)) {
      Fail("the servers do not end; killing them");
      children_.Send(servers_, SIGTERM);
      if (!children_.WaitUntil(ended, 0, kServersDieWithin)) children_.Send(servers_, SIGKILL);
      (void)children_.Wait(servers_, 0);
      if (result == 0) result = Fail("`mayfly clean` on each node removes what they left");
    }
    const int status = children_.StatusOf(servers_);
    if (status != 0 && result == 0) result = Fail(fmt::format("the servers ended with status {}", status));
    return program != 0 ? program : result;
  }

  const RunOptions& o_;
  const std::string session_, self_ = Self();
  Children children_;
  pid_t servers_ = 0;
};

int Run(const Context& context, const RunOptions& o) {
  std::string a, b;
  for (const auto* list : {&o.in, &o.out}) {
    for (const std::string& pair : *list) {
      if (Split(pair, &a, &b)) continue;
      Fail(fmt::format("\"{}\" is not of the form SOURCE:TARGET", pair));
      return kUsage;
    }
  }
  const std::string session = SessionPath(context);
  if (session.empty()) return Fail("the current directory cannot be read; go to another one, or give --session");
  return Runner(o, session).Run();
}

}  // namespace

void AddRun(CLI::App& app, Context* context) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* run = app.add_subcommand("run", "Start servers, stage in, run a program, stage out and stop");
  // One value each, so that the "--" after it is left to end the options.
  const auto repeatable = [run](const char* name, Words& values, const char* what) {
    run->add_option(name, values, what)
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  repeatable("--stage-in", o->in, "SOURCE:TARGET, a local tree and its place in the session; repeatable");
  repeatable("--stage-out", o->out, "SOURCE:TARGET, a tree of the session and its local place; repeatable");
  repeatable("--server-option", o->server_options, "Passed to mayflyd, as in --server-option=--memory=4G; repeatable");
  run->add_option("--servers", o->servers, "Servers (default: one a node of the batch job, else one)");
  run->add_option("--wait", o->wait_seconds, "Seconds for the servers to be ready")->capture_default_str();
  run->add_flag("--keep-on-failure", o->keep_on_failure, "Leave the servers running if staging failed");
  run->add_option("program", o->program, "What to run, after --")->required();
  run->footer(
      "Example: mayfly run --stage-in data:/in --stage-out /out:results -- mpirun ./app\n\n"
      "The program finds the session by MAYFLY_SESSION. Whatever it ends with, its results are staged out; they are "
      "not\n"
      "when the servers could not start or staging in failed, for then it was not run. At the end the rest of the\n"
      "session is thrown away, or flushed if --server-option=--flush-to=DIR was given.\n"
      "A signal is passed on to what runs at the time: the program of a job that is about to end ends, and its "
      "results\n"
      "are staged out. Under Slurm use #SBATCH --signal=USR1@SECONDS, with time enough for staging out.\n"
      "MAYFLY_LAUNCHER and MAYFLY_LAUNCHER_FLAGS choose how the servers are started (default: srun in a Slurm job, "
      "else\n"
      "mpirun).\n\n"
      "Exit code: that of the program if it is not 0 (128 + N if signal N ended it), else 0, or not 0 if something "
      "else\n"
      "failed; standard error says what. Standard output is the program's alone.");
  run->callback([=] { context->run = [=] { return Run(*context, *o); }; });
}

}  // namespace mayfly::cli
