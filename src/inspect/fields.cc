#include "inspect/fields.h"

#include <fmt/format.h>

#include <string>

#include "meta/images.h"
#include "rpc/history.h"
#include "server/images.h"
#include "store/images.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;
using store_internal::ExtentImage;
using store_internal::RangeImage;
using store_internal::SliceImage;
using store_internal::SliceKind;

constexpr size_t kValueShown = 256;  // bytes of an xattr's value; of longer ones their number alone

// Values of one number, as types of their own.
struct FileGone {
  InodeId file;
};
struct NextSerial {
  uint64_t serial = 0;
};
struct PlacesVoid {};
struct NamespaceGeneration {
  Generation generation;
};
struct TransactionsUpTo {
  uint64_t number = 0;
};
struct RefusingClients {
  bool refusing = false;
};

template <class Image>
Status DecodeWhole(Bytes value, Image* image) {
  Decoder d(value);
  d.Get(*image);
  return d.Finish();
}

template <class Image>
Status Decode(Bytes value, Image* image) {
  return DecodeWhole(value, image);
}
template <>
Status Decode(Bytes value, RangeImage* image) {
  return store_internal::DecodeRange(value, image);
}
template <>
Status Decode(Bytes value, FileGone* image) {
  return store_internal::DecodeGone(value, &image->file);
}
template <>
Status Decode(Bytes value, NextSerial* image) {
  return store_internal::DecodeNext(value, &image->serial);
}
template <>
Status Decode(Bytes value, NamespaceGeneration* image) {
  return DecodeWhole(value, &image->generation);
}
template <>
Status Decode(Bytes value, RefusingClients* image) {
  return DecodeWhole(value, &image->refusing);
}
template <>
Status Decode(Bytes value, PlacesVoid*) {
  return value.empty() ? Status() : Status(Code::kCorrupt);
}
template <>
Status Decode(Bytes value, TransactionsUpTo* image) {
  return DecodeWhole(value, &image->number);
}

// Calls with("name", Image()) for the image that the tag is of; false if it is not known.
template <class Fn>
bool WithImageOf(Tag tag, Fn&& with) {
  switch (tag) {
    case InodeImage::kTag:
      return with("inode", InodeImage()), true;
    case InodeGoneImage::kTag:
      return with("inode-gone", InodeGoneImage()), true;
    case InodeShardImage::kTag:
      return with("inode-shard", InodeShardImage()), true;
    case XattrImage::kTag:
      return with("xattr", XattrImage()), true;
    case XattrGoneImage::kTag:
      return with("xattr-gone", XattrGoneImage()), true;
    case EntryImage::kTag:
      return with("entry", EntryImage()), true;
    case EntryGoneImage::kTag:
      return with("entry-gone", EntryGoneImage()), true;
    case PartImage::kTag:
      return with("part", PartImage()), true;
    case PartGoneImage::kTag:
      return with("part-gone", PartGoneImage()), true;
    case OpenImage::kTag:
      return with("open", OpenImage()), true;
    case ProcessGoneImage::kTag:
      return with("process-gone", ProcessGoneImage()), true;
    case PreparedImage::kTag:
      return with("prepared", PreparedImage()), true;
    case DecidedImage::kTag:
      return with("decided", DecidedImage()), true;
    case NextSequenceImage::kTag:
      return with("next-sequence", NextSequenceImage()), true;
    case kTagFileRange:
      return with("file-range", RangeImage()), true;
    case kTagFileGone:
      return with("file-gone", FileGone()), true;
    case kTagStoreNext:
      return with("next-serial", NextSerial()), true;
    case kTagPlacesVoid:
      return with("places-void", PlacesVoid()), true;
    case kTagAnswer:
      return with("answer", AnswerImage()), true;
    case kTagSole:
      return with("sole", SoleImage()), true;
    case kTagLoan:
      return with("loan", LoanImage()), true;
    case kTagOutbox:
      return with("outbox", OutboxImage()), true;
    case kTagGeneration:
      return with("generation", NamespaceGeneration()), true;
    case kTagNextTxn:
      return with("transactions", TransactionsUpTo()), true;
    case kTagOutcome:
      return with("outcome", OutcomeImage()), true;
    case kTagIntent:
      return with("intent", IntentImage()), true;
    case kTagAttached:
      return with("attached", AttachedImage()), true;
    case kTagJob:
      return with("job", JobImage()), true;
    case kTagRefusing:
      return with("refusing", RefusingClients()), true;
    default:
      return false;
  }
}

