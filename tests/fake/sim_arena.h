// Arena segments from the heap, with a limit in bytes: Map answers kNoSpace beyond it, as a node without room does.
#pragma once

#include <cstdlib>
#include <map>

#include "base/check.h"
#include "os/arena_memory.h"

namespace mayfly {

class SimArenaMemory : public ArenaMemory {
 public:
  static constexpr size_t kAlignment = 4096;  // no more than a mapping promises
  static constexpr size_t kSegmentUnit = size_t{2} << 20;

  explicit SimArenaMemory(size_t bytes_max = ~size_t{0}) : bytes_max_(bytes_max) {}
  SimArenaMemory(const SimArenaMemory&) = delete;
  SimArenaMemory& operator=(const SimArenaMemory&) = delete;
  ~SimArenaMemory() override {
    for (auto& [data, bytes] : segments_) std::free(data);
  }

  Result<MutableBytes> Map(size_t bytes) override {
    MAYFLY_CHECK(bytes != 0 && bytes % kSegmentUnit == 0);
    if (bytes > bytes_max_ - used_) return Code::kNoSpace;
    auto* data = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, bytes));
    if (data == nullptr) return Code::kNoSpace;
    std::memset(data, 0, bytes);
    segments_[data] = bytes;
    used_ += bytes;
    return MutableBytes(data, bytes);
  }
  void Unmap(MutableBytes segment) override {
    auto found = segments_.find(segment.data());
    MAYFLY_CHECK(found != segments_.end() && found->second == segment.size());
    used_ -= segment.size();
    std::free(segment.data());
    segments_.erase(found);
  }
  void Prefault(MutableBytes) override {}

  size_t used() const { return used_; }
  // Below what is mapped already: nothing more can be mapped until enough was given back.
  void set_bytes_max(size_t bytes_max) { bytes_max_ = bytes_max < used_ ? used_ : bytes_max; }

 private:
  size_t bytes_max_;
  size_t used_ = 0;
  std::map<uint8_t*, size_t> segments_;
};

}  // namespace mayfly
