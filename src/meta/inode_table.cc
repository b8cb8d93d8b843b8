#include "meta/inode_table.h"

#include <algorithm>
#include <new>

#include "base/check.h"

namespace mayfly {

InodeTable::~InodeTable() {
  ForEach([](Inode& inode) { inode.~Inode(); });
}

Inode* InodeTable::Insert(uint64_t sequence) {
  if (sequence / kBranchSpan >= root_.size()) root_.resize(sequence / kBranchSpan + 1);
  std::unique_ptr<Branch>& branch = root_[sequence / kBranchSpan];
  if (branch == nullptr) {
    branch = spare_branch_ != nullptr ? std::move(spare_branch_) : std::make_unique<Branch>();
    ++branches_;
  }
  std::unique_ptr<Leaf>& leaf = branch->leaves[sequence / kLeafSpan % kLeaves];
  if (leaf == nullptr) {
    leaf = spare_leaf_ != nullptr ? std::move(spare_leaf_) : std::unique_ptr<Leaf>(new Leaf);
    ++branch->used;
    ++leaves_;
  }
  const uint32_t bit = uint32_t{1} << (sequence % kLeafSpan);
  MAYFLY_CHECK((leaf->used & bit) == 0);  // N1
  leaf->used |= bit;
  ++size_;
  return new (leaf->places + sequence % kLeafSpan * sizeof(Inode)) Inode;
}

void InodeTable::Erase(uint64_t sequence) {
  Inode* inode = Find(sequence);
  MAYFLY_CHECK(inode != nullptr);
  inode->~Inode();
  std::unique_ptr<Branch>& branch = root_[sequence / kBranchSpan];
  std::unique_ptr<Leaf>& leaf = branch->leaves[sequence / kLeafSpan % kLeaves];
  leaf->used &= ~(uint32_t{1} << (sequence % kLeafSpan));
  --size_;
  if (leaf->used != 0) return;
  spare_leaf_ = std::move(leaf);  // N2
  --leaves_;
  if (--branch->used != 0) return;
  spare_branch_ = std::move(branch);
  --branches_;
}

Inode* InodeTable::FirstFrom(uint64_t sequence) {
  for (uint64_t i = sequence / kBranchSpan; i < root_.size(); ++i) {
    if (root_[i] == nullptr) continue;
    const uint64_t first = std::max(sequence, i * kBranchSpan);
    for (uint64_t k = first / kLeafSpan % kLeaves; k < kLeaves; ++k) {
      Leaf* leaf = root_[i]->leaves[k].get();
      if (leaf == nullptr) continue;
      const uint64_t leaf_first = i * kBranchSpan + k * kLeafSpan;
      const uint64_t skip = first > leaf_first ? first - leaf_first : 0;
      if (const uint32_t bits = leaf->used >> skip; bits != 0) return leaf->At(skip + std::countr_zero(bits));
    }
  }
  return nullptr;
}

void InodeTable::ForEach(const std::function<void(Inode&)>& visit) {
  for (auto& branch : root_) {
    for (uint64_t i = 0; branch != nullptr && i < kLeaves; ++i) {
      if (branch->leaves[i] == nullptr) continue;
      Leaf* leaf = branch->leaves[i].get();
      // The bits are read once: the leaf may be freed by the last erase.
      for (uint32_t bits = leaf->used; bits != 0; bits &= bits - 1) visit(*leaf->At(std::countr_zero(bits)));
    }
  }
}

uint64_t InodeTable::memory_bytes() const {
  return root_.capacity() * sizeof(void*) + (branches_ + (spare_branch_ != nullptr ? 1 : 0)) * sizeof(Branch) +
         (leaves_ + (spare_leaf_ != nullptr ? 1 : 0)) * sizeof(Leaf);
}

}  // namespace mayfly
