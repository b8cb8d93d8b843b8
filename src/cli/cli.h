// The `mayfly` command: one function a family of subcommands registers them; main.cc calls all and runs the chosen one.
// Exit codes: 0 done; 1 failed, with one sentence on standard error; 2 wrong usage; 3 the PFS refused attributes (all
// data is there and verified); 4 not all that was there could be saved (salvage) or checked (fsck). `journal verify`
// and `fsck` have their own.
#pragma once

#include <mayfly/mayfly.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

namespace mayfly::cli {

constexpr int kDone = 0, kFailed = 1, kUsage = 2, kAttributesRefused = 3, kNotWhole = 4;

// What every subcommand shares.
struct Context {
  std::string session;         // --session; empty: discovered
  uint32_t wait_seconds = 10;  // for a session to be ready
  std::function<int()> run;    // the chosen subcommand
};

// Connects; on failure prints why and gives null.
mayfly_fs* Connect(const Context& context);
// A connection for a scope.
class Session {
 public:
  explicit Session(const Context& context) : fs_(Connect(context)) {}
  ~Session() {
    if (fs_ != nullptr) mayfly_disconnect(fs_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  explicit operator bool() const { return fs_ != nullptr; }
  mayfly_fs* get() const { return fs_; }
  // Closes early and says whether everything was sent.
  bool Close();

 private:
  mayfly_fs* fs_;
};

// "mayfly: SENTENCE" on standard error; returns kFailed.
int Fail(const std::string& sentence);
// The library's sentence for the call that just failed.
std::string Why(const std::string& what);

void AddNames(CLI::App& app, Context* context);    // ls, stat, find, mkdir, rm, mv, ln
void AddCopy(CLI::App& app, Context* context);     // cp, cat
void AddSession(CLI::App& app, Context* context);  // wait, status, ring, df
void AddStaging(CLI::App& app, Context* context);  // stage-in, stage-out, flush, stop
void AddRun(CLI::App& app, Context* context);      // run
void AddClean(CLI::App& app, Context* context);    // clean
void AddJournal(CLI::App& app, Context* context);  // journal dump, verify, stat, clear
void AddFsck(CLI::App& app, Context* context);     // fsck
void AddSalvage(CLI::App& app, Context* context);  // salvage
void AddBench(CLI::App& app, Context* context);    // bench
void AddTrace(CLI::App& app, Context* context);    // trace

}  // namespace mayfly::cli
