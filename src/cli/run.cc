// run: servers, stage-in, the program, stage-out and the end, in one command.
//   mayfly run --stage-in data:/in --stage-out /out:results -- mpirun ./app
// Uses the commands of this program and of mayflyd: what it does can be done by hand.
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cli/cli.h"

extern char** environ;

namespace mayfly::cli {
namespace {

using Words = std::vector<std::string>;

struct RunOptions {
  std::vector<std::string> in, out;  // SOURCE:TARGET
  std::vector<std::string> program, server_options;
  uint32_t servers = 0;  // 0: one a node in a batch job, one otherwise
  uint32_t wait_seconds = 120;
  bool keep_on_failure = false;
};

pid_t Start(const Words& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ);
  if (error != 0) Fail(fmt::format("{} cannot be started: {}", words[0], std::strerror(error)));
  return error == 0 ? pid : -1;
}

// The exit code; 128 + signal of a program that was killed.
int WaitFor(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return 127;
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int RunWords(const Words& words) {
  const pid_t pid = Start(words);
  return pid < 0 ? 127 : WaitFor(pid);
}

std::string Self() {
  char path[PATH_MAX];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : std::string("mayfly");
}

// mayflyd stands beside this program in an installation and in a build; else PATH has it.
std::string ServerProgram() {
  const std::string self = Self();
  const size_t slash = self.find_last_of('/');
  for (const char* place : {"/mayflyd", "/mpi_launch/mayflyd"}) {
    const std::string beside = self.substr(0, slash) + place;
    if (::access(beside.c_str(), X_OK) == 0) return beside;
  }
  return "mayflyd";
}

Words Launcher(const RunOptions& o) {
  const char* nodes = std::getenv("SLURM_JOB_NUM_NODES");
  if (std::getenv("SLURM_JOB_ID") != nullptr) {
    const std::string n = o.servers != 0 ? std::to_string(o.servers) : nodes != nullptr ? nodes : "1";
    return {"srun",    "--overlap",       "--nodes=" + n, "--ntasks=" + n,       "--ntasks-per-node=1",
            "--mem=0", "--cpu-bind=none", "--no-kill",    "--kill-on-bad-exit=0"};
  }
  Words words = {"mpirun", "--bind-to", "none", "--oversubscribe"};
  if (::geteuid() == 0) words.push_back("--allow-run-as-root");
  words.insert(words.end(), {"-n", std::to_string(o.servers != 0 ? o.servers : 1)});
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

int Run(const RunOptions& o) {
  std::string a, b;
  for (const auto* list : {&o.in, &o.out}) {
    for (const std::string& pair : *list) {
      if (!Split(pair, &a, &b)) return Fail(fmt::format("\"{}\" is not of the form SOURCE:TARGET", pair));
    }
  }
  char here[PATH_MAX];
  if (::getcwd(here, sizeof here) == nullptr) return Fail("the current directory cannot be read");
  const std::string session = fmt::format("{}/mayfly-run-{}.json", here, ::getpid());
  ::setenv("MAYFLY_SESSION", session.c_str(), 1);
  const std::string self = Self();

  Words servers = Launcher(o);
  servers.push_back(ServerProgram());
  if (servers[0] == "mpirun") servers.insert(servers.end(), {"--member-per", "rank"});
  servers.insert(servers.end(), {"--session", session});
  servers.insert(servers.end(), o.server_options.begin(), o.server_options.end());
  // The program and the servers get their own signals; this process waits for them and then cleans up.
  struct sigaction ignore {};
  ignore.sa_handler = [](int) {};
  ::sigaction(SIGINT, &ignore, nullptr);
  ::sigaction(SIGTERM, &ignore, nullptr);
  const pid_t server = Start(servers);
  if (server < 0) return kFailed;
  int result = RunWords({self, "wait", "--timeout", std::to_string(o.wait_seconds)});
  for (const std::string& pair : o.in) {
    if (result != 0) break;
    Split(pair, &a, &b);
    result = RunWords({self, "stage-in", "--", a, b});
  }
  int program = 0;
  if (result == 0) {
    program = RunWords(o.program);
    if (program != 0) Fail(fmt::format("{} ended with status {}", o.program[0], program));
    // What a failed program wrote may be what is needed most: it is staged out all the same.
    for (const std::string& pair : o.out) {
      Split(pair, &a, &b);
      const int out = RunWords({self, "stage-out", "--", a, b});
      if (out != 0 && result == 0) result = out;
    }
  }
  if (result != 0 && program == 0 && o.keep_on_failure) {
    Fail(fmt::format("the servers go on running; look, and end them with `mayfly --session {} stop`", session));
    return result;
  }
  const int stopped = RunWords({self, "stop", "--no-flush"});
  if (stopped != 0) ::kill(server, SIGTERM);
  const int ended = WaitFor(server);
  ::unlink(session.c_str());
  if (program != 0) return program;
  if (result != 0) return result;
  return stopped != 0 ? stopped : ended;
}

}  // namespace

void AddRun(CLI::App& app, Context* context) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* run = app.add_subcommand("run",
                                     "Start servers, stage in, run a program, stage out and stop: mayfly run "
                                     "--stage-in A:B --stage-out B:C -- mpirun ./app");
  run->add_option("--stage-in", o->in, "SOURCE:TARGET, a local tree and its place in the session; repeatable");
  run->add_option("--stage-out", o->out, "SOURCE:TARGET, a tree of the session and its local place; repeatable");
  run->add_option("--servers", o->servers, "Servers (default: one a node of the batch job, else one)");
  run->add_option("--server-option", o->server_options,
                  "Passed to mayflyd, as in --server-option=--memory=4G; repeatable");
  run->add_option("--wait", o->wait_seconds, "Seconds for the servers to be ready")->capture_default_str();
  run->add_flag("--keep-on-failure", o->keep_on_failure, "Leave the servers running if staging failed");
  run->add_option("program", o->program, "What to run, after --")->required();
  run->callback([=] { context->run = [=] { return Run(*o); }; });
}

}  // namespace mayfly::cli
