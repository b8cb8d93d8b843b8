// A hash table of records that the caller owns, by a 64-bit key. It grows by one bucket an insertion (linear hashing):
// no pause and no doubling of memory when it is large, which a table that rehashes as a whole has. One thread.
//
// T has `uint64_t key() const` and `T* next`, which belongs to the table while the record is in it.
//
// Invariants  L1  bucket_count() = 2^level_ + split_, split_ < 2^level_; pages_ holds pages of kPageBuckets heads.
//             L2  a record is in the bucket that BucketOf(key) names; no two records have one key.
//             L3  an empty table has no pages.
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.h"
#include "store/table_memory.h"

namespace mayfly::store_internal {

template <class T>
class IdTable {
 public:
  explicit IdTable(TableMemory* memory) : memory_(memory), pages_(TableAllocator<T**>(memory)) {}
  IdTable(const IdTable&) = delete;
  IdTable& operator=(const IdTable&) = delete;
  ~IdTable() { MAYFLY_CHECK(size_ == 0); }

  T* Find(uint64_t key) const {
    if (size_ == 0) return nullptr;
    for (T* at = *Head(BucketOf(key)); at != nullptr; at = at->next) {
      if (at->key() == key) return at;
    }
    return nullptr;
  }
  // `record` is not in a table, nor another of its key in this one (L2).
  void Insert(T* record) {
    if (size_ == 0) AddPage();
    T** head = Head(BucketOf(record->key()));
    record->next = *head;
    *head = record;
    if (++size_ > bucket_count()) Split();
  }
  void Remove(T* record) {
    T** at = Head(BucketOf(record->key()));
    while (*at != record) {
      MAYFLY_CHECK(*at != nullptr);  // L2
      at = &(*at)->next;
    }
    *at = record->next;
    record->next = nullptr;
    if (--size_ == 0) Clear();
    // Shrinks at a quarter, so that a table at a border does not work at each call; a record less then wants four
    // buckets less.
    for (int i = 0; i < 4 && size_ != 0 && size_ < bucket_count() / 4; ++i) Merge();
  }
  uint64_t size() const { return size_; }
  // For walks in pieces: the first record of a bucket (others follow by `next`). A bucket's records move to others as
  // the table grows and shrinks, so a walk that lasts longer than one call may miss or repeat some.
  T* InBucket(uint64_t bucket) const { return size_ != 0 && bucket < bucket_count() ? *Head(bucket) : nullptr; }
  uint64_t bucket_count() const { return (uint64_t{1} << level_) + split_; }
  // For walks that see whatever is there all the time, while other records come and go between calls: the first record
  // at or behind `position`, in an order of the walk's own; the next is at or behind PositionOf(its key) + 1. Null at
  // the end. A bucket is an interval of that order (the hash, read from its low end), however the table grows or
  // shrinks.
  T* FirstFrom(uint64_t position) const {
    while (size_ != 0) {
      const uint64_t bucket = BucketOfHash(Reverse(position));
      T* first = nullptr;
      for (T* at = *Head(bucket); at != nullptr; at = at->next) {
        const uint64_t here = PositionOf(at->key());
        if (here >= position && (first == nullptr || here < PositionOf(first->key()))) first = at;
      }
      if (first != nullptr) return first;
      const uint32_t bits = level_ + ((bucket & ((uint64_t{1} << level_) - 1)) < split_ ? 1 : 0);
      if (bits == 0) return nullptr;
      position = (position | (~uint64_t{0} >> bits)) + 1;
      if (position == 0) return nullptr;
    }
    return nullptr;
  }
  static uint64_t PositionOf(uint64_t key) { return Reverse(Mix(key)); }
  // In no order that means anything; `on_each` changes nothing in the table.
  template <class F>
  void ForEach(F on_each) const {
    for (uint64_t bucket = 0; size_ != 0 && bucket < bucket_count(); ++bucket) {
      for (const T* at = *Head(bucket); at != nullptr; at = at->next) on_each(at);
    }
  }
  // Empties the table; `on_each` may delete the record.
  template <class F>
  void RemoveAll(F on_each) {
    for (uint64_t bucket = 0; size_ != 0 && bucket < bucket_count(); ++bucket) {
      for (T* at = *Head(bucket); at != nullptr;) {
        T* next = at->next;
        on_each(at);
        at = next;
      }
    }
    size_ = 0;
    Clear();
  }

 private:
  static constexpr uint64_t kPageBuckets = 64;

  // The finalizer of MurmurHash3: keys are sequences and aligned offsets, their low bits alone would collide.
  static uint64_t Mix(uint64_t k) {
    k = (k ^ (k >> 33)) * 0xff51afd7ed558ccdULL;
    k = (k ^ (k >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return k ^ (k >> 33);
  }
  // The bits from the last to the first.
  static uint64_t Reverse(uint64_t v) {
    v = (v >> 1 & 0x5555555555555555ULL) | (v & 0x5555555555555555ULL) << 1;
    v = (v >> 2 & 0x3333333333333333ULL) | (v & 0x3333333333333333ULL) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0fULL) | (v & 0x0f0f0f0f0f0f0f0fULL) << 4;
    return __builtin_bswap64(v);
  }
  uint64_t BucketOf(uint64_t key) const { return BucketOfHash(Mix(key)); }
  uint64_t BucketOfHash(uint64_t hash) const {
    uint64_t bucket = hash & ((uint64_t{1} << level_) - 1);
    return bucket < split_ ? hash & ((uint64_t{2} << level_) - 1) : bucket;
  }
  T** Head(uint64_t bucket) const { return &pages_[bucket / kPageBuckets][bucket % kPageBuckets]; }

  void AddPage() {
    T** page = static_cast<T**>(memory_->Allocate(kPageBuckets * sizeof(T*)));
    std::fill_n(page, kPageBuckets, nullptr);
    pages_.push_back(page);
  }
  void DropPage() {
    memory_->Free(pages_.back(), kPageBuckets * sizeof(T*));
    pages_.pop_back();
  }
  void Clear() {
    while (!pages_.empty()) DropPage();
    pages_.shrink_to_fit();  // L3
    level_ = 0;
    split_ = 0;
  }
  // Bucket split_ gives what hashes to its new sibling at the end.
  void Split() {
    uint64_t sibling = bucket_count();
    if (sibling % kPageBuckets == 0) AddPage();
    T** from = Head(split_);
    T** to = Head(sibling);
    T* at = *from;
    *from = nullptr;
    while (at != nullptr) {
      T* next = at->next;
      T** head = (Mix(at->key()) >> level_ & 1) != 0 ? to : from;
      at->next = *head;
      *head = at;
      at = next;
    }
    if (++split_ == uint64_t{1} << level_) {
      ++level_;
      split_ = 0;  // L1
    }
  }
  // The last bucket goes back to the sibling it was split from.
  void Merge() {
    if (split_ == 0) {
      --level_;
      split_ = uint64_t{1} << level_;
    }
    --split_;
    uint64_t last = bucket_count();
    T** tail = Head(split_);
    while (*tail != nullptr) tail = &(*tail)->next;
    *tail = *Head(last);
    *Head(last) = nullptr;
    if (last % kPageBuckets == 0) DropPage();
  }

  TableMemory* const memory_;
  std::vector<T**, TableAllocator<T**>> pages_;
  uint64_t size_ = 0;
  uint32_t level_ = 0;
  uint64_t split_ = 0;
};

}  // namespace mayfly::store_internal
