// The tables of who may do what, enumerated whole. The expected columns are what a 6.18 kernel answered on tmpfs.
#include "meta/permissions.h"

#include "unit/meta/support.h"

namespace mayfly {
namespace {

Inode MakeInode(FileType type, uint16_t permissions, uint32_t uid, uint32_t gid) {
  Inode inode;
  inode.id = InodeId(1);
  inode.type = type;
  inode.permissions = permissions;
  inode.uid = uid;
  inode.gid = gid;
  inode.nlink = 1;
  return inode;
}
DirRights MakeDir(uint16_t permissions, uint32_t uid, uint32_t gid) {
  DirRights rights;
  rights.permissions = permissions;
  rights.uid = uid;
  rights.gid = gid;
  return rights;
}

TEST(Permissions, TheFirstClassThatFitsDecides) {
  const Cred owner{1000, 1000, {}}, member{2000, 77, {}}, extra{2000, 5, {6, 77}}, other{2000, 2000, {}};
  const Cred both{1000, 77, {}};  // an owner whose group has more than he has
  for (const FileType type : {FileType::kFile, FileType::kDirectory}) {
    for (uint32_t bits = 0; bits < 01000; ++bits) {
      for (uint32_t want = 0; want < 8; ++want) {
        const auto may = [&](const Cred& cred) {
          return MayAccess(type, static_cast<uint16_t>(bits), 1000, 77, cred, want);
        };
        const uint32_t user = bits / 64, group = bits / 8 % 8, rest = bits % 8;
        EXPECT_EQ(may(owner), (user | want) == user);
        EXPECT_EQ(may(both), (user | want) == user);
        EXPECT_EQ(may(member), (group | want) == group);
        EXPECT_EQ(may(extra), (group | want) == group);
        EXPECT_EQ(may(other), (rest | want) == rest);
        const bool executable = user % 2 + group % 2 + rest % 2 > 0;
        EXPECT_EQ(may(kRoot), type == FileType::kDirectory || want % 2 == 0 || executable);
      }
    }
  }
}

TEST(Permissions, StickyDirectoriesKeepTheFilesOfOthers) {
  for (const bool sticky : {false, true}) {
    for (const uint32_t dir_uid : {0u, 1000u, 2000u}) {
      for (const uint32_t inode_uid : {0u, 1000u, 2000u}) {
        for (const Cred& cred : {kRoot, kAlice, kBob}) {
          const DirRights dir = MakeDir(sticky ? 01777 : 0777, dir_uid, 0);
          const bool may = !sticky || cred.uid == 0 || cred.uid == dir_uid || cred.uid == inode_uid;
          EXPECT_EQ(MayRemoveFrom(dir, inode_uid, cred).code(), may ? Code::kOk : Code::kPermission);
        }
      }
    }
  }
  for (uint16_t bits = 0; bits < 8; ++bits) {  // w and x first
    const Code code = MayRemoveFrom(MakeDir(01000 | bits, 0, 0), 0, kBob).code();
    EXPECT_EQ(code, (bits & 3) == 3 ? Code::kPermission : Code::kAccess);
  }
}

struct ChownCase {
  uint16_t before;
  uint16_t root, to_member, keep_foreign, from_foreign, keep_own;
};
// Of a file: by root; by its owner 1000 (group 1000): from 1000 to 5, of which he is a member; 77 to 77 and 77 to 1000,
// being no member of 77; 1000 to 1000 by uid only.
constexpr ChownCase kChown[] = {
    {06755, 0755, 0755, 0755, 0755, 0755},      {06745, 02745, 02745, 0745, 0745, 02745},
    {02745, 02745, 02745, 0745, 0745, 02745},   {02755, 0755, 0755, 0755, 0755, 0755},
    {04755, 0755, 0755, 0755, 0755, 0755},      {04745, 0745, 0745, 0745, 0745, 0745},
    {01755, 01755, 01755, 01755, 01755, 01755}, {0644, 0644, 0644, 0644, 0644, 0644},
};

uint16_t Chown(FileType type, uint16_t before, uint32_t old_gid, const Cred& cred, uint32_t mask, uint32_t uid,
               uint32_t gid) {
  const Inode inode = MakeInode(type, before, 1000, old_gid);
  SetAttrRequest request;
  request.mask = mask;
  request.uid = uid;
  request.gid = gid;
  EXPECT_TRUE(MaySetAttr(inode, request, cred).ok());
  return PermissionsAfter(inode, request, cred);
}

TEST(Permissions, ChownDropsSuidAndSgid) {
  const Cred owner{1000, 1000, {5}};
  for (const ChownCase& c : kChown) {
    EXPECT_EQ(Chown(FileType::kFile, c.before, 1000, kRoot, kSetUid | kSetGid, 1001, 1001), c.root);
    EXPECT_EQ(Chown(FileType::kFile, c.before, 1000, owner, kSetGid, 0, 5), c.to_member);
    EXPECT_EQ(Chown(FileType::kFile, c.before, 77, owner, kSetGid, 0, 77), c.keep_foreign);
    EXPECT_EQ(Chown(FileType::kFile, c.before, 77, owner, kSetGid, 0, 1000), c.from_foreign);
    EXPECT_EQ(Chown(FileType::kFile, c.before, 1000, owner, kSetUid, 1000, 0), c.keep_own);
    for (const uint32_t old_gid : {77u, 1000u}) {  // a directory keeps all
      EXPECT_EQ(Chown(FileType::kDirectory, c.before, old_gid, owner, kSetGid, 0, 5), c.before);
      EXPECT_EQ(Chown(FileType::kDirectory, c.before, old_gid, kRoot, kSetUid, 7, 0), c.before);
    }
  }
}

TEST(Permissions, ChownOfNeitherIdIsAnyonesThatDropsNothing) {
  const Cred owner{1000, 1000, {5}}, member{2000, 2000, {1000}};
  for (const ChownCase& c : kChown) {
    EXPECT_EQ(Chown(FileType::kFile, c.before, 1000, kRoot, kSetOwner, 0, 0), c.root);
    EXPECT_EQ(Chown(FileType::kFile, c.before, 1000, owner, kSetOwner, 0, 0), c.keep_own);
    EXPECT_EQ(Chown(FileType::kDirectory, c.before, 1000, kBob, kSetOwner, 0, 0), c.before);
    SetAttrRequest request;
    request.mask = kSetOwner;
    const auto may = [&](const Cred& cred) {
      return MaySetAttr(MakeInode(FileType::kFile, c.before, 1000, 1000), request, cred).code();
    };
    EXPECT_EQ(may(kBob), (c.before & 06000) == 0 ? Code::kOk : Code::kPermission);
    EXPECT_EQ(may(member), c.keep_own == c.before ? Code::kOk : Code::kPermission);
  }
}

TEST(Permissions, OnlyRootGivesAwayAndOwnersChangeAmongTheirGroups) {
  const Cred owner{1000, 1000, {5}};
  for (const Cred& cred : {kRoot, owner, kBob}) {
    for (const uint32_t uid : {0u, 1000u, 2000u}) {
      for (const uint32_t gid : {0u, 5u, 77u, 1000u, 2000u}) {
        for (const uint32_t mask : {kSetUid + 0u, kSetGid + 0u, kSetUid | kSetGid}) {
          const Inode inode = MakeInode(FileType::kFile, 0666, 1000, 77);
          SetAttrRequest request;
          request.mask = mask;
          request.uid = uid;
          request.gid = gid;
          bool may = cred.uid == 0;
          if (cred.uid == 1000) {
            may = ((mask & kSetUid) == 0 || uid == 1000) &&
                  ((mask & kSetGid) == 0 || gid == 5 || gid == 77 || gid == 1000);
          }
          EXPECT_EQ(MaySetAttr(inode, request, cred).code(), may ? Code::kOk : Code::kPermission);
        }
      }
    }
  }
}

TEST(Permissions, ChmodNeedsTheOwnerAndForSgidTheGroup) {
  for (const FileType type : {FileType::kFile, FileType::kDirectory, FileType::kSymlink}) {
    for (const uint32_t gid : {77u, 1000u}) {
      for (const Cred& cred : {kRoot, kAlice, Cred{1000, 1, {77}}, kBob, Cred{2000, gid, {}}}) {
        const Inode inode = MakeInode(type, 0777, 1000, gid);
        SetAttrRequest request;
        request.mask = kSetMode;
        request.permissions = 07777;
        const bool owner = cred.uid == 0 || cred.uid == 1000;
        const Code code = MaySetAttr(inode, request, cred).code();
        EXPECT_EQ(code, type == FileType::kSymlink ? Code::kNotSupported : owner ? Code::kOk : Code::kPermission);
        if (code != Code::kOk) continue;
        EXPECT_EQ(PermissionsAfter(inode, request, cred), cred.uid == 0 || cred.HasGroup(gid) ? 07777 : 05777);
      }
    }
  }
}

// 'N' now, 'O' omitted, 'E' explicit. The owner may all; who may write may touch; the errors differ.
TEST(Permissions, TouchIsTheWritersAndOtherTimesAreTheOwners) {
  for (const uint16_t permissions : {0666, 0644}) {
    for (const char atime : {'N', 'O', 'E'}) {
      for (const char mtime : {'N', 'O', 'E'}) {
        for (const Cred& cred : {kRoot, kAlice, kBob}) {
          SetAttrRequest request;
          request.mask = (atime == 'N'   ? kSetAtimeNow + 0u
                          : atime == 'E' ? kSetAtime + 0u
                                         : 0) |
                         (mtime == 'N'   ? kSetMtimeNow + 0u
                          : mtime == 'E' ? kSetMtime + 0u
                                         : 0);
          Code expected = Code::kOk;
          if (cred.uid == 2000 && request.mask != 0) {
            const bool touch = atime == 'N' && mtime == 'N';
            expected = !touch ? Code::kPermission : permissions == 0666 ? Code::kOk : Code::kAccess;
          }
          const Inode inode = MakeInode(FileType::kFile, permissions, 1000, 1000);
          EXPECT_EQ(MaySetAttr(inode, request, cred).code(), expected) << atime << mtime << cred.uid;
        }
      }
    }
  }
}

TEST(Permissions, TruncateNeedsWriteButNotByHandle) {
  SetAttrRequest request;
  request.mask = kSetSize;
  for (const Cred& cred : {kRoot, kAlice, kBob}) {
    EXPECT_EQ(MaySetAttr(MakeInode(FileType::kFile, 0644, 1000, 1000), request, cred).code(),
              cred.uid == 2000 ? Code::kAccess : Code::kOk);
    EXPECT_EQ(MaySetAttr(MakeInode(FileType::kDirectory, 0700, 1000, 1000), request, cred).code(), Code::kIsDirectory);
    EXPECT_EQ(MaySetAttr(MakeInode(FileType::kSymlink, 0777, 1000, 1000), request, cred).code(), Code::kInvalid);
  }
  request.mask |= kByHandle;
  EXPECT_TRUE(MaySetAttr(MakeInode(FileType::kFile, 0444, 1000, 1000), request, kBob).ok());
}

TEST(Permissions, WritingDropsPrivilegesButForRoot) {
  const auto after = [](uint16_t permissions, uint32_t gid, const Cred& cred) {
    return PermissionsAfterWrite(MakeInode(FileType::kFile, permissions, 1000, gid), cred);
  };
  for (const Cred& cred : {kAlice, kBob}) {
    EXPECT_EQ(after(06755, cred.gid, cred), 0755);
    EXPECT_EQ(after(02745, cred.gid, cred), 02745);
    EXPECT_EQ(after(02745, 77, cred), 0745);
    EXPECT_EQ(after(05644, 77, cred), 01644);
  }
  EXPECT_EQ(after(06755, 1000, kRoot), 06755);
}

TEST(Permissions, NewInodesFollowTheirDirectory) {
  const Cred member{1000, 1000, {77}};
  for (const bool sgid : {false, true}) {
    const DirRights dir = MakeDir(sgid ? 02777 : 0777, 0, 77);
    for (const Cred& cred : {kRoot, kAlice, member}) {
      EXPECT_EQ(GroupOfNew(dir, cred), sgid ? 77 : cred.gid);
      const bool foreign = sgid && cred.uid != 0 && !cred.HasGroup(77);
      EXPECT_EQ(PermissionsOfNew(FileType::kFile, 07777, dir, cred), foreign ? 05777 : 07777);
      EXPECT_EQ(PermissionsOfNew(FileType::kFile, 02767, dir, cred), 02767);
      EXPECT_EQ(PermissionsOfNew(FileType::kFile, 02767 | kAskedGroupExec, dir, cred), foreign ? 0767 : 02767);
      EXPECT_EQ(PermissionsOfNew(FileType::kDirectory, 07777, dir, cred), sgid ? 03777 : 01777);
      EXPECT_EQ(PermissionsOfNew(FileType::kDirectory, 0700, dir, cred), sgid ? 02700 : 0700);
      EXPECT_EQ(PermissionsOfNew(FileType::kSymlink, 0, dir, cred), 0777);
    }
  }
}

TEST(Permissions, HardLinksToFilesOfOthersAreProtected) {
  const struct {
    uint16_t permissions;
    bool may;
  } kCases[] = {{0666, true}, {0644, false}, {04666, false}, {02676, false}, {02666, true}, {01666, true}};
  for (const auto& c : kCases) {
    const Inode inode = MakeInode(FileType::kFile, c.permissions, 1000, 1000);
    EXPECT_EQ(MayLink(inode, kBob).code(), c.may ? Code::kOk : Code::kPermission);
    EXPECT_TRUE(MayLink(inode, kAlice).ok());
    EXPECT_TRUE(MayLink(inode, kRoot).ok());
  }
  EXPECT_EQ(MayLink(MakeInode(FileType::kSymlink, 0777, 1000, 1000), kBob).code(), Code::kPermission);
}

}  // namespace
}  // namespace mayfly
