#include "unit/meta/support.h"

namespace mayfly {
namespace {

constexpr InodeId kFar = InodeId::Make(ShardId(8), 5);  // lives on another shard

bool Held(Namespace& ns, InodeId parent, std::string_view name) {
  const auto entry = ns.Find(parent, name);
  return entry.ok() ? entry->busy : entry.code() == Code::kBusy;
}

class Transactions : public testing::Test {
 protected:
  Status Prepare(uint64_t txn, const std::vector<TxnOp>& ops, const Cred& cred = kRoot) {
    return shard.ns.Prepare(TxnId(txn), ops, cred, &set);
  }
  void Decide(uint64_t txn, bool commit, Nanos now = 500) {
    died.clear();
    EXPECT_TRUE(shard.ns.Decide(TxnId(txn), commit, now, &died).ok());
    EXPECT_EQ(shard.ns.Check(), "");
  }
  InodeId File(std::string_view name) { return (*shard.Make(shard.root, name))->id; }
  void TearDown() override { EXPECT_EQ(shard.ns.Check(), ""); }

  Shard shard;
  Namespace& ns = shard.ns;
  InodeId root = shard.root;
  std::vector<ShardId> set;
  std::vector<InodeId> died;
};

TEST_F(Transactions, TakeAllLocksOrNone) {
  const InodeId a = File("a"), b = File("b");
  ASSERT_TRUE(Prepare(1, {DentryOp(root, "b", b, {})}).ok());
  // The first two operations are fine, the third meets the other transaction.
  const DirPartReply before = ns.PartOf(root);
  EXPECT_EQ(Prepare(2, {DentryOp(root, "a", a, {}), LinkOp(a, -1), DentryOp(root, "b", b, {})}), Code::kBusy);
  EXPECT_FALSE(Held(ns, root, "a"));
  EXPECT_FALSE(ns.Find(root, "a")->busy);
  EXPECT_EQ(ns.FindInode(a)->pins, 0u);
  EXPECT_EQ(ns.prepared(), 1u);
  EXPECT_EQ(ns.PartOf(root).entries, before.entries);
  EXPECT_EQ(shard.Remove(root, "a"), Code::kOk);
  Decide(1, false);
}

TEST_F(Transactions, PreparedTwiceIsPreparedOnce) {
  const InodeId a = File("a");
  const std::vector<TxnOp> ops{DentryOp(root, "a", a, {}), LinkOp(a, -1)};
  EXPECT_TRUE(Prepare(1, ops).ok());
  EXPECT_TRUE(Prepare(1, ops).ok());
  EXPECT_EQ(ns.FindInode(a)->pins, 1u);
  EXPECT_EQ(ns.prepared(), 1u);
  Decide(1, true);
  EXPECT_EQ(died, std::vector<InodeId>{a});
  Decide(1, true);  // idempotent
  EXPECT_TRUE(died.empty());
  ns.Forget(*ns.FindInode(a));
}

TEST_F(Transactions, UnknownOnesAreDecidedAlready) {
  Decide(77, true);
  Decide(78, false);
  EXPECT_TRUE(died.empty());
}

TEST_F(Transactions, AbortLeavesNoTrace) {
  const InodeId a = File("a"), b = File("b"), dir = shard.MakeDir(root, "d");
  const DirPartReply before = ns.PartOf(root);
  const auto listed = shard.ListAll(root);
  const Inode inode_before = [&] {
    Inode copy;
    copy.nlink = ns.FindInode(a)->nlink;
    copy.ctime = ns.FindInode(a)->ctime;
    copy.version = ns.FindInode(a)->version;
    return copy;
  }();
  ASSERT_TRUE(Prepare(1, {DentryOp(root, "new", {}, kFar), DentryOp(root, "a", a, b), DentryOp(root, "b", b, {}),
                          LinkOp(a, -1), DirOp(TxnKind::kDirRemove, dir), DirOp(TxnKind::kDirEmpty, dir)})
                  .ok());
  EXPECT_EQ(set, std::vector<ShardId>{ShardId(3)});
  Decide(1, false);
  EXPECT_TRUE(died.empty());
  const DirPartReply after = ns.PartOf(root);
  EXPECT_EQ(after.entries, before.entries);
  EXPECT_EQ(after.subdirectories, before.subdirectories);
  EXPECT_EQ(after.mtime, before.mtime);
  EXPECT_EQ(after.ctime, before.ctime);
  EXPECT_EQ(shard.ListAll(root), listed);
  EXPECT_EQ(ns.FindInode(a)->nlink, inode_before.nlink);
  EXPECT_EQ(ns.FindInode(a)->ctime, inode_before.ctime);
  EXPECT_EQ(ns.FindInode(a)->version, inode_before.version);
  EXPECT_EQ(ns.FindInode(dir)->extra->state, DirState::kLive);
  EXPECT_FALSE(Held(ns, root, "new"));
  EXPECT_TRUE(shard.Make(root, "new").ok());
  EXPECT_TRUE(shard.Make(dir, "x").ok());
}

// M3: held entries, also names that are not there yet.
TEST_F(Transactions, HeldNamesAreBusyForEverybodyElse) {
  const InodeId a = File("a");
  ASSERT_TRUE(Prepare(1, {DentryOp(root, "a", a, {}), DentryOp(root, "new", {}, kFar)}).ok());
  EXPECT_TRUE(ns.Find(root, "a")->busy);
  EXPECT_TRUE(Held(ns, root, "a"));
  EXPECT_TRUE(Held(ns, root, "new"));
  EXPECT_FALSE(Held(ns, root, "other"));
  EXPECT_EQ(ns.Find(root, "new").code(), Code::kBusy) << "it may be there elsewhere already";
  EXPECT_EQ(shard.Make(root, "a").code(), Code::kBusy);
  EXPECT_EQ(shard.Make(root, "new").code(), Code::kBusy);
  EXPECT_EQ(shard.Remove(root, "a"), Code::kBusy);
  EXPECT_EQ(Prepare(2, {DentryOp(root, "a", a, kFar)}), Code::kBusy);
  EXPECT_EQ(Prepare(2, {DentryOp(root, "new", {}, kFar)}), Code::kBusy);
  EXPECT_EQ(ns.PartOf(root).entries, 1u);
  Decide(1, true);
  EXPECT_EQ(ns.Find(root, "new")->inode, kFar);
  EXPECT_FALSE(ns.Find(root, "new")->busy);
  EXPECT_EQ(ns.Find(root, "a").code(), Code::kNoEntry);
  EXPECT_EQ(ns.PartOf(root).entries, 1u);
  EXPECT_EQ(ns.PartOf(root).mtime, 500u);
}

TEST_F(Transactions, ExpectationsThatNoLongerHoldConflict) {
  const InodeId a = File("a");
  EXPECT_EQ(Prepare(1, {DentryOp(root, "a", kFar, {})}), Code::kConflict);
  EXPECT_EQ(Prepare(1, {DentryOp(root, "a", {}, kFar)}), Code::kConflict);
  EXPECT_EQ(Prepare(1, {DentryOp(root, "b", kFar, {})}), Code::kConflict);
  EXPECT_EQ(Prepare(1, {DentryOp(root, "a", a, {}, FileType::kSymlink)}), Code::kConflict);
  EXPECT_EQ(Prepare(1, {DentryOp(InodeId(99), "a", {}, kFar)}), Code::kConflict) << "not joined";
  EXPECT_EQ(Prepare(1, {LinkOp(kFar, 1)}), Code::kConflict);
  EXPECT_EQ(Prepare(1, {LinkOp(InodeId::Make(ShardId(3), 999), 1)}), Code::kConflict);
  EXPECT_EQ(Prepare(1, {LinkOp(a, -2)}), Code::kConflict);
  EXPECT_EQ(ns.prepared(), 0u);
}

TEST_F(Transactions, ContradictionsAreRefused) {
  const InodeId a = File("a"), dir = shard.MakeDir(root, "d");
  EXPECT_EQ(Prepare(1, {DentryOp(root, "a", a, {}), DentryOp(root, "a", a, {})}), Code::kInvalid);
  EXPECT_EQ(Prepare(1, {DirOp(TxnKind::kDirRemove, dir), DirOp(TxnKind::kDirParent, dir, root)}), Code::kInvalid);
  EXPECT_EQ(Prepare(1, {DirOp(TxnKind::kDirEmpty, dir), DentryOp(dir, "x", {}, kFar)}), Code::kInvalid);
  EXPECT_EQ(Prepare(0, {LinkOp(a, 0)}), Code::kInvalid);
  EXPECT_EQ(Prepare(1, std::vector<TxnOp>(65, LinkOp(a, 0))), Code::kInvalid);
  for (const std::string_view name : {std::string_view(""), std::string_view("."), std::string_view(".."),
                                      std::string_view("a/b"), std::string_view("a\0b", 3)}) {
    EXPECT_EQ(Prepare(1, {DentryOp(root, name, {}, kFar)}), Code::kInvalid) << name;
  }
  EXPECT_EQ(Prepare(1, {DentryOp(root, std::string(256, 'x'), {}, kFar)}), Code::kNameTooLong);
  EXPECT_EQ(ns.prepared(), 0u);
}

TEST_F(Transactions, EqualSetHoldsTheEntryAsItIs) {
  const InodeId dir = shard.MakeDir(root, "d");
  const DirPartReply before = ns.PartOf(root);
  ns.Expose(root, "d");
  ASSERT_TRUE(Prepare(1, {DentryOp(root, "d", dir, dir, FileType::kDirectory, FileType::kDirectory),
                          DentryOp(root, "none", {}, {})})
                  .ok());
  EXPECT_TRUE(Held(ns, root, "none"));
  Decide(1, true);
  EXPECT_TRUE(ns.Find(root, "d")->exposed);
  EXPECT_EQ(ns.PartOf(root).mtime, before.mtime);
  EXPECT_EQ(ns.PartOf(root).entries, before.entries);
}

// Also where the directory has no entry yet: a name that is not there can be kept so.
TEST_F(Transactions, NothingIsHeldAsItIs) {
  const InodeId dir = (*shard.Make(root, "d", FileType::kDirectory))->id;
  ASSERT_TRUE(Prepare(1, {DentryOp(dir, "x", {}, {})}).ok());
  ns.Join(ns.RightsOf(*ns.FindInode(dir)));
  EXPECT_EQ(shard.Make(dir, "x").code(), Code::kBusy);
  EXPECT_EQ(Prepare(2, {DentryOp(dir, "x", {}, {})}), Code::kBusy);
  Decide(1, false);
  EXPECT_TRUE(shard.Make(dir, "x").ok());
}

// What was promised another link keeps the one that it has, or a link would bring back what was removed.
TEST_F(Transactions, TheLastLinkOfAPinnedInodeStays) {
  const InodeId a = File("a");
  ASSERT_TRUE(Prepare(1, {LinkOp(a, 1)}).ok());
  EXPECT_EQ(shard.Remove(root, "a"), Code::kBusy);
  EXPECT_EQ(Prepare(2, {DentryOp(root, "a", a, {}), LinkOp(a, -1)}), Code::kBusy);
  Decide(1, true);
  ASSERT_TRUE(Prepare(3, {LinkOp(a, 1)}).ok());
  EXPECT_EQ(shard.Remove(root, "a"), Code::kOk) << "another is left";
  Decide(3, false);
  EXPECT_EQ(ns.FindInode(a)->nlink, 1u);
}

TEST_F(Transactions, ReplacingCountsSubdirectories) {
  const InodeId dir = shard.MakeDir(root, "d"), other = shard.MakeDir(root, "o");
  ns.Expose(root, "o");
  EXPECT_EQ(ns.PartOf(root).subdirectories, 2u);
  // rename d over o, which is empty
  ASSERT_TRUE(Prepare(1, {DentryOp(root, "d", dir, {}, FileType::kDirectory),
                          DentryOp(root, "o", other, dir, FileType::kDirectory, FileType::kDirectory),
                          DirOp(TxnKind::kDirRemove, other), DirOp(TxnKind::kDirEmpty, other),
                          DirOp(TxnKind::kDirParent, dir, root)})
                  .ok());
  EXPECT_EQ(ns.PartOf(root).subdirectories, 2u) << "only the commit counts";
  Decide(1, true);
  EXPECT_EQ(died, std::vector<InodeId>{other});
  ns.Forget(*ns.FindInode(other));
  EXPECT_EQ(ns.PartOf(root).subdirectories, 1u);
  EXPECT_EQ(ns.Find(root, "o")->inode, dir);
  EXPECT_FALSE(ns.Find(root, "o")->exposed) << "nobody has the new one in its cache";
  // a file takes the place of a directory's entry (an exchange's half)
  ASSERT_TRUE(Prepare(2, {DentryOp(root, "o", dir, kFar, FileType::kDirectory)}).ok());
  Decide(2, true);
  EXPECT_EQ(ns.PartOf(root).subdirectories, 0u);
}

TEST_F(Transactions, LinksFollowTheRulesOfLink) {
  const InodeId a = File("a"), dir = shard.MakeDir(root, "d");
  EXPECT_EQ(Prepare(1, {LinkOp(dir, 1)}), Code::kPermission);
  EXPECT_EQ(Prepare(1, {LinkOp(dir, -1)}), Code::kIsDirectory);
  ASSERT_TRUE(Prepare(1, {LinkOp(dir, 0), LinkOp(a, 1)}).ok());
  Decide(1, true, 900);
  EXPECT_EQ(ns.FindInode(dir)->ctime, 900u);
  EXPECT_EQ(ns.FindInode(dir)->nlink, 2u);
  EXPECT_EQ(ns.FindInode(a)->nlink, 2u);
  ns.FindInode(a)->nlink = 1u << 31;
  EXPECT_EQ(Prepare(2, {LinkOp(a, 1)}), Code::kTooManyLinks);
  ns.FindInode(a)->nlink = 1;
  ns.RegisterOpen(*ns.FindInode(a), ClientId(5));
  EXPECT_EQ(shard.Remove(root, "a"), Code::kOk);
  EXPECT_EQ(Prepare(2, {LinkOp(a, 1)}), Code::kNoEntry) << "an orphan";
  ns.ReleaseAll(ClientId(5), &died);
  ns.Forget(*ns.FindInode(a));
}

// An unlink between prepare and commit of a link: the inode lives on by its pin.
TEST_F(Transactions, APinnedInodeOutlivesItsLastOpen) {
  const InodeId a = File("a");
  ns.RegisterOpen(*ns.FindInode(a), ClientId(7));
  ASSERT_EQ(shard.Remove(root, "a"), Code::kOk);
  ASSERT_TRUE(Prepare(1, {LinkOp(a, 0)}).ok());
  ns.ReleaseOpen(a, ClientId(7), &died);
  EXPECT_TRUE(died.empty());
  EXPECT_FALSE(ns.FindInode(a)->dead());
  ASSERT_TRUE(ns.Decide(TxnId(1), true, 40, &died).ok());
  EXPECT_EQ(died, std::vector<InodeId>{a});
  ns.Forget(*ns.FindInode(a));
  EXPECT_EQ(ns.inodes(), 1u);
}

TEST_F(Transactions, AnOpenFileThatLosesItsLastLinkIsAnOrphan) {
  const InodeId a = File("a");
  ns.RegisterOpen(*ns.FindInode(a), ClientId(5));
  ASSERT_TRUE(Prepare(1, {DentryOp(root, "a", a, {}), LinkOp(a, -1)}).ok());
  Decide(1, true);
  EXPECT_TRUE(died.empty());
  EXPECT_EQ(ns.FindInode(a)->nlink, 0u);
  ns.ReleaseOpen(a, ClientId(5), &died);
  EXPECT_EQ(died, std::vector<InodeId>{a});
  ns.Forget(*ns.FindInode(a));
}

TEST_F(Transactions, RemovingADirectoryStopsNewEntriesUntilDecided) {
  const InodeId dir = shard.MakeDir(root, "d");
  for (const bool commit : {false, true}) {
    ASSERT_TRUE(Prepare(1, {DirOp(TxnKind::kDirRemove, dir), DirOp(TxnKind::kDirEmpty, dir),
                            DentryOp(root, "d", dir, {}, FileType::kDirectory)})
                    .ok());
    EXPECT_EQ(set, std::vector<ShardId>{ShardId(3)});
    EXPECT_EQ(ns.FindInode(dir)->extra->state, DirState::kRemoving) << "joins wait";
    EXPECT_EQ(shard.Make(dir, "x").code(), Code::kBusy);
    EXPECT_EQ(Prepare(2, {DentryOp(dir, "x", {}, kFar)}), Code::kBusy);
    EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirRemove, dir)}), Code::kBusy);
    EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirEmpty, dir)}), Code::kBusy);
    EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirParent, dir, root)}), Code::kBusy);
    // A repeated prepare gets the shards again.
    set.clear();
    EXPECT_TRUE(ns.Prepare(TxnId(1), {}, kRoot, &set).ok());
    EXPECT_EQ(set.size(), 1u);
    Decide(1, commit);
  }
  EXPECT_EQ(died, std::vector<InodeId>{dir});
  EXPECT_EQ(ns.FindInode(dir)->extra->state, DirState::kGone);
  EXPECT_FALSE(ns.Joined(dir));
  EXPECT_EQ(ns.FindInode(dir)->nlink, 0u);
  EXPECT_EQ(Prepare(3, {DirOp(TxnKind::kDirRemove, dir)}), Code::kConflict);
  EXPECT_EQ(Prepare(3, {DirOp(TxnKind::kDirParent, dir, root)}), Code::kConflict);
  EXPECT_EQ(shard.Make(dir, "x").code(), Code::kConflict) << "the caller asks the home to join and learns it is gone";
  ns.Forget(*ns.FindInode(dir));
  EXPECT_EQ(ns.PartOf(root).subdirectories, 0u);
}

