#include "meta/dentry_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/check.h"
#include "base/checksum.h"

namespace mayfly {

DentryTable::DentryTable(DentryStore* store) : store_(store) {
  directory_.emplace_back();
  SetSegment(0, NewSegment(kSlotsMin, 0));
}

DentryTable::~DentryTable() {
  for (size_t i = 0; i < directory_.size();) {
    Segment* segment = directory_[i].segment();
    i += size_t{1} << (depth_ - segment->depth);
    ::operator delete(segment);
  }
}

uint32_t DentryTable::HashOf(InodeId parent, std::string_view name) {
  return static_cast<uint32_t>(Hash64(AsBytes(name), parent.value) >> 32);
}

DentryTable::Segment* DentryTable::NewSegment(uint32_t slots, uint32_t depth) {
  const size_t bytes = slots * sizeof(Slot);
  Segment* segment = new (::operator new(sizeof(Segment) + bytes)) Segment{slots - 1, 0, depth, 0};
  std::memset(segment->slots(), 0, bytes);
  return segment;
}

DentryRef DentryTable::Find(InodeId parent, std::string_view name, uint32_t hash) const {
  const Place place = directory_[IndexOf(hash)];
  const Slot* slots = place->slots();
  const uint32_t mask = place.mask();
  for (uint32_t i = hash & mask, distance = 0;; i = (i + 1) & mask, ++distance) {
    const Slot slot = slots[i];
    if (slot.ref == DentryRef::kNone || ((i - slot.hash) & mask) < distance) return DentryRef::kNone;  // T3
    if (slot.hash != hash) continue;
    const Dentry& dentry = store_->Get(slot.ref);
    if (dentry.parent == parent && dentry.name() == name) return slot.ref;
  }
}

void DentryTable::Put(Segment& segment, Slot slot) {
  Slot* slots = segment.slots();
  const uint32_t mask = segment.mask;
  uint32_t distance = 0;
  for (uint32_t i = slot.hash & mask;; i = (i + 1) & mask, ++distance) {
    if (slots[i].ref == DentryRef::kNone) {
      slots[i] = slot;
      break;
    }
    const uint32_t other = (i - slots[i].hash) & mask;
    if (other < distance) {  // T3: the richer one moves on
      std::swap(slots[i], slot);
      distance = other;
    }
  }
  ++segment.count;
}

void DentryTable::Insert(DentryRef ref, uint32_t hash) {
  size_t index = IndexOf(hash);
  while (directory_[index]->count >= Full(directory_[index]->mask + 1)) {
    Grow(index);
    index = IndexOf(hash);
  }
  Put(*directory_[index].segment(), {hash, ref});
  ++size_;
}

void DentryTable::Erase(DentryRef ref, uint32_t hash) {
  const size_t index = IndexOf(hash);
  Segment& segment = *directory_[index].segment();
  Slot* slots = segment.slots();
  const uint32_t mask = segment.mask;
  uint32_t i = hash & mask;
  while (slots[i].ref != ref) {
    MAYFLY_CHECK(slots[i].ref != DentryRef::kNone);  // T2
    i = (i + 1) & mask;
  }
  for (;;) {  // followers that are not at home move back by one: no tombstones
    const uint32_t next = (i + 1) & mask;
    if (slots[next].ref == DentryRef::kNone || ((next - slots[next].hash) & mask) == 0) break;
    slots[i] = slots[next];
    i = next;
  }
  slots[i] = {};
  --segment.count;
  --size_;
  if (segment.count <= (mask + 1) / 8) Shrink(index);
}

// Places `segment` wherever the directory's place `index` belongs to it (T1), and counts it.
void DentryTable::SetSegment(size_t index, Segment* segment) {
  const size_t span = size_t{1} << (depth_ - segment->depth);
  std::fill_n(directory_.begin() + static_cast<ptrdiff_t>(index & ~(span - 1)), span, Place(segment));
  ++segments_;
  segment_bytes_ += BytesOf(*segment);
  if (segment->depth == depth_) ++deepest_;
}

void DentryTable::Move(const Segment& from, Segment* to) {
  for (uint32_t i = 0; i <= from.mask; ++i) {
    if (from.slots()[i].ref != DentryRef::kNone) Put(*to, from.slots()[i]);
  }
}

void DentryTable::Grow(size_t index) {
  const Segment& segment = *directory_[index].segment();
  const uint32_t slots = segment.mask + 1;
  // T4: names are spread by their hash, so the directory has about two places a segment; only chosen names give more.
  const bool lopsided = segment.depth == depth_ && directory_.size() >= 1024 && directory_.size() >= 16 * segments_;
  if (slots < kSlotsMax || lopsided || segment.depth == kDepthMax) {
    Resize(index, slots * 2);
  } else {
    Split(index);
  }
}

void DentryTable::Resize(size_t index, uint32_t slots) {
  Segment* old = directory_[index].segment();
  Segment* segment = NewSegment(slots, old->depth);
  Move(*old, segment);
  segment_bytes_ -= BytesOf(*old);
  --segments_;
  if (old->depth == depth_) --deepest_;
  SetSegment(index, segment);
  ::operator delete(old);
}

void DentryTable::Split(size_t index) {
  if (directory_[index]->depth == depth_) {
    std::vector<Place> wider(directory_.size() * 2);
    for (size_t i = 0; i < wider.size(); ++i) wider[i] = directory_[i / 2];
    directory_ = std::move(wider);
    ++depth_;
    deepest_ = 0;
    index *= 2;
  }
  Segment* old = directory_[index].segment();
  const uint32_t depth = old->depth + 1;
  Segment* halves[2] = {NewSegment(old->mask + 1, depth), NewSegment(old->mask + 1, depth)};
  for (uint32_t i = 0; i <= old->mask; ++i) {
    const Slot slot = old->slots()[i];
    if (slot.ref != DentryRef::kNone) Put(*halves[(slot.hash >> (32 - depth)) & 1], slot);
  }
  const size_t span = size_t{1} << (depth_ - depth);
  const size_t first = index & ~(2 * span - 1);
  segment_bytes_ -= BytesOf(*old);
  --segments_;
  SetSegment(first, halves[0]);
  SetSegment(first + span, halves[1]);
  ::operator delete(old);
}

// A segment fell to an eighth. Split leaves halves of 7/16, and two are merged only when both together have 3/8 at
// most, so names that come and go at the border do not split and merge each time.
void DentryTable::Shrink(size_t index) {
  Segment* segment = directory_[index].segment();
  const uint32_t slots = segment->mask + 1;
  if (segment->depth == 0 || slots > kSlotsMax) {
    if (slots > kSlotsMin) Resize(index, slots / 2);
    return;
  }
  const size_t span = size_t{1} << (depth_ - segment->depth);
  Segment* buddy = directory_[index ^ span].segment();
  if (buddy->depth != segment->depth || segment->count + buddy->count > kSlotsMax * 3 / 8) return;
  Segment* merged = NewSegment(kSlotsMax, segment->depth - 1);
  Move(*segment, merged);
  Move(*buddy, merged);
  segment_bytes_ -= BytesOf(*segment) + BytesOf(*buddy);
  segments_ -= 2;
  if (segment->depth == depth_) deepest_ -= 2;
  SetSegment(index, merged);
  ::operator delete(segment);
  ::operator delete(buddy);
  while (depth_ > 0 && deepest_ == 0) HalveDirectory();
}

void DentryTable::HalveDirectory() {
  std::vector<Place> narrower(directory_.size() / 2);
  for (size_t i = 0; i < narrower.size(); ++i) narrower[i] = directory_[2 * i];
  directory_ = std::move(narrower);
  --depth_;
  for (size_t i = 0; i < directory_.size(); ++i) deepest_ += directory_[i]->depth == depth_ ? 1 : 0;
}

uint64_t DentryTable::memory_bytes() const { return segment_bytes_ + directory_.capacity() * sizeof(Place); }

void DentryTable::ForEach(const std::function<void(DentryRef)>& visit) const {
  for (size_t i = 0; i < directory_.size();) {
    const Segment& segment = *directory_[i].segment();
    for (uint32_t k = 0; k <= segment.mask; ++k) {
      if (segment.slots()[k].ref != DentryRef::kNone) visit(segment.slots()[k].ref);
    }
    i += size_t{1} << (depth_ - segment.depth);
  }
}

std::string DentryTable::Check() const {
  uint64_t size = 0, segments = 0, bytes = 0, deepest = 0;
  for (size_t i = 0; i < directory_.size();) {
    const Segment& segment = *directory_[i].segment();
    const size_t span = size_t{1} << (depth_ - segment.depth);
    for (size_t k = 0; k < span; ++k) {
      if (i % span != 0 || directory_[i + k].segment() != &segment)
        return fmt::format("T1: place {} of the directory", i + k);
    }
    uint32_t count = 0;
    for (uint32_t k = 0; k <= segment.mask; ++k) {
      const Slot slot = segment.slots()[k];
      if (slot.ref == DentryRef::kNone) continue;
      ++count;
      const Dentry& dentry = store_->Get(slot.ref);
      if (slot.hash != HashOf(dentry.parent, dentry.name()) || directory_[IndexOf(slot.hash)].segment() != &segment ||
          Find(dentry.parent, dentry.name(), slot.hash) != slot.ref) {
        return fmt::format("T2, T3: \"{}\" in {:x} cannot be found", dentry.name(), dentry.parent.value);
      }
    }
    if (count != segment.count) return fmt::format("a segment counts {} names and has {}", segment.count, count);
    size += count;
    bytes += BytesOf(segment);
    ++segments;
    deepest += segment.depth == depth_ ? 1 : 0;
    i += span;
  }
  if (size != size_ || segments != segments_ || bytes != segment_bytes_ || deepest != deepest_) {
    return fmt::format("the table counts {} names in {} segments and has {} in {}", size_, segments_, size, segments);
  }
  return {};
}

}  // namespace mayfly
