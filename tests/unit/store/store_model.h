// A model of the chunk store, plain arrays of bytes, and random operations on both: writes, truncates, punches,
// reservations, reads and drops, with pins held across them, checksums on and off, and a budget that runs out.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <random>

#include "store_fixture.h"

namespace mayfly {

enum ByteState : uint8_t { kHole, kWritten, kKept };  // kKept: reserved

struct ModelFile {
  std::string bytes;
  std::vector<uint8_t> states;
  std::vector<bool> data_pages;
  uint64_t high_water = 0;
};

struct Shape {
  uint32_t seed;
  bool with_sums;
  uint64_t budget;
  uint8_t chunk_bits;
  uint32_t bytes_max;  // of one write
};
inline void PrintTo(const Shape& s, std::ostream* out) {
  *out << "seed " << s.seed << " sums " << s.with_sums << " budget " << s.budget << " bits " << int{s.chunk_bits}
       << " writes to " << s.bytes_max;
}

class StoreModelTest : public testing::TestWithParam<Shape> {
 protected:
  static constexpr uint32_t kChunks = 4;
  static constexpr uint32_t kFiles = 5;
  static constexpr uint64_t kPage = 4096;

  struct Held {
    ReadPiece piece;
    std::string expected;
  };

  InodeId Id(uint32_t file) { return InodeId(100 + file); }
  uint64_t FileBytes() { return uint64_t{kChunks} << shape.chunk_bits; }
  ModelFile& Model(uint32_t file) {
    ModelFile& m = model[file];
    if (m.bytes.empty()) {
      m.bytes.assign(FileBytes(), '\0');
      m.states.assign(FileBytes(), kHole);
      m.data_pages.assign(FileBytes() / kPage, false);
    }
    return m;
  }
  uint32_t Below(uint64_t n) { return static_cast<uint32_t>(random() % n); }
  ChunkRange RandomRange(uint32_t file, uint32_t bytes_max) {
    ChunkRange r{.file = Id(file), .chunk = ChunkIndex(Below(kChunks)), .chunk_bits = shape.chunk_bits};
    uint32_t chunk_bytes = 1u << shape.chunk_bits;
    switch (Below(6)) {
      case 0:
        r.offset = Below(chunk_bytes / 4096) * 4096, r.bytes = 4096 * (1 + Below(4));
        break;
      case 1:
        r.offset = 0, r.bytes = chunk_bytes;
        break;
      case 2:
        r.offset = cursor % chunk_bytes, r.bytes = 1 + Below(200), cursor += r.bytes;
        break;  // in order
      default:
        r.offset = Below(chunk_bytes), r.bytes = 1 + Below(Below(2) == 0 ? 300 : bytes_max);
    }
    r.bytes = std::min({r.bytes, chunk_bytes - r.offset, bytes_max});
    return r;
  }
  std::string Pattern(uint32_t bytes) {
    std::string text(bytes, '\0');
    uint64_t word = random() | 1;
    for (char& c : text) c = static_cast<char>((word = word * 6364136223846793005u + 1442695040888963407u) >> 56);
    return text;
  }

