#include "meta/dentry_store.h"

#include <cstring>
#include <new>

#include "base/check.h"

namespace mayfly {

DentryStore::~DentryStore() {
  for (Slab* slab : slabs_) ::operator delete(slab);
  ::operator delete(spare_);
}

DentryRef DentryStore::Allocate(std::string_view name) {
  MAYFLY_CHECK(!name.empty() && name.size() <= kNameBytesMax);
  const size_t units = (sizeof(Dentry) + name.size() + kUnitBytes - 1) / kUnitBytes;
  if (partial_[units] == 0 && !AddSlab(units)) return DentryRef::kNone;
  const uint32_t index = partial_[units] - 1;
  Slab& slab = *slabs_[index];
  uint16_t unit = slab.free;
  const auto ref = [&] { return static_cast<DentryRef>(index * kSlabUnits + unit); };
  if (unit != 0) {
    std::memcpy(&slab.free, Unit(ref()), sizeof slab.free);
  } else {
    unit = slab.fresh;
    slab.fresh = static_cast<uint16_t>(slab.fresh + units);
  }
  ++slab.live;
  ++live_;
  if (Full(slab)) Unlink(index);  // D2
  Dentry* dentry = new (Unit(ref())) Dentry{};
  dentry->name_bytes = name.size();
  std::memcpy(reinterpret_cast<char*>(dentry + 1), name.data(), name.size());
  return ref();
}

void DentryStore::Free(DentryRef ref) {
  const auto raw = static_cast<uint32_t>(ref);
  const uint32_t index = raw / kSlabUnits;
  MAYFLY_CHECK(index < slabs_.size() && slabs_[index] != nullptr);
  Slab& slab = *slabs_[index];
  MAYFLY_CHECK(slab.live > 0);
  if (Full(slab)) Link(index);
  std::memcpy(Unit(ref), &slab.free, sizeof slab.free);
  slab.free = static_cast<uint16_t>(raw % kSlabUnits);
  --live_;
  if (--slab.live > 0) return;
  Unlink(index);  // D3
  slabs_[index] = nullptr;
  free_indices_.push_back(index);
  if (spare_ == nullptr) {
    spare_ = &slab;
  } else {
    ::operator delete(&slab);
  }
}

bool DentryStore::AddSlab(size_t units) {
  if (free_indices_.empty()) {
    if (slabs_.size() == kSlabsMax) return false;
    free_indices_.push_back(static_cast<uint32_t>(slabs_.size()));
    slabs_.push_back(nullptr);
  }
  const uint32_t index = free_indices_.back();
  free_indices_.pop_back();
  void* memory = spare_ != nullptr ? spare_ : ::operator new(kSlabBytes);
  spare_ = nullptr;
  Slab* slab = new (memory) Slab;
  slab->fresh = kHeaderUnits;  // D1
  slab->units = static_cast<uint16_t>(units);
  slabs_[index] = slab;
  Link(index);
  return true;
}

void DentryStore::Link(uint32_t index) {
  Slab& slab = *slabs_[index];
  slab.previous = 0;
  slab.next = partial_[slab.units];
  if (slab.next != 0) slabs_[slab.next - 1]->previous = index + 1;
  partial_[slab.units] = index + 1;
}

void DentryStore::Unlink(uint32_t index) {
  Slab& slab = *slabs_[index];
  if (slab.next != 0) slabs_[slab.next - 1]->previous = slab.previous;
  (slab.previous != 0 ? slabs_[slab.previous - 1]->next : partial_[slab.units]) = slab.next;
  slab.next = slab.previous = 0;
}

uint64_t DentryStore::memory_bytes() const {
  const uint64_t slabs = slabs_.size() - free_indices_.size() + (spare_ != nullptr ? 1 : 0);
  return slabs * kSlabBytes + slabs_.capacity() * sizeof(Slab*) + free_indices_.capacity() * sizeof(uint32_t);
}

}  // namespace mayfly
