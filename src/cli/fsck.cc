// fsck: whether what the directories of dead servers hold fits together.
#include <fmt/format.h>

#include "cli/cli.h"
#include "cli/item_page.h"
#include "cli/journal.h"
#include "inspect/fsck_run.h"
#include "inspect/repair_run.h"
#include "inspect/salvage_report.h"

namespace mayfly::cli {
namespace {

// Exit codes beside kDone and kNotWhole.
constexpr int kInconsistent = 1, kCannotBeChecked = 2;

struct FsckOptions {
  std::vector<std::string> directories;
  bool with_data = false, as_json = false, repair = false, yes = false;
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

// What a repair leaves was found before it, and is counted again.
class NoPage final : public FsckSink {
  void OnFinding(const Finding&) override {}
  void OnProgress(const FsckCounts&) override {}
};

void Say(const Checked& checked) {
  for (const auto* sentences : {&checked.notes, &checked.absent, &checked.problems}) {
    for (const std::string& sentence : *sentences) Fail(PrintablePath(sentence));
  }
  std::fprintf(stderr, "%s\n", SummaryOf(checked).c_str());
}

int CodeOf(const Checked& checked) {
  if (!checked.consistent()) return kInconsistent;
  return checked.complete() ? kDone : kNotWhole;
}

int CannotBeDone(const Failure& failure) {
  Fail(PrintablePath(failure.sentence));
  return kCannotBeChecked;
}

// *after: what there is afterwards. kDone if it was repaired, or nothing was to be done.
int RepairAll(const FsckOptions& options, const FsckRequest& request, std::optional<Checked>* after) {
  auto repair = Repair::Prepare(request.directories, request.user);
  if (!repair.ok()) return CannotBeDone(repair.failure());
  const std::vector<std::string> changed = (*repair)->Changed();
  if (changed.empty()) {
    std::fprintf(stderr, "there is nothing to repair\n");
    return kDone;
  }
  const std::string what =
      fmt::format("mend {} finding{} by a new checkpoint of {} journal{}", (*repair)->plan().mended,
                  (*repair)->plan().mended == 1 ? "" : "s", changed.size(), changed.size() == 1 ? "" : "s");
  std::vector<std::string> details = changed;
  if (const uint64_t bytes = (*repair)->unwritten_bytes(); bytes != 0) {
    details.push_back(
        fmt::format("{} bytes that the killed servers had in memory are written to the disk first", bytes));
  }
  if (const Settled& under_way = (*repair)->plan().settled; under_way.unknown != 0) {
    details.push_back(fmt::format("{} changes between members have no end that is known, and are taken as not done",
                                  under_way.unknown));
  }
  if (!Agreed(options.yes, what, details)) return kInconsistent;
  const Outcome<Done> written = (*repair)->Write();
  if (!written.ok()) return CannotBeDone(written.failure());
  repair->reset();
  NoPage none;
  Outcome<Checked> checked = CheckStorage(request, &none);
  if (!checked.ok()) return CannotBeDone(checked.failure());
  *after = std::move(*checked);
  return kDone;
}

int FsckCommand(const FsckOptions& options) {
  FsckRequest request;
  request.directories = options.directories;
  request.with_data = options.with_data;
  request.user = OptionsOfThisUser();
  Page page(options.as_json);
  const Outcome<Checked> checked = CheckStorage(request, &page);
  if (!checked.ok()) {
    page.items().Abandon({{"consistent", false}, {"complete", false}});
    return CannotBeDone(checked.failure());
  }
  page.items().progress().Clear();
  Say(*checked);
  std::optional<Checked> after;
  const int repaired = options.repair ? RepairAll(options, request, &after) : kDone;
  Json document = DescribeChecked(*checked);
  if (after) document["repaired"] = DescribeChecked(*after);
  page.items().End(document);
  if (repaired != kDone) return repaired;
  if (!after) return CodeOf(*checked);
  std::fprintf(stderr, "repaired\n");
  Say(*after);
  return CodeOf(*after);
}

}  // namespace

void AddFsck(CLI::App& app, Context* context) {
  auto options = std::make_shared<FsckOptions>();
  CLI::App* fsck = app.add_subcommand(
      "fsck",
      "Check what the directories of dead servers hold: names, inodes, link counts, extents, leaked space.\n"
      "DIR is as for `journal`; give those of all members, else what only the missing ones know is not checked.\n"
      "What a normal crash leaves, and a recovery mends, is no finding. Nothing is changed without --repair; each\n"
      "finding says what that would do.\n"
      "Exit status 0: all fits together; 1: something does not, it is listed; 4: nothing wrong was found, but not all\n"
      "could be checked; 2: it could not be done. After a repair: of what there is then.");
  fsck->add_option("DIR", options->directories, "Directories of servers, of one session")->required();
  fsck->add_flag("--data", options->with_data, "Read all data as well, and compare it with its checksums");
  fsck->add_flag(
      "--repair", options->repair,
      "Mend what is found, given the directories of all members: names that lead nowhere go, what has no name\n"
      "gets one in /lost+found, counts are set to the names, what nobody refers to is given back. No byte of a\n"
      "file is changed; at level `node` what killed servers had in memory goes to the disk first. It is one\n"
      "new checkpoint a journal, beside the old one");
  fsck->add_flag("-y,--yes", options->yes, "Do not ask before");
  fsck->add_flag("--json", options->as_json, "One JSON document, for programs");
  fsck->callback([=] { context->run = [=] { return FsckCommand(*options); }; });
}

}  // namespace mayfly::cli
