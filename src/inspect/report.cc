#include "inspect/report.h"

#include <fmt/format.h>

#include "inspect/fields.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

Json DescribeRange(Lsn from, Lsn to) {
  return {{"from", from.value}, {"to", to.value}, {"bytes", to.value - from.value}};
}

Json DescribeCheckpoint(const CheckpointRef& ref) {
  if (ref.present == 0) return nullptr;
  return {{"sequence", ref.sequence}, {"file", kCheckpointFileNames[ref.slot]},
          {"bytes", ref.bytes},       {"field_bytes", ref.fields},
          {"start", ref.start.value}, {"end", ref.end.value}};
}

Json DescribeSuperblock(const Superblock& s) {
  Json joints = Json::array();
  for (const Joint& joint : s.live_joints()) {
    joints.push_back({{"end", joint.end.value}, {"start", joint.start.value}, {"incarnation", joint.incarnation}});
  }
  return {{"sequence", s.sequence},
          {"session", UuidText(s.uuid)},
          {"shard", s.shard.value},
          {"ring_bytes", s.ring_bytes},
          {"tail", s.tail.value},
          {"durable", s.durable.value},
          {"next", s.next.value},
          {"wrap", s.wrap},
          {"incarnation", s.incarnation},
          {"clean", s.clean()},
          {"checkpoint", DescribeCheckpoint(s.checkpoint)},
          {"joints", std::move(joints)}};
}

Json DescribeCounts(const std::map<Tag, TagCount>& counts) {
  Json out = Json::array();
  for (const auto& [tag, count] : counts) {
    Json one = {{"tag", TagText(tag)}};
    if (const std::string_view name = NameOfTag(tag); !name.empty()) one["name"] = name;
    one["fields"] = count.fields;
    one["bytes"] = count.bytes;
    out.push_back(std::move(one));
  }
  return out;
}

void SayFailure(const JournalLook& look, Json* out) {
  if (look.read) return;
  (*out)["state"] = Text(look.failure.state);
  (*out)["problem"] = SentenceOf(look.failure);
}

void SayTail(const JournalLook& look, Json* out) {
  (*out)["tail_memory"] = Text(look.tail);
  if (look.tail == TailMemory::kRead) (*out)["tail_memory_from"] = look.recovered.region_low.value;
}

// What is damaged, in words; of many ranges a few.
std::string Ranges(const JournalLook& look) {
  constexpr uint64_t kNamed = 4;
  std::string text;
  uint64_t named = 0;
  const auto add = [&](std::string more) {
    if (++named > kNamed) return;
    text += (text.empty() ? "" : ", ") + std::move(more);
  };
  for (const LsnRange& range : look.recovered.damage) {
    add(fmt::format("LSN {} to {} ({} bytes)", range.from.value, range.to.value, range.to.value - range.from.value));
  }
  for (const auto& [from, to] : look.checkpoint_damage) {
    add(fmt::format("the checkpoint's bytes {} to {} ({} bytes)", from, to, to - from));
  }
  if (look.tail == TailMemory::kForeign) add("the last part, which lay in memory");
  if (look.fault_count != 0) {
    add(fmt::format("{} field{} that {} not decode", look.fault_count, look.fault_count == 1 ? "" : "s",
                    look.fault_count == 1 ? "does" : "do"));
  }
  if (named > kNamed) text += fmt::format(" and {} more", named - kNamed);
  return text;
}

}  // namespace

std::string_view Text(Verdict verdict) {
  switch (verdict) {
    case Verdict::kWhole:
      return "whole";
    case Verdict::kTornTail:
      return "torn tail";
    case Verdict::kDamaged:
      return "damaged";
    case Verdict::kUnreadable:
      return "unreadable";
  }
  return "";
}

std::string_view Text(TailMemory tail) {
  switch (tail) {
    case TailMemory::kNotNeeded:
      return "not needed";
    case TailMemory::kRead:
      return "read";
    case TailMemory::kGone:
      return "gone";
    case TailMemory::kForeign:
      return "damaged";
    case TailMemory::kElsewhere:
      return "elsewhere";
  }
  return "";
}

std::string_view Text(SuperblockState state) {
  switch (state) {
    case SuperblockState::kGood:
      return "good";
    case SuperblockState::kZeros:
      return "zeros";
    case SuperblockState::kTorn:
      return "torn";
    case SuperblockState::kForeign:
      return "no journal";
    case SuperblockState::kFutureVersion:
      return "newer version";
    case SuperblockState::kOtherSession:
      return "other session";
    case SuperblockState::kOtherShard:
      return "other shard";
    case SuperblockState::kCut:
      return "cut";
    case SuperblockState::kUnreadable:
      return "unreadable";
    case SuperblockState::kMissing:
      return "missing";
  }
  return "";
}

std::string_view Text(RecordType type) {
  switch (type) {
    case RecordType::kChanges:
      return "changes";
    case RecordType::kPad:
      return "padding";
  }
  return "";
}

Json DescribePlace(const MemberPlace& member, const ShardPlace& shard) {
  Json out = {{"directory", shard.directory},
              {"session", member.uuid ? Json(UuidText(*member.uuid)) : Json()},
              {"member", member.member.value},
              {"host", member.host.empty() ? Json() : Json(member.host)},
              {"shard", shard.shard.value}};
  if (!member.charter_problem.empty()) out["charter_problem"] = member.charter_problem;
  return out;
}

Json DescribeSuperblocks(const JournalLook& look) {
  Json out = Json::array();
  for (uint32_t i = 0; i < kSuperblocks; ++i) {
    Json one = {{"block", i}, {"state", Text(look.states[i])}};
    if (look.states[i] == SuperblockState::kGood) one.update(DescribeSuperblock(look.blocks[i]));
    out.push_back(std::move(one));
  }
  return out;
}

