// What a process wrote down of a file that it made (BirthRecord), for whoever makes it: the shard, and a salvage.
// Functions.
#pragma once

#include "meta/namespace.h"
#include "wire/outbox.h"

namespace mayfly {

// Of an inode that is there: whether that is this file.
inline bool IsBorn(Namespace& names, const BirthRecord& record) {
  const auto entry = names.Find(record.parent, record.name);
  return entry.ok() && entry->inode == record.inode;
}

// A view into the record's name. kInvalid.
inline Result<Namespace::Creation> CreationOf(const BirthRecord& record) {
  Namespace::Creation what;
  what.parent = record.parent;
  what.name = record.name;
  what.type = FileType::kFile;
  what.permissions = record.permissions;
  what.chunk_bits = record.chunk_bits;
  what.inode = record.inode;
  if (what.chunk_bits != 0 && (what.chunk_bits < kChunkBitsMin || what.chunk_bits > kChunkBitsMax)) {
    return Code::kInvalid;
  }
  return what;
}

}  // namespace mayfly
