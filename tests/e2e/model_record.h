// What the processes of the model test note about each operation, and how the data that they write looks.
// A run is a row of episodes; in each, all workers meet at one cell: a small directory tree, or one file. A cell's
// operations are checked by themselves, so a history stays small enough to be searched.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string>

namespace model {

enum class Do : uint8_t {
  // in a cell of names; by path
  kMkdir,
  kRmdir,
  kCreate,      // open(O_CREAT | O_EXCL)
  kOpenCreate,  // open(O_CREAT)
  kOpen,        // open(O_RDWR)
  kUnlink,
  kRename,
  kNoReplace,
  kExchange,
  kLink,
  kStat,
  kTruncate,
  // by descriptor: `inode` says which file
  kWrite,
  kAppend,
  kFdTruncate,
  kFdStat,
  // in a cell of data
  kDataWrite,
  kDataAppend,
  kDataRead,
  kDataTruncate,
  kDataStat,
  kRun,  // belongs to the kDataRead before it: blocks of one write, or of a hole
};
inline const char* NameOf(Do what) {
  static const char* const names[] = {
      "mkdir",      "rmdir",       "create",    "open_create",   "open",      "unlink", "rename",    "noreplace",
      "exchange",   "link",        "stat",      "truncate",      "write",     "append", "ftruncate", "fstat",
      "data_write", "data_append", "data_read", "data_truncate", "data_stat", "run"};
  return names[static_cast<int>(what)];
}

struct Record {
  uint32_t cell = 0;
  uint16_t worker = 0;
  Do what = Do::kMkdir;
  uint8_t path = 0, other = 0;  // numbers of paths in the cell
  uint8_t type = 0;             // stat: 1 a file, 2 a directory
  uint16_t reserved = 0;
  uint32_t nlink = 0;
  uint32_t op = 0;             // of a data write: its name; of a run: the write that it shows, 0 for a hole
  uint32_t ordinal = 0;        // of a run: the first block within that write
  int64_t start = 0, end = 0;  // CLOCK_MONOTONIC
  int64_t offset = 0, bytes = 0;
  int64_t result = 0;  // or -errno
  uint64_t inode = 0;
  int64_t size = 0;  // stat: of a file; append: the end of what was appended
};
constexpr uint32_t kDamaged = UINT32_MAX;  // `op` of a run of blocks that no write made

inline int64_t MonotonicNow() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The names in a cell: a and b, three levels deep.
constexpr int kPathCount = 14;
inline const std::array<std::string, kPathCount>& Paths() {
  static const std::array<std::string, kPathCount> paths = {
      "a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/a/b", "a/b/a", "a/b/b", "b/a/a", "b/a/b", "b/b/a", "b/b/b"};
  return paths;
}

// Whether the cell is one of names; else of data, and then whether its file is truncated.
inline bool IsNamesCell(uint32_t cell) { return cell % 2 == 0; }
inline bool IsTruncatedCell(uint32_t cell) { return cell % 4 == 1; }
inline std::string CellPath(uint32_t cell) { return "/cell" + std::to_string(cell); }

// ---- data: blocks that say which write made them ----

constexpr int64_t kBlock = 64;
constexpr int64_t kChunkBytes = 65536;
constexpr int64_t kFileBytes = 8 * kChunkBytes;

inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

struct Block {
  uint64_t cell = 0;
  uint32_t op = 0, ordinal = 0;
  uint64_t fill[6] = {};
};
static_assert(sizeof(Block) == kBlock);

inline Block MakeBlock(uint32_t cell, uint32_t op, uint32_t ordinal) {
  Block block;
  block.cell = Mix(cell + 1);
  block.op = op;
  block.ordinal = ordinal;
  for (uint64_t i = 0; i < 6; ++i) block.fill[i] = Mix(block.cell ^ (uint64_t{op} << 32 | ordinal) ^ (i << 56));
  return block;
}

// {op, ordinal}; op 0 for zeros, kDamaged for what no write made.
inline std::pair<uint32_t, uint32_t> ReadBlock(uint32_t cell, const char* bytes) {
  static const char zeros[kBlock] = {};
  if (std::memcmp(bytes, zeros, kBlock) == 0) return {0, 0};
  Block block;
  std::memcpy(&block, bytes, kBlock);
  const Block expected = MakeBlock(cell, block.op, block.ordinal);
  if (block.op == 0 || std::memcmp(&block, &expected, kBlock) != 0) return {kDamaged, 0};
  return {block.op, block.ordinal};
}

}  // namespace model