TEST_F(Transactions, EntriesAndPendingEntriesKeepADirectory) {
  const InodeId dir = shard.MakeDir(root, "d");
  ASSERT_TRUE(Prepare(1, {DentryOp(dir, "x", {}, kFar)}).ok());
  EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirEmpty, dir)}), Code::kBusy) << "only a pending one";
  Decide(1, false);
  EXPECT_TRUE(Prepare(2, {DirOp(TxnKind::kDirEmpty, dir)}).ok());
  Decide(2, false);
  ASSERT_TRUE(Prepare(1, {DentryOp(dir, "x", {}, kFar)}).ok());
  Decide(1, true);
  EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirEmpty, dir)}), Code::kNotEmpty);
  ASSERT_TRUE(Prepare(1, {DentryOp(dir, "x", kFar, {})}).ok());
  EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirEmpty, dir)}), Code::kNotEmpty) << "it may stay";
  Decide(1, true);
  EXPECT_TRUE(Prepare(2, {DirOp(TxnKind::kDirEmpty, dir)}).ok());
  Decide(2, false);
  // A replacement adds no entry.
  ASSERT_TRUE(shard.Make(dir, "y").ok());
  const InodeId y = ns.Find(dir, "y")->inode;
  ASSERT_TRUE(Prepare(1, {DentryOp(dir, "y", y, kFar), LinkOp(y, -1)}).ok());
  EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirEmpty, dir)}), Code::kNotEmpty);
  Decide(1, true);
  ns.Forget(*ns.FindInode(y));
}

