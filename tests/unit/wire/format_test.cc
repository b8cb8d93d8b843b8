// Decodes the worked example of share/doc/format/wire.md, and builds it again.
#include <gtest/gtest.h>

#include "fake/worked_example.h"
#include "unit/wire/message_fill.h"

namespace mayfly {
namespace {

template <class Array>
Array ArrayOf(Bytes bytes) {
  Array array{};
  EXPECT_EQ(bytes.size(), array.size());
  std::copy_n(bytes.begin(), std::min(bytes.size(), array.size()), array.begin());
  return array;
}

template <class... Part>
std::vector<uint8_t> Built(const TagKey& key, const Part&... parts) {
  std::vector<uint8_t> bytes(2048);
  Encoder e{MutableBytes(bytes)};
  e(parts...);
  bytes.resize(e.size());
  SealHeader(bytes, key);
  return bytes;
}

struct WireFormat : testing::Test {
  ExamplePage page = ReadExample("wire.md");
  Secret secret = ArrayOf<Secret>(page["secret"]);
  SessionUuid uuid = ArrayOf<SessionUuid>(page["uuid"]);
  TagKey key = ArrayOf<TagKey>(page["key"]);
  Prefix prefix;
};

TEST_F(WireFormat, Hello) {
  const TagKey hello_key = HelloKey(secret, uuid), proof_key = PeerProofKey(ArrayOf<Secret>(page["servers"]));
  EXPECT_EQ(hello_key, ArrayOf<TagKey>(page["hello-key"]));
  EXPECT_EQ(proof_key, ArrayOf<TagKey>(page["proof-key"]));
  EXPECT_TRUE(HeaderIsSealed(page["hello"], hello_key));
  Decoder d(page["hello"]);
  Hello hello;
  d(prefix, hello);
  ASSERT_TRUE(d.Finish().ok());
  EXPECT_EQ(prefix.kind, MessageKind::kHello);
  EXPECT_EQ(prefix.slot, 5u);
  EXPECT_EQ(prefix.generation, 1u);
  EXPECT_EQ(hello.uuid, uuid);
  EXPECT_EQ(hello.client, ClientId(0x1122334455667788));
  EXPECT_EQ(hello.process, ClientId(0x99));
  EXPECT_TRUE(hello.peer);
  EXPECT_EQ(hello.shard, ShardId(2));
  EXPECT_EQ(hello.proof, HelloProof(prefix, hello, proof_key));
  EXPECT_EQ(hello.pid, 4711u);
  EXPECT_EQ(hello.cred.uid, 1000u);
  EXPECT_EQ(hello.cred.groups, (std::vector<uint32_t>{100, 27}));
  EXPECT_EQ(hello.host, "n1");
  EXPECT_EQ(hello.address.size(), 2u);
  EXPECT_EQ(Built(hello_key, prefix, hello), page["hello"]);
}

TEST_F(WireFormat, Welcome) {
  Decoder greeting(page["hello"]);
  Hello hello;
  greeting(prefix, hello);
  Decoder d(page["welcome"]);
  Welcome welcome;
  d(prefix, welcome);
  ASSERT_TRUE(d.Finish().ok());
  EXPECT_EQ(key, ConnectionKey(secret, uuid, hello.client, hello.nonce, welcome.nonce));
  EXPECT_TRUE(HeaderIsSealed(page["welcome"], key));
  EXPECT_EQ(prefix.kind, MessageKind::kWelcome);
  EXPECT_EQ(welcome.code, Code::kOk);
  EXPECT_EQ(welcome.shard, ShardId(5));
  EXPECT_EQ(welcome.connection, 0x8badf00d00000003u);
  EXPECT_EQ(welcome.generation, Generation(9));
  EXPECT_EQ(Built(key, prefix, welcome), page["welcome"]);
}

TEST_F(WireFormat, Grant) {
  const TagKey grant_key = GrantKey(ArrayOf<Secret>(page["servers"]));
  EXPECT_EQ(grant_key, ArrayOf<TagKey>(page["grant-key"]));
  Grant grant;
  ASSERT_TRUE(DecodeInto(page["grant"], &grant).ok());
  EXPECT_EQ(grant.rights, kGrantRead | kGrantWrite);
  EXPECT_EQ(grant.tag, GrantTag(grant_key, InodeId::Make(ShardId(5), 2), ClientId(0x99), 1000, grant.rights));
}

TEST_F(WireFormat, Request) {
  EXPECT_TRUE(HeaderIsSealed(page["request"], key));
  Decoder d(page["request"]);
  RequestHeader header;
  NameRequest request;
  d(prefix, header, request);
  ASSERT_TRUE(d.Finish().ok());
  EXPECT_EQ(prefix.kind, MessageKind::kRequest);
  EXPECT_EQ(prefix.connection, 0x8badf00d00000003u);
  EXPECT_EQ(header.method, Method::kUnlink);
  EXPECT_EQ(header.attempt, 0u);
  EXPECT_EQ(header.time_left_ms, 30'000u);
  EXPECT_EQ(header.sequence, Sequence::Make(2, 0));
  EXPECT_EQ(header.walked_at, Generation(9));
  EXPECT_EQ(request.parent, InodeId::Make(ShardId(5), 1));
  EXPECT_EQ(request.name, "old");
  EXPECT_EQ(Built(key, prefix, header, request), page["request"]);
}

TEST_F(WireFormat, WorkingAndReply) {
  EXPECT_TRUE(HeaderIsSealed(page["working"], key));
  Decoder working(page["working"]);
  working(prefix);
  ASSERT_TRUE(working.Finish().ok());
  EXPECT_EQ(prefix.kind, MessageKind::kWorking);
  EXPECT_TRUE(HeaderIsSealed(page["reply"], key));
  Decoder d(page["reply"]);
  ReplyHeader header;
  d(prefix, header);
  ASSERT_TRUE(d.Finish().ok());
  EXPECT_EQ(prefix.kind, MessageKind::kReply);
  EXPECT_EQ(prefix.slot, 7u);
  EXPECT_EQ(prefix.generation, 3u);
  EXPECT_EQ(header.code, Code::kNoEntry);
  EXPECT_EQ(header.generation, Generation(9));
  EXPECT_EQ(Built(key, prefix, header), page["reply"]);
}

}  // namespace
}  // namespace mayfly
