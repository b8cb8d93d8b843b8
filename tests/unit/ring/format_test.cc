// Decodes the worked example of share/doc/format/ring.md and holds the code to it.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/coding.h"
#include "fake/source_dir.h"
#include "layouts.h"
#include "ring/placement.h"

namespace mayfly {
namespace {

// One line of the example: its word, the number after it if any, its bytes, and the hash behind the arrow.
struct Line {
  std::string word;
  uint64_t number = 0;
  std::vector<uint8_t> bytes;
  uint64_t hash = 0;

  std::vector<uint32_t> Entries() const {
    std::vector<uint32_t> entries(bytes.size() / 4);
    std::memcpy(entries.data(), bytes.data(), 4 * entries.size());
    return entries;
  }
};

std::vector<Line> ReadExample() {
  std::ifstream page(SourceDir() / "share/doc/format/ring.md");
  EXPECT_TRUE(page.good());
  std::vector<Line> lines;
  bool inside = false;
  for (std::string text; std::getline(page, text);) {
    if (text.starts_with("```")) inside = text == "```text";
    if (!inside || text.starts_with("```")) continue;
    std::istringstream words(text);
    Line line;
    words >> line.word;
    if (line.word == "slots" || line.word == "chunks") words >> std::hex >> line.number;
    for (std::string word; words >> word;) {
      if (word == "->") {
        words >> std::hex >> line.hash;
      } else {
        line.bytes.push_back(static_cast<uint8_t>(std::stoul(word, nullptr, 16)));
      }
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

TEST(RingFormat, WorkedExampleIsWhatTheCodeDoes) {
  const Layout layout = WeightedLayout({{4, 2}, {1, 1}});
  const Ring ring = Ring::Build(layout, {}).value();
  const Placement placement = Placement::Build(layout).value();
  const auto slots = placement.tables().slots;
  int points = 0, dentries = 0, tables = 0, chunks = 0;
  for (const Line& line : ReadExample()) {
    SCOPED_TRACE(line.word + " " + std::to_string(line.number));
    if (line.word == "point") {
      uint32_t member = 0, number = 0;
      Decoder decoder(line.bytes);
      decoder(member, number);
      ASSERT_TRUE(decoder.Finish().ok());
      EXPECT_EQ(Ring::HashOfPoint(MemberId(static_cast<uint16_t>(member)), number, 0), line.hash);
      EXPECT_EQ(Hash64(line.bytes, 0), line.hash);
      ++points;
    } else if (line.word == "dentry") {
      InodeId parent;
      Decoder decoder(line.bytes);
      decoder(parent);
      EXPECT_EQ(Placement::DentryHash(parent, AsText(decoder.rest())), line.hash);
      EXPECT_EQ(placement.ShardOfHash(line.hash).value, slots[line.hash >> 48]);
      ++dentries;
    } else if (line.word == "chunks") {
      const ShardId home(static_cast<uint32_t>(line.number));
      for (uint32_t k = 0; k < line.bytes.size(); ++k) {
        EXPECT_EQ(placement.ChunkShard(home, ChunkIndex(k)).value, line.bytes[k]) << k;
      }
      ++chunks;
    } else if (line.word == "slots") {
      for (size_t i = 0; i < line.Entries().size(); ++i) EXPECT_EQ(slots[line.number + i], line.Entries()[i]) << i;
      ++tables;
    } else {
      const auto table = line.word == "order" ? placement.tables().order : placement.tables().positions;
      EXPECT_EQ(std::vector<uint32_t>(table.begin(), table.end()), line.Entries());
      ++tables;
    }
  }
  EXPECT_EQ(points, 4);
  EXPECT_EQ(tables, 5);
  EXPECT_EQ(dentries, 2);
  EXPECT_EQ(chunks, 3);
  EXPECT_EQ(ring.points().size(), 300u);
  EXPECT_EQ(ring.points().front(), (RingPoint{0x0094154597fc73af, MemberId(1), 54}));
  EXPECT_EQ(SlotsOf(placement, 0), 26215u);
  EXPECT_EQ(SlotsOf(placement, 1), 26214u);
  EXPECT_EQ(SlotsOf(placement, 2), 13107u);
  EXPECT_EQ(placement.RootInode(), InodeId(0x0000010000000001));
  EXPECT_EQ(placement.DentryShard(placement.RootInode(), "a.txt"), ShardId(0));
}

}  // namespace
}  // namespace mayfly
