// The node map: layout, placement and worker addresses of a session in one binary file, which all processes of a node
// map read-only, so that neither memory nor start-up time grows with the number of processes. A value: made once from
// checked bytes, never changed, cheap to copy, any thread may read it; views into it live as long as any copy.
// Invariants  N1  nothing is read outside the bytes, whatever they are: each count, offset and length is checked
//                 against them before it is used.
//             N2  a file is replaced as a whole (new file, rename), never changed: a mapping stays what it was.
//             N3  the view number of a session's map only rises.
// Bytes: share/doc/format/session.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "session/outcome.h"
#include "session/uuid.h"

namespace mayfly {

// What goes into a map. `placement` must be of `layout` and `ring`; addresses by shard. Views: the caller owns all.
struct NodeMapSource {
  Uuid session{};
  View view;
  const Layout& layout;
  RingOptions ring;
  const Placement& placement;
  std::span<const Bytes> addresses;
};

// A worker address of one shard, replacing the one in the map.
struct AddressChange {
  ShardId shard;
  Bytes address;
};

class NodeMap {
 public:
  static constexpr uint32_t kVersion = 1;
  static constexpr uint32_t kHeaderBytes = 128;
  static constexpr uint32_t kAddressBytesMax = 4096;

  // The map at `path`, owned by `uid`, mapped. Fails with kCorrupt if it is damaged or cut short, kNotSupported if a
  // newer Mayfly wrote it, kNoEntry, kAccess.
  static Outcome<NodeMap> Open(const std::string& path, uint32_t uid);
  // The same from bytes that `keeps` owns; they must begin at a multiple of 8. `path` is for the sentences.
  static Outcome<NodeMap> Parse(Bytes bytes, const std::string& path, std::shared_ptr<const void> keeps);

  const Uuid& session() const { return contents_->session; }
  View view() const { return contents_->view; }
  const RingOptions& ring() const { return contents_->ring; }
  const Layout& layout() const { return contents_->layout; }
  const Placement& placement() const { return contents_->placement; }
  // `shard` must be below layout().shard_count(). Empty if its member never published one.
  Bytes AddressOf(ShardId shard) const;

 private:
  struct Contents {
    Uuid session{};
    View view;
    RingOptions ring;
    Layout layout;
    Placement placement;
    std::span<const uint64_t> address_ends;  // shard i: from entry i to entry i + 1
    Bytes addresses;
    std::shared_ptr<const void> keeps;
  };
  explicit NodeMap(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}

  std::shared_ptr<const Contents> contents_;
};

// Fails with kInvalid if the parts do not fit each other or an address is longer than kAddressBytesMax.
Outcome<std::vector<uint8_t>> EncodeNodeMap(const NodeMapSource& source);
Outcome<Done> WriteNodeMap(const std::string& path, uint32_t uid, const NodeMapSource& source);
// Puts a new map with the changed addresses and the number `view` in the place of the one at `path`. Fails with kExists
// if that has this view or a newer one already (N3). One process of a node does this (the lowest rank that lives): two
// at once could put the older view last.
Outcome<Done> ReplaceAddresses(const std::string& path, uint32_t uid, View view,
                               std::span<const AddressChange> changes);

}  // namespace mayfly
