#include "inspect/salvage_report.h"

#include <fmt/format.h>

#include "flush/text.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

std::string_view Text(GapKind kind) { return kind == GapKind::kMissing ? "missing" : "corrupt"; }

std::string GapsText(const Gaps& gaps) {
  constexpr size_t kNamed = 8;
  std::string text;
  for (size_t i = 0; i < gaps.size() && i < kNamed; ++i) {
    text += fmt::format("{}bytes {} to {} {}", i == 0 ? "" : ", ", gaps[i].begin, gaps[i].end - 1, Text(gaps[i].kind));
  }
  if (gaps.size() > kNamed) text += fmt::format(" and {} more ranges", gaps.size() - kNamed);
  return text;
}

std::string Counted(uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

}  // namespace

std::string PrintablePath(std::string_view path) { return flush_internal::Printable(path); }

std::string_view Text(LossKind kind) {
  switch (kind) {
    case LossKind::kPartial:
      return "partial";
    case LossKind::kAbsent:
      return "absent";
    case LossKind::kIncomplete:
      return "incomplete";
    case LossKind::kLost:
      return "lost";
  }
  return "";
}

std::string LineOf(const Loss& loss) {
  std::string path = PrintablePath(loss.path);
  if (loss.kind == LossKind::kIncomplete) path += '/';
  std::string text = fmt::format("{}: {}: {}", Text(loss.kind), path, PrintablePath(loss.why));
  if (loss.kind != LossKind::kPartial) return text;
  if (!loss.gaps.empty()) text += "; " + GapsText(loss.gaps);
  if (loss.more_behind) text += "; it may have been longer";
  return text + "; saved as " + PrintablePath(loss.saved_as);
}

std::string LineOf(const WholeName& name) {
  if (name.type == FileType::kSymlink) return fmt::format("whole: {}: symbolic link", PrintablePath(name.path));
  return fmt::format("whole: {}: {}", PrintablePath(name.path), Counted(name.size, "byte", "bytes"));
}

Json DescribeWhole(const WholeName& name) {
  return {{"kind", "whole"},
          {"path", PrintablePath(name.path)},
          {"inode", fmt::format("{}:{}", name.inode.home().value, name.inode.sequence())},
          {"is", name.type == FileType::kSymlink ? "symlink" : "file"},
          {"size", name.size}};
}

Json DescribeLoss(const Loss& loss) {
  Json out = {
      {"kind", Text(loss.kind)},
      {"path", PrintablePath(loss.path)},
      {"inode", fmt::format("{}:{}", loss.inode.home().value, loss.inode.sequence())},
      {"saved_as",
       loss.saved_as.empty() && loss.kind != LossKind::kIncomplete ? Json() : Json(PrintablePath(loss.saved_as))},
      {"why", PrintablePath(loss.why)}};
  if (loss.kind != LossKind::kPartial) return out;
  out["gaps"] = Json::array();
  for (const Gap& gap : loss.gaps) {
    out["gaps"].push_back(
        {{"from", gap.begin}, {"to", gap.end}, {"bytes", gap.end - gap.begin}, {"is", Text(gap.kind)}});
  }
  out["perhaps_longer"] = loss.more_behind;
  return out;
}

Json DescribeSalvaged(const Salvaged& salvaged) {
  const SalvageCounts& counts = salvaged.counts;
  Json out = {{"whole", salvaged.whole()},
              {"session", UuidText(salvaged.session)},
              {"files", counts.files},
              {"bytes", counts.bytes},
              {"symlinks", counts.symlinks},
              {"directories", counts.directories},
              {"further_names", counts.linked},
              {"partial", counts.partial},
              {"absent", counts.absent},
              {"incomplete_directories", counts.incomplete},
              {"lost", counts.lost},
              {"refused", counts.refused},
              {"in_doubt",
               {{"committed", salvaged.in_doubt.committed},
                {"aborted", salvaged.in_doubt.aborted},
                {"unknown", salvaged.in_doubt.unknown}}},
              {"written_down",
               {{"done", salvaged.written_down.done},
                {"left_out", salvaged.written_down.left_out},
                {"not_read", salvaged.written_down.unread}}},
              {"problems", Json::array()},
              {"notes", Json::array()}};
  for (const std::string& problem : salvaged.problems) out["problems"].push_back(PrintablePath(problem));
  for (const std::string& note : salvaged.notes) out["notes"].push_back(PrintablePath(note));
  return out;
}

std::string SummaryOf(const Salvaged& salvaged) {
  const SalvageCounts& counts = salvaged.counts;
  std::string text = fmt::format("{} and {} whole, in {}", Counted(counts.files, "file", "files"),
                                 Counted(counts.symlinks, "symbolic link", "symbolic links"),
                                 Counted(counts.directories, "directory", "directories"));
  if (counts.partial != 0) text += fmt::format("; {} partial", counts.partial);
  if (counts.absent != 0) text += fmt::format("; {} absent", counts.absent);
  if (counts.lost != 0) text += fmt::format("; {} without a name, in lost+found", counts.lost);
  if (counts.incomplete != 0) {
    text += fmt::format("; {} may have held more", Counted(counts.incomplete, "directory", "directories"));
  }
  const Settled& doubt = salvaged.in_doubt;
  if (doubt.committed + doubt.aborted + doubt.unknown != 0) {
    text += fmt::format("; of {} between members that were under way {} were decided and done, {} taken back",
                        Counted(doubt.committed + doubt.aborted + doubt.unknown, "change", "changes"), doubt.committed,
                        doubt.aborted);
    if (doubt.unknown != 0) text += fmt::format(", {} left undone as nobody knows", doubt.unknown);
  }
  if (const uint64_t done = salvaged.written_down.done; done != 0) {
    text += fmt::format("; {} that processes had written down for their servers {} done",
                        Counted(done, "change", "changes"), done == 1 ? "was" : "were");
  }
  return text;
}

}  // namespace mayfly
