// The permission rule of POSIX (owner, else group, else others), for what the client decides itself: searching the
// directories of a path, access(2), listing. Shards decide everything else.
#pragma once

#include "wire/types.h"

namespace mayfly {

constexpr uint32_t kRightRead = 4, kRightWrite = 2, kRightExecute = 1;  // as in a mode's three bits

// uid 0 may do everything, but execute a file only if somebody may.
inline bool HasRights(const Cred& cred, const Attr& attr, uint32_t want) {
  if (cred.uid == 0) {
    return (want & kRightExecute) == 0 || attr.type == FileType::kDirectory || (attr.permissions & 0111) != 0;
  }
  const uint32_t shift = attr.uid == cred.uid ? 6 : cred.HasGroup(attr.gid) ? 3 : 0;
  return ((attr.permissions >> shift) & want) == want;
}

}  // namespace mayfly
