// Kept memory from the heap. The node (SimKeptNode) outlives the server's handle (SimKeptMemory): a death of the
// process leaves all as it was at the last store, a loss of power leaves nothing. As with the real one, addresses
// change from one process to the next: what a former handle gave is freed by the Find of the next.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/check.h"
#include "os/kept_memory.h"

namespace mayfly {

class SimKeptNode {
 public:
  explicit SimKeptNode(size_t bytes_max = ~size_t{0}) : bytes_max_(bytes_max) {}
  // With no handle on it.
  void CutPower() {
    regions_.clear();
    used_ = 0;
  }
  size_t used() const { return used_; }

 private:
  friend class SimKeptMemory;
  static constexpr size_t kPage = 4096;
  struct Region {
    struct Free {
      void operator()(uint8_t* data) const { std::free(data); }
    };
    explicit Region(size_t size) : memory(static_cast<uint8_t*>(std::calloc(1, size + kPage))), bytes(size) {
      MAYFLY_CHECK(memory != nullptr);
    }
    MutableBytes Aligned() {
      const size_t over = reinterpret_cast<uintptr_t>(memory.get()) % kPage;
      return {memory.get() + (kPage - over) % kPage, bytes};
    }
    std::unique_ptr<uint8_t, Free> memory;  // zeros of fresh pages cost nothing until somebody touches them
    size_t bytes;
  };
  size_t bytes_max_;
  size_t used_ = 0;
  std::map<std::string, Region, std::less<>> regions_;
};

class SimKeptMemory final : public KeptMemory {
 public:
  explicit SimKeptMemory(SimKeptNode& node) : node_(node) {}

  Result<MutableBytes> Create(std::string_view name, size_t bytes) override {
    if (node_.regions_.contains(name)) return Code::kExists;
    if (bytes > node_.bytes_max_ - node_.used_) return Code::kNoSpace;
    node_.used_ += bytes;
    mapped_.emplace(name);
    return node_.regions_.emplace(name, bytes).first->second.Aligned();
  }
  Result<MutableBytes> Find(std::string_view name) override {
    MAYFLY_CHECK(!mapped_.contains(name));
    auto found = node_.regions_.find(name);
    if (found == node_.regions_.end()) return Code::kNoEntry;
    mapped_.emplace(name);
    SimKeptNode::Region moved(found->second.bytes);
    std::memcpy(moved.Aligned().data(), found->second.Aligned().data(), moved.bytes);
    found->second = std::move(moved);
    return found->second.Aligned();
  }
  Status Remove(std::string_view name) override {
    auto found = node_.regions_.find(name);
    if (found == node_.regions_.end()) return Code::kNoEntry;
    if (auto mapped = mapped_.find(name); mapped != mapped_.end()) mapped_.erase(mapped);
    node_.used_ -= found->second.bytes;
    node_.regions_.erase(found);
    return {};
  }

 private:
  SimKeptNode& node_;
  std::set<std::string, std::less<>> mapped_;  // by this process
};

}  // namespace mayfly
