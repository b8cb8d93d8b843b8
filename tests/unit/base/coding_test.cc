#include "base/coding.h"

#include <gtest/gtest.h>

#include <vector>

namespace mayfly {
namespace {

struct Inner {
  uint16_t a = 0;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(a, name);
  }
};
struct Outer {
  InodeId inode;
  Code code = Code::kOk;
  bool flag = false;
  std::vector<Inner> list;
  template <class Io>
  void Fields(Io& io) {
    io(inode, code, flag, list);
  }
};

TEST(Coding, MessagesComeBackAsTheyWent) {
  uint8_t buffer[256];
  Outer out{InodeId::Make(ShardId(7), 42), Code::kNoSpace, true, {{1, "a"}, {2, std::string_view("b\0c", 3)}}};
  Encoder e{MutableBytes(buffer)};
  e.Put(out);
  ASSERT_TRUE(e.ok());
  Decoder d{Bytes(buffer, e.size())};
  Outer in;
  d.Get(in);
  ASSERT_TRUE(d.Finish().ok());
  EXPECT_EQ(in.inode.home(), ShardId(7));
  EXPECT_EQ(in.inode.sequence(), 42u);
  EXPECT_EQ(in.code, Code::kNoSpace);
  EXPECT_TRUE(in.flag);
  ASSERT_EQ(in.list.size(), 2u);
  EXPECT_EQ(in.list[1].name, std::string_view("b\0c", 3));
}

TEST(Coding, EveryTruncationIsCorruptAndNeverReadsPastTheEnd) {
  uint8_t buffer[256];
  Outer out{InodeId(9), Code::kOk, false, {{1, "abc"}}};
  Encoder e{MutableBytes(buffer)};
  e.Put(out);
  for (size_t n = 0; n < e.size(); ++n) {
    std::vector<uint8_t> exact(buffer, buffer + n);  // its own allocation, so that ASan sees an overrun
    Decoder d{Bytes(exact)};
    Outer in;
    d.Get(in);
    EXPECT_FALSE(d.Finish().ok()) << n;
  }
}

TEST(Coding, AnOverflowingEncoderWritesNothingPastItsBuffer) {
  uint8_t buffer[8] = {0, 0, 0, 0, 0, 0, 0, 0xee};
  Encoder e{MutableBytes(buffer, 7)};
  e(uint32_t{1}, uint32_t{2});
  EXPECT_FALSE(e.ok());
  EXPECT_EQ(buffer[7], 0xee);
}

TEST(Coding, AHugeListCountIsRefusedBeforeAllocating) {
  uint8_t buffer[64] = {};
  Encoder e{MutableBytes(buffer)};
  e(InodeId(1), Code::kOk, false, uint32_t{0xffffffff});
  Decoder d{Bytes(buffer, e.size())};
  Outer in;
  d.Get(in);
  EXPECT_FALSE(d.ok());
  EXPECT_TRUE(in.list.empty());
}

TEST(Coding, UnknownEnumAndBadBooleanAreCorrupt) {
  uint8_t code[] = {200}, boolean[] = {2};
  Code c;
  Decoder d{Bytes(code)};
  d.Get(c);
  EXPECT_FALSE(d.ok());
  bool b;
  Decoder e{Bytes(boolean)};
  e.Get(b);
  EXPECT_FALSE(e.ok());
}

}  // namespace
}  // namespace mayfly
