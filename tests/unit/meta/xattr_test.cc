#include "meta/xattrs.h"
#include "unit/meta/support.h"

namespace mayfly {
namespace {

class Xattrs : public testing::Test {
 protected:
  Inode* Make(std::string_view name, FileType type, uint16_t permissions) {
    Inode* inode = *shard.Make(shard.root, name, type, kRoot, permissions);
    inode->permissions = permissions;
    inode->uid = inode->gid = kAlice.uid;
    return inode;
  }
  Code Set(Inode* inode, std::string_view name, const Cred& cred, std::string_view value = "v", uint32_t flags = 0) {
    return shard.ns.SetXattr(*inode, name, value, flags, cred, ++now).code();
  }
  Code Get(Inode* inode, std::string_view name, const Cred& cred) {
    return shard.ns.GetXattr(*inode, name, cred).code();
  }
  Code Remove(Inode* inode, std::string_view name, const Cred& cred) {
    return shard.ns.RemoveXattr(*inode, name, cred, ++now).code();
  }
  void TearDown() override { EXPECT_EQ(shard.ns.Check(), ""); }

  Shard shard{3, 0777};
  Nanos now = 1000;
};

TEST_F(Xattrs, FlagsSayWhetherItMayBeThere) {
  Inode* f = Make("f", FileType::kFile, 0644);
  EXPECT_EQ(Set(f, "user.a", kAlice, "1", kXattrReplace), Code::kNoData);
  EXPECT_EQ(Set(f, "user.a", kAlice, "1", kXattrCreate | kXattrReplace), Code::kNoData);
  EXPECT_EQ(Set(f, "user.a", kAlice, "1", kXattrCreate), Code::kOk);
  EXPECT_EQ(Set(f, "user.a", kAlice, "2", kXattrCreate), Code::kExists);
  EXPECT_EQ(Set(f, "user.a", kAlice, "2", kXattrCreate | kXattrReplace), Code::kExists);
  EXPECT_EQ(*shard.ns.GetXattr(*f, "user.a", kAlice), "1");
  EXPECT_EQ(Set(f, "user.a", kAlice, "2", kXattrReplace), Code::kOk);
  EXPECT_EQ(Set(f, "user.a", kAlice, "3", 4), Code::kInvalid);
  EXPECT_EQ(*shard.ns.GetXattr(*f, "user.a", kAlice), "2");
  EXPECT_EQ(Set(f, "user.a", kAlice, ""), Code::kOk);
  EXPECT_EQ(*shard.ns.GetXattr(*f, "user.a", kAlice), "");
  EXPECT_EQ(Remove(f, "user.a", kAlice), Code::kOk);
  EXPECT_EQ(Remove(f, "user.a", kAlice), Code::kNoData);
  EXPECT_EQ(Get(f, "user.a", kAlice), Code::kNoData);
}

TEST_F(Xattrs, NamesAndValuesHaveLimits) {
  Inode* f = Make("f", FileType::kFile, 0644);
  const std::string fits = "user." + std::string(250, 'n'), longer = fits + "n";
  EXPECT_EQ(Set(f, fits, kAlice), Code::kOk);
  for (const std::string& name : {longer, std::string()}) {
    EXPECT_EQ(Set(f, name, kAlice), Code::kRange);
    EXPECT_EQ(Get(f, name, kAlice), Code::kRange);
    EXPECT_EQ(Remove(f, name, kAlice), Code::kRange);
  }
  EXPECT_EQ(Set(f, "user.v", kAlice, std::string(kXattrValueBytesMax, 'v')), Code::kOk);
  EXPECT_EQ(Set(f, "user.v", kAlice, std::string(kXattrValueBytesMax + 1, 'v')), Code::kTooBig);
  EXPECT_EQ(Set(f, "user.v", kBob, std::string(kXattrValueBytesMax + 1, 'v')), Code::kTooBig);
  for (const char* name : {"user.", "trusted.", "security."}) {
    EXPECT_EQ(Set(f, name, kRoot), Code::kInvalid);
    EXPECT_EQ(Get(f, name, kRoot), Code::kInvalid);
    EXPECT_EQ(Remove(f, name, kRoot), Code::kInvalid);
  }
  Code code = Code::kOk;
  int held = 1;
  for (; code == Code::kOk; ++held) code = Set(f, "user." + std::to_string(held), kAlice, std::string(65536, 'v'));
  EXPECT_EQ(code, Code::kNoSpace);
  EXPECT_LE(static_cast<uint64_t>(held) * 65536, kXattrsBytesMax + 65536);
  EXPECT_EQ(Set(f, "user.1", kAlice, "less"), Code::kOk);
}

struct Row {
  const char* name;
  Code owner_set, owner_get, other_set, other_get, root_set;  // get of one that is there
};

// A file of alice's, 0600, asked by her, by bob and by root.
TEST_F(Xattrs, EachPrefixHasItsRule) {
  constexpr Code kOk = Code::kOk;
  const Row kRows[] = {
      {"user.a", kOk, kOk, Code::kAccess, Code::kAccess, kOk},
      {"trusted.a", Code::kPermission, Code::kNoData, Code::kPermission, Code::kNoData, kOk},
      {"security.a", Code::kPermission, kOk, Code::kPermission, kOk, kOk},
      {"system.a", Code::kNotSupported, Code::kNotSupported, Code::kNotSupported, Code::kNotSupported,
       Code::kNotSupported},
      {"other.a", Code::kNotSupported, Code::kNotSupported, Code::kAccess, Code::kAccess, Code::kNotSupported},
  };
  Inode* f = Make("f", FileType::kFile, 0600);
  for (const Row& row : kRows) {
    EXPECT_EQ(Set(f, row.name, kRoot), row.root_set) << row.name;
    EXPECT_EQ(Set(f, row.name, kAlice), row.owner_set) << row.name;
    EXPECT_EQ(Get(f, row.name, kAlice), row.owner_get) << row.name;
    EXPECT_EQ(Set(f, row.name, kBob), row.other_set) << row.name;
    EXPECT_EQ(Get(f, row.name, kBob), row.other_get) << row.name;
    EXPECT_EQ(Remove(f, row.name, kBob), row.other_set) << row.name;
    EXPECT_EQ(Remove(f, row.name, kRoot), row.root_set) << row.name;
  }
}

TEST_F(Xattrs, UserOnesAreForFilesAndDirectories) {
  Inode* link = Make("l", FileType::kSymlink, 0777);
  for (const Cred& cred : {kRoot, kAlice}) {
    EXPECT_EQ(Set(link, "user.a", cred), Code::kPermission);
    EXPECT_EQ(Get(link, "user.a", cred), Code::kNoData);
    EXPECT_EQ(Remove(link, "user.a", cred), Code::kPermission);
  }
  EXPECT_EQ(Set(link, "trusted.a", kRoot), Code::kOk);
  Inode* dir = Make("d", FileType::kDirectory, 0777);
  EXPECT_EQ(Set(dir, "user.a", kBob), Code::kOk);
  dir->permissions = 01777;
  EXPECT_EQ(Set(dir, "user.a", kBob), Code::kPermission);
  EXPECT_EQ(Remove(dir, "user.a", kBob), Code::kPermission);
  EXPECT_EQ(Get(dir, "user.a", kBob), Code::kOk);
  EXPECT_EQ(Set(dir, "user.a", kAlice), Code::kOk);
  EXPECT_EQ(Set(dir, "user.a", kRoot), Code::kOk);
  dir->permissions = 0777;
}

TEST_F(Xattrs, ListsAreInTheOrderOfTmpfsAndHideTrustedOnes) {
  Inode* f = Make("f", FileType::kFile, 0600);
  EXPECT_EQ(shard.ns.ListXattr(*f, kRoot), "");
  for (const char* name : {"user.z", "trusted.m", "security.q", "user.c"}) EXPECT_EQ(Set(f, name, kRoot), Code::kOk);
  using namespace std::string_view_literals;
  EXPECT_EQ(shard.ns.ListXattr(*f, kRoot), "user.z\0user.c\0trusted.m\0security.q\0"sv);
  EXPECT_EQ(shard.ns.ListXattr(*f, kBob), "user.z\0user.c\0security.q\0"sv) << "names are no secret";
}

TEST_F(Xattrs, OnlyChangesTouchTheCtime) {
  Inode* f = Make("f", FileType::kFile, 0644);
  EXPECT_EQ(Set(f, "user.a", kAlice), Code::kOk);
  EXPECT_EQ(f->ctime, now);
  const Nanos before = f->ctime, mtime = f->mtime;
  const uint64_t version = f->version;
  EXPECT_EQ(Set(f, "user.a", kAlice, "x", kXattrCreate), Code::kExists);
  EXPECT_EQ(Remove(f, "user.b", kAlice), Code::kNoData);
  EXPECT_EQ(Get(f, "user.a", kAlice), Code::kOk);
  EXPECT_EQ(f->ctime, before);
  EXPECT_EQ(f->version, version);
  EXPECT_EQ(Remove(f, "user.a", kAlice), Code::kOk);
  EXPECT_EQ(f->ctime, now);
  EXPECT_EQ(f->mtime, mtime);
  EXPECT_GT(f->version, version);
}

TEST_F(Xattrs, AreCountedAsMemory) {
  Inode* f = Make("f", FileType::kFile, 0644);
  const uint64_t before = shard.ns.memory_bytes();
  EXPECT_EQ(Set(f, "user.a", kAlice, std::string(60000, 'v')), Code::kOk);
  EXPECT_GE(shard.ns.memory_bytes(), before + 60000);
  EXPECT_EQ(Remove(f, "user.a", kAlice), Code::kOk);
  EXPECT_LT(shard.ns.memory_bytes(), before + 1000);
  EXPECT_EQ(shard.Remove(shard.root, "f"), Code::kOk);
  EXPECT_LE(shard.ns.memory_bytes(), before);
}

}  // namespace
}  // namespace mayfly
