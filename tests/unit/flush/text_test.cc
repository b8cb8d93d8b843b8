// Names and sentences of a flush, and how outcomes add up.
#include "flush/text.h"

#include <gtest/gtest.h>

#include "flush/outcome.h"

namespace mayfly::flush_internal {
namespace {

TEST(Printable, ShowsTextAndEscapesTheRest) {
  EXPECT_EQ(Printable("plain-_.txt"), "plain-_.txt");
  EXPECT_EQ(Printable("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82"), "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82");
  EXPECT_EQ(Printable("a\nb"), "a\\x0ab");
  EXPECT_EQ(Printable("a\\b"), "a\\x5cb");
  EXPECT_EQ(Printable(std::string_view("\0\x7f", 2)), "\\x00\\x7f");
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
  EXPECT_EQ(Printable("\xc2\x85"), "\\xc2\\x85");                    // a control character
}

TEST(PlainPath, TakesComponentsOnly) {
  for (const char* path : {"", "a", "a/b", "...", "a/..b", "-", "\xff"}) EXPECT_TRUE(IsPlainPath(path)) << path;
  for (const char* path : {"/", "/a", "a/", "a//b", ".", "..", "a/./b", "../a"})
    EXPECT_FALSE(IsPlainPath(path)) << path;
  EXPECT_FALSE(IsPlainPath(std::string_view("a\0b", 3)));
}

TEST(TemporaryName, StandsBesideThePathAndIsKnownAgain) {
  const std::string path = TemporaryPath("a/b/file", 0x1234, InodeId(0xabc), 7);
  EXPECT_EQ(path, "a/b/.mayfly-0000000000001234-0000000000000abc-00000007.tmp");
  uint64_t job = 0;
  InodeId inode;
  EXPECT_TRUE(IsTemporaryName(path.substr(4), &job, &inode));
  EXPECT_EQ(job, 0x1234u);
  EXPECT_EQ(inode, InodeId(0xabc));
  EXPECT_EQ(DirectoryOf(TemporaryPath("file", 1, InodeId(1), 1)), "");
  for (std::string name :
       {".mayfly-1-2-3.tmp", ".mayfly-notes", "mayfly-0000000000001234-0000000000000abc-00000007.tmp",
        ".mayfly-000000000000123g-0000000000000abc-00000007.tmp",
        ".mayfly-0000000000001234-0000000000000abc-00000007.tmP"}) {
    EXPECT_FALSE(IsTemporaryName(name, &job, &inode)) << name;
  }
}

TEST(Outcome, NotesAreCutAndCountsAreNot) {
  FlushOutcome outcome;
  for (int i = 0; i < 10000; ++i) AddFailure(&outcome, Code::kIo, std::string(100, 'x'));
  EXPECT_EQ(outcome.failed, 10000u);
  std::vector<uint8_t> bytes(kOutcomeBytesMax);
  Encoder e{MutableBytes(bytes)};
  e.Put(outcome);
  EXPECT_TRUE(e.ok());
  FlushOutcome longest;
  AddFailure(&longest, Code::kIo, std::string(100000, 'x'));
  EXPECT_EQ(longest.notes.size(), 1u);
  EXPECT_LT(longest.notes[0].text.size(), 6000u);
}

TEST(Outcome, TheGravestCodeStays) {
  EXPECT_EQ(Graver(Code::kOk, Code::kTimedOut), Code::kTimedOut);
  EXPECT_EQ(Graver(Code::kNoSpace, Code::kIo), Code::kNoSpace);
  EXPECT_EQ(Graver(Code::kInterrupted, Code::kAccess), Code::kAccess);
  EXPECT_EQ(Graver(Code::kBusy, Code::kOk), Code::kBusy);
}

}  // namespace
}  // namespace mayfly::flush_internal
