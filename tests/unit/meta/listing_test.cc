#include <map>
#include <set>

#include "unit/meta/support.h"

namespace mayfly {
namespace {

TEST(Listing, AnEntryTakesTheBytesThatAreCounted) {
  Shard shard;
  ASSERT_TRUE(shard.Make(shard.root, "abc").ok());
  std::vector<uint8_t> page(kListingEntryBytes + 3);
  Encoder fits{MutableBytes(page)};
  EXPECT_EQ(shard.ns.List(shard.root, 0, fits).count, 1u);
  EXPECT_EQ(fits.room(), 0u);
  Encoder tight{MutableBytes(page).first(page.size() - 1)};
  const ReadDirReply reply = shard.ns.List(shard.root, 0, tight);
  EXPECT_EQ(reply.count, 0u);
  EXPECT_FALSE(reply.end);
  EXPECT_TRUE(tight.ok());
}

TEST(Listing, WhatIsNotJoinedIsEmpty) {
  Shard shard;
  Encoder out{MutableBytes()};
  EXPECT_TRUE(shard.ns.List(InodeId(12345), 0, out).end);
}

// Everything that was there from the beginning to the end is listed once; what came or went meanwhile at most once.
TEST(Listing, ExactlyOnceWhileOthersCreateAndUnlink) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Shard shard;
    std::mt19937_64 random(seed);
    std::set<std::string> there, stayed, ever;
    const auto create = [&] {
      const std::string name = "f" + std::to_string(random() % 3000);
      if (shard.Make(shard.root, name).ok()) {
        there.insert(name);
        ever.insert(name);
      }
    };
    const size_t files = random() % 1500;
    while (there.size() < files) create();
    stayed = there;
    const unsigned changes = random() % 100;
    std::map<std::string, int> seen;
    uint64_t after = 0;
    for (bool end = false; !end;) {
      std::vector<uint8_t> bytes(400 + random() % 6000);
      Encoder out{MutableBytes(bytes)};
      const ReadDirReply reply = shard.ns.List(shard.root, after, out);
      Decoder in{Bytes(bytes.data(), out.size())};
      for (uint32_t i = 0; i < reply.count; ++i) {
        ListingEntry entry;
        in.Get(entry);
        ASSERT_GT(entry.sequence, after);
        after = entry.sequence;
        ++seen[std::string(entry.name)];
        EXPECT_TRUE(entry.attr.inode.valid());
      }
      ASSERT_TRUE(in.Finish().ok());
      end = reply.end;
      for (unsigned i = 0; i < changes && !end; ++i) {
        if (random() % 2 == 0 || there.empty()) {
          create();
          // The same name may come again behind the cursor: it is another entry, listed as such.
          continue;
        }
        auto it = there.lower_bound("f" + std::to_string(random() % 3000));
        if (it == there.end()) it = there.begin();
        ASSERT_EQ(shard.Remove(shard.root, *it), Code::kOk);
        stayed.erase(*it);
        there.erase(it);
      }
    }
    for (const std::string& name : stayed) EXPECT_EQ(seen[name], 1) << name << " of seed " << seed;
    for (const auto& [name, count] : seen) EXPECT_TRUE(count == 0 || ever.contains(name));
    EXPECT_EQ(shard.ns.Check(), "");
  }
}

TEST(Listing, ACookieOutlivesItsEntry) {
  Shard shard;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(shard.Make(shard.root, "f" + std::to_string(i)).ok());
  const auto all = shard.ListAll(shard.root);
  const uint64_t cookie = all[4].second;
  for (int i = 2; i < 7; ++i) ASSERT_EQ(shard.Remove(shard.root, "f" + std::to_string(i)), Code::kOk);
  std::vector<uint8_t> bytes(4096);
  Encoder out{MutableBytes(bytes)};
  EXPECT_EQ(shard.ns.List(shard.root, cookie, out).count, 3u);
}

TEST(Listing, AReplacedEntryKeepsItsPlace) {
  Shard shard;
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(shard.Make(shard.root, name).ok());
  const InodeId a = shard.ns.Find(shard.root, "a")->inode, c = shard.ns.Find(shard.root, "c")->inode;
  const auto before = shard.ListAll(shard.root);
  std::vector<InodeId> died;
  const std::vector<TxnOp> ops{DentryOp(shard.root, "c", c, {}), DentryOp(shard.root, "a", a, c), LinkOp(a, -1)};
  ASSERT_TRUE(shard.ns.Prepare(TxnId(1), ops, kRoot, nullptr).ok());
  ASSERT_TRUE(shard.ns.Decide(TxnId(1), true, 50, &died).ok());
  EXPECT_EQ(died, std::vector<InodeId>{a});
  const auto after = shard.ListAll(shard.root);
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(after[0], before[0]);
  EXPECT_EQ(after[1], before[1]);
}

ListingEntry OneEntry(Shard& shard, InodeId dir, std::vector<uint8_t>* bytes) {
  bytes->resize(4096);
  Encoder out{MutableBytes(*bytes)};
  EXPECT_EQ(shard.ns.List(dir, 0, out).count, 1u);
  Decoder in{Bytes(bytes->data(), out.size())};
  ListingEntry entry;
  in.Get(entry);
  return entry;
}

TEST(Listing, IsPartialWhereOthersKnowMore) {
  std::vector<uint8_t> bytes;
  Shard file;
  Inode* inode = *file.Make(file.root, "f");
  inode->size = 77;
  EXPECT_FALSE(OneEntry(file, file.root, &bytes).attr.partial);
  EXPECT_EQ(OneEntry(file, file.root, &bytes).attr.size, 77u);
  inode->Extra().shards.push_back(ShardId(9));
  EXPECT_TRUE(OneEntry(file, file.root, &bytes).attr.partial);

  Shard dir;
  const InodeId sub = dir.MakeDir(dir.root, "d");
  ASSERT_TRUE(dir.Make(sub, "x", FileType::kDirectory, kRoot, 0755, 70).ok());
  const Attr whole = OneEntry(dir, dir.root, &bytes).attr;
  EXPECT_FALSE(whole.partial);
  EXPECT_EQ(whole.nlink, 3u);
  EXPECT_EQ(whole.mtime, 70u);
  dir.ns.FindInode(sub)->Extra().shards.push_back(ShardId(9));
  EXPECT_TRUE(OneEntry(dir, dir.root, &bytes).attr.partial);

  Shard remote;
  const InodeId foreign = InodeId::Make(ShardId(8), 5);
  std::vector<InodeId> died;
  const std::vector<TxnOp> ops{DentryOp(remote.root, "r", {}, foreign, FileType::kNone, FileType::kSymlink)};
  ASSERT_TRUE(remote.ns.Prepare(TxnId(1), ops, kRoot, nullptr).ok());
  ASSERT_TRUE(remote.ns.Decide(TxnId(1), true, 50, &died).ok());
  const Attr far = OneEntry(remote, remote.root, &bytes).attr;
  EXPECT_TRUE(far.partial);
  EXPECT_EQ(far.inode, foreign);
  EXPECT_EQ(far.type, FileType::kSymlink);
  EXPECT_EQ(remote.ns.Unlink(remote.root, "r", kRoot, 60).code(), Code::kElsewhere);
}

}  // namespace
}  // namespace mayfly
