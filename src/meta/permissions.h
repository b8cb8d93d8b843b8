// Who may do what, as Linux decides it on tmpfs (each rule was asked of a 6.18 kernel; tests/unit/meta holds the
// tables). Pure functions. uid 0 has every capability, nobody else has any.
// MayAccess is in namespace.h, as other rooms ask it.
#pragma once

#include "meta/namespace.h"

namespace mayfly {

constexpr uint16_t kSuid = 04000, kSgid = 02000, kSticky = 01000, kPermissionBits = 07777;

// w and x on a directory, as for adding an entry: kAccess.
Status MayChange(const DirRights& dir, const Cred& cred);
// x on a directory, as for looking a name up: kAccess.
Status MaySearch(const DirRights& dir, const Cred& cred);
// MayChange, then kPermission if the directory is sticky and neither it nor the inode belongs to `cred`.
Status MayRemoveFrom(const DirRights& dir, uint32_t inode_uid, const Cred& cred);
// A new hard link, with fs.protected_hardlinks on: the owner, or anyone who may read and write a plain file that is
// neither suid nor sgid and executable: kPermission.
Status MayLink(const Inode& inode, const Cred& cred);

// Group and permissions of a new inode: a sgid directory gives its group, and to directories the bit; mkdir takes no
// suid and sgid; a sgid executable needs membership in the group it gets, also one that the umask made none.
uint32_t GroupOfNew(const DirRights& parent, const Cred& cred);
uint16_t PermissionsOfNew(FileType type, uint16_t asked, const DirRights& parent, const Cred& cred);

// Whether every change of the request is allowed: nothing is changed.
Status MaySetAttr(const Inode& inode, const SetAttrRequest& request, const Cred& cred);
// The permissions after an allowed request.
uint16_t PermissionsAfter(const Inode& inode, const SetAttrRequest& request, const Cred& cred);
// The permissions after somebody other than root wrote or truncated: no suid; no sgid with group x, or of a group that
// is not the writer's.
uint16_t PermissionsAfterWrite(const Inode& inode, const Cred& cred);

}  // namespace mayfly
