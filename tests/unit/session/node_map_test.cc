#include "session/node_map.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

#include "base/checksum.h"
#include "base/coding.h"
#include "scratch.h"
#include "session/node_map_format.h"

namespace mayfly {
namespace {

class NodeMapTest : public Scratch {
 protected:
  const std::string path_ = At("map");
  const Uuid uuid_ = UuidOf(9);
  const std::vector<uint8_t> bytes_ = ExampleMap(uuid_);
};

NodeMapHeader HeaderOf(Bytes bytes) {
  NodeMapHeader header;
  Decoder decoder(bytes);
  decoder.Get(header);
  EXPECT_TRUE(decoder.ok());
  return header;
}

// Makes size and checksum right again, so that the checks behind them are reached.
void Forge(std::vector<uint8_t>& bytes, NodeMapHeader header) {
  header.file_bytes = bytes.size();
  Encoder(bytes).Put(header);
  header.checksum = Checksum(Bytes(bytes).subspan(kNodeMapSummedFrom));
  Encoder(bytes).Put(header);
}

// Parses a copy that ends where its allocation ends, so that a sanitizer sees every byte too far. Looks at everything
// if it is accepted. Returns the code, kOk if accepted.
Code ParseExact(Bytes bytes) {
  auto copy = std::make_unique<uint8_t[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  auto map = NodeMap::Parse({copy.get(), bytes.size()}, "/x/map", nullptr);
  if (!map.ok()) {
    EXPECT_NE(map.failure().sentence.find("/x/map"), std::string::npos);
    return map.failure().status.code();
  }
  uint64_t sum = 0;
  for (uint32_t s = 0; s < map->layout().shard_count(); ++s) {
    for (uint8_t b : map->AddressOf(ShardId(s))) sum += b;
    EXPECT_TRUE(map->layout().Has(map->placement().ChunkShard(ShardId(s), ChunkIndex(1))));
  }
  EXPECT_TRUE(map->layout().Has(map->placement().ShardOfHash(sum << 56)));
  return Code::kOk;
}

TEST_F(NodeMapTest, WhatWasWrittenIsRead) {
  const Layout layout = ExampleLayout();
  const RingOptions ring{.points_per_member = 40, .seed = 5};
  const Placement placement = Placement::Build(layout, ring).value();
  const std::string longest(NodeMap::kAddressBytesMax, 'a');
  const std::vector<Bytes> addresses = {AsBytes(longest), {}, AsBytes("c")};
  ASSERT_TRUE(WriteNodeMap(path_, Uid(), {uuid_, View(6), layout, ring, placement, addresses}).ok());
  EXPECT_EQ(ModeOf(path_), 0600u);
  auto map = NodeMap::Open(path_, Uid());
  ASSERT_TRUE(map.ok()) << map.failure().sentence;
  EXPECT_EQ(map->session(), uuid_);
  EXPECT_EQ(map->view(), View(6));
  EXPECT_EQ(map->ring(), ring);
  EXPECT_EQ(map->layout(), layout);
  EXPECT_EQ(map->placement().Fingerprint(), placement.Fingerprint());
  for (uint32_t s = 0; s < 3; ++s) EXPECT_EQ(AsText(map->AddressOf(ShardId(s))), AsText(addresses[s])) << s;
}

TEST_F(NodeMapTest, ACopyOfThePlacementKeepsTheMapping) {
  Write(path_, AsText(bytes_));
  std::optional<Placement> placement;
  {
    auto map = NodeMap::Open(path_, Uid());
    ASSERT_TRUE(map.ok());
    placement = map->placement();
  }
  EXPECT_EQ(placement->Fingerprint(), Placement::Build(ExampleLayout()).value().Fingerprint());
}

TEST_F(NodeMapTest, AddressesAreReplacedAsAWholeUnderANewView) {
  Write(path_, AsText(bytes_));
  auto before = NodeMap::Open(path_, Uid());
  ASSERT_TRUE(before.ok());
  const std::vector<AddressChange> changes = {{ShardId(1), AsBytes("moved here")}, {ShardId(0), {}}};
  ASSERT_TRUE(ReplaceAddresses(path_, Uid(), View(4), changes).ok());
  auto after = NodeMap::Open(path_, Uid());
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->view(), View(4));
  EXPECT_EQ(after->session(), uuid_);
  EXPECT_EQ(after->layout(), before->layout());
  EXPECT_EQ(after->placement().Fingerprint(), before->placement().Fingerprint());
  EXPECT_EQ(AsText(after->AddressOf(ShardId(0))), "");
  EXPECT_EQ(AsText(after->AddressOf(ShardId(1))), "moved here");
  EXPECT_EQ(AsText(after->AddressOf(ShardId(2))), "\xcc");
  EXPECT_EQ(before->view(), View(3));  // N2
  EXPECT_EQ(AsText(before->AddressOf(ShardId(0))), "\xaa\xbb");

  for (uint32_t old : {3u, 4u}) {
    auto replaced = ReplaceAddresses(path_, Uid(), View(old), changes);
    ASSERT_FALSE(replaced.ok());
    ExpectSentence(replaced.failure(), Code::kExists, path_);  // N3
  }
  const std::vector<AddressChange> stranger = {{ShardId(3), {}}};
  EXPECT_FALSE(ReplaceAddresses(path_, Uid(), View(5), stranger).ok());
  EXPECT_EQ(NodeMap::Open(path_, Uid())->view(), View(4));
}

TEST_F(NodeMapTest, PartsThatDoNotFitAreNotWritten) {
  const Layout layout = ExampleLayout();
  const Placement placement = Placement::Build(layout).value();
  const std::string too_long(NodeMap::kAddressBytesMax + 1, 'a');
  std::vector<Bytes> addresses = {AsBytes(too_long), {}, {}};
  EXPECT_FALSE(EncodeNodeMap({uuid_, View(1), layout, {}, placement, addresses}).ok());
  addresses = {{}, {}};
  EXPECT_FALSE(EncodeNodeMap({uuid_, View(1), layout, {}, placement, addresses}).ok());
  addresses = {{}, {}, {}};
  const Layout other = Layout::Build({{MemberId(0), "a", 1, 2}}).value();
  EXPECT_FALSE(EncodeNodeMap({uuid_, View(1), layout, {}, Placement::Build(other).value(), addresses}).ok());
}

TEST_F(NodeMapTest, WrongPermissionsAndOwnersAreRefused) {
  auto missing = NodeMap::Open(path_, Uid());
  ASSERT_FALSE(missing.ok());
  ExpectSentence(missing.failure(), Code::kNoEntry, path_);
  Write(path_, AsText(bytes_), 0644);
  auto open_to_all = NodeMap::Open(path_, Uid());
  ASSERT_FALSE(open_to_all.ok());
  ExpectSentence(open_to_all.failure(), Code::kAccess, path_);
  ASSERT_EQ(chmod(path_.c_str(), 0600), 0);
  EXPECT_TRUE(NodeMap::Open(path_, Uid()).ok());
  auto others = NodeMap::Open(path_, Uid() + 1);
  ASSERT_FALSE(others.ok());
  ExpectSentence(others.failure(), Code::kAccess, path_);
  Write(path_, "");
  auto empty = NodeMap::Open(path_, Uid());
  ASSERT_FALSE(empty.ok());
  ExpectSentence(empty.failure(), Code::kCorrupt, path_);
}

TEST_F(NodeMapTest, CutAtAnyLengthItIsRefused) {
  for (size_t n = 0; n < bytes_.size(); ++n) {
    auto cut = NodeMap::Parse(Bytes(bytes_).first(n), path_, nullptr);
    ASSERT_FALSE(cut.ok()) << n;
    ASSERT_EQ(cut.failure().status.code(), Code::kCorrupt) << n;
  }
  for (size_t n = 0; n < 2 * NodeMap::kHeaderBytes; ++n) ASSERT_EQ(ParseExact(Bytes(bytes_).first(n)), Code::kCorrupt);
  std::vector<uint8_t> longer = bytes_;
  longer.resize(longer.size() + 8);
  EXPECT_EQ(ParseExact(longer), Code::kCorrupt);
}

TEST_F(NodeMapTest, CutWithAForgedSizeAndChecksumItIsRefused) {
  const NodeMapHeader header = HeaderOf(bytes_);
  const NodeMapSections at = NodeMapSections::Of(header);
  ASSERT_EQ(at.end, bytes_.size());
  for (uint64_t edge : {at.members, at.address_ends, at.slots, at.slots + 4096, at.order, at.positions, at.hosts,
                        at.addresses, at.end}) {
    for (uint64_t n = edge - 9; n <= edge + 9; ++n) {
      if (n == at.end || n < NodeMap::kHeaderBytes) continue;
      std::vector<uint8_t> forged = bytes_;
      forged.resize(n);
      Forge(forged, header);
      ASSERT_EQ(ParseExact(forged), Code::kCorrupt) << n;
    }
  }
}

TEST_F(NodeMapTest, ImpossibleCountsAreRefused) {
  auto code_with = [&](auto change) {
    NodeMapHeader header = HeaderOf(bytes_);
    change(header);
    std::vector<uint8_t> forged = bytes_;
    Forge(forged, header);
    return ParseExact(forged);
  };
  EXPECT_EQ(code_with([](NodeMapHeader&) {}), Code::kOk);
  EXPECT_EQ(code_with([](NodeMapHeader& h) { h.view = View(~0u); }), Code::kOk);
  EXPECT_EQ(code_with([](NodeMapHeader& h) { h.magic[0] = 'm'; }), Code::kCorrupt);
  EXPECT_EQ(code_with([](NodeMapHeader& h) { h.version = 2; }), Code::kNotSupported);
  EXPECT_EQ(code_with([](NodeMapHeader& h) { h.version = 0; }), Code::kCorrupt);
  EXPECT_EQ(code_with([](NodeMapHeader& h) { h.header_bytes = 120; }), Code::kCorrupt);
  for (uint64_t wrong : {uint64_t{0}, uint64_t{1}, uint64_t{4}, uint64_t{0xffff}, uint64_t{1} << 24, uint64_t{1} << 31,
                         uint64_t{0xffffffff}, uint64_t{1} << 32, uint64_t{1} << 62, ~uint64_t{0}, ~uint64_t{7}}) {
    const auto narrow = static_cast<uint32_t>(wrong);
    EXPECT_EQ(code_with([&](NodeMapHeader& h) { h.members = narrow; }), Code::kCorrupt) << wrong;
    EXPECT_EQ(code_with([&](NodeMapHeader& h) { h.shards = narrow; }), Code::kCorrupt) << wrong;
    EXPECT_EQ(code_with([&](NodeMapHeader& h) { h.slots = wrong; }), Code::kCorrupt) << wrong;
    EXPECT_EQ(code_with([&](NodeMapHeader& h) { h.order = wrong; }), Code::kCorrupt) << wrong;
    EXPECT_EQ(code_with([&](NodeMapHeader& h) { h.address_bytes = wrong; }), Code::kCorrupt) << wrong;
    EXPECT_EQ(code_with([&](NodeMapHeader& h) { h.host_bytes = wrong; }), Code::kCorrupt) << wrong;
  }
  EXPECT_EQ(code_with([](NodeMapHeader& h) { h.ring_points = 0; }), Code::kCorrupt);
}

TEST_F(NodeMapTest, ImpossibleEntriesAreRefused) {
  const NodeMapHeader header = HeaderOf(bytes_);
  const NodeMapSections at = NodeMapSections::Of(header);
  auto code_with = [&](uint64_t offset, auto value) {
    std::vector<uint8_t> forged = bytes_;
    std::memcpy(forged.data() + offset, &value, sizeof value);
    Forge(forged, header);
    return ParseExact(forged);
  };
  EXPECT_EQ(code_with(at.members, uint32_t{0}), Code::kCorrupt);             // weight
  EXPECT_EQ(code_with(at.members + 4, uint32_t{0}), Code::kCorrupt);         // shards
  EXPECT_EQ(code_with(at.members + 4, uint32_t{1}), Code::kCorrupt);         // fewer than the header says
  EXPECT_EQ(code_with(at.members + 4, ~uint32_t{0}), Code::kCorrupt);        //
  EXPECT_EQ(code_with(at.members + 8, uint32_t{11}), Code::kCorrupt);        // host offset
  EXPECT_EQ(code_with(at.members + 8, ~uint32_t{0}), Code::kCorrupt);        //
  EXPECT_EQ(code_with(at.members + 12, uint32_t{11}), Code::kCorrupt);       // host length
  EXPECT_EQ(code_with(at.members + 16 + 12, ~uint32_t{0}), Code::kCorrupt);  //
  EXPECT_EQ(code_with(at.address_ends, uint64_t{1}), Code::kCorrupt);        // first is 0
  EXPECT_EQ(code_with(at.address_ends + 8, uint64_t{4}), Code::kCorrupt);    // then it falls
  EXPECT_EQ(code_with(at.address_ends + 8, ~uint64_t{0}), Code::kCorrupt);   //
  EXPECT_EQ(code_with(at.address_ends + 24, uint64_t{2}), Code::kCorrupt);   // last is all of them
  EXPECT_EQ(code_with(at.slots, uint32_t{3}), Code::kCorrupt);               // no such shard
  EXPECT_EQ(code_with(at.order - 4, ~uint32_t{0}), Code::kCorrupt);          // the last slot
  EXPECT_EQ(code_with(at.order, uint32_t{3}), Code::kCorrupt);
  EXPECT_EQ(code_with(at.positions, uint32_t{5}), Code::kCorrupt);
  EXPECT_EQ(code_with(at.positions, uint32_t{0}), Code::kCorrupt);  // there is another shard
}

TEST_F(NodeMapTest, AnyChangedByteIsRefused) {
  for (size_t i = 0; i < bytes_.size(); i += i < 4096 ? 1 : 509) {
    std::vector<uint8_t> changed = bytes_;
    changed[i] ^= 0x40;
    auto map = NodeMap::Parse(changed, path_, nullptr);
    ASSERT_FALSE(map.ok()) << i;
  }
}

TEST_F(NodeMapTest, RandomDamageUnderARightChecksumNeverReadsOutside) {
  const NodeMapHeader header = HeaderOf(bytes_);
  const NodeMapSections at = NodeMapSections::Of(header);
  std::mt19937_64 random(1);
  int accepted = 0;
  for (int round = 0; round < 1000; ++round) {
    std::vector<uint8_t> forged = bytes_;
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < changes; ++i) {
      // Anywhere but in the slots, which are nearly all of it.
      uint64_t offset = kNodeMapSummedFrom + random() % (at.slots - kNodeMapSummedFrom + at.end - at.order);
      if (offset >= at.slots) offset += at.order - at.slots;
      forged[offset] = random() % 4 == 0 ? 0xff : static_cast<uint8_t>(random());
    }
    Forge(forged, HeaderOf(forged));
    accepted += ParseExact(forged) == Code::kOk;
  }
  EXPECT_GT(accepted, 0);  // a changed weight or address is a map all the same
  EXPECT_LT(accepted, 1000);
}

}  // namespace
}  // namespace mayfly
