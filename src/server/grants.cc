#include "server/grants.h"

#include "base/log.h"

namespace mayfly {
namespace {

uint8_t RightsOf(uint32_t flags) {
  return static_cast<uint8_t>(((flags & kOpenRead) != 0 ? kGrantRead : 0) |
                              ((flags & kOpenWrite) != 0 ? kGrantWrite : 0));
}

Grant Tagged(const TagKey& key, const Party& party, InodeId inode, uint8_t rights) {
  Grant grant;
  grant.rights = rights;
  grant.tag = GrantTag(key, inode, party.process, party.cred.uid, rights);
  return grant;
}

}  // namespace

Grant Grants::Make(const Party& party, InodeId inode, uint32_t flags) const {
  return Tagged(key_, party, inode, RightsOf(flags));
}

Grant Grants::MakeBirth(const Party& party, InodeId inode) const { return Tagged(key_, party, inode, kBirthRights); }

Status Grants::CheckInherited(const Party& party, ClientId opener, InodeId inode, const Grant& grant, uint32_t flags) {
  if ((flags & kOpenTruncate) != 0) flags |= kOpenWrite;
  if (Holds(opener, party.cred.uid, inode, grant, RightsOf(flags))) return Code::kOk;
  return Refuse(party, inode);
}

Status Grants::Refuse(const Party& party, InodeId inode) {
  if (refused_++ == 0) {
    MAYFLY_WARN(
        "a request of uid {} (pid {} on {}) for inode {:x} showed no right to it and was refused: it gets EBADF; more "
        "of them are only counted (refused_grants in `mayfly status`)",
        party.cred.uid, party.pid, party.host, inode.value);
  }
  return Code::kBadHandle;
}

}  // namespace mayfly