TEST_F(Transactions, AShardWithoutAPartVotesYes) {
  EXPECT_TRUE(Prepare(1, {DirOp(TxnKind::kDirEmpty, InodeId::Make(ShardId(8), 77))}).ok());
  Decide(1, true);
}

TEST_F(Transactions, TheRootStays) {
  EXPECT_EQ(Prepare(1, {DirOp(TxnKind::kDirRemove, root)}), Code::kBusy);
  const InodeId a = File("a");
  EXPECT_EQ(Prepare(1, {DirOp(TxnKind::kDirRemove, a)}), Code::kNotDirectory);
  EXPECT_EQ(Prepare(1, {DirOp(TxnKind::kDirParent, a, root)}), Code::kNotDirectory);
}

TEST_F(Transactions, AMoveSetsTheParent) {
  const InodeId dir = shard.MakeDir(root, "d"), to = shard.MakeDir(root, "to");
  ASSERT_TRUE(Prepare(1, {DentryOp(root, "d", dir, {}, FileType::kDirectory),
                          DentryOp(to, "d", {}, dir, FileType::kDirectory, FileType::kDirectory),
                          DirOp(TxnKind::kDirParent, dir, to)})
                  .ok());
  EXPECT_EQ(Prepare(2, {DirOp(TxnKind::kDirRemove, dir)}), Code::kBusy);
  EXPECT_EQ(ns.FindInode(dir)->extra->parent, root);
  Decide(1, true, 700);
  EXPECT_EQ(ns.FindInode(dir)->extra->parent, to);
  EXPECT_EQ(ns.FindInode(dir)->ctime, 700u);
  EXPECT_NE(ns.FindInode(dir)->mtime, 700u);
  EXPECT_EQ(ns.PartOf(root).subdirectories, 1u);
  EXPECT_EQ(ns.PartOf(to).subdirectories, 1u);
}