// ---- values ----

Json Text(InodeId id) {
  if (!id.valid()) return nullptr;
  return fmt::format("{}:{}", id.home().value, id.sequence());
}
Json Text(TxnId id) { return Text(InodeId(id.value)); }  // made alike: shard:24 | sequence:40
std::string Text(ClientId id) { return fmt::format("{:016x}", id.value); }
std::string Permissions(uint16_t permissions) { return fmt::format("{:04o}", permissions); }

bool IsUtf8(std::string_view text) {
  // The library's own check, so that what passes can be written.
  try {
    (void)Json(text).dump();
  } catch (const Json::type_error&) {
    return false;
  }
  return true;
}

Json Name(std::string_view name) {
  if (IsUtf8(name)) return std::string(name);
  std::string hex;
  for (const char c : name) hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return {{"hex", hex}};
}

const char* Text(FileType type) {
  switch (type) {
    case FileType::kNone:
      return "none";
    case FileType::kFile:
      return "file";
    case FileType::kDirectory:
      return "directory";
    case FileType::kSymlink:
      return "symlink";
  }
  return "";
}

const char* Text(TxnKind kind) {
  switch (kind) {
    case TxnKind::kDentry:
      return "entry";
    case TxnKind::kLink:
      return "link";
    case TxnKind::kDirRemove:
      return "directory-remove";
    case TxnKind::kDirEmpty:
      return "directory-empty";
    case TxnKind::kDirParent:
      return "directory-parent";
  }
  return "";
}

const char* Text(IntentKind kind) {
  switch (kind) {
    case IntentKind::kNone:
      return "done";
    case IntentKind::kDrop:
      return "drop";
    case IntentKind::kTruncate:
      return "truncate";
    case IntentKind::kAppend:
      return "append";
    case IntentKind::kRights:
      return "rights";
    case IntentKind::kPrivileged:
      return "privileged";
  }
  return "";
}

const char* Text(SliceKind kind) {
  switch (kind) {
    case SliceKind::kData:
      return "data";
    case SliceKind::kReserved:
      return "reserved";
    case SliceKind::kZeroed:
      return "zeroed";
    case SliceKind::kMark:
      return "mark";
  }
  return "";
}

// ---- images ----

