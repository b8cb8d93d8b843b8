#include "session/session_file.h"

#include <algorithm>
#include <set>

#include "session/json_fields.h"
#include "session/private_file.h"

namespace mayfly {
namespace {

constexpr std::string_view kWhat = "session file";
constexpr std::string_view kFormat = "mayfly-session";
constexpr std::string_view kStates[] = {"starting", "ready", "stopping"};

Failure Damaged(std::string_view path, std::string_view reason) {
  return Fail(Code::kCorrupt, "{} {} is damaged ({}): remove it and start the session again", kWhat, path, reason);
}

SessionFile ReadFields(JsonFields& fields) {
  SessionFile file;
  if (const auto uuid = ParseUuid(fields.Text("session"))) {
    file.uuid = *uuid;
  } else {
    fields.Wrong("session");
  }
  if (!ParseHex(fields.Text("secret"), file.secret)) fields.Wrong("secret");
  const std::string state = fields.Text("state");
  const auto* known = std::find(std::begin(kStates), std::end(kStates), state);
  if (known == std::end(kStates)) fields.Wrong("state");
  file.state = static_cast<SessionState>(known - std::begin(kStates));
  file.durable = fields.Number<uint32_t>("durable", 0, 1) != 0;
  file.syncs = fields.Number<uint32_t>("syncs", 0, 1) != 0;
  file.degraded = fields.Number<uint32_t>("degraded", 0, 1) != 0;
  file.job = fields.Text("job");
  file.uid = fields.Number<uint32_t>("uid");
  file.created_ns = fields.Number<uint64_t>("created_ns");
  file.ring.points_per_member = fields.Number<uint32_t>("ring_points", 1, Ring::kPointsPerMemberMax);
  file.ring.seed = fields.Number<uint64_t>("ring_seed");
  file.member_count = fields.Number<uint32_t>("members", 1, Layout::kMembersMax);
  file.shard_count = fields.Number<uint32_t>("shards", file.member_count, Layout::kShardsMax);
  file.map_path = fields.Text("map");
  if (file.map_path.find('\0') != std::string::npos) fields.Wrong("map");
  file.hosts = fields.Texts("hosts");
  if (file.hosts.empty() || file.hosts.size() > file.member_count) fields.Wrong("hosts");
  return file;
}

}  // namespace

std::string_view TextOf(SessionState state) { return kStates[static_cast<size_t>(state)]; }

std::vector<std::string> HostsOf(const Layout& layout) {
  std::vector<std::string> hosts;
  std::set<std::string_view> seen;
  for (const Member& m : layout.members()) {
    if (seen.insert(m.host).second) hosts.push_back(m.host);
  }
  return hosts;
}

Outcome<std::string> EncodeSessionFile(const SessionFile& file) {
  Json json;
  json["format"] = kFormat;
  json["version"] = SessionFile::kVersion;
  json["protocol"] = file.protocol;
  json["session"] = UuidText(file.uuid);
  json["secret"] = HexText(file.secret);
  json["state"] = TextOf(file.state);
  json["durable"] = file.durable ? 1u : 0u;
  json["syncs"] = file.syncs ? 1u : 0u;
  json["degraded"] = file.degraded ? 1u : 0u;
  json["job"] = file.job;
  json["uid"] = file.uid;
  json["created_ns"] = file.created_ns;
  json["ring_points"] = file.ring.points_per_member;
  json["ring_seed"] = file.ring.seed;
  json["members"] = file.member_count;
  json["shards"] = file.shard_count;
  json["map"] = file.map_path;
  json["hosts"] = file.hosts;
  try {
    return json.dump(2) + "\n";
  } catch (const Json::type_error&) {
    return Fail(Code::kInvalid, "the session cannot be written as JSON: use plain UTF-8 in job id, host names and {}",
                "MAYFLY_RUNTIME_DIR");
  }
}

Outcome<SessionFile> ParseSessionFile(std::string_view text, std::string_view path, ProtocolRange protocol) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) return Damaged(path, "not JSON");
  JsonFields fields(json);
  if (fields.Text("format") != kFormat) return Damaged(path, "not written by Mayfly");
  // Versions first: what a newer Mayfly wrote is not damaged, whatever its fields look like.
  const auto version = fields.Number<uint32_t>("version", 1);
  if (version > SessionFile::kVersion) {
    return Fail(Code::kNotSupported,
                "{} {} was written by a newer Mayfly (format {}, known up to {}): load that version", kWhat, path,
                version, SessionFile::kVersion);
  }
  const auto spoken = fields.Number<uint32_t>("protocol");
  if (fields.wrong().empty() && (spoken < protocol.min || spoken > protocol.max)) {
    return Fail(
        Code::kNotSupported,
        "{} {} is of servers that speak protocol {}, this program speaks {} to {}: load the Mayfly version of the "
        "servers, or start them again with this one",
        kWhat, path, spoken, protocol.min, protocol.max);
  }
  SessionFile file = ReadFields(fields);
  file.protocol = spoken;
  if (!fields.wrong().empty()) return Damaged(path, fmt::format("field \"{}\"", fields.wrong()));  // S1
  return file;
}

Outcome<Done> WriteSessionFile(const std::string& path, const SessionFile& file) {
  Outcome<std::string> text = EncodeSessionFile(file);
  if (!text.ok()) return text.failure();
  return WritePrivateFile({path, kWhat, file.uid, UuidText(file.uuid)}, AsBytes(*text));
}

Outcome<SessionFile> ReadSessionFile(const std::string& path, uint32_t uid, ProtocolRange protocol) {
  Outcome<std::string> text = ReadPrivateFile({path, kWhat, uid}, SessionFile::kBytesMax);
  if (!text.ok()) return text.failure();
  Outcome<SessionFile> file = ParseSessionFile(*text, path, protocol);
  if (file.ok() && file->uid != uid) {
    return Fail(Code::kAccess, "{} {} is of the servers of uid {}, not of uid {}: use a session of your own", kWhat,
                path, file->uid, uid);
  }
  return file;
}

}  // namespace mayfly
