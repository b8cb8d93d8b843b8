// Fields by name: those of the formats' worked examples, and what is none.
#include "inspect/fields.h"

#include <gtest/gtest.h>

#include <set>

#include "fake/sim_random.h"
#include "fake/worked_example.h"
#include "meta/images.h"
#include "rpc/history.h"
#include "server/images.h"
#include "store/images.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

std::vector<Json> FieldsOf(const std::string& example) {
  static const ExamplePage page = ReadExample("images.md");
  TlvReader reader(page.at(example));
  std::vector<Json> fields;
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) {
    EXPECT_TRUE(CheckField(tag, value).ok());
    fields.push_back(DescribeField(tag, value));
  }
  EXPECT_TRUE(reader.Finish().ok());
  return fields;
}

TEST(Fields, ACreateIsAnEntryAnInodeAndAnOpen) {
  const std::vector<Json> fields = FieldsOf("create");
  ASSERT_EQ(fields.size(), 3u);
  EXPECT_EQ(fields[0]["name"], "entry");
  EXPECT_EQ(fields[0]["tag"], "0x8106");
  EXPECT_EQ(fields[0]["value"]["directory"], "3:1");
  EXPECT_EQ(fields[0]["value"]["name"], "a");
  EXPECT_EQ(fields[0]["value"]["inode"], "3:2");
  EXPECT_EQ(fields[0]["value"]["type"], "file");
  EXPECT_EQ(fields[1]["name"], "inode");
  EXPECT_EQ(fields[1]["bytes"], 29);
  EXPECT_EQ(fields[1]["value"]["uid"], 1000);
  EXPECT_EQ(fields[1]["value"]["permissions"], "0644");
  EXPECT_EQ(fields[2]["name"], "open");
  EXPECT_EQ(fields[2]["value"]["process"], "0000000000000077");
  EXPECT_EQ(fields[2]["value"]["writes"], true);
}