Json Describe(const InodeImage& i) {
  const auto has = [&i](InodeImage::Flag flag) { return (i.flags & flag) != 0; };
  Json out = {{"inode", Text(i.id)}, {"type", Text(i.type)}, {"permissions", Permissions(i.permissions)},
              {"uid", i.uid},        {"gid", i.gid},         {"mtime", i.mtime}};
  if (has(InodeImage::kTimes)) out["atime"] = i.atime, out["ctime"] = i.ctime;
  if (has(InodeImage::kSize)) out["size"] = i.size;
  if (has(InodeImage::kLinks)) out["nlink"] = i.nlink;
  if (has(InodeImage::kVersion)) out["version"] = i.version;
  if (has(InodeImage::kEpochs)) out["truncate_epoch"] = i.truncate_epoch, out["privileged"] = i.privileged;
  if (i.type == FileType::kFile) out["chunk_bits"] = i.chunk_bits;
  if (i.type == FileType::kDirectory) out["parent"] = Text(i.parent), out["rights_version"] = i.rights_version;
  if (i.type == FileType::kSymlink) out["target"] = Name(i.target);
  if (has(InodeImage::kMtimeSet)) out["mtime_set"] = true;
  if (has(InodeImage::kDirGone)) out["gone"] = true;
  if (has(InodeImage::kTruncating)) out["truncating"] = true;
  return out;
}
Json Describe(const InodeGoneImage& i) { return {{"inode", Text(i.id)}}; }
Json Describe(const InodeShardImage& i) { return {{"inode", Text(i.inode)}, {"shard", i.shard.value}}; }
Json Describe(const XattrImage& i) {
  Json out = {{"inode", Text(i.inode)}, {"name", Name(i.name)}, {"value_bytes", i.value.size()}};
  if (i.value.size() <= kValueShown) out["value"] = Name(i.value);
  return out;
}
Json Describe(const XattrGoneImage& i) { return {{"inode", Text(i.inode)}, {"name", Name(i.name)}}; }
Json Describe(const EntryImage& i) {
  return {{"directory", Text(i.parent)}, {"name", Name(i.name)},   {"inode", Text(i.inode)},
          {"type", Text(i.type)},        {"sequence", i.sequence}, {"touched", i.touched}};
}
Json Describe(const EntryGoneImage& i) {
  return {{"directory", Text(i.parent)}, {"name", Name(i.name)}, {"touched", i.touched}};
}
Json Describe(const PartImage& i) {
  return {{"directory", Text(i.dir)},
          {"permissions", Permissions(i.permissions)},
          {"uid", i.uid},
          {"gid", i.gid},
          {"version", i.version},
          {"mtime", i.mtime},
          {"ctime", i.ctime},
          {"next_sequence", i.next_sequence}};
}
Json Describe(const PartGoneImage& i) { return {{"directory", Text(i.dir)}}; }
Json Describe(const OpenImage& i) {
  return {{"inode", Text(i.inode)}, {"process", Text(i.process)}, {"opens", i.opens}, {"writes", i.writes}};
}
Json Describe(const ProcessGoneImage& i) { return {{"process", Text(i.process)}}; }
Json Describe(const PreparedImage& i) {
  Json ops = Json::array();
  for (const TxnOp& op : i.ops) {
    ops.push_back({{"kind", Text(op.kind)},
                   {"inode", Text(op.inode)},
                   {"name", Name(op.name)},
                   {"expect", Text(op.expect)},
                   {"set", Text(op.set)},
                   {"expect_type", Text(op.expect_type)},
                   {"set_type", Text(op.set_type)},
                   {"delta", op.delta},
                   {"check", op.check},
                   {"sticky_check", op.sticky_check},
                   {"expect_uid", op.expect_uid}});
  }
  return {{"transaction", Text(i.txn)}, {"operations", std::move(ops)}};
}
Json Describe(const DecidedImage& i) { return {{"transaction", Text(i.txn)}}; }
Json Describe(const NextSequenceImage& i) { return {{"next", i.next}}; }

Json Describe(const RangeImage& i) {
  Json extents = Json::array(), slices = Json::array();
  for (const ExtentImage& e : i.extents) {
    Json one = {{"serial", e.serial},         {"segment", e.place.offset >> Place::kSegmentBits},
                {"offset", e.place.within()}, {"place_bytes", e.place.bytes},
                {"bytes", e.bytes},           {"file_offset", e.file_offset}};
    if (e.reserved) one["reserved"] = true;
    if (e.parent != ExtentImage::kNoParent) one["parent"] = e.parent;
    if (e.slab_pages != 0) one["slab_pages"] = e.slab_pages;
    if (e.has_sums) {
      Json sums = Json::array();
      Decoder d(e.sums);
      while (d.left() >= sizeof(uint64_t)) {
        uint64_t sum = 0;
        d.Get(sum);
        sums.push_back(fmt::format("{:016x}", sum));
      }
      one["sums"] = std::move(sums);
    }
    extents.push_back(std::move(one));
  }
  for (const SliceImage& s : i.slices) {
    Json one = {{"offset", s.begin}, {"bytes", s.bytes}, {"kind", Text(s.kind)}};
    if (s.extent != SliceImage::kNoExtent) one["extent"] = s.extent;
    slices.push_back(std::move(one));
  }
  return {{"inode", Text(i.file)},
          {"begin", i.begin},
          {"end", i.end},
          {"high_water", i.high_water},
          {"mtime", i.mtime},
          {"truncate_epoch", i.epoch},
          {"changes", i.changes},
          {"extents", std::move(extents)},
          {"slices", std::move(slices)}};
}
Json Describe(const FileGone& i) { return {{"inode", Text(i.file)}}; }
Json Describe(const NextSerial& i) { return {{"serial", i.serial}}; }
Json Describe(const PlacesVoid&) { return Json::object(); }