Json DescribeStat(const JournalLook& look) {
  Json out = {{"read", look.read}};
  SayFailure(look, &out);
  if (!look.read) return out;
  const Recovered& r = look.recovered;
  const Superblock& s = r.superblock;
  out["ring_bytes"] = s.ring_bytes;
  out["file_bytes"] = look.file_bytes;
  out["tail"] = s.tail.value;
  out["head"] = r.end.value;
  out["next_lsn"] = look.next().value;
  out["durable"] = s.durable.value;
  out["live_bytes"] = look.live_bytes();
  out["occupancy"] = static_cast<double>(look.live_bytes()) / static_cast<double>(s.ring_bytes);
  out["wrap"] = r.end.value / s.ring_bytes;
  out["incarnation"] = s.incarnation;
  out["starts"] = s.joint_count;
  out["clean"] = s.clean();
  SayTail(look, &out);
  out["records"] = {{Text(RecordType::kChanges), {{"records", r.records}, {"bytes", r.record_bytes}}},
                    {Text(RecordType::kPad), {{"records", r.pads}, {"bytes", look.pad_bytes}}}};
  out["fields"] = DescribeCounts(look.in_records);
  out["checkpoint"] = DescribeCheckpoint(s.checkpoint);
  out["checkpoint_fields"] = DescribeCounts(look.in_checkpoint);
  out["bytes_read"] = r.bytes_read + r.checkpoint_bytes;
  out["verdict"] = Text(look.verdict());
  return out;
}

Json DescribeVerdict(const JournalLook& look) {
  Json out = {{"verdict", Text(look.verdict())}, {"explanation", Explain(look)}};
  SayFailure(look, &out);
  if (!look.read) return out;
  const Recovered& r = look.recovered;
  out["clean"] = r.clean;
  SayTail(look, &out);
  out["tail"] = r.superblock.tail.value;
  out["end"] = r.end.value;
  out["torn"] = r.torn > r.end ? DescribeRange(r.end, r.torn) : Json();
  out["damage"] = Json::array();
  for (const LsnRange& range : r.damage) out["damage"].push_back(DescribeRange(range.from, range.to));
  out["checkpoint_damage"] = Json::array();
  for (const auto& [from, to] : look.checkpoint_damage) {
    out["checkpoint_damage"].push_back({{"from", from}, {"to", to}, {"bytes", to - from}});
  }
  out["faults"] = look.fault_count;
  out["first_faults"] = Json::array();
  for (const FieldFault& fault : look.faults) out["first_faults"].push_back(Explain(fault));
  out["unreadable_blocks"] = r.unreadable_blocks;
  out["records"] = r.records;
  out["record_bytes"] = r.record_bytes;
  out["checkpoint_bytes"] = r.checkpoint_bytes;
  out["bytes_read"] = r.bytes_read + r.checkpoint_bytes;
  return out;
}

Json DescribeRecord(const JournalRecord& record) {
  Json out = {
      {"lsn", record.lsn.value},
      {"type", Text(record.type)},
      {"transaction", record.transaction.value == 0 ? Json()
                                                    : Json(fmt::format("{}:{}", record.transaction.value >> 40,
                                                                       InodeId(record.transaction.value).sequence()))},
      {"flags", record.flags},
      {"incarnation", record.incarnation},
      {"bytes", record.end.value - record.lsn.value},
      {"payload_bytes", record.payload.size()}};
  if (record.type != RecordType::kChanges) return out;
  Json fields = Json::array();
  TlvReader reader(record.payload);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) fields.push_back(DescribeField(tag, value));
  out["fields"] = std::move(fields);
  if (!reader.Finish().ok()) out["problem"] = "its fields do not follow each other";
  return out;
}

std::string Explain(const FieldFault& fault) {
  const std::string where =
      fault.in_checkpoint ? std::string("in the checkpoint") : fmt::format("in the record at LSN {}", fault.at.value);
  if (fault.tag == 0) return "the fields " + where + " do not follow each other";
  if (fault.code == Code::kNotSupported) return fmt::format("the field {} {} is not known", TagText(fault.tag), where);
  return fmt::format("the field {} ({}) {} does not decode", TagText(fault.tag), NameOfTag(fault.tag), where);
}

std::string Explain(const JournalLook& look) {
  const Recovered& r = look.recovered;
  if (!look.read) return std::string(SentenceOf(look.failure));
  switch (look.verdict()) {
    case Verdict::kUnreadable:
      return "a newer Mayfly wrote it (it holds fields that are not known here): use that version";
    case Verdict::kDamaged:
      return fmt::format("what was whole once is not any more: {}; all else holds up to LSN {}", Ranges(look),
                         r.end.value);
    case Verdict::kTornTail:
      break;
    case Verdict::kWhole:
      return fmt::format("{} records up to LSN {}, {}", r.records, r.end.value,
                         r.clean ? "closed in order" : "its server was killed between two of them");
  }
  std::string text = fmt::format("{} records up to LSN {}, a normal crash", r.records, r.end.value);
  if (r.torn > r.end) {
    text += fmt::format("; what was begun behind, up to LSN {}, was never acknowledged", r.torn.value);
  }
  if (look.tail == TailMemory::kGone) text += "; what had not left the memory of the node went with that";
  if (look.tail == TailMemory::kElsewhere)
    text += "; its last part lies in the memory of the host that served it: look there";
  return text;
}

}  // namespace mayfly
