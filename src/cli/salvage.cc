// salvage: what the directories of dead servers hold, to a directory of the parallel filesystem.
#include <fmt/format.h>
#include <unistd.h>

#include <climits>

#include "cli/cli.h"
#include "cli/item_page.h"
#include "cli/journal.h"
#include "inspect/salvage_report.h"

namespace mayfly::cli {
namespace {

struct SalvageOptions {
  std::vector<std::string> directories;
  std::string target;
  bool as_json = false;
  bool list = false;  // what is whole, too
};

class Page final : public SalvageSink {
 public:
  Page(bool as_json, bool list) : list_(list), items_(as_json, "salvage", list ? "names" : "losses") {}

  void OnLoss(const Loss& loss) override {
    items_.Add(loss, DescribeLoss, [](const Loss& one) { return LineOf(one); });
  }
  void OnWhole(const WholeName& name) override {
    if (list_) items_.Add(name, DescribeWhole, [](const WholeName& one) { return LineOf(one); });
  }
  void OnRefusal(const std::string& sentence) override {
    items_.progress().Clear();
    Fail("attribute refused: " + PrintablePath(sentence));
  }
  void OnProgress(const SalvageCounts& counts) override {
    ProgressCounts now;
    now.files_done = counts.files + counts.symlinks + counts.partial;
    now.bytes_done = counts.bytes;
    items_.progress().Show(now);
  }
  ItemPage& items() { return items_; }

 private:
  const bool list_;
  ItemPage items_;
};

std::string Absolute(const std::string& path) {
  if (path.empty() || path[0] == '/') return path;
  char here[PATH_MAX];
  return ::getcwd(here, sizeof here) == nullptr ? path : std::string(here) + "/" + path;
}

int SalvageCommand(const SalvageOptions& options) {
  SalvageRequest request;
  request.directories = options.directories;
  request.target = Absolute(options.target);
  request.user = OptionsOfThisUser();
  Page page(options.as_json, options.list);
  const Outcome<Salvaged> salvaged = SalvageTo(request, &page);
  if (!salvaged.ok()) {
    page.items().Abandon({{"whole", false}});
    return Fail(PrintablePath(salvaged.failure().sentence));
  }
  page.items().End(DescribeSalvaged(*salvaged));
  const SalvageCounts& counts = salvaged->counts;
  page.items().progress().Finish(counts.files + counts.symlinks + counts.partial, counts.bytes);
  for (const std::string& note : salvaged->notes) Fail(PrintablePath(note));
  for (const std::string& problem : salvaged->problems) Fail(PrintablePath(problem));
  if (!salvaged->whole()) {
    Fail("not all is there: " + SummaryOf(*salvaged));
    return kNotWhole;
  }
  std::fprintf(stderr, "%s\n", SummaryOf(*salvaged).c_str());
  if (counts.refused == 0) return kDone;
  Fail(fmt::format("all data is there and verified; the target refused {} attributes", counts.refused));
  return kAttributesRefused;
}

}  // namespace

void AddSalvage(CLI::App& app, Context* context) {
  auto options = std::make_shared<SalvageOptions>();
  CLI::App* salvage = app.add_subcommand(
      "salvage",
      "Save what the directories of dead servers hold, without starting any: to a directory of a shared filesystem.\n"
      "DIR is as for `journal`; give those of all members that can be reached, from a node that sees them. What is\n"
      "not whole is listed, files of which parts are missing are saved as NAME.partial. Nothing in DIR is changed.\n"
      "Exit status 0: all is there; 4: what there was is saved, and not all is there; 1: it could not be done.");
  salvage->add_option("DIR", options->directories, "Directories of servers, of one session")->required();
  salvage->add_option("--to", options->target, "Directory for the copy, empty or not there yet")->required();
  salvage->add_flag("--list", options->list, "A line for what is whole, too: every file and symbolic link");
  salvage->add_flag("--json", options->as_json, "One JSON document, for programs");
  salvage->callback([=] { context->run = [=] { return SalvageCommand(*options); }; });
}

}  // namespace mayfly::cli