TEST_F(Transactions, ChecksAreThoseOfTheirCred) {
  const InodeId open = shard.MakeDir(root, "open", kRoot, 0777), closed = shard.MakeDir(root, "closed", kRoot, 0755);
  const InodeId sticky = shard.MakeDir(root, "sticky", kRoot, 01777);
  ns.FindInode(sticky)->permissions = 01777;  // mkdir keeps it, but be sure
  const InodeId x = (*shard.Make(sticky, "x", FileType::kFile, kAlice))->id;
  const auto add = [](InodeId dir, bool check) {
    TxnOp op = DentryOp(dir, "n", {}, kFar);
    op.check = check;
    return op;
  };
  EXPECT_EQ(Prepare(1, {add(closed, true)}, kBob), Code::kAccess);
  EXPECT_TRUE(Prepare(1, {add(closed, false)}, kBob).ok());
  Decide(1, false);
  EXPECT_TRUE(Prepare(1, {add(open, true)}, kBob).ok());
  Decide(1, false);
  TxnOp gone = DentryOp(sticky, "x", x, {});
  gone.sticky_check = true;
  gone.expect_uid = kAlice.uid;
  EXPECT_EQ(Prepare(1, {gone}, kBob), Code::kPermission);
  EXPECT_TRUE(Prepare(1, {gone}, kAlice).ok());
  Decide(1, false);
  TxnOp parent = DirOp(TxnKind::kDirParent, closed, open);
  parent.check = true;
  EXPECT_EQ(Prepare(1, {parent}, kBob), Code::kAccess);
  EXPECT_TRUE(Prepare(1, {parent}, kRoot).ok());
  Decide(1, false);
  TxnOp link = LinkOp(x, 1);
  link.check = true;
  EXPECT_EQ(Prepare(1, {link}, kBob), Code::kPermission) << "protected hard links";
  link.check = false;
  EXPECT_TRUE(Prepare(1, {link}, kBob).ok());
  Decide(1, false);
}

}  // namespace
}  // namespace mayfly
