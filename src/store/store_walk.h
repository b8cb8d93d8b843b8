// A walk through a chunk store for a checkpoint, in steps between which the store goes on changing. What is there
// during all of the walk is in an image of it at least once, as it was at that step; what changes meanwhile is so or
// so: whoever applies the walk's images applies those recorded since its first step as well, in order, and has the
// store.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tlv.h"
#include "store/chunk_store.h"

namespace mayfly {

class StoreWalk {
 public:
  // The store outlives the walk.
  explicit StoreWalk(const ChunkStore* store) : store_(store) {}

  // Appends images of about `bytes_about` bytes (an image more at most). False at the end; then nothing more comes.
  bool Step(TlvWriter* out, size_t bytes_about);

 private:
  const ChunkStore* const store_;
  bool begun_ = false, done_ = false;
  uint64_t position_ = 0;  // of the file to go on with, in the order of the file table
  uint64_t offset_ = 0;    // in that file
};

}  // namespace mayfly
