// fsck: whether what the directories of dead servers hold fits together.
#include <fmt/format.h>

#include "cli/cli.h"
#include "cli/journal.h"
#include "cli/progress.h"
#include "inspect/fsck_run.h"
#include "inspect/salvage_report.h"

namespace mayfly::cli {
namespace {

// Exit codes beside kDone and kNotWhole.
constexpr int kInconsistent = 1, kCannotBeChecked = 2;

struct FsckOptions {
  std::vector<std::string> directories;
  bool with_data = false, as_json = false;
};

class Page final : public FsckSink {
 public:
  explicit Page(bool as_json) : as_json_(as_json), progress_("fsck") {}

  void OnFinding(const Finding& finding) override {
    progress_.Clear();
    if (as_json_) {
      fmt::print("{}\n{}", findings_ == 0 ? kBegin : ",", DescribeFinding(finding).dump());
    } else {
      fmt::print("{}\n", LineOf(finding));
    }
    ++findings_;
  }
  void OnProgress(const FsckCounts& counts) override {
    ProgressCounts now;
    now.files_done = counts.files + counts.symlinks + counts.directories;
    now.bytes_done = counts.bytes_checked;
    progress_.Show(now);
  }
  // The rest of the document, if any was begun or `end` is not null.
  void End(const Json& end) {
    progress_.Clear();
    if (!as_json_ || (findings_ == 0 && end.is_null())) return;
    if (findings_ == 0) fmt::print("{}", kBegin);
    std::string rest = end.is_null() ? std::string("{\"consistent\":false,\"complete\":false}") : end.dump();
    rest[0] = ',';
    fmt::print("]{}\n", rest);
    std::fflush(stdout);
  }

 private:
  static constexpr const char* kBegin = "{\"format\":\"mayfly-fsck\",\"version\":1,\"findings\":[";
  const bool as_json_;
  Progress progress_;
  uint64_t findings_ = 0;
};

int FsckCommand(const FsckOptions& options) {
  FsckRequest request;
  request.directories = options.directories;
  request.with_data = options.with_data;
  request.user = OptionsOfThisUser();
  Page page(options.as_json);
  const Outcome<Checked> checked = CheckStorage(request, &page);
  if (!checked.ok()) {
    page.End(nullptr);
    Fail(PrintablePath(checked.failure().sentence));
    return kCannotBeChecked;
  }
  page.End(DescribeChecked(*checked));
  for (const auto* sentences : {&checked->notes, &checked->absent, &checked->problems}) {
    for (const std::string& sentence : *sentences) Fail(PrintablePath(sentence));
  }
  std::fprintf(stderr, "%s\n", SummaryOf(*checked).c_str());
  if (!checked->consistent()) return kInconsistent;
  return checked->complete() ? kDone : kNotWhole;
}

}  // namespace

void AddFsck(CLI::App& app, Context* context) {
  auto options = std::make_shared<FsckOptions>();
  CLI::App* fsck = app.add_subcommand(
      "fsck",
      "Check what the directories of dead servers hold: names, inodes, link counts, extents, leaked space.\n"
      "DIR is as for `journal`; give those of all members, else what only the missing ones know is not checked.\n"
      "What a normal crash leaves, and a recovery mends, is no finding. Nothing is changed.\n"
      "Exit status 0: all fits together; 1: something does not, it is listed; 4: nothing wrong was found, but not all\n"
      "could be checked; 2: it could not be done.");
  fsck->add_option("DIR", options->directories, "Directories of servers, of one session")->required();
  fsck->add_flag("--data", options->with_data, "Read all data as well, and compare it with its checksums");
  fsck->add_flag("--json", options->as_json, "One JSON document, for programs");
  fsck->callback([=] { context->run = [=] { return FsckCommand(*options); }; });
}

}  // namespace mayfly::cli
