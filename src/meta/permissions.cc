#include "meta/permissions.h"

namespace mayfly {
namespace {

constexpr uint16_t kGroupExec = 010;

bool IsRoot(const Cred& cred) { return cred.uid == 0; }
bool InGroup(const Cred& cred, uint32_t gid) { return IsRoot(cred) || cred.HasGroup(gid); }

// What Linux drops of a file when it changes hands or content.
uint16_t WithoutPrivileges(const Inode& inode, const Cred& cred) {
  uint16_t permissions = inode.permissions & static_cast<uint16_t>(~kSuid);
  if ((permissions & kGroupExec) != 0 || !InGroup(cred, inode.gid)) permissions &= static_cast<uint16_t>(~kSgid);
  return permissions;
}

}  // namespace

bool MayAccess(FileType type, uint16_t permissions, uint32_t uid, uint32_t gid, const Cred& cred, uint32_t want) {
  if (IsRoot(cred)) return type == FileType::kDirectory || (want & kMayExec) == 0 || (permissions & 0111) != 0;
  uint32_t bits = permissions;
  if (cred.uid == uid) {
    bits >>= 6;
  } else if (cred.HasGroup(gid)) {
    bits >>= 3;
  }
  return (want & ~bits & 7) == 0;
}

Status MayChange(const DirRights& dir, const Cred& cred) {
  return MayAccess(FileType::kDirectory, dir.permissions, dir.uid, dir.gid, cred, kMayWrite | kMayExec) ? Code::kOk
                                                                                                        : Code::kAccess;
}

Status MaySearch(const DirRights& dir, const Cred& cred) {
  return MayAccess(FileType::kDirectory, dir.permissions, dir.uid, dir.gid, cred, kMayExec) ? Code::kOk : Code::kAccess;
}

Status MayRemoveFrom(const DirRights& dir, uint32_t inode_uid, const Cred& cred) {
  MAYFLY_TRY(MayChange(dir, cred));
  const bool owner = IsRoot(cred) || cred.uid == inode_uid || cred.uid == dir.uid;
  return (dir.permissions & kSticky) == 0 || owner ? Code::kOk : Code::kPermission;
}

Status MayLink(const Inode& inode, const Cred& cred) {
  if (IsRoot(cred) || cred.uid == inode.uid) return {};
  constexpr uint16_t kSgidExec = kSgid | kGroupExec;
  const bool plain = inode.type == FileType::kFile && (inode.permissions & kSuid) == 0 &&
                     (inode.permissions & kSgidExec) != kSgidExec &&
                     MayAccess(inode.type, inode.permissions, inode.uid, inode.gid, cred, kMayRead | kMayWrite);
  return plain ? Code::kOk : Code::kPermission;
}

uint32_t GroupOfNew(const DirRights& parent, const Cred& cred) {
  return (parent.permissions & kSgid) != 0 ? parent.gid : cred.gid;
}

uint16_t PermissionsOfNew(FileType type, uint16_t asked, const DirRights& parent, const Cred& cred) {
  const bool sgid_parent = (parent.permissions & kSgid) != 0;
  if (type == FileType::kSymlink) return 0777;
  if (type == FileType::kDirectory) return (asked & 01777) | (sgid_parent ? kSgid : 0);
  const bool executable = (asked & (kGroupExec | kAskedGroupExec)) != 0;
  asked &= kPermissionBits;
  if (sgid_parent && executable && !InGroup(cred, parent.gid)) asked &= static_cast<uint16_t>(~kSgid);
  return asked;
}

Status MaySetAttr(const Inode& inode, const SetAttrRequest& request, const Cred& cred) {
  const bool owner = IsRoot(cred) || cred.uid == inode.uid;
  const auto asks = [&request](uint32_t bits) { return (request.mask & bits) != 0; };
  if (asks(kSetSize)) {
    if (inode.type == FileType::kDirectory) return Code::kIsDirectory;
    if (inode.type != FileType::kFile) return Code::kInvalid;
    if (!asks(kByHandle) && !MayAccess(inode.type, inode.permissions, inode.uid, inode.gid, cred, kMayWrite)) {
      return Code::kAccess;
    }
  }
  // Both times to "now" is a touch, which whoever may write may do; any other change of times is the owner's.
  const bool touch = asks(kSetAtimeNow) && asks(kSetMtimeNow) && !asks(kSetAtime | kSetMtime);
  if (touch && !owner && !MayAccess(inode.type, inode.permissions, inode.uid, inode.gid, cred, kMayWrite)) {
    return Code::kAccess;
  }
  if (asks(kSetMode) && inode.type == FileType::kSymlink) return Code::kNotSupported;
  if (!IsRoot(cred)) {
    if (asks(kSetUid) && !(owner && request.uid == inode.uid)) return Code::kPermission;
    if (asks(kSetGid) && !(owner && (request.gid == inode.gid || cred.HasGroup(request.gid)))) return Code::kPermission;
    // A chown of neither id is anyone's, as long as it takes no privileges away.
    const bool drops = inode.type != FileType::kDirectory && WithoutPrivileges(inode, cred) != inode.permissions;
    if (asks(kSetOwner) && !owner && drops) return Code::kPermission;
  }
  const bool times = asks(kSetAtime | kSetMtime | kSetAtimeNow | kSetMtimeNow) && !touch;
  if ((asks(kSetMode) || times) && !owner) return Code::kPermission;
  return {};
}

uint16_t PermissionsAfter(const Inode& inode, const SetAttrRequest& request, const Cred& cred) {
  if ((request.mask & kSetMode) != 0) {
    const uint32_t gid = (request.mask & kSetGid) != 0 ? request.gid : inode.gid;
    const uint16_t permissions = request.permissions & kPermissionBits;
    return InGroup(cred, gid) ? permissions : permissions & static_cast<uint16_t>(~kSgid);
  }
  if ((request.mask & (kSetUid | kSetGid | kSetOwner)) != 0 && inode.type != FileType::kDirectory) {
    return WithoutPrivileges(inode, cred);
  }
  if ((request.mask & kSetSize) != 0) return PermissionsAfterWrite(inode, cred);
  return inode.permissions;
}

uint16_t PermissionsAfterWrite(const Inode& inode, const Cred& cred) {
  return IsRoot(cred) ? inode.permissions : WithoutPrivileges(inode, cred);
}

}  // namespace mayfly
