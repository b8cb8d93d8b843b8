// Tags and keys: what a tag covers, and that no two keys are the same by accident.
#include <gtest/gtest.h>

#include <set>

#include "unit/wire/message_fill.h"

namespace mayfly {
namespace {

Secret SomeSecret(uint8_t first) {
  Secret secret;
  for (size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<uint8_t>(first + i);
  return secret;
}

TEST(Tag, IsSipHash24) {  // the vector of the SipHash paper, appendix A
  TagKey key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
  std::vector<uint8_t> bytes(15);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(TagOf(bytes, key), 0xa129ca6149be45e5u);
}

TEST(Seal, HoldsForEveryLengthAndNoBitMayChange) {
  TagKey key;
  SimRandom(1).Fill(key);
  for (size_t bytes : {Prefix::kBytes, Prefix::kBytes + 1, size_t{56}, size_t{120}, size_t{2048}}) {
    std::vector<uint8_t> header(bytes);
    SimRandom(bytes).Fill(header);
    EXPECT_FALSE(HeaderIsSealed(header, key));
    SealHeader(header, key);
    EXPECT_TRUE(HeaderIsSealed(header, key));
    for (size_t i = 0; i < bytes; ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        header[i] ^= static_cast<uint8_t>(1 << bit);
        EXPECT_FALSE(HeaderIsSealed(header, key));
        header[i] ^= static_cast<uint8_t>(1 << bit);
      }
    }
    EXPECT_TRUE(HeaderIsSealed(header, key));
    EXPECT_FALSE(HeaderIsSealed(Bytes(header).first(bytes - 1), key));
    header.push_back(0);
    EXPECT_FALSE(HeaderIsSealed(header, key));
  }
}

TEST(Seal, OfLessThanAPrefixIsNone) {
  std::vector<uint8_t> header(Prefix::kBytes);
  for (size_t n = 0; n < header.size(); ++n) EXPECT_FALSE(HeaderIsSealed(Bytes(header).first(n), TagKey{}));
}

TEST(Seal, UnderEachKeyIsAnother) {
  std::vector<uint8_t> header(120);
  std::set<uint64_t> tags;
  for (int bit = 0; bit < 128; ++bit) {
    TagKey key{};
    key[bit / 8] = static_cast<uint8_t>(1 << bit % 8);
    SealHeader(header, key);
    uint64_t tag = 0;
    std::memcpy(&tag, header.data(), sizeof tag);
    EXPECT_TRUE(tags.insert(tag).second);
  }
}

TEST(Keys, DifferInEverythingThatGoesIn) {
  const SessionUuid uuid{1}, other_uuid{2};
  const Nonce nonce{3}, other_nonce{4};
  const ClientId client(5), other_client(6);
  std::set<TagKey> keys;
  EXPECT_TRUE(keys.insert(HelloKey(SomeSecret(0), uuid)).second);
  EXPECT_TRUE(keys.insert(HelloKey(SomeSecret(1), uuid)).second);
  EXPECT_TRUE(keys.insert(HelloKey(SomeSecret(0), other_uuid)).second);
  EXPECT_TRUE(keys.insert(ConnectionKey(SomeSecret(0), uuid, client, nonce, nonce)).second);
  EXPECT_TRUE(keys.insert(ConnectionKey(SomeSecret(1), uuid, client, nonce, nonce)).second);
  EXPECT_TRUE(keys.insert(ConnectionKey(SomeSecret(0), other_uuid, client, nonce, nonce)).second);
  EXPECT_TRUE(keys.insert(ConnectionKey(SomeSecret(0), uuid, other_client, nonce, nonce)).second);
  EXPECT_TRUE(keys.insert(ConnectionKey(SomeSecret(0), uuid, client, other_nonce, nonce)).second);
  EXPECT_TRUE(keys.insert(ConnectionKey(SomeSecret(0), uuid, client, nonce, other_nonce)).second);
  EXPECT_TRUE(keys.insert(PeerProofKey(SomeSecret(0))).second);
  EXPECT_TRUE(keys.insert(PeerProofKey(SomeSecret(1))).second);
  EXPECT_TRUE(keys.insert(GrantKey(SomeSecret(0))).second);
  EXPECT_TRUE(keys.insert(GrantKey(SomeSecret(1))).second);
  EXPECT_EQ(HelloKey(SomeSecret(0), uuid), HelloKey(SomeSecret(0), uuid));
}

TEST(GrantTag, DiffersInEverythingThatGoesIn) {
  const TagKey key{1};
  const InodeId inode = InodeId::Make(ShardId(2), 3);
  std::set<uint64_t> tags;
  EXPECT_TRUE(tags.insert(GrantTag(key, inode, ClientId(4), 5, 6)).second);
  EXPECT_TRUE(tags.insert(GrantTag(TagKey{2}, inode, ClientId(4), 5, 6)).second);
  for (int bit = 0; bit < 64; ++bit) {
    EXPECT_TRUE(tags.insert(GrantTag(key, InodeId(inode.value ^ uint64_t{1} << bit), ClientId(4), 5, 6)).second);
    EXPECT_TRUE(tags.insert(GrantTag(key, inode, ClientId(4 ^ uint64_t{1} << bit), 5, 6)).second);
  }
  for (int bit = 0; bit < 32; ++bit) {
    EXPECT_TRUE(tags.insert(GrantTag(key, inode, ClientId(4), 5 ^ uint32_t{1} << bit, 6)).second);
  }
  for (int bit = 0; bit < 8; ++bit) {
    EXPECT_TRUE(tags.insert(GrantTag(key, inode, ClientId(4), 5, static_cast<uint8_t>(6 ^ 1 << bit))).second);
  }
  EXPECT_EQ(GrantTag(key, inode, ClientId(4), 5, 6), GrantTag(key, inode, ClientId(4), 5, 6));
}

TEST(Proof, CoversTheHelloButNotItself) {
  Filler filler(7, Filler::How::kByChance);
  Prefix prefix;
  Hello hello;
  filler(prefix, hello);
  TagKey key{9};
  const uint64_t proof = HelloProof(prefix, hello, key);
  hello.proof = proof;
  EXPECT_EQ(HelloProof(prefix, hello, key), proof);
  std::set<uint64_t> proofs = {proof};
  auto differs = [&](Prefix p, Hello h) { return proofs.insert(HelloProof(p, h, key)).second; };
  Prefix other_prefix = prefix;
  ++other_prefix.slot;
  EXPECT_TRUE(differs(other_prefix, hello));
  other_prefix = prefix;
  ++other_prefix.generation;
  EXPECT_TRUE(differs(other_prefix, hello));
  Hello other = hello;
  other.client.value ^= 1;
  EXPECT_TRUE(differs(prefix, other));
  other = hello;
  other.shard.value ^= 1;
  EXPECT_TRUE(differs(prefix, other));
  other = hello;
  other.nonce[0] ^= 1;
  EXPECT_TRUE(differs(prefix, other));
  other = hello;
  other.address = {};
  EXPECT_TRUE(differs(prefix, other));
  EXPECT_NE(HelloProof(prefix, hello, TagKey{8}), proof);
}

TEST(Sequence, IsACountAndAPlace) {
  const uint64_t sequence = Sequence::Make(77, 1023);
  EXPECT_EQ(Sequence::CountOf(sequence), 77u);
  EXPECT_EQ(Sequence::PlaceOf(sequence), 1023u);
  EXPECT_LT(Sequence::Make(77, Sequence::kPlacesMax - 1), Sequence::Make(78, 0));
}

}  // namespace
}  // namespace mayfly
