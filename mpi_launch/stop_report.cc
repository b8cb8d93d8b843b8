#include "stop_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "options.h"

namespace mayfly {
namespace {

using Json = nlohmann::json;

// The first text of the list `name`, or "".
std::string FirstOf(const Json& json, const char* name) {
  const auto list = json.find(name);
  if (list == json.end() || !list->is_array() || list->empty() || !list->front().is_string()) return {};
  return list->front().get<std::string>();
}

// All texts of the list `name`, a line each; they have no line ends of their own (flush/text.h, Printable).
std::string LinesOf(const Json& json, const char* name) {
  std::string lines;
  const auto list = json.find(name);
  if (list == json.end() || !list->is_array()) return lines;
  for (const Json& text : *list) {
    if (text.is_string()) lines += text.get<std::string>() + "\n";
  }
  return lines;
}

uint64_t NumberOf(const Json& json, const char* name) {
  const auto number = json.find(name);
  return number != json.end() && number->is_number_unsigned() ? number->get<uint64_t>() : 0;
}

}  // namespace

StopSentence SentenceOfStop(bool ok, const std::string& report) {
  const Json json = Json::parse(report, nullptr, false);
  const Json flush = json.is_object() && json.contains("flush") ? json["flush"] : Json();
  if (!flush.is_object()) {
    if (ok && json.value("kept", false)) return {true, "what it holds is kept, for mayflyd --recover", {}};
    if (ok) return {true, "nothing was to be flushed", {}};
    const std::string unsent = json.is_object() ? FirstOf(json, "unsent") : std::string();
    return {false,
            fmt::format("not everything was flushed ({}); look at the log of this server",
                        unsent.empty() ? "the flush could not be started" : unsent),
            {}};
  }
  const std::string target = flush.value("target", std::string("the target"));
  const uint64_t files = NumberOf(flush, "files") + NumberOf(flush, "skipped");
  if (ok) {
    return {true,
            fmt::format("{} files ({} written) are in {}, verified", files, SizeText(NumberOf(flush, "bytes")), target),
            {}};
  }
  std::string cause = FirstOf(flush, "errors");
  if (cause.empty()) cause = FirstOf(json, "unsent");
  if (cause.empty()) cause = flush.value("result", std::string("unknown cause"));
  const std::string missing = FirstOf(flush, "missing");
  const uint64_t lost = NumberOf(flush, "missing_count") + NumberOf(flush, "failed");
  return {false,
          fmt::format("the flush to {} is not complete: {} files are there, {} are not{}; {}", target, files, lost,
                      missing.empty() ? "" : fmt::format(" (the first is {})", missing), cause),
          LinesOf(flush, "missing")};
}

void KeepVerdict(const std::string& session, const Verdict& verdict) {
  const Outcome<Done> kept = WriteVerdict(session, geteuid(), verdict);
  if (!kept.ok()) MAYFLY_WARN("{}", kept.failure().sentence);
}

}  // namespace mayfly
