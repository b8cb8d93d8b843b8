// The arena's memory as the shard's disk knows it: each segment is registered with the disk for as long as it is
// mapped, so that data goes between them without the disk looking its pages up for each transfer. All else is the
// inner memory's. One thread, but for Prefault.
// Invariants  R1  a segment is registered after it was mapped and unregistered before it is unmapped (Disk::Register).
//                 Nothing is under way in it then: the arena unmaps only what nobody was given (arena.h, A5).
// Registering pins pages that the segment has anyway: they are there before it is given out (arena_memory.h).
#pragma once

#include <string>
#include <vector>

#include "os/arena_memory.h"
#include "os/disk.h"

namespace mayfly {

class RegisteredArena final : public ArenaMemory {
 public:
  // Both outlive it. `disk`: null where no data goes to a disk.
  RegisteredArena(ArenaMemory* inner, Disk* disk) : inner_(*inner), disk_(disk) {}

  Result<std::vector<Found>> Adopt() override {
    Result<std::vector<Found>> found = inner_.Adopt();
    if (!found.ok()) return found;
    for (const Found& one : *found) Register(one.segment);
    return found;
  }
  Result<MutableBytes> Map(size_t bytes) override {
    Result<MutableBytes> segment = inner_.Map(bytes);
    if (segment.ok()) Register(*segment);
    return segment;
  }
  void Unmap(MutableBytes segment) override {
    if (disk_ != nullptr) disk_->Unregister(segment);  // R1
    inner_.Unmap(segment);
  }
  std::span<ArenaStamp> Stamps(MutableBytes segment) override { return inner_.Stamps(segment); }
  std::span<ArenaStamp> Changes() override { return inner_.Changes(); }
  ArenaBoard* Board() override { return inner_.Board(); }
  void Keep() override { inner_.Keep(); }
  void Prefault(MutableBytes range) override { inner_.Prefault(range); }
  std::string Name() const override { return inner_.Name(); }
  bool IsAttached(uint64_t who) override { return inner_.IsAttached(who); }

 private:
  void Register(MutableBytes segment) {
    if (disk_ != nullptr) disk_->Register(segment);
  }

  ArenaMemory& inner_;
  Disk* const disk_;
};

}  // namespace mayfly
