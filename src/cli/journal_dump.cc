// journal dump: as text, and as one JSON document that is written while the journal is read.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/cli.h"
#include "cli/journal.h"
#include "cli/text.h"
#include "inspect/report.h"

namespace mayfly::cli {
namespace {

// How a dump looks.
class DumpPage : public DumpSink {
 public:
  virtual void Begin() {}
  virtual void BeginShard(const Named& named) = 0;
  virtual void EndShard(const Looked& looked) = 0;
  virtual void End() {}
};

class TextPage final : public DumpPage {
 public:
  void BeginShard(const Named& named) override {
    fmt::print("{}: {}\n", NameOf(named.member, named.shard.shard), Quoted(named.shard.directory));
  }
  void OnSuperblocks(const Json& both) override {
    for (const Json& one : both) {
      fmt::print("superblock {}\n", Line(one, {"checkpoint", "joints"}));
      if (const auto checkpoint = one.find("checkpoint"); checkpoint != one.end() && checkpoint->is_object()) {
        fmt::print("  checkpoint {}\n", Line(*checkpoint));
      }
      for (const Json& joint : one.value("joints", Json::array())) fmt::print("  joint {}\n", Line(joint));
    }
  }
  void OnCheckpointItem(const Json& item) override { PrintField(item, "checkpoint"); }
  void OnItem(const Json& item) override {
    fmt::print("{}\n", Line(item, {"fields"}));
    for (const Json& field : item.value("fields", Json::array())) PrintField(field, " ");
  }
  void EndShard(const Looked& looked) override {
    if (looked.look) fmt::print("{}: {}\n\n", Text(looked.verdict()), Explain(*looked.look));
  }

 private:
  static void PrintField(const Json& field, const char* where) {
    std::string text = Line(field, {"value"});
    if (const auto value = field.find("value"); value != field.end()) text += "  " + Line(*value);
    fmt::print("{} {}\n", where, text);
  }
};

class JsonPage final : public DumpPage {
 public:
  void Begin() override { fmt::print("{{\"format\":\"mayfly-journal-dump\",\"version\":1,\"shards\":["); }
  void BeginShard(const Named& named) override {
    std::string place = DescribePlace(named.member, named.shard).dump();
    place.pop_back();  // the object goes on
    fmt::print("{}\n{}", Comma(&shards_), place);
    part_ = Part::kPlace;
  }
  void OnSuperblocks(const Json& both) override { fmt::print(",\"superblocks\":{}", both.dump()); }
  void OnCheckpointItem(const Json& item) override {
    Go(Part::kCheckpoint);
    fmt::print("{}\n{}", Comma(&items_), item.dump());
  }
  void OnItem(const Json& item) override {
    Go(Part::kItems);
    fmt::print("{}\n{}", Comma(&items_), item.dump());
  }
  void EndShard(const Looked& looked) override {
    Go(Part::kEnd);
    Json end = looked.look ? DescribeVerdict(*looked.look) : Json{{"verdict", Text(looked.verdict())}};
    if (!looked.problem.empty()) end["problem"] = looked.problem;
    fmt::print(",\"end\":{}}}", end.dump());
  }
  void End() override { fmt::print("]}}\n"); }

 private:
  // Of a shard's object, in this order.
  enum class Part : uint8_t { kPlace, kCheckpoint, kItems, kEnd };

  static const char* Comma(uint64_t* count) { return (*count)++ == 0 ? "" : ","; }
  // Ends the part that we are in, begins those up to `part`.
  void Go(Part part) {
    while (part_ != part) {
      if (part_ != Part::kPlace) fmt::print("]");
      part_ = static_cast<Part>(static_cast<uint8_t>(part_) + 1);
      if (part_ == Part::kCheckpoint) fmt::print(",\"checkpoint\":[");
      if (part_ == Part::kItems) fmt::print(",\"items\":[");
      items_ = 0;
    }
  }

  uint64_t shards_ = 0, items_ = 0;
  Part part_ = Part::kPlace;
};

}  // namespace

int DumpJournals(const JournalOptions& options) {
  std::vector<Named> all;
  if (!FindNamed(options, &all)) return kFailed;
  std::unique_ptr<DumpPage> page = std::make_unique<TextPage>();
  if (options.as_json) page = std::make_unique<JsonPage>();
  int code = kDone;
  page->Begin();
  for (const Named& named : all) {
    page->BeginShard(named);
    Dump dump(options.range, page.get());
    const Looked looked = LookAt(named, &dump);
    page->EndShard(looked);
    std::fflush(stdout);
    if (!looked.problem.empty()) code = Fail(looked.problem);
    if (looked.problem.empty() && looked.verdict() == Verdict::kUnreadable) {
      code = Fail(fmt::format("{}: {}", NameOf(named.member, named.shard.shard), Explain(*looked.look)));
    }
  }
  page->End();
  return code;
}

}  // namespace mayfly::cli
