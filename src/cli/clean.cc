// clean: what servers that were killed left on this node, of this user only.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "cli/text.h"
#include "session/runtime_dir.h"

namespace mayfly::cli {
namespace {

int Clean(bool only_look, bool kept_too) {
  const char* variable = std::getenv("MAYFLY_RUNTIME_DIR");
  const uint32_t uid = ::geteuid();
  const std::string path = RuntimeDir::PathFor(variable != nullptr ? variable : "", uid);
  auto dir = RuntimeDir::Open(path, uid);
  if (!dir.ok()) {
    if (dir.failure().status.code() == Code::kNoEntry) {
      fmt::print("nothing is left\n");
      return kDone;
    }
    return Fail(dir.failure().sentence);
  }
  auto leftovers = dir->Leftovers();
  if (!leftovers.ok()) return Fail(leftovers.failure().sentence);
  int result = kDone;
  std::vector<std::string> removed;
  for (const Leftover& leftover : *leftovers) {
    if (leftover.kept && !kept_too) {
      std::fprintf(stderr, "mayfly: %s was kept for mayflyd --recover and stays; --kept removes it too\n",
                   Quoted(leftover.path).c_str());
      continue;
    }
    auto gone = only_look ? Outcome<bool>(true) : dir->RemoveLeftover(leftover);
    if (!gone.ok()) result = Fail(gone.failure().sentence);
    if (!gone.ok() || !*gone) continue;
    removed.push_back(leftover.path);
    removed.insert(removed.end(), leftover.outside.here.begin(), leftover.outside.here.end());
    for (const std::string& member : leftover.outside.unknown) {
      std::fprintf(stderr,
                   "mayfly: %s stays: its charter is damaged, and nothing else says on which node its servers were; if "
                   "they are gone, run mayfly journal clear --force on it\n",
                   Quoted(member).c_str());
    }
    for (const std::string& file : leftover.outside.elsewhere) {
      std::fprintf(stderr, "mayfly: %s names servers on other nodes too; if they are gone, remove it by hand\n",
                   Quoted(file).c_str());
    }
  }
  for (const std::string& path : removed) fmt::print("{}{}\n", only_look ? "" : "removed ", Quoted(path));
  if (removed.empty() && result == kDone) fmt::print("nothing is left\n");
  if (!only_look) (void)::rmdir(path.c_str());  // when no session is in it
  return result;
}

}  // namespace

void AddClean(CLI::App& app, Context* context) {
  auto only_look = std::make_shared<bool>(false), kept_too = std::make_shared<bool>(false);
  CLI::App* clean = app.add_subcommand(
      "clean", "Remove what killed servers of yours left on this node; living sessions are not touched");
  clean->add_flag("-n,--dry-run", *only_look, "Only say what would be removed");
  clean->add_flag("--kept", *kept_too, "Also sessions that `mayfly stop --keep` left for mayflyd --recover");
  clean->callback([=] { context->run = [=] { return Clean(*only_look, *kept_too); }; });
}

}  // namespace mayfly::cli
