// What the tests of this room share: who asks, and a namespace of one shard with its root.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "meta/namespace.h"

namespace mayfly {

inline void PrintTo(Code code, std::ostream* out) { *out << TextOf(code); }

inline const Cred kRoot{0, 0, {}};
inline const Cred kAlice{1000, 1000, {}};
inline const Cred kBob{2000, 2000, {}};

struct Shard {
  explicit Shard(uint32_t id = 3, uint16_t root_permissions = 0755) : ns({ShardId(id), 22}) {
    root = ns.CreateRoot(0, 0, root_permissions, 1)->id;
  }
  Result<Inode*> Make(InodeId parent, std::string_view name, FileType type = FileType::kFile, const Cred& cred = kRoot,
                      uint16_t permissions = 0755, Nanos now = 10) {
    return ns.Create({parent, name, type, permissions, 0, type == FileType::kSymlink ? "to" : ""}, cred, now);
  }
  // A directory whose part is joined here, as the server does before the first entry.
  InodeId MakeDir(InodeId parent, std::string_view name, const Cred& cred = kRoot, uint16_t permissions = 0755) {
    Inode* dir = *Make(parent, name, FileType::kDirectory, cred, permissions);
    dir->Extra().shards.push_back(dir->id.home());
    ns.Join(ns.RightsOf(*dir));
    return dir->id;
  }
  Code Remove(InodeId parent, std::string_view name, const Cred& cred = kRoot, Nanos now = 20) {
    Result<Inode*> inode = ns.Unlink(parent, name, cred, now);
    if (inode.ok() && (*inode)->dead()) ns.Forget(**inode);
    return inode.code();
  }
  // Every name of a listing by pages of `bytes`, with the sequences they had.
  std::vector<std::pair<std::string, uint64_t>> ListAll(InodeId dir, size_t bytes = 4096) {
    std::vector<std::pair<std::string, uint64_t>> all;
    uint64_t after = 0;
    for (bool end = false; !end;) {
      std::vector<uint8_t> page(bytes);
      Encoder out{MutableBytes(page)};
      const ReadDirReply reply = ns.List(dir, after, out);
      EXPECT_TRUE(out.ok());
      Decoder in{Bytes(page.data(), out.size())};
      for (uint32_t i = 0; i < reply.count; ++i) {
        ListingEntry entry;
        in.Get(entry);
        all.emplace_back(entry.name, entry.sequence);
        after = entry.sequence;
      }
      EXPECT_TRUE(in.Finish().ok());
      EXPECT_TRUE(reply.end || reply.count > 0) << "a page of " << bytes << " bytes holds no entry";
      end = reply.end || reply.count == 0;
    }
    return all;
  }

  Namespace ns;
  InodeId root;
};

inline TxnOp DentryOp(InodeId parent, std::string_view name, InodeId expect, InodeId set,
                      FileType expect_type = FileType::kFile, FileType set_type = FileType::kFile) {
  TxnOp op;
  op.kind = TxnKind::kDentry;
  op.inode = parent;
  op.name = name;
  op.expect = expect;
  op.set = set;
  op.expect_type = expect.valid() ? expect_type : FileType::kNone;
  op.set_type = set.valid() ? set_type : FileType::kNone;
  return op;
}
inline TxnOp LinkOp(InodeId inode, int delta) {
  TxnOp op;
  op.kind = TxnKind::kLink;
  op.inode = inode;
  op.delta = static_cast<int8_t>(delta);
  return op;
}
inline TxnOp DirOp(TxnKind kind, InodeId dir, InodeId set = {}) {
  TxnOp op;
  op.kind = kind;
  op.inode = dir;
  op.set = set;
  return op;
}

}  // namespace mayfly