Json Describe(const AnswerImage& i) {
  return {{"lane", Text(i.client)},
          {"place", Sequence::PlaceOf(i.sequence)},
          {"count", Sequence::CountOf(i.sequence)},
          {"code", TextOf(i.code)},
          {"body_bytes", i.body.size()},
          {"payload_bytes", i.payload.size()}};
}
Json Describe(const SoleImage& i) {
  return {{"inode", Text(i.inode)}, {"process", i.process.value == 0 ? Json() : Json(Text(i.process))}};
}
Json Describe(const LoanImage& i) {
  return {{"process", Text(i.process)},
          {"number", i.loan.id},
          {"segment", i.loan.offset >> kPlaceSegmentBits},
          {"offset", i.loan.offset & ((uint64_t{1} << kPlaceSegmentBits) - 1)},
          {"bytes", i.loan.bytes},
          {"slab_pages", i.slab_pages}};
}
Json Describe(const OutboxImage& i) {
  if (i.loan == 0) return {{"process", Text(i.process)}, {"number", nullptr}};
  return {{"process", Text(i.process)},
          {"number", i.loan},
          {"uid", i.cred.uid},
          {"gid", i.cred.gid},
          {"groups", i.cred.groups}};
}
Json Describe(const NamespaceGeneration& i) { return {{"generation", i.generation.value}}; }
Json Describe(const TransactionsUpTo& i) { return {{"number", i.number}}; }
Json Describe(const OutcomeImage& i) {
  Json steps = Json::array();
  for (const OutcomeImage::Step& step : i.steps) {
    steps.push_back({{"shard", step.shard.value}, {"transaction", Text(step.id)}, {"first", step.first}});
  }
  return {{"transaction", Text(i.txn)}, {"time", i.time}, {"mtime", i.mtime}, {"steps", std::move(steps)}};
}
Json Describe(const IntentImage& i) {
  Json shards = Json::array();
  for (const ShardId shard : i.shards) shards.push_back(shard.value);
  return {{"number", i.number}, {"kind", Text(i.kind)}, {"inode", Text(i.inode)},       {"size", i.size},
          {"epoch", i.epoch},   {"bytes", i.bytes},     {"clear_mtime", i.clear_mtime}, {"shards", std::move(shards)}};
}
const char* Text(JobState state) {
  switch (state) {
    case JobState::kForgotten:
      return "forgotten";
    case JobState::kRuns:
      return "runs";
    case JobState::kEnded:
      return "ended";
  }
  return "";
}
Json Describe(const JobImage& i) {
  return {{"number", i.id},
          {"state", Text(i.state)},
          {"stop", i.stop},
          {"flushes", i.flushes},
          {"keep", i.keep},
          {"by_signal", i.by_signal},
          {"source", Name(i.spec.source)},
          {"target", Name(i.spec.target)},
          {"pattern", Name(i.spec.pattern)},
          {"budget_until", i.budget_until},
          {"result", TextOf(i.result)},
          {"report_bytes", i.report.size()}};
}
Json Describe(const RefusingClients& i) { return {{"refusing", i.refusing}}; }
Json Describe(const AttachedImage& i) { return {{"process", Text(i.process)}, {"attached", i.attached}}; }

}  // namespace

std::string_view NameOfTag(Tag tag) {
  std::string_view name;
  WithImageOf(tag, [&name](std::string_view known, auto) { name = known; });
  return name;
}

std::string TagText(Tag tag) { return fmt::format("{:#06x}", tag); }

Status CheckField(Tag tag, Bytes value) {
  Status status;
  const bool known = WithImageOf(tag, [&](std::string_view, auto image) { status = Decode(value, &image); });
  if (known) return status;
  return (tag & kTagMust) != 0 ? Code::kNotSupported : Code::kOk;
}

Json DescribeField(Tag tag, Bytes value) {
  Json out = {{"tag", TagText(tag)}};
  const size_t bytes = value.size();
  const bool known = WithImageOf(tag, [&](std::string_view name, auto image) {
    out["name"] = name;
    out["bytes"] = bytes;
    if (Decode(value, &image).ok()) {
      out["value"] = Describe(image);
    } else {
      out["problem"] = "does not decode";  // D1
    }
  });
  if (!known) out["bytes"] = bytes;
  return out;
}

}  // namespace mayfly
