#include "base/tlv.h"

#include <gtest/gtest.h>

#include <string>

namespace mayfly {
namespace {

std::string Text(Bytes b) { return std::string(AsText(b)); }

TEST(Tlv, FieldsComeBackInOrder) {
  TlvWriter writer;
  writer.Put(7, std::string("seven"), 64);
  writer.Put(kTagMust | 9, std::string(), 64);
  TlvReader reader(writer.bytes());
  Tag tag = 0;
  Bytes value;
  ASSERT_TRUE(reader.Next(&tag, &value));
  EXPECT_EQ(tag, 7);
  EXPECT_EQ(Text(value.subspan(4)), "seven");
  ASSERT_TRUE(reader.Next(&tag, &value));
  EXPECT_EQ(tag, kTagMust | 9);
  EXPECT_FALSE(reader.Next(&tag, &value));
  EXPECT_TRUE(reader.Finish().ok());
}

TEST(Tlv, GrowsAndIsClearedKeepingItsMemory) {
  TlvWriter writer;
  for (int i = 0; i < 1000; ++i) writer.Put(1, std::string(100, 'x'), 200);
  EXPECT_EQ(writer.size(), 1000 * (kTlvHeaderBytes + 104));
  writer.Clear();
  EXPECT_TRUE(writer.empty());
}

TEST(Tlv, EveryTruncationIsRefusedOrEndsBetweenFields) {
  TlvWriter writer;
  writer.Put(1, std::string("one"), 64);
  writer.Put(2, std::string("two"), 64);
  const size_t field = kTlvHeaderBytes + 4 + 3;
  for (size_t bytes = 0; bytes < writer.size(); ++bytes) {
    TlvReader reader(writer.bytes().first(bytes));
    Tag tag = 0;
    Bytes value;
    while (reader.Next(&tag, &value)) EXPECT_LE(value.size(), field);
    EXPECT_EQ(reader.Finish().ok(), bytes % field == 0) << bytes;
  }
}

TEST(Tlv, AFieldTakesThePlaceOfAnEarlierOne) {
  TlvWriter out;
  out.Put(1, uint32_t{10}, 4);
  const size_t second = out.size();
  out.Put(2, uint32_t{20}, 4);
  const size_t third = out.size();
  out.Put(1, uint32_t{30}, 4);
  out.MoveLast(third, 0);
  EXPECT_EQ(out.size(), third);
  TlvReader in(out.bytes());
  Tag tag = 0;
  Bytes value;
  ASSERT_TRUE(in.Next(&tag, &value));
  EXPECT_EQ(tag, 1);
  EXPECT_EQ(value[0], 30);
  ASSERT_TRUE(in.Next(&tag, &value));
  EXPECT_EQ(tag, 2);
  out.CutTo(second);
  EXPECT_EQ(out.size(), second);
  const uint64_t before = out.clears();
  out.Clear();
  EXPECT_NE(out.clears(), before);
}

}  // namespace
}  // namespace mayfly
