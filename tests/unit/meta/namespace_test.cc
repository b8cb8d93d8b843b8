#include "meta/namespace.h"

#include "unit/meta/support.h"

namespace mayfly {
namespace {

TEST(Namespace, TheRootIsTheFirstInodeOfItsHome) {
  Shard shard(7, 01777);
  EXPECT_EQ(shard.root, InodeId::Make(ShardId(7), 1));
  EXPECT_TRUE(shard.ns.Joined(shard.root));
  const Inode& root = *shard.ns.FindInode(shard.root);
  EXPECT_EQ(root.permissions, 01777);
  EXPECT_EQ(root.nlink, 2u);
  EXPECT_EQ(root.extra->parent, shard.root);
  EXPECT_EQ(root.extra->shards, std::vector<ShardId>{ShardId(7)});
  EXPECT_EQ((*shard.Make(shard.root, "f"))->id, InodeId::Make(ShardId(7), 2));
  EXPECT_EQ(shard.ns.FindInode(InodeId::Make(ShardId(8), 2)), nullptr);
  EXPECT_EQ(shard.ns.Check(), "");
}

TEST(Namespace, NumbersAreNeverReused) {
  Namespace ns({ShardId(0), 22});
  const InodeId root = ns.CreateRoot(0, 0, 0755, 1)->id;
  ns.ReserveSequences(5000);
  ns.ReserveSequences(10);  // never back
  EXPECT_EQ(ns.next_sequence(), 5000u);
  for (uint64_t i = 5000; i < 5100; ++i) {
    Inode* inode = *ns.Create({root, "f"}, kRoot, 2);
    EXPECT_EQ(inode->id.sequence(), i);
    ns.Forget(**ns.Unlink(root, "f", kRoot, 3));
  }
  EXPECT_EQ(ns.Check(), "");
}

TEST(Namespace, FreshInodesAreWhatWasAsked) {
  Shard shard;
  const Inode* file = *shard.ns.Create({shard.root, "f", FileType::kFile, 0640, 18}, kRoot, 50);
  EXPECT_EQ(file->chunk_bits, 18);
  EXPECT_EQ(file->nlink, 1u);
  EXPECT_EQ(file->permissions, 0640);
  EXPECT_EQ(file->mtime, 50u);
  EXPECT_EQ(file->extra, nullptr);
  EXPECT_EQ((*shard.Make(shard.root, "g"))->chunk_bits, 22);
  const Inode* dir = *shard.Make(shard.root, "d", FileType::kDirectory);
  EXPECT_EQ(dir->nlink, 2u);
  EXPECT_EQ(dir->extra->parent, shard.root);
  EXPECT_EQ(shard.ns.AttrOf(*dir).chunk_bits, 0);
  EXPECT_EQ(shard.ns.AttrOf(*dir).size, 40u);
  const Inode* link = *shard.ns.Create({shard.root, "l", FileType::kSymlink, 0, 0, "to/where"}, kRoot, 50);
  EXPECT_EQ(link->extra->target, "to/where");
  EXPECT_EQ(link->size, 8u);
  EXPECT_EQ(link->permissions, 0777);
  EXPECT_EQ(shard.ns.PartOf(shard.root).entries, 4u);
  EXPECT_EQ(shard.ns.PartOf(shard.root).subdirectories, 1u);
}

TEST(Namespace, NamesAreAnyBytesButTheReservedOnes) {
  Shard shard;
  for (const std::string_view name : {std::string_view(""), std::string_view("."), std::string_view(".."),
                                      std::string_view("a/b"), std::string_view("a\0b", 3)}) {
    EXPECT_EQ(shard.Make(shard.root, name).code(), Code::kInvalid);
  }
  EXPECT_EQ(shard.Make(shard.root, std::string(256, 'n')).code(), Code::kNameTooLong);
  EXPECT_EQ(shard.Remove(shard.root, std::string(256, 'n')), Code::kNameTooLong);
  EXPECT_EQ(shard.ns.Create({shard.root, "l", FileType::kSymlink, 0, 0, std::string(4096, 't')}, kRoot, 1).code(),
            Code::kNameTooLong);
  EXPECT_EQ(shard.ns.Create({shard.root, "n", FileType::kNone}, kRoot, 1).code(), Code::kInvalid);
  for (int length = 1; length <= 255; ++length) EXPECT_TRUE(shard.Make(shard.root, std::string(length, '\xff')).ok());
  for (const char* name : {"...", " ", "\n", "-"}) EXPECT_TRUE(shard.Make(shard.root, name).ok());
  EXPECT_EQ(shard.ListAll(shard.root).size(), 259u);
  EXPECT_EQ(shard.ns.Check(), "");
}

// What the kernel looks at first: search, the name, what is there, write, sticky, the type.
TEST(Namespace, ErrorsComeInTheOrderOfTheKernel) {
  constexpr Code kOk = Code::kOk;
  const struct {
    uint16_t permissions;
    Code unlink_file, unlink_none, unlink_dir, make_there, make_long, make_new;
  } kRows[] = {
      {0700, Code::kAccess, Code::kAccess, Code::kAccess, Code::kAccess, Code::kAccess, Code::kAccess},
      {0774, Code::kAccess, Code::kAccess, Code::kAccess, Code::kAccess, Code::kAccess, Code::kAccess},
      {0771, Code::kAccess, Code::kNoEntry, Code::kAccess, Code::kExists, Code::kNameTooLong, Code::kAccess},
      {0775, Code::kAccess, Code::kNoEntry, Code::kAccess, Code::kExists, Code::kNameTooLong, Code::kAccess},
      {0773, kOk, Code::kNoEntry, Code::kIsDirectory, Code::kExists, Code::kNameTooLong, kOk},
      {0777, kOk, Code::kNoEntry, Code::kIsDirectory, Code::kExists, Code::kNameTooLong, kOk},
      {01777, Code::kPermission, Code::kNoEntry, Code::kPermission, Code::kExists, Code::kNameTooLong, kOk},
  };
  for (const auto& row : kRows) {
    Shard shard(3, row.permissions);
    ASSERT_TRUE(shard.Make(shard.root, "f").ok() && shard.Make(shard.root, "d", FileType::kDirectory).ok());
    EXPECT_EQ(shard.Make(shard.root, "d", FileType::kFile, kBob).code(), row.make_there) << std::oct << row.permissions;
    EXPECT_EQ(shard.Make(shard.root, std::string(256, 'x'), FileType::kFile, kBob).code(), row.make_long);
    EXPECT_EQ(shard.Make(shard.root, "new", FileType::kFile, kBob).code(), row.make_new);
    EXPECT_EQ(shard.Remove(shard.root, "none", kBob), row.unlink_none);
    EXPECT_EQ(shard.Remove(shard.root, "d", kBob), row.unlink_dir);
    EXPECT_EQ(shard.Remove(shard.root, "f", kBob), row.unlink_file);
  }
}

TEST(Namespace, WithoutAPartNothingIsThere) {
  Shard shard;
  const InodeId elsewhere = InodeId::Make(ShardId(9), 4);
  EXPECT_EQ(shard.Make(elsewhere, "f").code(), Code::kConflict);
  EXPECT_EQ(shard.Remove(elsewhere, "f"), Code::kNoEntry);
  EXPECT_EQ(shard.ns.Find(elsewhere, "f").code(), Code::kNoEntry);
  EXPECT_EQ(shard.ns.MayRemove(elsewhere, 0, kRoot), Code::kNoEntry);
  EXPECT_EQ(shard.ns.MayCreateIn(elsewhere, kRoot), Code::kConflict);
  EXPECT_EQ(shard.ns.Rights(elsewhere), nullptr);
  EXPECT_EQ(shard.ns.PartOf(elsewhere).entries, 0u);
}

TEST(Namespace, PartsTakeOnlyNewerRights) {
  Shard shard;
  DirRights rights;
  rights.dir = InodeId::Make(ShardId(9), 4);
  rights.permissions = 0700;
  rights.uid = 1000;
  rights.version = 5;
  shard.ns.UpdateRights(rights);
  EXPECT_FALSE(shard.ns.Joined(rights.dir)) << "an update joins nothing";
  shard.ns.Join(rights);
  ASSERT_TRUE(shard.Make(rights.dir, "f", FileType::kFile, kAlice, 0644, 99).ok());
  EXPECT_EQ(shard.ns.PartOf(rights.dir).mtime, 99u);
  rights.permissions = 0755;
  shard.ns.UpdateRights(rights);  // the same version
  rights.version = 4;
  shard.ns.Join(rights);
  EXPECT_EQ(shard.ns.Rights(rights.dir)->permissions, 0700);
  rights.version = 6;
  rights.clear_mtime = true;
  shard.ns.UpdateRights(rights);
  EXPECT_EQ(shard.ns.Rights(rights.dir)->permissions, 0755);
  EXPECT_EQ(shard.ns.PartOf(rights.dir).mtime, 0u);
  EXPECT_EQ(shard.ns.PartOf(rights.dir).ctime, 99u);
  EXPECT_EQ(shard.ns.MayCreateIn(rights.dir, kBob), Code::kAccess);
  EXPECT_EQ(shard.Remove(rights.dir, "f", kAlice), Code::kOk);
  shard.ns.LeavePart(rights.dir);
  EXPECT_FALSE(shard.ns.Joined(rights.dir));
  EXPECT_EQ(shard.ns.Check(), "");
}

TEST(Namespace, ADirectoryTellsItsPartsWhatChanged) {
  Shard shard;
  const InodeId id = shard.MakeDir(shard.root, "d");
  Inode& dir = *shard.ns.FindInode(id);
  ASSERT_TRUE(shard.Make(id, "f", FileType::kFile, kRoot, 0644, 99).ok());
  bool changed = false;
  SetAttrRequest request;
  const auto set = [&](uint32_t mask) {
    request.mask = mask;
    EXPECT_TRUE(shard.ns.SetAttr(dir, request, kRoot, 200, &changed).ok());
    EXPECT_EQ(shard.ns.Check(), "") << "the part beside the home follows";
  };
  const uint64_t version = shard.ns.RightsOf(dir).version;
  request.permissions = 0755;
  set(kSetMode);
  EXPECT_FALSE(changed) << "it was 0755";
  EXPECT_EQ(shard.ns.RightsOf(dir).version, version);
  EXPECT_EQ(dir.ctime, 200u);
  request.permissions = 0700;
  set(kSetMode);
  EXPECT_TRUE(changed);
  EXPECT_EQ(shard.ns.RightsOf(dir).version, version + 1);
  EXPECT_EQ(shard.ns.PartOf(id).mtime, 99u);
  request.atime = 5;
  set(kSetAtime);
  EXPECT_FALSE(changed);
  EXPECT_EQ(shard.ns.RightsOf(dir).version, version + 1);
  request.mtime = 100000;  // in the future: what comes after it counts all the same
  set(kSetMtime);
  EXPECT_FALSE(changed);
  EXPECT_EQ(shard.ns.RightsOf(dir).version, version + 2) << "or the parts would not forget their mtime";
  const auto mtime = [&] {
    const DirPartReply part = shard.ns.PartOf(id);
    return shard.ns.AttrOfDirectory(dir, {&part, 1}).mtime;
  };
  EXPECT_EQ(mtime(), 100000u);
  ASSERT_TRUE(shard.Make(id, "g", FileType::kFile, kRoot, 0644, 300).ok());
  EXPECT_EQ(mtime(), 300u);
}

TEST(Namespace, ADirectoryIsTheSumOfItsParts) {
  Shard shard;
  const InodeId id = shard.MakeDir(shard.root, "d");
  Inode& dir = *shard.ns.FindInode(id);
  dir.mtime = 50;
  dir.ctime = 60;
  const std::vector<DirPartReply> parts{{5, 2, 0, 10}, {1, 1, 70, 90}, {0, 0, 65, 65}};
  const Attr attr = shard.ns.AttrOfDirectory(dir, parts);
  EXPECT_EQ(attr.nlink, 5u);
  EXPECT_EQ(attr.size, 40u + 6 * 20);
  EXPECT_EQ(attr.mtime, 70u);
  EXPECT_EQ(attr.ctime, 90u);
  EXPECT_EQ(shard.ns.AttrOfDirectory(dir, {}).mtime, 50u);
}

TEST(Namespace, TimesFollowCreateAndUnlink) {
  Shard shard;
  Inode* inode = *shard.Make(shard.root, "f", FileType::kFile, kRoot, 0644, 100);
  shard.ns.RegisterOpen(*inode, ClientId(1));
  EXPECT_EQ(shard.ns.PartOf(shard.root).mtime, 100u);
  EXPECT_EQ(shard.Remove(shard.root, "f", kRoot, 200), Code::kOk);
  EXPECT_EQ(shard.ns.PartOf(shard.root).mtime, 200u);
  EXPECT_EQ(shard.ns.PartOf(shard.root).ctime, 200u);
  EXPECT_EQ(inode->ctime, 200u);
  EXPECT_EQ(inode->mtime, 100u);
  EXPECT_EQ(inode->nlink, 0u);
}

TEST(Namespace, ExposedIsRemembered) {
  Shard shard;
  shard.MakeDir(shard.root, "d");
  EXPECT_FALSE(shard.ns.Find(shard.root, "d")->exposed);
  shard.ns.Expose(shard.root, "d");
  EXPECT_TRUE(shard.ns.Find(shard.root, "d")->exposed);
  shard.ns.Expose(shard.root, "none");
}

TEST(Namespace, EveryInodeIsVisitedInOrder) {
  Shard shard;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(shard.Make(shard.root, "f" + std::to_string(i)).ok());
  for (int i = 0; i < 100; i += 3) ASSERT_EQ(shard.Remove(shard.root, "f" + std::to_string(i)), Code::kOk);
  InodeId last;
  uint64_t count = 0;
  shard.ns.ForEachInode([&](Inode& inode) {
    EXPECT_LT(last, inode.id);
    last = inode.id;
    ++count;
  });
  EXPECT_EQ(count, shard.ns.inodes());
  EXPECT_EQ(count, 67u);
}

TEST(Namespace, WritingClearsPrivileges) {
  Shard shard(3, 0777);
  Inode* inode = *shard.Make(shard.root, "f", FileType::kFile, kAlice, 06755);
  shard.ns.ClearPrivileges(*inode, kRoot);
  EXPECT_EQ(inode->permissions, 06755);
  shard.ns.ClearPrivileges(*inode, kBob);
  EXPECT_EQ(inode->permissions, 0755);
}

TEST(Namespace, AnnouncedRequestsChangeNothing) {
  Shard shard;
  const InodeId dir = shard.MakeDir(shard.root, "d");
  const InodeId file = (*shard.Make(dir, "f"))->id;
  const InodeId elsewhere = InodeId::Make(ShardId(9), 77);
  const uint64_t bytes = shard.ns.memory_bytes(), next = shard.ns.next_sequence();
  std::vector<Namespace::Foreseen> seen;
  uint64_t births = 0;
  for (const InodeId parent : {shard.root, dir, file, elsewhere, InodeId()}) {
    for (const std::string& name : {std::string("f"), std::string("none"), std::string(), std::string(300, 'x')}) {
      ++births;
      seen.push_back(shard.ns.Foresee(parent, name, ClientId(births), births));
      EXPECT_EQ(seen.back().parent, parent);
      EXPECT_EQ(seen.back().born, InodeId::Make(ShardId(3), next + births));
    }
  }
  for (const auto& one : seen) shard.ns.Foresee(one);
  EXPECT_EQ(shard.ns.memory_bytes(), bytes);
  EXPECT_EQ(shard.ns.next_sequence(), next);
  EXPECT_FALSE(shard.ns.Joined(elsewhere));
  EXPECT_EQ(shard.ns.Check(), "");
  // What was announced goes as it would have gone.
  EXPECT_EQ(shard.Make(elsewhere, "f").code(), Code::kConflict);
  EXPECT_EQ(shard.Make(dir, "f").code(), Code::kExists);
  EXPECT_EQ((*shard.Make(dir, "none"))->id, InodeId::Make(ShardId(3), next));
  EXPECT_EQ(shard.Remove(dir, "f"), Code::kOk);
}

}  // namespace
}  // namespace mayfly
