// Compaction: many small extents become one, extents that show little of their bytes are given up. It copies into fresh
// places (S1), verifies what it copies, and is never needed: without memory for it nothing happens.
//
// MergeTiny, after a small write: 32 or more small neighbours become one extent. A neighbour joins only if it is short
// against what it joins, so a byte is copied about log2(32 KiB / write) times in all, and writes of 32 KiB and more are
// never copied. A chunk written in order by small writes ends with extents of 32 to 64 KiB.
//
// RewriteSparse, after a cut: an extent of which less than an eighth is live. At once only when it is so little: at a
// half, overwriting a file from begin to end would copy half of it for nothing.
//
// Reclaim, when memory is short: walks through the tables for extents of which less than half is live; then, if a whole
// walk gained nothing, three quarters; then seven eighths. An extent is left alone when what it shows does not fit into
// free memory: its place comes back only after the last copy.
//
// FindSparse and GiveUp, when the chunk file is short: likewise of what lies on the disk alone, which somebody must
// read back in between.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "store/chunk_store.h"

namespace mayfly {

using store_internal::Files;
using store_internal::Slice;

namespace {

constexpr uint32_t kMergeSlicesMin = 32;
constexpr uint32_t kMergeSlicesMax = 256;
constexpr uint32_t kTinyBytes = 32 * 1024;  // longer slices are left alone
constexpr uint32_t kJoinBytes = 16 * 1024;  // joins whatever is beside it
constexpr uint32_t kSparseBytesMin = 8 * 1024;
constexpr uint32_t kForeignBytesMax = 64 * 1024;   // slices of others between two of a sparse extent: copied along
constexpr uint32_t kReclaimSlicesMax = 16 * 1024;  // of one call
constexpr uint64_t kReclaimBytesMax = 4u << 20;    // copied in one call
constexpr uint64_t kReclaimReserveMax = 8u << 20;  // free memory to keep for copying into
constexpr uint64_t kReclaimDeadBytesMin = 1u << 20;
constexpr uint64_t kCompactionSpareMax = 8u << 20;  // two extents of the longest

// Less than `eighths` of it are live.
bool IsSparse(const store_internal::Extent* e, uint32_t eighths) {
  return e != nullptr && !e->reserved && !e->known_corrupt && !e->inside && e->bytes >= kSparseBytesMin &&
         uint64_t{e->live_bytes} * 8 < uint64_t{e->bytes} * eighths;
}

}  // namespace

// Copies the slices of [begin, end), which cover it, into one fresh extent.
bool ChunkStore::Rewrite(File* file, uint64_t begin, uint64_t end) {
  uint32_t bytes = static_cast<uint32_t>(end - begin);
  Result<Extent*> staged = extents_.Stage(bytes);
  if (!staged.ok()) return false;
  MutableBytes to = arena_->Data((*staged)->place());
  bool has_sums = false;
  uint64_t at = begin;
  for (auto it = Files::At(file, begin); at < end; ++it) {
    MAYFLY_CHECK(it != file->slices.end() && it->first <= at && it->second.has_content());
    Extent* from = it->second.extent;
    if (from->absent) {
      extents_.Unstage(*staged);
      return false;
    }
    uint64_t stop = std::min(end, it->first + it->second.bytes);
    uint64_t skip = at - from->file_offset;
    if (!extents_.Check(from, skip / kChecksumBlockBytes, (stop - from->file_offset - 1) / kChecksumBlockBytes)) {
      from->known_corrupt = true;  // its readers get kCorrupt; a copy with a fresh checksum would hide the damage
      extents_.Unstage(*staged);
      return false;
    }
    has_sums |= from->has_sums;
    Bytes data = extents_.Data(from).subspan(skip, stop - at);
    std::copy(data.begin(), data.end(), to.data() + (at - begin));
    at = stop;
  }
  std::array<uint64_t, BlocksOf(kCompactBytesMax)> sums;
  size_t blocks = has_sums ? BlocksOf(bytes) : 0;
  for (size_t block = 0; block < blocks; ++block) {
    size_t offset = block * kChecksumBlockBytes;
    sums[block] = Checksum(to.subspan(offset, std::min<size_t>(kChecksumBlockBytes, bytes - offset)));
  }
  extents_.Write(*staged, begin, bytes, {sums.data(), blocks});
  files_.Cut(file, begin, end, nullptr);
  files_.Insert(file, begin, bytes, *staged);
  Record(file, begin, end);
  compacted_bytes_ += bytes;
  return true;
}

void ChunkStore::MergeTiny(File* file, const ChunkRange& range) {
  if (range.bytes >= kTinyBytes) return;
  const uint64_t chunk = range.file_offset() - range.offset, chunk_end = chunk + (uint64_t{1} << range.chunk_bits);
  auto left = Files::At(file, range.file_offset());
  // RewriteSparse may have put the write into a longer extent already.
  if (left == file->slices.end() || left->second.bytes >= kTinyBytes) return;
  uint64_t begin = left->first, end = begin + left->second.bytes;
  auto right = std::next(left);
  auto joins = [&](const Slice& slice) {
    return slice.has_content() && !slice.extent->absent && !slice.extent->known_corrupt && slice.bytes < kTinyBytes &&
           slice.bytes <= std::max<uint64_t>(end - begin, kJoinBytes) && end - begin + slice.bytes <= kCompactBytesMax;
  };
  uint32_t count = 1;
  for (bool grows = true; grows && count < kMergeSlicesMax;) {
    grows = false;
    if (left != file->slices.begin() && begin > chunk) {
      auto before = std::prev(left);
      if (before->first + before->second.bytes == begin && joins(before->second)) {
        left = before;
        begin = left->first;
        ++count;
        grows = true;
      }
    }
    if (right != file->slices.end() && right->first == end && end < chunk_end && joins(right->second)) {
      end += right->second.bytes;
      ++right;
      ++count;
      grows = true;
    }
  }
  if (count >= kMergeSlicesMin) Rewrite(file, begin, end);
}

// Stretches that begin and end with slices of `extent`, with nothing but short slices of others in between.
void ChunkStore::FindStretches(File* file, const Extent* extent, Stretches* stretches) {
  uint64_t begin = 0, end = 0, at = 0;  // of the stretch; `at` is behind the last slice looked at
  for (auto it = Files::At(file, extent->file_offset); it != file->slices.end() && it->first < extent->file_end();
       ++it) {
    const Slice& slice = it->second;
    bool mine = slice.extent == extent;
    bool continues = end != 0 && it->first == at && at + slice.bytes - begin <= kCompactBytesMax;
    bool copies = mine || (slice.bytes <= kForeignBytesMax && slice.has_content() && !slice.extent->absent &&
                           !slice.extent->known_corrupt);
    at = it->first + slice.bytes;
    if (continues && copies) {
      if (mine) end = at;
      continue;
    }
    if (end != 0) stretches->push_back({begin, end});
    end = 0;
    if (!mine) continue;
    for (begin = it->first; at - begin > kCompactBytesMax; begin += kCompactBytesMax) {
      stretches->push_back({begin, begin + kCompactBytesMax});
    }
    end = at;
  }
  if (end != 0) stretches->push_back({begin, end});
}

uint64_t ChunkStore::RewriteSparse(File* file, const CutExtents& cut, uint32_t eighths) {
  uint64_t copied = 0;
  for (const Extent* extent : cut) {
    if (!IsSparse(extent, eighths) || extent->absent || copied >= kCompactBytesMax) continue;
    Stretches stretches;
    FindStretches(file, extent, &stretches);
    for (auto [begin, end] : stretches) {
      if (copied >= kCompactBytesMax) break;
      const uint64_t bytes = RewriteInPieces(file, begin, end);
      copied += bytes;
      if (bytes != end - begin) break;
    }
  }
  return copied;
}

// What is free may be in pieces. How many bytes, from `begin` on.
uint64_t ChunkStore::RewriteInPieces(File* file, uint64_t begin, uint64_t end) {
  uint64_t longest = end - begin;
  for (uint64_t at = begin; at < end;) {
    const uint64_t to = std::min(at + longest, end);
    if (Rewrite(file, at, to)) {
      at = to;
    } else if (longest > kChecksumBlockBytes) {
      longest = std::max<uint64_t>(longest / 2 / DiskSpace::kBlockBytes * DiskSpace::kBlockBytes, kChecksumBlockBytes);
    } else {
      return at - begin;
    }
  }
  return end - begin;
}

// Of arena and chunk file, whichever has less, for Reclaim.
uint64_t ChunkStore::BytesFreeNow() const {
  const DiskSpace* disk = extents_.disk();
  if (disk == nullptr) return arena_->bytes_free();
  const uint64_t in_file = disk->blocks_free() * DiskSpace::kBlockBytes, spare = CompactionSpare();
  return std::min(arena_->bytes_free(), in_file - std::min(in_file, spare));
}

uint64_t ChunkStore::CompactionSpare() const {
  return std::min(kCompactionSpareMax, extents_.disk()->blocks() / 16 * DiskSpace::kBlockBytes);
}

// With what Settle and Kept will give back.
uint64_t ChunkStore::BytesFree() const {
  const DiskSpace* disk = extents_.disk();
  uint64_t in_file = ~uint64_t{0};
  if (disk != nullptr) {
    in_file = (disk->blocks_free() + extents_.unkept_blocks() + extents_.unsettled_blocks()) * DiskSpace::kBlockBytes;
  }
  return std::min(arena_->bytes_free() + extents_.unsettled_bytes(), in_file);
}

bool ChunkStore::IsShort(uint32_t bytes) const {
  uint64_t most = budget_->bytes_max();
  if (const DiskSpace* disk = extents_.disk()) most = std::min(most, disk->blocks() * DiskSpace::kBlockBytes);
  return BytesFree() < bytes + std::min<uint64_t>(most / 8, kReclaimReserveMax);
}

void ChunkStore::KeepRoom(uint32_t bytes) {
  if (IsShort(bytes)) {
    Reclaim();
  } else {
    reclaim_.eighths = kReclaimEighths;  // the next time the emptiest first again
  }
}

// A walk that found nothing is not repeated until there is so much more to find: a full store must refuse at once.
bool ChunkStore::MayFind(Hunt* hunt, uint64_t more) const {
  const uint64_t dead = extents_.dead_bytes();
  hunt->futile_dead = std::min(hunt->futile_dead, dead);
  return dead >= hunt->futile_dead + more;
}

// `buckets` were walked through.
void ChunkStore::EndWalk(Hunt* hunt, uint64_t buckets, bool gained) {
  hunt->barren = gained ? 0 : hunt->barren + buckets;
  if (hunt->barren <= files_.table().bucket_count()) return;
  hunt->barren = 0;
  if (hunt->eighths == 7) hunt->futile_dead = extents_.dead_bytes();
  hunt->eighths = hunt->eighths == kReclaimEighths ? 6 : hunt->eighths == 6 ? 7 : kReclaimEighths;
}

// The next file with an extent that `is_worth_it`, at or behind hunt->hand, which is left at its slice. Null: none
// among as many slices and buckets as one call looks at.
template <class IsWorthIt>
store_internal::File* ChunkStore::Walk(Hunt* hunt, uint64_t* slices, uint64_t* buckets, IsWorthIt is_worth_it) {
  const auto& table = files_.table();
  while (*slices < kReclaimSlicesMax && *buckets <= table.bucket_count()) {
    File* const file = hunt->hand.At(table);
    if (file == nullptr) {
      ++*buckets;
      continue;
    }
    auto it = Files::At(file, hunt->hand.offset);
    for (; it != file->slices.end() && *slices < kReclaimSlicesMax; ++it, ++*slices) {
      if (!is_worth_it(it->second.extent)) continue;
      hunt->hand.offset = it->first;
      return file;
    }
    if (it == file->slices.end()) {
      hunt->hand.NextFile();
    } else {
      hunt->hand.offset = it->first;  // enough slices for one call
    }
  }
  return nullptr;
}

bool ChunkStore::Reclaim() {
  if (!MayFind(&reclaim_, kReclaimDeadBytesMin)) return false;
  const uint64_t free_before = BytesFree();
  uint64_t slices = 0, copied = 0, buckets = 0;
  while (copied < kReclaimBytesMax) {
    File* const file = Walk(&reclaim_, &slices, &buckets, [&](const Extent* extent) {
      return IsSparse(extent, reclaim_.eighths) && !extent->absent &&
             extent->live_bytes + kCompactBytesMax / 4 <= BytesFreeNow();
    });
    if (file == nullptr) break;
    const auto it = Files::At(file, reclaim_.hand.offset);
    CutExtents sparse(&extents_);
    sparse.Add(it->second.extent);
    reclaim_.hand.offset = it->first + it->second.bytes;
    copied += RewriteSparse(file, sparse, reclaim_.eighths);
    ++slices;
  }
  const bool gained = BytesFree() > free_before;
  EndWalk(&reclaim_, buckets, gained);
  return gained;
}

bool ChunkStore::MayCompact() {
  return extents_.disk() != nullptr && MayFind(&disk_hunt_, std::min(kReclaimDeadBytesMin, CompactionSpare()));
}

bool ChunkStore::FindSparse(InodeId* id, ReadPieces* pieces) {
  const uint64_t free = extents_.disk()->blocks_free() * DiskSpace::kBlockBytes;
  uint64_t slices = 0, buckets = 0;
  File* const file = Walk(&disk_hunt_, &slices, &buckets, [&](const Extent* extent) {
    return IsSparse(extent, disk_hunt_.eighths) && extent->live_bytes <= free;
  });
  EndWalk(&disk_hunt_, buckets, false);
  if (file == nullptr) return false;
  const auto it = Files::At(file, disk_hunt_.hand.offset);
  *id = file->id;
  pieces->push_back(PieceOf(it->second.extent, it->first, it->first + it->second.bytes));
  disk_hunt_.hand.offset = it->first + it->second.bytes;
  return true;
}

bool ChunkStore::GiveUp(InodeId id, const ReadPiece& piece) {
  File* const file = files_.Find(id);
  if (file == nullptr) return true;
  Extent* const extent = piece.pin.extent_;
  CutExtents one(&extents_);
  one.Add(extent);
  constexpr uint32_t kAnything = 8;
  while (RewriteSparse(file, one, kAnything) != 0) continue;
  if (extent->live_bytes != 0) return false;
  disk_hunt_.barren = 0;
  return true;
}

}  // namespace mayfly
