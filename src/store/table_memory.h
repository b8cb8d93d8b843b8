// Memory of the tables: the heap, with each block charged to the budget at what the heap takes for it. One thread.
// Invariants  T1  used() is the sum of HeapBytes over the live blocks, and is charged to the budget.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>

#include "base/check.h"
#include "store/memory_budget.h"

namespace mayfly::store_internal {

// What glibc's malloc takes: 8 bytes before the block, multiples of 16, at least 32.
constexpr uint64_t HeapBytes(uint64_t bytes) {
  uint64_t taken = (bytes + 8 + 15) & ~uint64_t{15};
  return taken < 32 ? 32 : taken;
}

class TableMemory {
 public:
  explicit TableMemory(MemoryBudget* budget) : budget_(budget) {}
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;
  ~TableMemory() { MAYFLY_CHECK(used_ == 0); }  // T1

  // Never refused by the budget: who may refuse asked Room before.
  void* Allocate(size_t bytes) {
    budget_->ChargeTablesAlways(HeapBytes(bytes));
    used_ += HeapBytes(bytes);
    return ::operator new(bytes);
  }
  void Free(void* block, size_t bytes) {
    budget_->ReleaseTables(HeapBytes(bytes));
    used_ -= HeapBytes(bytes);
    ::operator delete(block);
  }
  template <class T, class... A>
  T* New(A&&... arguments) {
    return new (Allocate(sizeof(T))) T(std::forward<A>(arguments)...);
  }
  template <class T>
  void Delete(T* object) {
    object->~T();
    Free(object, sizeof(T));
  }
  bool HasRoom(uint64_t bytes) const { return bytes <= budget_->TableRoom(); }
  uint64_t used() const { return used_; }
  MemoryBudget* budget() const { return budget_; }

 private:
  MemoryBudget* const budget_;
  uint64_t used_ = 0;
};

// For containers whose nodes are table memory.
template <class T>
class TableAllocator {
 public:
  using value_type = T;
  explicit TableAllocator(TableMemory* memory) : memory_(memory) {}
  template <class U>
  TableAllocator(const TableAllocator<U>& other) : memory_(other.memory()) {}  // NOLINT: allocators convert
  T* allocate(size_t n) { return static_cast<T*>(memory_->Allocate(n * sizeof(T))); }
  void deallocate(T* block, size_t n) { memory_->Free(block, n * sizeof(T)); }
  TableMemory* memory() const { return memory_; }
  template <class U>
  friend bool operator==(const TableAllocator& a, const TableAllocator<U>& b) {
    return a.memory() == b.memory();
  }

 private:
  TableMemory* memory_;
};

}  // namespace mayfly::store_internal
