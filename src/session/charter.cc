#include "session/charter.h"

#include "device/device.h"
#include "session/json_fields.h"
#include "session/private_file.h"
#include "session/storage_tree.h"

namespace mayfly {
namespace {

constexpr std::string_view kWhat = "charter";
constexpr std::string_view kFormat = "mayfly-charter";
constexpr std::string_view kDurabilities[] = {"none", "process", "node"}, kFsyncs[] = {"commit", "always"},
                           kEvicts[] = {"lru", "lfu"};
constexpr uint32_t kChunkBitsLeast = 16, kChunkBitsMost = 26;

Failure Damaged(std::string_view path, std::string_view reason) {
  return Fail(
      Code::kCorrupt,
      "{} {} is damaged ({}): put the file as it was back, or give the session up, and remove the directory that "
      "it is in",
      kWhat, path, reason);
}

template <size_t N>
std::string OneOf(JsonFields& fields, const char* name, const std::string_view (&words)[N]) {
  std::string text = fields.Text(name);
  for (std::string_view word : words) {
    if (text == word) return text;
  }
  fields.Wrong(name);
  return {};
}

std::vector<Member> ReadMembers(JsonFields& fields) {
  std::vector<Member> members;
  const Json* list = fields.Find("members");
  if (list == nullptr || !list->is_array() || list->empty() || list->size() > Layout::kMembersMax) {
    fields.Wrong("members");
    return members;
  }
  for (const Json& item : *list) {
    if (!item.is_object()) {
      fields.Wrong("members");
      return {};
    }
    JsonFields one(item);
    Member member;
    member.id = MemberId(static_cast<uint16_t>(members.size()));
    member.host = one.Text("host");
    member.weight = one.Number<uint32_t>("weight", 1, Layout::kWeightMax);
    member.shards = one.Number<uint32_t>("shards", 1, Layout::kShardsMax);
    if (!one.wrong().empty()) fields.Wrong("members");
    members.push_back(std::move(member));
  }
  if (!Layout::Build(members).ok()) fields.Wrong("members");  // C1
  return members;
}

}  // namespace

Outcome<std::string> EncodeCharter(const Charter& charter) {
  Json json;
  json["format"] = kFormat;
  json["version"] = Charter::kVersion;
  json["session"] = UuidText(charter.uuid);
  json["secret"] = HexText(charter.secret);
  json["server_secret"] = HexText(charter.server_secret);
  json["uid"] = charter.uid;
  json["created_ns"] = charter.created_ns;
  json["job"] = charter.job;
  json["ring_points"] = charter.ring.points_per_member;
  json["ring_seed"] = charter.ring.seed;
  json["member_per_rank"] = charter.member_per_rank ? 1u : 0u;
  json["chunk_bits"] = charter.chunk_bits;
  json["checksums"] = charter.checksums ? 1u : 0u;
  json["durability"] = charter.durability;
  json["fsync"] = charter.fsync;
  json["journal_bytes"] = charter.journal_bytes;
  json["commit_interval_ns"] = charter.commit_interval_ns;
  json["flush_to"] = charter.flush_to;
  json["memory_bytes"] = charter.memory_bytes;
  json["capacity_bytes"] = charter.capacity_bytes;
  json["evict"] = charter.evict;
  json["self"] = charter.self.value;
  json["members"] = Json::array();
  for (const Member& member : charter.members) {
    Json one;
    one["host"] = member.host;
    one["weight"] = member.weight;
    one["shards"] = member.shards;
    json["members"].push_back(std::move(one));
  }
  try {
    return json.dump(2) + "\n";
  } catch (const Json::type_error&) {
    return Fail(Code::kInvalid, "the session cannot be written as JSON: use plain UTF-8 in job id and host names");
  }
}

Outcome<Charter> ParseCharter(std::string_view text, std::string_view path) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) return Damaged(path, "not JSON");
  JsonFields fields(json);
  if (fields.Text("format") != kFormat) return Damaged(path, "not written by Mayfly");
  const auto version = fields.Number<uint32_t>("version", 1);
  if (version > Charter::kVersion) {
    return Fail(Code::kNotSupported,
                "{} {} was written by a newer Mayfly (format {}, known up to {}): load that version", kWhat, path,
                version, Charter::kVersion);
  }
  Charter charter;
  if (const auto uuid = ParseUuid(fields.Text("session"))) {
    charter.uuid = *uuid;
  } else {
    fields.Wrong("session");
  }
  if (!ParseHex(fields.Text("secret"), charter.secret)) fields.Wrong("secret");
  if (!ParseHex(fields.Text("server_secret"), charter.server_secret)) fields.Wrong("server_secret");
  charter.uid = fields.Number<uint32_t>("uid");
  charter.created_ns = fields.Number<uint64_t>("created_ns");
  charter.job = fields.Text("job");
  charter.ring.points_per_member = fields.Number<uint32_t>("ring_points", 1, Ring::kPointsPerMemberMax);
  charter.ring.seed = fields.Number<uint64_t>("ring_seed");
  charter.member_per_rank = fields.Number<uint32_t>("member_per_rank", 0, 1) != 0;
  charter.chunk_bits = fields.Number<uint32_t>("chunk_bits", kChunkBitsLeast, kChunkBitsMost);
  charter.checksums = fields.Number<uint32_t>("checksums", 0, 1) != 0;
  charter.durability = OneOf(fields, "durability", kDurabilities);
  charter.fsync = OneOf(fields, "fsync", kFsyncs);
  charter.journal_bytes = fields.Number<uint64_t>("journal_bytes");
  charter.commit_interval_ns = fields.Number<uint64_t>("commit_interval_ns");
  charter.flush_to = fields.Text("flush_to");
  charter.memory_bytes = fields.Number<uint64_t>("memory_bytes");
  charter.capacity_bytes = fields.Number<uint64_t>("capacity_bytes");
  charter.evict = OneOf(fields, "evict", kEvicts);
  charter.members = ReadMembers(fields);
  charter.self = MemberId(fields.Number<uint16_t>("self", 0, Layout::kMembersMax));
  if (charter.self.value >= charter.members.size()) fields.Wrong("self");
  if (!fields.wrong().empty()) return Damaged(path, fmt::format("field \"{}\"", fields.wrong()));  // C1
  return charter;
}

Outcome<Done> WriteCharter(const std::string& directory, const Charter& charter) {
  Outcome<std::string> text = EncodeCharter(charter);
  if (!text.ok()) return text.failure();
  return WriteStorageFile({directory + "/" + std::string(Charter::kFileName), kWhat, charter.uid}, AsBytes(*text));
}

Outcome<Charter> ReadCharter(const std::string& directory, uint32_t uid) {
  const std::string path = directory + "/" + std::string(Charter::kFileName);
  Outcome<std::string> text = ReadStorageFile({path, kWhat, uid}, Charter::kBytesMax);
  if (!text.ok()) return text.failure();
  Outcome<Charter> charter = ParseCharter(*text, path);
  // Of a file the owner was checked; on a device nothing else says whose it is.
  const auto where = SplitDevicePath(path);
  if (where && !where->name.empty() && charter.ok() && charter->uid != uid) {
    return Fail(Code::kAccess, "{} {} belongs to uid {}, not to uid {}: use a session of your own", kWhat, path,
                charter->uid, uid);
  }
  return charter;
}

}  // namespace mayfly
