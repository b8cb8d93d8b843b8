// Grants: what an open gives its process (wire/types.h, Grant) and what requests about a file's bytes show. A shard
// that holds chunks of a file knows nothing of who opened it at its home; the tag tells it, without a message and
// without a table. Belongs to a shard. Invariants  G1  a client's request about bytes is served only with a grant for
// this inode, its process and its uid.
//             G2  rights are those of the moment of the open: a later chmod or chown changes nothing for who has it
//             open.
#pragma once

#include "rpc/responder.h"
#include "wire/header.h"

namespace mayfly {

class Grants {
 public:
  explicit Grants(const Secret& server_secret) : key_(GrantKey(server_secret)) {}

  // Of an open with these flags (OpenFlags), or of the reading of a directory.
  Grant Make(const Party& party, InodeId inode, uint32_t flags) const;

  // To make a file of this number, and of all rights to it then.
  Grant MakeBirth(const Party& party, InodeId inode) const;

  // kBadHandle, counted, unless `grant` is this party's and has all rights of `want` (GrantRights; 0: any grant will
  // do). Peers need none: they act for a client that showed its own.
  Status Check(const Party& party, InodeId inode, const Grant& grant, uint8_t want) {
    if (party.peer || Holds(party.process, party.cred.uid, inode, grant, want)) return Code::kOk;  // G1
    return Refuse(party, inode);
  }
  // Likewise, for a grant that `opener` got and a child of it shows, to open with these flags.
  Status CheckInherited(const Party& party, ClientId opener, InodeId inode, const Grant& grant, uint32_t flags);

  // Requests that showed none.
  uint64_t refused() const { return refused_; }

 private:
  bool Holds(ClientId process, uint32_t uid, InodeId inode, const Grant& grant, uint8_t want) const {
    return (want & ~grant.rights) == 0 && (GrantTag(key_, inode, process, uid, grant.rights) ^ grant.tag) == 0;
  }
  Status Refuse(const Party& party, InodeId inode);

  TagKey key_;
  uint64_t refused_ = 0;
};

}  // namespace mayfly