TEST(Fields, AWriteIsARangeWithItsExtent) {
  const std::vector<Json> fields = FieldsOf("commit");
  ASSERT_EQ(fields.size(), 1u);
  const Json& value = fields[0]["value"];
  EXPECT_EQ(fields[0]["name"], "file-range");
  EXPECT_EQ(value["inode"], "3:2");
  EXPECT_EQ(value["begin"], 4096);
  EXPECT_EQ(value["end"], 4101);
  EXPECT_EQ(value["mtime"], 10'000);
  ASSERT_EQ(value["extents"].size(), 1u);
  EXPECT_EQ(value["extents"][0]["bytes"], 5);
  EXPECT_EQ(value["extents"][0]["sums"], Json::array({"9555e8555c62dcfd"}));
  ASSERT_EQ(value["slices"].size(), 1u);
  EXPECT_EQ(value["slices"][0]["kind"], "data");
}

// Every tag that the rooms define has a name, no two the same, and no value of one byte passes for one.
TEST(Fields, EveryTagHasItsName) {
  std::set<std::string_view> names;
  const std::vector<Tag> all = {InodeImage::kTag,
                                InodeGoneImage::kTag,
                                InodeShardImage::kTag,
                                XattrImage::kTag,
                                XattrGoneImage::kTag,
                                EntryImage::kTag,
                                EntryGoneImage::kTag,
                                PartImage::kTag,
                                PartGoneImage::kTag,
                                OpenImage::kTag,
                                ProcessGoneImage::kTag,
                                PreparedImage::kTag,
                                DecidedImage::kTag,
                                NextSequenceImage::kTag,
                                kTagFileRange,
                                kTagFileGone,
                                kTagStoreNext,
                                kTagPlacesVoid,
                                kTagAnswer,
                                kTagSole,
                                kTagLoan,
                                kTagOutbox,
                                kTagGeneration,
                                kTagNextTxn,
                                kTagOutcome,
                                kTagIntent,
                                kTagAttached,
                                kTagJob,
                                kTagRefusing};
  const uint8_t one[1] = {0xff};
  for (const Tag tag : all) {
    EXPECT_TRUE(names.insert(NameOfTag(tag)).second) << TagText(tag);
    EXPECT_FALSE(NameOfTag(tag).empty()) << TagText(tag);
    EXPECT_EQ(CheckField(tag, one).code(), Code::kCorrupt) << TagText(tag);
    const Json described = DescribeField(tag, one);
    EXPECT_TRUE(described.contains("problem")) << TagText(tag);
    EXPECT_FALSE(described.contains("value")) << TagText(tag);
  }
  // And what the page of the format lists is here.
  std::ifstream page(SourceDir() / "share/doc/format/images.md");
  size_t listed = 0;
  for (std::string line; std::getline(page, line);) {
    const bool heading = line.starts_with("### 0x"), row = line.starts_with("| 0x");
    if ((!heading && !row) || line.find(" .. 0x") != std::string::npos) continue;
    const size_t at = line.find("0x");
    const auto tag = static_cast<Tag>(std::stoul(line.substr(at + 2, 4), nullptr, 16));
    EXPECT_FALSE(NameOfTag(tag).empty()) << line;
    ++listed;
  }
  EXPECT_EQ(listed, all.size());
}

TEST(Fields, ThoseOfOthersAreToldByNumberAndLength) {
  const uint8_t value[3] = {};
  EXPECT_EQ(DescribeField(0x0777, value), (Json{{"tag", "0x0777"}, {"bytes", 3}}));
  EXPECT_TRUE(CheckField(0x0777, value).ok());
  EXPECT_EQ(CheckField(kTagMust | 0x0777, value).code(), Code::kNotSupported);
}

// D1: whatever the bytes, it is described, and what was described can be written.
TEST(Fields, NothingIsTrusted) {
  SimRandom random(7);
  const ExamplePage page = ReadExample("images.md");
  size_t decoded = 0;
  for (const std::string example : {"create", "commit"}) {
    TlvReader reader(page.at(example));
    Tag tag = 0;
    Bytes good;
    while (reader.Next(&tag, &good)) {
      for (int i = 0; i < 20'000; ++i) {
        std::vector<uint8_t> value(good.begin(), good.end());
        for (uint64_t flips = random.U64() % 4; flips != 0; --flips) {
          value[random.U64() % value.size()] ^= static_cast<uint8_t>(random.U64());
        }
        if (random.U64() % 4 == 0) value.resize(random.U64() % 200);
        const Json described = DescribeField(tag, value);
        EXPECT_EQ(described.contains("value"), CheckField(tag, value).ok());
        EXPECT_FALSE(described.dump().empty());
        decoded += described.contains("value") ? 1 : 0;
      }
    }
  }
  EXPECT_GT(decoded, 20'000u);
}

template <class Image>
Json Described(const Image& image) {
  TlvWriter out;
  PutImage(&out, image);
  return DescribeField(Image::kTag, out.bytes().subspan(kTlvHeaderBytes));
}

TEST(Fields, ANameOfAnyBytesCanBeWrittenAsJson) {
  EntryGoneImage gone;
  gone.parent = InodeId::Make(ShardId(1), 2);
  gone.name = "\xff\xfe";
  EXPECT_EQ(Described(gone)["value"]["name"], (Json{{"hex", "fffe"}}));
  EXPECT_NO_THROW((void)Described(gone).dump());
  gone.name = "gr\xc3\xbc\xc3\x9f";
  EXPECT_EQ(Described(gone)["value"]["name"], "gr\xc3\xbc\xc3\x9f");
}

TEST(Fields, WhatIsNotThereIsNull) {
  PreparedImage prepared;
  prepared.txn = TxnId(InodeId::Make(ShardId(3), 7).value);
  prepared.ops.emplace_back();
  const Json value = Described(prepared)["value"];
  EXPECT_EQ(value["transaction"], "3:7");
  EXPECT_EQ(value["operations"][0]["kind"], "entry");
  EXPECT_TRUE(value["operations"][0]["set"].is_null());
}

TEST(Fields, LongValuesOfXattrsAreCountedNotShown) {
  const std::string value(5000, 'v');
  XattrImage image;
  image.inode = InodeId(5);
  image.name = "user.a";
  image.value = value;
  EXPECT_EQ(Described(image)["value"]["value_bytes"], 5000);
  EXPECT_FALSE(Described(image)["value"].contains("value"));
  image.value = "short";
  EXPECT_EQ(Described(image)["value"]["value"], "short");
}

}  // namespace
}  // namespace mayfly
