// The header of the node map and where its sections lie. Apart from node_map.cc for the tests, which forge headers.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/ids.h"
#include "session/node_map.h"
#include "session/uuid.h"

namespace mayfly {

constexpr std::string_view kNodeMapMagic = "MAYFLYMP";
constexpr uint32_t kNodeMapSummedFrom = 32;  // the checksum covers everything after itself
constexpr uint32_t kNodeMapMemberBytes = 16;

struct NodeMapHeader {
  char magic[8] = {};
  uint32_t version = NodeMap::kVersion;
  uint32_t header_bytes = NodeMap::kHeaderBytes;
  uint64_t file_bytes = 0;
  uint64_t checksum = 0;  // XXH3 of bytes 32 .. file_bytes
  Uuid session{};
  View view;
  uint32_t members = 0;
  uint32_t shards = 0;
  uint32_t ring_points = 0;
  uint64_t ring_seed = 0;
  uint64_t slots = 0;
  uint64_t order = 0;  // entries
  uint64_t host_bytes = 0;
  uint64_t address_bytes = 0;
  uint64_t reserved[3] = {};

  template <class Io>
  void Fields(Io& io) {
    io.Raw(magic, sizeof magic);
    io(version, header_bytes, file_bytes, checksum);
    io.Raw(session.data(), session.size());
    io(view, members, shards, ring_points, ring_seed, slots, order, host_bytes, address_bytes, reserved[0], reserved[1],
       reserved[2]);
  }
};

// Where the sections begin. Each begins at a multiple of 8; the file ends where the last one does, rounded up.
struct NodeMapSections {
  uint64_t members, address_ends, slots, order, positions, hosts, addresses, end;

  // The counts must be within their limits (CountsAreSane), so that nothing overflows.
  static NodeMapSections Of(const NodeMapHeader& header);
};

// True if every count is possible; says nothing about the bytes.
bool CountsAreSane(const NodeMapHeader& header);

}  // namespace mayfly
