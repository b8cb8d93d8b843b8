#include "session/charter.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "unit/session/scratch.h"

namespace mayfly {
namespace {

using CharterFile = Scratch;

Charter Example() {
  Charter charter;
  charter.uuid[0] = 0xab;
  charter.secret[31] = 1;
  charter.server_secret[0] = 2;
  charter.uid = geteuid();
  charter.created_ns = 1'700'000'000'000'000'001;
  charter.job = "4711";
  charter.chunk_bits = 22;
  charter.durability = "process";
  charter.fsync = "commit";
  charter.evict = "lru";
  charter.journal_bytes = 64u << 20;
  charter.commit_interval_ns = 2'000'000;
  charter.flush_to = "/pfs/out";
  charter.memory_bytes = 1u << 30;
  charter.capacity_bytes = 4ull << 30;
  charter.members = {{MemberId(0), "node1", 1, 2}, {MemberId(1), "node2", 3, 1}};
  charter.self = MemberId(1);
  return charter;
}

TEST_F(CharterFile, ComesBackFromItsDirectory) {
  ASSERT_TRUE(WriteCharter(root_, Example()).ok());
  auto read = ReadCharter(root_, geteuid());
  ASSERT_TRUE(read.ok()) << read.failure().sentence;
  EXPECT_EQ(*read, Example());
  EXPECT_EQ(ModeOf(At("charter")), 0600u);  // it holds the secrets
}

TEST_F(CharterFile, WithoutOneTheSentenceNamesTheFile) {
  auto read = ReadCharter(root_, geteuid());
  ASSERT_FALSE(read.ok());
  ExpectSentence(read.failure(), Code::kNoEntry, At("charter"));
}

// Every field is needed, and a wrong one is named.
TEST(Charter, EveryFieldIsNeeded) {
  const std::string text = *EncodeCharter(Example());
  size_t fields = 0;
  for (size_t at = text.find("\n  \""); at != std::string::npos; at = text.find("\n  \"", at + 1), ++fields) {
    std::string without = text;
    without[at + 4] = 'X';
    auto read = ParseCharter(without, "x");
    EXPECT_FALSE(read.ok()) << without.substr(at, 40);
    EXPECT_EQ(read.failure().status.code(), Code::kCorrupt) << without.substr(at, 40);
  }
  EXPECT_EQ(fields, 23u);
}

TEST(Charter, OneFromTheFutureIsNotCalledDamaged) {
  std::string text = *EncodeCharter(Example());
  text.replace(text.find("\"version\": 1"), 12, "\"version\": 2");
  auto read = ParseCharter(text, "x");
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.failure().status.code(), Code::kNotSupported);
}

TEST(Charter, EveryCutIsRefused) {
  const std::string text = *EncodeCharter(Example());
  for (size_t bytes = 0; bytes + 2 < text.size(); ++bytes) EXPECT_FALSE(ParseCharter(text.substr(0, bytes), "x").ok());
}

}  // namespace
}  // namespace mayfly
