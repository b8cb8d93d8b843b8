#include <cstdio>
#include <cstdlib>

#include "cli/cli.h"

namespace mayfly::cli {

int Fail(const std::string& sentence) {
  std::fprintf(stderr, "mayfly: %s\n", sentence.c_str());
  return kFailed;
}

std::string Why(const std::string& what) { return what + ": " + mayfly_error(); }

mayfly_fs* Connect(const Context& context) {
  mayfly_options options;
  mayfly_options_init(&options);
  options.ready_timeout_ms = context.wait_seconds * 1000;
  mayfly_fs* fs = nullptr;
  if (mayfly_connect(context.session.empty() ? nullptr : context.session.c_str(), &options, &fs) != 0) {
    Fail(mayfly_error());
    return nullptr;
  }
  return fs;
}

bool Session::Close() {
  mayfly_fs* fs = fs_;
  fs_ = nullptr;
  return fs == nullptr || mayfly_disconnect(fs) == 0;
}

}  // namespace mayfly::cli

int main(int argc, char** argv) {
  using namespace mayfly::cli;
  CLI::App app{
      "Mayfly: a filesystem that lives as long as a batch job.\n"
      "Start servers with `mpirun -n 4 mayflyd --member-per rank` or `srun mayflyd`, then use the commands below.\n"
      "The session is found by --session or MAYFLY_SESSION, else by the batch job, else the only one on this node.\n"
      "Paths start at the root of the session's namespace; in `cp` and `cat` they are written with a leading ':'."};
  app.name("mayfly");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("mayfly ") + mayfly_version());
  app.failure_message(CLI::FailureMessage::simple);
  Context context;
  app.add_option("--session", context.session, "Session file of the servers (default: discovered)");
  app.add_option("--connect-timeout", context.wait_seconds, "Seconds to wait for the session to be ready")
      ->capture_default_str();
  AddSession(app, &context);
  AddTrace(app, &context);
  AddNames(app, &context);
  AddCopy(app, &context);
  AddStaging(app, &context);
  AddRun(app, &context);
  AddClean(app, &context);
  AddJournal(app, &context);
  AddFsck(app, &context);
  AddSalvage(app, &context);
  AddBench(app, &context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? kDone : kUsage;
  }
  return context.run ? context.run() : kUsage;
}