  // Small writes in order, or scattered over some pages: what compaction is for.
  void WriteManySmall(uint32_t file) {
    ChunkRange range = RandomRange(file, 200);
    uint32_t chunk_bytes = 1u << shape.chunk_bits, start = range.offset, span = 1 + Below(30'000);
    bool in_order = Below(2) == 0;
    for (int i = 0; i < 70; ++i) {
      ASSERT_NO_FATAL_FAILURE(Write(file, range));
      range.offset = in_order ? range.offset + range.bytes : start + Below(span);
      range.bytes = 1 + Below(200);
      if (range.offset + range.bytes > chunk_bytes) return;
    }
  }
  void WriteSome(uint32_t file) { Write(file, RandomRange(file, shape.bytes_max)); }
  void Write(uint32_t file, ChunkRange range) {
    ModelFile& m = Model(file);
    bool is_kept = m.states[range.file_offset()] == kKept;
    auto place = Below(4) == 0 ? store().StageFor(range) : store().Stage(range.bytes);
    if (!place.ok()) place = store().StageFor(range);
    if (!place.ok() && is_kept && make_memory != nullptr) {
      while (!held.empty()) ASSERT_NO_FATAL_FAILURE(LetGo());
      make_memory();
      place = store().StageFor(range);
    }
    if (!place.ok()) {
      ASSERT_EQ(place.code(), Code::kNoSpace);
      ASSERT_FALSE(is_kept);
      ++refused;
      return;
    }
    // Without StageFor, a write to a reservation may well have got a fresh place.
    uint32_t staged = place->bytes;
    if (Below(20) == 0) {
      store().Unstage(*place);
      MarkUnstaged(m, range, staged);
      return;
    }
    range.bytes = std::min(range.bytes, staged);
    std::string data = Pattern(range.bytes);
    test->Fill(*place, AsBytes(data));
    bool sums = shape.with_sums && Below(10) != 0;  // a session may change its mind: both kinds in one file
    ASSERT_TRUE(store().Commit(range, *place, sums ? test->Sums(AsBytes(data)) : std::vector<uint64_t>(), 1).ok());
    uint64_t at = range.file_offset();
    m.bytes.replace(at, data.size(), data);
    std::fill_n(m.states.begin() + static_cast<long>(at), data.size(), kWritten);
    for (uint64_t page = at / kPage; page <= (at + data.size() - 1) / kPage; ++page) m.data_pages[page] = true;
    m.high_water = std::max(m.high_water, at + data.size());
  }
  // StageFor took the stretch out of the reservation if it began in one; Stage did not. The store knows which.
  void MarkUnstaged(ModelFile& m, const ChunkRange& range, uint32_t staged) {
    uint64_t at = range.file_offset();
    if (m.states[at] != kKept) return;
    // Taken back completely or not at all: a page inside tells by the figures; simplest is to punch its pages in both.
    ChunkRange punched = range;
    const uint32_t end = range.offset + std::min(range.bytes, staged);
    punched.offset = range.offset / kPage * kPage;
    punched.bytes = static_cast<uint32_t>((end + kPage - 1) / kPage * kPage) - punched.offset;
    at = punched.file_offset();
    ASSERT_TRUE(store().Punch(punched).ok());
    Clear(m, at, at + punched.bytes);
  }
  void Clear(ModelFile& m, uint64_t begin, uint64_t end) {
    std::fill(m.bytes.begin() + static_cast<long>(begin), m.bytes.begin() + static_cast<long>(end), '\0');
    for (uint64_t i = begin; i < end; ++i) {
      const uint64_t page = i / kPage;
      const bool is_part = page * kPage < begin || (page + 1) * kPage > end;
      if (!is_part || m.data_pages[page]) m.states[i] = kHole;  // a reservation loses no part of a page
    }
    for (uint64_t page = (begin + kPage - 1) / kPage; page < end / kPage; ++page) m.data_pages[page] = false;
  }
  void TruncateSome(uint32_t file) {
    ModelFile& m = Model(file);
    uint64_t size = Below(3) == 0 ? Below(4) * (FileBytes() / 4) : random() % FileBytes();
    while (!store().Truncate(Id(file), size, 1 + Below(20))) between();
    Clear(m, size, FileBytes());
    m.high_water = std::min(m.high_water, size);
  }
  void PunchSome(uint32_t file) {
    ChunkRange range = RandomRange(file, 1u << shape.chunk_bits);
    ASSERT_TRUE(store().Punch(range).ok());
    Clear(Model(file), range.file_offset(), range.file_offset() + range.bytes);
  }
  void ReserveSome(uint32_t file) {
    ChunkRange range = RandomRange(file, 1u << shape.chunk_bits);
    Status status = store().ReserveRange(range);
    if (!status.ok()) {
      ASSERT_EQ(status.code(), Code::kNoSpace);
      ++refused;
      return;
    }
    ModelFile& m = Model(file);
    const uint64_t end = range.file_offset() + range.bytes;
    for (uint64_t page = range.file_offset() / kPage; page <= (end - 1) / kPage; ++page) {
      auto states = m.states.begin() + static_cast<long>(page * kPage);
      if (std::find(states, states + kPage, kKept) != states + kPage) m.data_pages[page] = true;
    }
    for (uint64_t i = range.file_offset(); i < range.file_offset() + range.bytes; ++i) {
      if (m.states[i] == kHole) m.states[i] = kKept;
    }
  }
  void DropOne(uint32_t file) {
    if (Below(2) == 0) {
      store().Drop(Id(file));
    } else {
      while (!store().DropSlice(Id(file), 1 + Below(10))) between();
    }
    model.erase(file);
  }
  void HoldSome(uint32_t file) {
    ModelFile& m = Model(file);
    ReadPieces pieces;
    ASSERT_TRUE(store().Read(RandomRange(file, 1u << shape.chunk_bits), &pieces).ok());
    test->fetch(&pieces);
    for (ReadPiece& piece : pieces) {
      if (Below(4) != 0) continue;
      std::string expected = m.bytes.substr(piece.file_offset, piece.bytes);
      held.push_back({std::move(piece), std::move(expected)});
    }
    while (held.size() > 30) ASSERT_NO_FATAL_FAILURE(LetGo());
  }
  void LetGo() {
    ASSERT_EQ(test->TextOf(held.front().piece), held.front().expected);
    held.pop_front();
  }

  void CheckFile(uint32_t file) {
    const ModelFile& m = Model(file);
    FileFigures figures = store().Figures(Id(file));
    ASSERT_EQ(figures.high_water, m.high_water);
    uint64_t pages = 0;
    for (uint64_t at = 0; at < FileBytes(); at += kPage) {
      auto begin = m.states.begin() + static_cast<long>(at);
      pages += m.data_pages[at / kPage] || std::any_of(begin, begin + kPage, [](uint8_t s) { return s != kHole; });
    }
    ASSERT_EQ(figures.allocated_bytes, pages * 4096);
    for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      ChunkRange all{.file = Id(file), .chunk = ChunkIndex(chunk), .chunk_bits = shape.chunk_bits};
      all.bytes = 1u << shape.chunk_bits;
      std::string expected = m.bytes.substr(all.file_offset(), all.bytes);
      uint64_t mark = m.high_water < all.file_offset() ? 0 : m.high_water - all.file_offset();
      expected.resize(std::min<uint64_t>(mark, expected.size()));
      ASSERT_TRUE(test->Read(all) == expected) << "file " << file << " chunk " << chunk;
    }
    for (int i = 0; i < 8; ++i) {
      uint64_t from = random() % FileBytes();
      auto page = [&](uint64_t at) { return m.data_pages[at / kPage]; };
      uint64_t data = from;
      while (data < FileBytes() && !page(data)) data = data / 4096 * 4096 + 4096;
      auto found = store().NextData(Id(file), from);
      ASSERT_EQ(found.found, data < FileBytes());
      ASSERT_TRUE(!found.found || found.offset == data);
      uint64_t hole = from, chunk_end = ((from >> shape.chunk_bits) + 1) << shape.chunk_bits;
      while (hole < chunk_end && page(hole)) hole = hole / 4096 * 4096 + 4096;
      ASSERT_EQ(store().NextHole(Id(file), from, shape.chunk_bits), hole);
    }
    std::string live(FileBytes(), '\0');
    std::vector<uint8_t> states(FileBytes(), kHole);
    for (uint64_t from = 0; from != ChunkStore::kDone;) {
      ReadPieces pieces;
      from = store().LiveData(Id(file), from, 1 + Below(20), &pieces);
      test->fetch(&pieces);
      for (const ReadPiece& piece : pieces) {
        live.replace(piece.file_offset, piece.bytes, AsText(piece.data));
        std::fill_n(states.begin() + static_cast<long>(piece.file_offset), piece.bytes, kWritten);
      }
    }
    ASSERT_TRUE(live == m.bytes);
    std::vector<uint8_t> expected = m.states;
    std::replace(expected.begin(), expected.end(), uint8_t{kKept}, uint8_t{kHole});
    ASSERT_TRUE(states == expected);
  }
  void CheckBudget() {
    ASSERT_EQ(test->budget.table_used(), store().MemoryUsage() + test->arena.stats().bytes_tables);
    ASSERT_LE(test->budget.used(), test->budget.bytes_max() + 16 * kKiB);
    ASSERT_EQ(store().stats().corrupt_blocks, 0u);
  }

  ChunkStore& store() { return test->store; }
  // One operation.
  void Step() {
    const uint32_t file = Below(kFiles), kind = Below(100);
    if (kind < 2) {
      WriteManySmall(file);
    } else if (kind < 70) {
      WriteSome(file);
    } else if (kind < 74) {
      TruncateSome(file);
    } else if (kind < 80) {
      PunchSome(file);
    } else if (kind < 84) {
      ReserveSome(file);
    } else if (kind < 85) {
      DropOne(file);
    } else if (kind < 95) {
      HoldSome(file);
    } else {
      CheckBudget();
    }
  }
  void DropAll() {
    for (uint32_t file = 0; file < kFiles; ++file) DropOne(file);
    while (!held.empty()) ASSERT_NO_FATAL_FAILURE(LetGo());
  }

  Shape shape;
  std::mt19937_64 random;
  std::shared_ptr<StoreUnderTest> test;
  std::map<uint32_t, ModelFile> model;
  std::deque<Held> held;
  uint64_t cursor = 0;
  uint64_t refused = 0;
  std::function<void()> between = [] {};  // called between the steps of one operation
  std::function<void()> make_memory;      // for what StageFor had none for; none: it never lacks any
};

}  // namespace mayfly
