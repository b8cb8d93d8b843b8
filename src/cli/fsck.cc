// fsck: whether what the directories of dead servers hold fits together.
#include <fmt/format.h>

#include "cli/cli.h"
#include "cli/item_page.h"
#include "cli/journal.h"
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
  explicit Page(bool as_json) : items_(as_json, "fsck", "findings") {}

  void OnFinding(const Finding& finding) override {
    items_.Add(finding, DescribeFinding, [](const Finding& one) { return LineOf(one); });
  }
  void OnProgress(const FsckCounts& counts) override {
    ProgressCounts now;
    now.files_done = counts.files + counts.symlinks + counts.directories;
    now.bytes_done = counts.bytes_checked;
    items_.progress().Show(now);
  }
  ItemPage& items() { return items_; }

 private:
  ItemPage items_;
};

int FsckCommand(const FsckOptions& options) {
  FsckRequest request;
  request.directories = options.directories;
  request.with_data = options.with_data;
  request.user = OptionsOfThisUser();
  Page page(options.as_json);
  const Outcome<Checked> checked = CheckStorage(request, &page);
  if (!checked.ok()) {
    page.items().Abandon({{"consistent", false}, {"complete", false}});
    Fail(PrintablePath(checked.failure().sentence));
    return kCannotBeChecked;
  }
  page.items().End(DescribeChecked(*checked));
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
