// The inodes of one home by their sequence: a tree of pages without a hash, as sequences are dense. 16 inodes lie
// together in a leaf, 512 leaves hang on a branch; what is empty is freed, so files that came and went cost nothing
// but 8 bytes for each 8192 of them.
// Owned by one namespace, used by one thread. Inodes never move.
// Invariants  N1  an inode is in the place of its sequence, once.
//             N2  a leaf has an inode, a branch has a leaf; one empty one of each is kept, for a create and an unlink
//                 in turn.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "meta/inode.h"

namespace mayfly {

class InodeTable {
 public:
  InodeTable() = default;
  ~InodeTable();
  InodeTable(const InodeTable&) = delete;
  InodeTable& operator=(const InodeTable&) = delete;

  Inode* Find(uint64_t sequence) {
    if (sequence / kBranchSpan >= root_.size()) return nullptr;
    Branch* branch = root_[sequence / kBranchSpan].get();
    if (branch == nullptr) return nullptr;
    Leaf* leaf = branch->leaves[sequence / kLeafSpan % kLeaves].get();
    if (leaf == nullptr || (leaf->used >> (sequence % kLeafSpan) & 1) == 0) return nullptr;
    return leaf->At(sequence % kLeafSpan);
  }
  // The inode with the lowest sequence that is not below `sequence`; null if there is none.
  Inode* FirstFrom(uint64_t sequence);
  // A fresh inode; `sequence` is not in the table.
  Inode* Insert(uint64_t sequence);
  void Erase(uint64_t sequence);
  // In the order of sequence. `visit` may erase the inode it is given, and no other; it may not insert.
  void ForEach(const std::function<void(Inode&)>& visit);

  uint64_t size() const { return size_; }
  uint64_t memory_bytes() const;  // without InodeExtra

 private:
  static constexpr uint64_t kLeafSpan = 16, kLeaves = 512, kBranchSpan = kLeafSpan * kLeaves;
  struct Leaf {
    uint32_t used = 0;  // a bit an inode
    alignas(Inode) unsigned char places[kLeafSpan * sizeof(Inode)];
    Inode* At(uint64_t i) { return std::launder(reinterpret_cast<Inode*>(places + i * sizeof(Inode))); }
  };
  struct Branch {
    uint32_t used = 0;  // leaves
    std::array<std::unique_ptr<Leaf>, kLeaves> leaves;
  };

  std::vector<std::unique_ptr<Branch>> root_;
  std::unique_ptr<Leaf> spare_leaf_;
  std::unique_ptr<Branch> spare_branch_;
  uint64_t size_ = 0, leaves_ = 0, branches_ = 0;
};

}  // namespace mayfly
