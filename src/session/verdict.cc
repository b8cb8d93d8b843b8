#include "session/verdict.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "session/private_file.h"

namespace mayfly {
namespace {

constexpr uint64_t kVerdictBytesMax = 8 << 20;  // of a report's lines (flush/outcome.h), escaped

PrivateFile FileOf(const std::string& path, uint32_t uid) {
  PrivateFile file;
  file.path = path;
  file.what = "verdict of a session";
  file.uid = uid;
  return file;
}

std::string PathOf(const std::string& session_path) { return session_path + ".verdict"; }

}  // namespace

Outcome<Done> WriteVerdict(const std::string& session_path, uint32_t uid, const Verdict& verdict) {
  const nlohmann::json json = {
      {"complete", verdict.complete}, {"sentence", verdict.sentence}, {"missing", verdict.missing}};
  const std::string text = json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::string path = PathOf(session_path);
  return WritePrivateFile(FileOf(path, uid), AsBytes(text));
}

Outcome<Verdict> ReadVerdict(const std::string& session_path, uint32_t uid) {
  const std::string path = PathOf(session_path);
  auto text = ReadPrivateFile(FileOf(path, uid), kVerdictBytesMax);
  if (!text.ok()) return text.failure();
  return ParseVerdict(*text, path);
}

Outcome<Verdict> ParseVerdict(std::string_view text, std::string_view path) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("complete") || !json["complete"].is_boolean()) {
    return Fail(Code::kCorrupt, "{} is damaged: look at the target directory of the flush, then remove the file", path);
  }
  Verdict verdict;
  verdict.complete = json["complete"].get<bool>();
  if (json.contains("sentence") && json["sentence"].is_string()) verdict.sentence = json["sentence"].get<std::string>();
  if (json.contains("missing") && json["missing"].is_string()) verdict.missing = json["missing"].get<std::string>();
  return verdict;
}

void RemoveVerdict(const std::string& session_path) { ::unlink(PathOf(session_path).c_str()); }

}  // namespace mayfly
