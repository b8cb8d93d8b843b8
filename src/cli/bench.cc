// mayfly bench: the IO500's phases by MPI ranks (benchmarks/bench, the program mayfly-bench).
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

#include "cli/children.h"
#include "cli/cli.h"
#include "cli/text.h"

namespace mayfly::cli {
namespace {

struct BenchOptions {
  unsigned ranks = 1;
  std::string launcher;
  std::vector<std::string> arguments;
};

int Bench(const Context& c, const BenchOptions& o) {
  {
    const Session session(c);  // a sentence of ours, not one of each rank
    if (!session) return kFailed;
  }
  if (!c.session.empty()) ::setenv("MAYFLY_SESSION", c.session.c_str(), 1);
  std::istringstream launcher(o.launcher.empty() ? std::getenv("SLURM_JOB_ID") != nullptr ? "srun --overlap" : "mpirun"
                                                 : o.launcher);
  Words words;
  for (std::string word; launcher >> word;) words.push_back(word);
  words.insert(words.end(), {"-n", std::to_string(o.ranks), ProgramBeside("mayfly-bench", "benchmarks")});
  words.insert(words.end(), o.arguments.begin(), o.arguments.end());
  std::vector<char*> raw;
  for (std::string& word : words) raw.push_back(word.data());
  raw.push_back(nullptr);
  ::execvp(raw[0], raw.data());
  return Fail("cannot start " + Quoted(words[0]) + ": " + std::strerror(errno) +
              "; name your MPI's launcher with --launcher");
}

}  // namespace

void AddBench(CLI::App& app, Context* context) {
  auto* sub = app.add_subcommand(
      "bench", "Measure this session with the IO500's phases: mayfly bench --ranks 4 -- --stonewall 10");
  auto o = std::make_shared<BenchOptions>();
  sub->add_option("--ranks", o->ranks, "MPI ranks that measure")->check(CLI::PositiveNumber)->capture_default_str();
  sub->add_option(
      "--launcher", o->launcher,
      "What starts them, with its options; -n RANKS is added (default: mpirun, in a Slurm job srun --overlap)");
  sub->add_option("arguments", o->arguments, "Options of mayfly-bench, behind --: see mayfly-bench --help");
  sub->callback([context, o] { context->run = [context, o] { return Bench(*context, *o); }; });
}

}  // namespace mayfly::cli
