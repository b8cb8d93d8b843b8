// A store on a simulated arena, and short names for what tests do with it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "fake/sim_arena.h"
#include "store/chunk_store.h"

namespace mayfly {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint32_t kKiB = 1024;

class StoreUnderTest {
 public:
  explicit StoreUnderTest(uint64_t bytes_max) : budget(bytes_max), arena(&memory, &budget), store(&arena, &budget) {}

  static std::vector<uint64_t> Sums(Bytes data) {
    std::vector<uint64_t> sums;
    for (size_t at = 0; at < data.size(); at += kChecksumBlockBytes) {
      sums.push_back(Checksum(data.subspan(at, std::min<size_t>(kChecksumBlockBytes, data.size() - at))));
    }
    return sums;
  }
  void Fill(Place place, Bytes data) {
    MutableBytes to = arena.Data(place);
    std::copy(data.begin(), data.end(), to.begin());
  }
  Status Write(const ChunkRange& range, Bytes data, bool with_sums = true, Nanos mtime = 1) {
    auto place = store.Stage(range.bytes);
    if (!place.ok()) return place.status();
    Fill(*place, data);
    return store.Commit(range, *place, with_sums ? Sums(data) : std::vector<uint64_t>(), mtime);
  }
  Status Write(const ChunkRange& range, char fill, bool with_sums = true) {
    std::string data(range.bytes, fill);
    return Write(range, AsBytes(data), with_sums);
  }
  // What a read gives, holes as zeros; pieces are verified and checked against their sums.
  std::string Read(ChunkRange range) {
    std::string out;
    for (;;) {
      ReadPieces pieces;
      auto covered = store.Read(range, &pieces);
      EXPECT_TRUE(covered.ok());
      fetch(&pieces);
      uint32_t bytes = 0;
      for (const ReadPiece& piece : pieces) {
        EXPECT_EQ(piece.file_offset, range.file_offset() + bytes);
        bytes += piece.bytes;
        out += TextOf(piece);
      }
      EXPECT_EQ(bytes, covered->bytes);
      if (!covered->cut) return out;
      range.offset += covered->bytes;
      range.bytes -= covered->bytes;
    }
  }
  std::string TextOf(const ReadPiece& piece) {
    if (piece.is_hole()) return std::string(piece.bytes, '\0');
    EXPECT_TRUE(store.Verify(piece).ok());
    EXPECT_EQ(arena.Data(piece.place).data(), piece.data.data());
    EXPECT_EQ(piece.data.size(), piece.bytes);
    SumParts parts;
    EXPECT_TRUE(store.PieceSums(piece, &parts).ok());
    uint32_t at = 0;
    for (const SumPart& part : parts) {
      EXPECT_EQ(Checksum(piece.data.subspan(at, part.bytes)), part.sum);
      at += part.bytes;
    }
    EXPECT_TRUE(parts.empty() || at == piece.bytes);
    return std::string(AsText(piece.data));
  }
  // Nothing is out: no place, no table.
  void ExpectEmpty() {
    EXPECT_EQ(arena.stats().bytes_used, 0u);
    EXPECT_EQ(store.MemoryUsage(), 0u);
    EXPECT_EQ(budget.table_used(), arena.stats().bytes_tables);
    ChunkStoreStats s = store.stats();
    EXPECT_EQ(s.files + s.extents + s.staged + s.pins + s.dead_bytes, 0u);
  }

  // Brings what a read found on the disk alone.
  std::function<void(ReadPieces*)> fetch = [](ReadPieces*) {};
  SimArenaMemory memory;
  MemoryBudget budget;
  Arena arena;
  ChunkStore store;
};

}  // namespace mayfly
