#include "session/charter.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "unit/session/scratch.h"

namespace mayfly {
namespace {

using CharterFile = Scratch;

TEST_F(CharterFile, ComesBackFromItsDirectory) {
  ASSERT_TRUE(WriteCharter(root_, ExampleCharter()).ok());
  auto read = ReadCharter(root_, geteuid());
  ASSERT_TRUE(read.ok()) << read.failure().sentence;
  EXPECT_EQ(*read, ExampleCharter());
  EXPECT_EQ(ModeOf(At("charter")), 0600u);  // it holds the secrets
}

TEST_F(CharterFile, WithoutOneTheSentenceNamesTheFile) {
  auto read = ReadCharter(root_, geteuid());
  ASSERT_FALSE(read.ok());
  ExpectSentence(read.failure(), Code::kNoEntry, At("charter"));
}

// Every field is needed, and a wrong one is named.
TEST(Charter, EveryFieldIsNeeded) {
  const std::string text = *EncodeCharter(ExampleCharter());
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
  std::string text = *EncodeCharter(ExampleCharter());
  text.replace(text.find("\"version\": 1"), 12, "\"version\": 2");
  auto read = ParseCharter(text, "x");
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.failure().status.code(), Code::kNotSupported);
}

TEST(Charter, EveryCutIsRefused) {
  const std::string text = *EncodeCharter(ExampleCharter());
  for (size_t bytes = 0; bytes + 2 < text.size(); ++bytes) EXPECT_FALSE(ParseCharter(text.substr(0, bytes), "x").ok());
}

}  // namespace
}  // namespace mayfly
