#include "inspect/fsck_run.h"

#include <fmt/format.h>

#include "inspect/mend.h"
#include "inspect/salvage_report.h"
#include "inspect/storage_sources.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

Json ListOf(const std::vector<std::string>& sentences) {
  Json out = Json::array();
  for (const std::string& sentence : sentences) out.push_back(PrintablePath(sentence));
  return out;
}

}  // namespace

Outcome<Checked> CheckStorage(const FsckRequest& request, FsckSink* sink) {
  Outcome<Storage> storage = OpenStorage(request.directories, {.user = request.user});
  if (!storage.ok()) return storage.failure();
  const StorageSources sources(&*storage);
  FsckInput input;
  input.layout = &storage->layout;
  input.placement = &*storage->placement;
  input.shards = sources.shards();
  input.in_doubt = sources.settled().unknown != 0;
  input.with_data = request.with_data;
  for (const auto& shard : storage->shards) {
    input.chunk_file_blocks.push_back(shard != nullptr ? shard->bytes->chunk_file_bytes() / Disk::kBlockBytes : 0);
  }
  Checked checked;
  checked.session = storage->session;
  checked.counts = Fsck(input, sink);
  if (const Outcome<Done> unchanged = Unchanged(*storage); !unchanged.ok()) return unchanged.failure();
  checked.in_doubt = sources.settled();
  checked.problems = std::move(storage->problems);
  checked.absent = std::move(storage->absent);
  checked.notes = std::move(storage->notes);
  return checked;
}

Json DescribeFinding(const Finding& finding) {
  return {
      {"kind", Text(finding.kind)},
      {"shard", finding.shard.value},
      {"inode", finding.inode.valid() ? Json(fmt::format("{}:{}", finding.inode.home().value, finding.inode.sequence()))
                                      : Json()},
      {"text", finding.text},
      {"repair", finding.mend.kind == MendKind::kNone ? Json() : Json(TextOf(finding.mend.kind))}};
}

Json DescribeChecked(const Checked& checked) {
  const FsckCounts& counts = checked.counts;
  Json out = {{"consistent", checked.consistent()},
              {"complete", checked.complete()},
              {"session", UuidText(checked.session)},
              {"directories", counts.directories},
              {"files", counts.files},
              {"symlinks", counts.symlinks},
              {"names", counts.names},
              {"extents", counts.extents},
              {"bytes_checked", counts.bytes_checked},
              {"leaked_bytes", counts.leaked_bytes},
              {"open_without_a_name", counts.nameless_open},
              {"to_be_dropped", counts.to_bury},
              {"counts", Json::object()},
              {"in_doubt",
               {{"committed", checked.in_doubt.committed},
                {"aborted", checked.in_doubt.aborted},
                {"unknown", checked.in_doubt.unknown}}}};
  for (size_t i = 0; i < std::size(counts.findings); ++i) {
    out["counts"][std::string(Text(static_cast<FindingKind>(i)))] = counts.findings[i];
  }
  out["problems"] = ListOf(checked.problems);
  out["absent"] = ListOf(checked.absent);
  out["notes"] = ListOf(checked.notes);
  return out;
}

std::string SummaryOf(const Checked& checked) {
  const FsckCounts& counts = checked.counts;
  std::string text = fmt::format("{} names of {} files, {} symbolic links and {} directories, {} extents", counts.names,
                                 counts.files, counts.symlinks, counts.directories, counts.extents);
  if (counts.bytes_checked != 0) text += fmt::format(", {} bytes read", counts.bytes_checked);
  text += fmt::format(": {} finding{}", counts.all_findings(), counts.all_findings() == 1 ? "" : "s");
  if (counts.leaked_bytes != 0) text += fmt::format(", {} bytes leaked", counts.leaked_bytes);
  return text;
}

}  // namespace mayfly
