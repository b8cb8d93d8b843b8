#include <nlohmann/json.hpp>

#include "flush/coordinator_job.h"
#include "flush/text.h"

namespace mayfly::flush_internal {

std::string ReportJson(const ReportFacts& facts) {
  const FlushOutcome& outcome = *facts.outcome;
  nlohmann::ordered_json lists[2], missing = nlohmann::ordered_json::array();
  for (auto& list : lists) list = nlohmann::ordered_json::array();
  for (const FlushNote& note : outcome.notes) lists[static_cast<int>(note.kind) - 1].push_back(Printable(note.text));
  for (const std::string& line : *facts.missing) missing.push_back(Printable(line));
  nlohmann::ordered_json json;
  json["result"] = facts.result;
  json["verified"] = facts.verified;
  json["source"] = Printable(facts.source);
  json["target"] = Printable(facts.target);
  json["files"] = outcome.files;
  json["bytes"] = outcome.bytes;
  json["skipped"] = outcome.skipped;
  json["failed"] = outcome.failed;
  json["refused"] = outcome.refused;
  json["missing_count"] = outcome.missing;
  json["missing_cut"] = facts.missing_cut;
  json["directories"] = facts.directories;
  json["seconds"] = facts.seconds;
  json["errors"] = std::move(lists[static_cast<int>(FlushNoteKind::kFailed) - 1]);
  json["refusals"] = std::move(lists[static_cast<int>(FlushNoteKind::kRefused) - 1]);
  json["missing"] = std::move(missing);
  return json.dump();
}

}  // namespace mayfly::flush_internal
