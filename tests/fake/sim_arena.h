// Arena segments from the heap, with a limit in bytes: Map answers kNoSpace beyond it, as a node without room does. A
// view of them (SimArenaViews) is this memory itself. The object stands for the node, so it outlives its server: after
// Died() the next one adopts what there is, at the addresses at which the clients still have it.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/check.h"
#include "os/arena_memory.h"
#include "os/arena_view.h"

namespace mayfly {

class SimArenaMemory : public ArenaMemory {
 public:
  static constexpr size_t kAlignment = 4096;  // no more than a mapping promises
  static constexpr size_t kSegmentUnit = size_t{2} << 20;

  explicit SimArenaMemory(size_t bytes_max = ~size_t{0}) : bytes_max_(bytes_max) {}
  SimArenaMemory(const SimArenaMemory&) = delete;
  SimArenaMemory& operator=(const SimArenaMemory&) = delete;
  ~SimArenaMemory() override {
    for (auto& [data, segment] : segments_) std::free(segment.memory);
  }

  Result<std::vector<Found>> Adopt() override {
    MAYFLY_CHECK(!mapped_);
    left_behind_ = false;
    std::vector<Found> found;
    for (uint32_t number = 0; number < by_number_.size(); ++number) {
      if (!by_number_[number].empty()) found.push_back({number, by_number_[number]});
    }
    while (!by_number_.empty() && by_number_.back().empty()) by_number_.pop_back();  // as files say it
    return found;
  }
  Result<MutableBytes> Map(size_t bytes) override {
    MAYFLY_CHECK(bytes != 0 && bytes % kSegmentUnit == 0);
    if (left_behind_) return Code::kExists;
    mapped_ = true;
    if (bytes > bytes_max_ - used_) return Code::kNoSpace;
    // Not aligned_alloc: the zeros of fresh pages cost nothing until somebody touches them.
    auto* memory = static_cast<uint8_t*>(std::calloc(1, bytes + kAlignment));
    if (memory == nullptr) return Code::kNoSpace;
    uint8_t* const data = memory + (kAlignment - reinterpret_cast<uintptr_t>(memory) % kAlignment) % kAlignment;
    segments_[data] = {bytes, memory};
    stamps_[data] = std::vector<ArenaStamp>(bytes / kStampBytes);
    by_number_.push_back(MutableBytes(data, bytes));
    used_ += bytes;
    return MutableBytes(data, bytes);
  }
  std::span<ArenaStamp> Stamps(MutableBytes segment) override { return stamps_.at(segment.data()); }
  std::span<ArenaStamp> Changes() override { return changes_; }
  ArenaBoard* Board() override { return board_.get(); }
  void Keep() override { keep_ = true; }
  // The server that had it was killed (or went, after Keep): until the next Adopt nothing can be mapped.
  void Died() {
    mapped_ = keep_ = false;
    left_behind_ = !segments_.empty();
  }
  // Besides, the node lost its power.
  void CutPower() {
    MAYFLY_CHECK(attached.empty());
    for (auto& [data, one] : segments_) std::free(one.memory);
    segments_.clear();
    stamps_.clear();
    by_number_.clear();
    board_ = std::make_unique<ArenaBoard>();
    used_ = 0;
    mapped_ = keep_ = left_behind_ = false;
  }
  void Unmap(MutableBytes segment) override {
    if (keep_) return;
    auto found = segments_.find(segment.data());
    MAYFLY_CHECK(found != segments_.end() && found->second.bytes == segment.size());
    used_ -= segment.size();
    std::free(found->second.memory);
    segments_.erase(found);
    stamps_.erase(segment.data());
    for (MutableBytes& known : by_number_) {
      if (known.data() == segment.data()) known = {};
    }
  }
  void Prefault(MutableBytes) override {}
  std::string Name() const override { return name; }
  bool IsAttached(uint64_t who) override { return attached.contains(who); }

  size_t used() const { return used_; }
  MutableBytes segment(uint32_t number) const {
    return number < by_number_.size() ? by_number_[number] : MutableBytes();
  }
  std::string name;                  // empty: nobody can attach
  std::multiset<uint64_t> attached;  // who
  std::function<void()> on_find;     // whenever a view looks for a segment
  // Below what is mapped already: nothing more can be mapped until enough was given back.
  void set_bytes_max(size_t bytes_max) { bytes_max_ = bytes_max < used_ ? used_ : bytes_max; }

 private:
  size_t bytes_max_;
  size_t used_ = 0;
  bool mapped_ = false;       // by this server
  bool left_behind_ = false;  // by the one before
  bool keep_ = false;
  struct Mapped {
    size_t bytes;
    uint8_t* memory;
  };
  std::map<uint8_t*, Mapped> segments_;
  std::map<uint8_t*, std::vector<ArenaStamp>> stamps_;
  std::vector<MutableBytes> by_number_;
  std::vector<ArenaStamp> changes_ = std::vector<ArenaStamp>(kChangeCounts);
  std::unique_ptr<ArenaBoard> board_ = std::make_unique<ArenaBoard>();
};

// What clients see of such arenas, by their names.
class SimArenaViews final : public ArenaViews {
 public:
  void Add(SimArenaMemory* memory) { memories_.push_back(memory); }
  bool MayBeHere(ShardId) const override { return true; }
  std::unique_ptr<ArenaView> Attach(const std::string& name, uint64_t who) override {
    for (SimArenaMemory* memory : memories_) {
      if (!name.empty() && memory->name == name) return std::make_unique<View>(memory, who);
    }
    return nullptr;
  }

 private:
  class View final : public ArenaView {
   public:
    View(SimArenaMemory* memory, uint64_t who) : memory_(memory), who_(who) { memory_->attached.insert(who_); }
    ~View() override { memory_->attached.erase(memory_->attached.find(who_)); }
    Segment Find(uint32_t number) override {
      if (memory_->on_find) memory_->on_find();
      const MutableBytes data = memory_->segment(number);
      if (data.empty()) return {};
      return {data, memory_->Stamps(data)};
    }
    std::span<const ArenaStamp> Changes() const override { return memory_->Changes(); }
    ArenaBoard* Board() const override { return memory_->Board(); }
    void Touch(uint32_t, size_t, size_t) override {}

   private:
    SimArenaMemory* memory_;
    uint64_t who_;
  };
  std::vector<SimArenaMemory*> memories_;
};

}  // namespace mayfly
