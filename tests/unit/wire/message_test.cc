// Every message of the method table, and what travels in payloads: there and back, cut anywhere, at its largest.
#include <gtest/gtest.h>

#include <set>

#include "os/transport.h"
#include "unit/wire/message_fill.h"

namespace mayfly {
namespace {

// Calls check.template operator()<T>(what) for each type that travels.
template <class Check>
void ForEachType(Check check) {
#define MAYFLY_EACH(name, number, request, reply, once, who) \
  check.template operator()<request>(#name " request");      \
  check.template operator()<reply>(#name " reply");
  MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
  check.template operator()<Prefix>("Prefix");
  check.template operator()<RequestHeader>("RequestHeader");
  check.template operator()<ReplyHeader>("ReplyHeader");
  check.template operator()<Hello>("Hello");
  check.template operator()<Welcome>("Welcome");
  check.template operator()<ListingEntry>("ListingEntry");
  check.template operator()<TxnOp>("TxnOp");
  check.template operator()<std::vector<TxnOp>>("TxnOps");
  check.template operator()<FlushSpec>("FlushSpec");
  check.template operator()<FlushPath>("FlushPath");
  check.template operator()<FlushOutcome>("FlushOutcome");
  check.template operator()<FlushMissing>("FlushMissing");
  check.template operator()<StageSpec>("StageSpec");
  check.template operator()<StageItem>("StageItem");
  check.template operator()<StageReport>("StageReport");
  check.template operator()<StageSummary>("StageSummary");
  check.template operator()<TraceNote>("TraceNote");
  check.template operator()<std::vector<TraceLine>>("TraceLines");
  check.template operator()<Attr>("Attr");
  check.template operator()<Cred>("Cred");
  check.template operator()<Part>("Part");
}

struct RoundTrip {
  template <class T>
  void operator()(const char* what) {
    SCOPED_TRACE(what);
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      Filler filler(seed, Filler::How::kByChance);
      T message;
      filler(message);
      const std::vector<uint8_t> bytes = Encoded(message);
      T again;
      ASSERT_EQ(DecodeInto(bytes, &again).code(), Code::kOk);
      EXPECT_EQ(Encoded(again), bytes);
      Filler other(seed + 1000, Filler::How::kByChance);  // what stood there before does not show through
      other(again);
      ASSERT_EQ(DecodeInto(bytes, &again).code(), Code::kOk);
      EXPECT_EQ(Encoded(again), bytes);
    }
  }
};
TEST(Messages, RoundTrip) { ForEachType(RoundTrip()); }

struct CutAnywhere {
  template <class T>
  void operator()(const char* what) {
    SCOPED_TRACE(what);
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      Filler filler(seed, seed == 1 ? Filler::How::kLargest : Filler::How::kByChance);
      T message;
      filler(message);
      std::vector<uint8_t> bytes = Encoded(message);
      for (size_t n = 0; n < bytes.size(); ++n) {
        T cut;
        ASSERT_EQ(DecodeInto(Bytes(bytes).first(n), &cut).code(), Code::kCorrupt) << n << " of " << bytes.size();
      }
      bytes.push_back(0);
      T longer;
      EXPECT_EQ(DecodeInto(bytes, &longer).code(), Code::kCorrupt);
    }
  }
};
TEST(Messages, CutAnywhereAreCorrupt) { ForEachType(CutAnywhere()); }

TEST(Messages, AtTheirLargestFitAHeader) {
  size_t largest_request = 0, largest_reply = 0;
  Filler filler(1, Filler::How::kLargest);
#define MAYFLY_EACH(name, number, request, reply, once, who)                                 \
  {                                                                                          \
    request q;                                                                               \
    reply a;                                                                                 \
    filler(q, a);                                                                            \
    const size_t request_bytes = Prefix::kBytes + RequestHeader::kBytes + Encoded(q).size(); \
    const size_t reply_bytes = Prefix::kBytes + ReplyHeader::kBytes + Encoded(a).size();     \
    EXPECT_LE(request_bytes, Transport::kHeaderBytesMax) << #name;                           \
    EXPECT_LE(reply_bytes, Transport::kHeaderBytesMax) << #name;                             \
    largest_request = std::max(largest_request, request_bytes);                              \
    largest_reply = std::max(largest_reply, reply_bytes);                                    \
  }
  MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
  EXPECT_GT(largest_request, 1000u);  // the lists were really filled
  EXPECT_GT(largest_reply, 1800u);
}

TEST(Messages, AHelloFitsWithTheAddressThatItPromisesAndNotAByteMore) {
  Hello hello;
  const std::string host(Hello::kHostBytesMax, 'h');
  hello.host = host;
  hello.cred.groups.resize(kGroupsMax);
  std::vector<uint8_t> address(1200);  // UCX 1.13 with a few InfiniBand ports; without any it has 170 to 250
  hello.address = address;
  EXPECT_LE(Prefix::kBytes + Encoded(hello).size(), Transport::kHeaderBytesMax);
  address.resize(Hello::kAddressBytesMax);
  hello.address = address;
  EXPECT_EQ(Prefix::kBytes + Encoded(hello).size(), Transport::kHeaderBytesMax);
}

TEST(Messages, AWelcomeIsSmall) { EXPECT_LE(Prefix::kBytes + Encoded(Welcome()).size(), 128u); }

TEST(Messages, AReplySaysForHowLongItWasHadIfItIsTraced) {
  ReplyHeader header;
  EXPECT_FALSE(header.traced());
  for (const Nanos had : {Nanos{0}, Nanos{1}, Nanos{0x123456789abc}}) {
    header.SetTraced(had);
    ReplyHeader again;
    ASSERT_TRUE(DecodeInto(Encoded(header), &again).ok());
    EXPECT_TRUE(again.traced());
    EXPECT_EQ(again.had(), had);
  }
  header.SetTraced(kNever);
  EXPECT_EQ(header.had(), (Nanos{1} << 48) - 1);
}

TEST(Messages, HeadersHaveTheSizesTheySay) {
  EXPECT_EQ(Encoded(Prefix()).size(), Prefix::kBytes);
  EXPECT_EQ(Encoded(RequestHeader()).size(), RequestHeader::kBytes);
  EXPECT_EQ(Encoded(ReplyHeader()).size(), ReplyHeader::kBytes);
}

TEST(Messages, WithAnUnknownEnumOrAHalfTruthAreCorrupt) {
  for (int raw = 0; raw < 256; ++raw) {
    Attr attr;
    std::vector<uint8_t> bytes = Encoded(attr);
    bytes[8] = static_cast<uint8_t>(raw);  // type
    EXPECT_EQ(DecodeInto(bytes, &attr).ok(), raw <= 3) << raw;
    bytes[8] = 0;
    bytes.back() = static_cast<uint8_t>(raw);  // partial
    EXPECT_EQ(DecodeInto(bytes, &attr).ok(), raw <= 1) << raw;
    ReplyHeader reply;
    bytes = Encoded(reply);
    bytes[0] = static_cast<uint8_t>(raw);
    EXPECT_EQ(DecodeInto(bytes, &reply).ok(), IsKnownCode(static_cast<uint8_t>(raw))) << raw;
    Prefix prefix;
    bytes = Encoded(prefix);
    bytes[11] = static_cast<uint8_t>(raw);
    EXPECT_EQ(DecodeInto(bytes, &prefix).ok(), raw >= 1 && raw <= 6) << raw;
  }
}

TEST(Messages, WithACountBeyondTheirBytesAreRefusedBeforeAnythingIsAllocated) {
  for (uint32_t count : {5u, 1000u, 0x7fffffffu, 0xffffffffu}) {
    std::vector<uint8_t> bytes(4 + 4);
    std::memcpy(bytes.data(), &count, 4);
    CloseRequest close;
    EXPECT_EQ(DecodeInto(bytes, &close).code(), Code::kCorrupt);
    EXPECT_LE(close.inodes.capacity(), 8u);
    std::string text;
    EXPECT_EQ(DecodeInto(bytes, &text).code(), Code::kCorrupt);
    EXPECT_LE(text.capacity(), 64u);
  }
}

// ---- the table ------------------------------------------------------------------------------------------------------

TEST(Methods, HaveANumberOfTheirOwnAndAreKnown) {
  std::set<uint16_t> numbers;
#define MAYFLY_EACH(name_, number, request, reply, once_, who_)                   \
  EXPECT_TRUE(numbers.insert(number).second) << #name_;                           \
  ASSERT_NE(InfoOf(Method::k##name_), nullptr);                                   \
  EXPECT_EQ(InfoOf(Method::k##name_)->name, #name_);                              \
  EXPECT_EQ(InfoOf(Method::k##name_)->once, once_);                               \
  EXPECT_EQ(InfoOf(Method::k##name_)->who, Who::who_);                            \
  EXPECT_TRUE((std::is_same_v<MethodTypes<Method::k##name_>::Request, request>)); \
  EXPECT_TRUE((std::is_same_v<MethodTypes<Method::k##name_>::Reply, reply>));
  MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
  for (uint32_t raw = 0; raw <= 0xffff; ++raw) {
    EXPECT_EQ(IsKnown(static_cast<Method>(raw)), numbers.contains(static_cast<uint16_t>(raw)));
  }
}

}  // namespace
}  // namespace mayfly
