// Decodes the worked examples of share/doc/format/session.md and holds the code to them.
#include <gtest/gtest.h>

#include <sstream>

#include "base/coding.h"
#include "fake/source_dir.h"
#include "scratch.h"
#include "session/node_map_format.h"

namespace mayfly {
namespace {

std::string Page() {
  std::ifstream page(SourceDir() / "share/doc/format/session.md");
  EXPECT_TRUE(page.good());
  return {std::istreambuf_iterator<char>(page), std::istreambuf_iterator<char>()};
}

// The lines between ```language and ```, the first ones behind the heading.
std::string Block(const std::string& page, const std::string& heading, const std::string& language) {
  const std::string opening = "\n```" + language + "\n";
  const size_t at = page.find(opening, page.find("\n" + heading + "\n"));
  if (at == std::string::npos) return ADD_FAILURE() << "no block " << language << " below " << heading, "";
  const size_t begin = at + opening.size();
  return page.substr(begin, page.find("```", begin) - begin);
}

Uuid ExampleUuid() { return *ParseUuid("00112233-4455-6677-8899-aabbccddeeff"); }

TEST(SessionFormat, ExampleOfTheSessionFileIsWhatTheCodeWrites) {
  const std::string text = Block(Page(), "## Session file", "json");
  auto file = ParseSessionFile(text, "session.md", kSpoken);
  ASSERT_TRUE(file.ok()) << file.failure().sentence;
  EXPECT_EQ(*EncodeSessionFile(*file), text);
  SessionFile expected = ExampleFile(ExampleUuid());
  expected.uid = 1000;
  expected.map_path = "/dev/shm/mayfly-1000/00112233-4455-6677-8899-aabbccddeeff/map";
  EXPECT_EQ(*file, expected);
}

TEST(SessionFormat, ExampleOfTheCharterIsWhatTheCodeWrites) {
  const std::string text = Block(Page(), "### Charter: worked example", "json");
  auto charter = ParseCharter(text, "session.md");
  ASSERT_TRUE(charter.ok()) << charter.failure().sentence;
  EXPECT_EQ(*EncodeCharter(*charter), text);
  Charter expected;
  expected.uuid = ExampleUuid();
  for (size_t i = 0; i < expected.secret.size(); ++i) expected.secret[i] = static_cast<uint8_t>(0xa0 + i);
  for (size_t i = 0; i < expected.server_secret.size(); ++i) expected.server_secret[i] = static_cast<uint8_t>(0xc0 + i);
  expected.uid = 1000;
  expected.created_ns = 1700000000000000000;
  expected.job = "4711";
  expected.chunk_bits = 22;
  expected.durability = "node";
  expected.fsync = "commit";
  expected.journal_bytes = 256u << 20;
  expected.commit_interval_ns = 2'000'000;
  expected.flush_to = "/pfs/out";
  expected.memory_bytes = 4ull << 30;
  expected.capacity_bytes = 64ull << 30;
  expected.evict = "lru";
  const Layout layout = ExampleLayout();
  expected.members.assign(layout.members().begin(), layout.members().end());
  expected.self = MemberId(1);
  EXPECT_EQ(*charter, expected);
}

TEST(SessionFormat, ExampleOfTheNodeMapIsWhatTheCodeWrites) {
  const std::vector<uint8_t> map = ExampleMap(ExampleUuid());
  std::istringstream lines(Block(Page(), "## Node map", "text"));
  std::vector<uint8_t> header_bytes;
  size_t bytes = 0, end = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    size_t offset = 0;
    words >> std::hex >> offset;
    for (std::string word; words >> word; ++offset, ++bytes) {
      const auto byte = static_cast<uint8_t>(std::stoul(word, nullptr, 16));
      ASSERT_LT(offset, map.size());
      EXPECT_EQ(map[offset], byte) << std::hex << offset;
      if (offset < NodeMap::kHeaderBytes) header_bytes.push_back(byte);
    }
    end = offset;
  }
  EXPECT_EQ(bytes, 18u * 16u);
  EXPECT_EQ(end, map.size());

  NodeMapHeader header;
  Decoder decoder(header_bytes);
  decoder.Get(header);
  ASSERT_TRUE(decoder.Finish().ok());  // the fields are exactly the 128 bytes
  EXPECT_EQ(header.session, ExampleUuid());
  EXPECT_EQ(header.view, View(3));
  EXPECT_EQ(header.file_bytes, map.size());
  EXPECT_EQ(header.slots, 65536u);
  EXPECT_EQ(header.order, 5u);
  const NodeMapSections at = NodeMapSections::Of(header);
  EXPECT_EQ(at.members, 0x80u);
  EXPECT_EQ(at.address_ends, 0xa0u);
  EXPECT_EQ(at.slots, 0xc0u);
  EXPECT_EQ(at.order, 0x400c0u);
  EXPECT_EQ(at.positions, 0x400d8u);
  EXPECT_EQ(at.hosts, 0x400e8u);
  EXPECT_EQ(at.addresses, 0x400f8u);
}

}  // namespace
}  // namespace mayfly
