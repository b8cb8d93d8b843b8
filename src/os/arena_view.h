// The door to another process's arena (os/arena_memory.h): a client on a server's own node copies straight into places
// that the server lent it, and out of places that it was told, instead of sending the bytes.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "os/arena_memory.h"

namespace mayfly {

// The arena of one shard. Any thread; what Find gave stays mapped until the view is destroyed.
class ArenaView {
 public:
  struct Segment {
    MutableBytes data;  // empty: there is none of this number, or no longer
    std::span<const ArenaStamp> stamps;
  };
  virtual ~ArenaView() = default;
  virtual Segment Find(uint32_t number) = 0;
  // The owner's counts of changes (ArenaMemory::Changes), or none.
  virtual std::span<const ArenaStamp> Changes() const = 0;
  // The owner's, or null.
  virtual ArenaBoard* Board() const = 0;
  // Maps the pages of a range of a segment, so that copying does not fault page by page. Cheap when it was done before.
  virtual void Touch(uint32_t segment, size_t offset, size_t bytes) = 0;
};

class ArenaViews {
 public:
  virtual ~ArenaViews() = default;
  // Whether it is worth asking the shard for its arena's name.
  virtual bool MayBeHere(ShardId shard) const = 0;
  // Null: not on this node, or not for this user. While the view exists the owner sees `who` attached.
  virtual std::unique_ptr<ArenaView> Attach(const std::string& name, uint64_t who) = 0;
};

}  // namespace mayfly
