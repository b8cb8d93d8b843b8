// salvage: what the directories of dead servers hold, to a directory of the parallel filesystem.
#include <fmt/format.h>
#include <unistd.h>

#include <climits>

#include "cli/cli.h"
#include "cli/journal.h"
#include "cli/progress.h"
#include "inspect/salvage_report.h"

namespace mayfly::cli {
namespace {

struct SalvageOptions {
  std::vector<std::string> directories;
  std::string target;
  bool as_json = false;
};

// Lines as they come: however many there are, none is kept.
class Page final : public SalvageSink {
 public:
  explicit Page(bool as_json) : as_json_(as_json), progress_("salvage") {}

  void OnLoss(const Loss& loss) override {
    progress_.Clear();
    if (as_json_) {
      fmt::print("{}\n{}", losses_ == 0 ? kBegin : ",", DescribeLoss(loss).dump());
    } else {
      fmt::print("{}\n", LineOf(loss));
    }
    ++losses_;
  }
  void OnRefusal(const std::string& sentence) override {
    progress_.Clear();
    Fail("attribute refused: " + PrintablePath(sentence));
  }
  void OnProgress(const SalvageCounts& counts) override {
    ProgressCounts now;
    now.files_done = counts.files + counts.symlinks + counts.partial;
    now.bytes_done = counts.bytes;
    progress_.Show(now);
  }
  // The rest of the document, if any was begun or `end` is not null.
  void End(const Json& end) {
    if (!as_json_ || (losses_ == 0 && end.is_null())) return;
    if (losses_ == 0) fmt::print("{}", kBegin);
    std::string rest = end.is_null() ? std::string("{\"whole\":false}") : end.dump();
    rest[0] = ',';
    fmt::print("]{}\n", rest);
  }
  Progress& progress() { return progress_; }

 private:
  static constexpr const char* kBegin = "{\"format\":\"mayfly-salvage\",\"version\":1,\"losses\":[";
  const bool as_json_;
  Progress progress_;
  uint64_t losses_ = 0;
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
  Page page(options.as_json);
  const Outcome<Salvaged> salvaged = SalvageTo(request, &page);
  page.progress().Clear();
  if (!salvaged.ok()) {
    page.End(nullptr);
    return Fail(PrintablePath(salvaged.failure().sentence));
  }
  page.End(DescribeSalvaged(*salvaged));
  std::fflush(stdout);
  const SalvageCounts& counts = salvaged->counts;
  page.progress().Finish(counts.files + counts.symlinks + counts.partial, counts.bytes);
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
  salvage->add_flag("--json", options->as_json, "One JSON document, for programs");
  salvage->callback([=] { context->run = [=] { return SalvageCommand(*options); }; });
}

}  // namespace mayfly::cli
