#include "store/chunk_store.h"

#include <algorithm>

#include "base/check.h"
#include "store/images.h"

namespace mayfly {

using store_internal::Files;

ChunkStore::ChunkStore(Arena* arena, MemoryBudget* budget)
    : arena_(arena), budget_(budget), memory_(budget), extents_(arena, &memory_), files_(&extents_, &memory_) {}

ChunkStore::~ChunkStore() {
  MAYFLY_CHECK(pins_ == 0);  // S7
  for (Extent* extent : quarantined_) extents_.Unref(extent);
}

void ChunkStore::PutPlacesVoid(TlvWriter* out) { store_internal::PutPlacesVoid(out); }

void ChunkStore::SetRecorder(TlvWriter* out) {
  recorder_ = out;
  extents_.KeepUnsettled(out != nullptr);
}

void ChunkStore::Freeze() {
  recorder_ = nullptr;
  extents_.Freeze();
}

void ChunkStore::RecordRange(const File& file, uint64_t begin, uint64_t end) {
  store_internal::PutRange(recorder_, *arena_, file, begin, end);
}

bool ChunkStore::IsValid(const ChunkRange& range) {
  if (!range.file.valid() || range.chunk_bits < kChunkBitsMin || range.chunk_bits > kChunkBitsMax) return false;
  return range.bytes != 0 && uint64_t{range.offset} + range.bytes <= uint64_t{1} << range.chunk_bits;
}

void ExtentPin::Reset() {
  if (extent_ == nullptr) return;
  store_->Unpin(std::exchange(extent_, nullptr));
  store_ = nullptr;
}

void ChunkStore::Unpin(Extent* extent) {
  --pins_;
  if (extents_.disk() != nullptr) EndUse(extent);
  extents_.Unref(extent);
}

// ---- writing ----

Result<Place> ChunkStore::Stage(uint32_t bytes) {
  KeepRoom(bytes);
  Result<Extent*> extent = extents_.Stage(bytes);
  for (int tries = 0; extent.code() == Code::kNoSpace && tries < 3; ++tries) {
    if (Reclaim()) extent = extents_.Stage(bytes);
  }
  if (!extent.ok()) return extent.code();
  return (*extent)->place();
}

Result<Place> ChunkStore::StageFor(const ChunkRange& range) {
  if (!IsValid(range)) return Code::kInvalid;
  uint64_t begin = range.file_offset(), end = begin + range.bytes;
  File* file = files_.Find(range.file);
  if (file == nullptr) return Stage(range.bytes);
  auto it = Files::At(file, begin);
  if (it != file->slices.end() && it->first <= begin && it->second.is_reserved()) {
    uint32_t bytes = static_cast<uint32_t>(std::min(end, it->first + it->second.bytes) - begin);
    Result<Extent*> inside = extents_.StageInside(it->second.extent, begin, bytes);
    while (!inside.ok() && bytes > kInsideBytesMin) {  // memory may be in pieces
      const uint64_t within = begin - it->second.extent->file_offset, half = within + bytes / 2;
      bytes = static_cast<uint32_t>(std::max(half - half % DiskSpace::kBlockBytes, within + kInsideBytesMin) - within);
      inside = extents_.StageInside(it->second.extent, begin, bytes);
    }
    if (!inside.ok()) return inside.status();
    files_.Cut(file, begin, begin + bytes, nullptr);
    Record(file, begin, begin + bytes);
    return (*inside)->place();
  }
  while (it != file->slices.end() && it->first < end && !it->second.is_reserved()) ++it;
  if (it != file->slices.end()) end = std::min(end, it->first);
  return Stage(static_cast<uint32_t>(end - begin));
}

uint64_t ChunkStore::ReservedBytes(const ChunkRange& range) const {
  const File* file = files_.Find(range.file);
  if (file == nullptr) return 0;
  const uint64_t begin = range.file_offset(), end = begin + range.bytes;
  uint64_t bytes = 0;
  for (auto it = Files::At(file, begin); it != file->slices.end() && it->first < end; ++it) {
    if (!it->second.is_reserved()) continue;
    bytes += std::min(end, it->first + it->second.bytes) - std::max(begin, it->first);
  }
  return bytes;
}

void ChunkStore::Unstage(Place place) {
  Extent* extent = extents_.FindStaged(place);
  MAYFLY_CHECK(extent != nullptr);
  extents_.Unstage(extent);
}

Status ChunkStore::Commit(const ChunkRange& range, Place place, std::span<const uint64_t> sums, Nanos mtime) {
  if (!IsValid(range) || range.bytes > place.bytes) return Code::kInvalid;
  if (!sums.empty() && sums.size() != BlocksOf(range.bytes)) return Code::kInvalid;
  Extent* extent = extents_.FindStaged(place);
  if (extent == nullptr) return Code::kInvalid;
  uint64_t begin = range.file_offset(), end = begin + range.bytes;
  File* file = files_.FindOrMake(range.file);
  CutExtents cut(&extents_);
  extents_.Write(extent, begin, range.bytes, sums);
  files_.Cut(file, begin, end, &cut);
  files_.Insert(file, begin, range.bytes, extent);
  file->high_water = std::max(file->high_water, end);
  file->mtime = std::max(file->mtime, mtime);
  ++file->changes;
  Record(file, begin, end);
  RewriteSparse(file, cut, kEagerEighths);
  MergeTiny(file, range);
  return {};
}

// ---- reading ----

ReadPiece ChunkStore::PieceOf(Extent* extent, uint64_t begin, uint64_t end) {
  extents_.Ref(extent);
  ++pins_;
  if (extents_.disk() != nullptr) Use(extent);
  ReadPiece piece{.file_offset = begin, .bytes = static_cast<uint32_t>(end - begin)};
  piece.pin = ExtentPin(this, extent);
  if (!extent->absent) Show(&piece);
  return piece;
}

void ChunkStore::Show(ReadPiece* piece) {
  const Extent* extent = piece->pin.extent_;
  piece->place = {extent->place_offset + (piece->file_offset - extent->file_offset), piece->bytes};  // S2
  piece->data = arena_->Data(piece->place);
}

Result<ChunkStore::Covered> ChunkStore::Read(const ChunkRange& range, ReadPieces* pieces) {
  if (!IsValid(range)) return Code::kInvalid;
  File* file = files_.Find(range.file);
  if (file == nullptr) return Covered{};
  const uint64_t begin = range.file_offset(), end = std::min(begin + range.bytes, file->high_water);
  const size_t pieces_max = pieces->size() + kReadPiecesMax;
  uint64_t at = begin;
  auto it = Files::At(file, begin);
  while (at < end) {
    bool is_behind = it == file->slices.end() || it->first >= end;
    uint64_t next = is_behind ? end : std::max(at, it->first);
    bool is_data = next == at && it->second.has_content();
    if (next == at) next = std::min(end, it->first + it->second.bytes);
    bool joins = !is_data && at != begin && pieces->back().is_hole();
    if (!joins && pieces->size() == pieces_max) return Covered{static_cast<uint32_t>(at - begin), true};
    if (is_data) {
      pieces->push_back(PieceOf(it->second.extent, at, next));
    } else if (joins) {
      pieces->back().bytes += static_cast<uint32_t>(next - at);
    } else {
      pieces->push_back(ReadPiece{.file_offset = at, .bytes = static_cast<uint32_t>(next - at)});
    }
    at = next;
    if (it != file->slices.end() && it->first + it->second.bytes <= at) ++it;
  }
  return Covered{static_cast<uint32_t>(std::max(at, begin) - begin), false};
}

uint64_t ChunkStore::LiveData(InodeId id, uint64_t from, uint32_t pieces_max, ReadPieces* pieces) {
  File* file = files_.Find(id);
  if (file == nullptr) return kDone;
  auto it = Files::At(file, from);
  for (; it != file->slices.end(); ++it) {
    if (!it->second.has_content()) continue;
    if (pieces_max-- == 0) return std::max(from, it->first);
    pieces->push_back(PieceOf(it->second.extent, std::max(from, it->first), it->first + it->second.bytes));
  }
  return kDone;
}

Status ChunkStore::Verify(const ReadPiece& piece) {
  if (piece.is_hole() || piece.copy) return {};
  const Extent* extent = piece.pin.extent_;
  uint64_t at = piece.file_offset - extent->file_offset;
  bool good = extents_.Check(extent, at / kChecksumBlockBytes, (at + piece.bytes - 1) / kChecksumBlockBytes);
  return good ? Status() : Status(Code::kCorrupt);
}

Status ChunkStore::PieceSums(const ReadPiece& piece, SumParts* parts) {
  if (piece.is_hole() || !piece.pin.extent_->has_sums) return {};
  const Extent* extent = piece.pin.extent_;
  const uint64_t begin = piece.file_offset - extent->file_offset, end = begin + piece.bytes;
  for (uint64_t at = begin; at < end;) {
    size_t block = at / kChecksumBlockBytes;
    uint64_t block_end = std::min<uint64_t>((block + 1) * kChecksumBlockBytes, extent->bytes);
    uint64_t part_end = std::min(block_end, end);
    if (at % kChecksumBlockBytes == 0 && part_end == block_end) {
      parts->push_back({static_cast<uint32_t>(part_end - at), extent->sum_array()[block]});
    } else {
      if (!piece.copy && !extents_.Check(extent, block, block)) return Code::kCorrupt;
      parts->push_back({static_cast<uint32_t>(part_end - at), Checksum(piece.data.subspan(at - begin, part_end - at))});
    }
    at = part_end;
  }
  return {};
}

// ---- figures ----

FileFigures ChunkStore::Figures(InodeId id) const {
  const File* file = files_.Find(id);
  if (file == nullptr) return {};
  return {.high_water = file->high_water,
          .allocated_bytes = file->pages * store_internal::kPageBytes,
          .mtime = file->mtime,
          .epoch = file->epoch,
          .changes = file->changes,
          .slices = file->slices.size()};
}

Status ChunkStore::SetEpoch(InodeId id, uint64_t epoch) {
  File* file = files_.Find(id);
  if (file == nullptr) {
    if (epoch == 0) return {};
    if (!memory_.HasRoom(kFileTableBytes)) return Code::kNoSpace;
    file = files_.FindOrMake(id);
  }
  file->epoch = epoch;
  RecordFigures(file);
  files_.RemoveIfNothing(file);
  return {};
}

void ChunkStore::ClearMtime(InodeId id) {
  File* file = files_.Find(id);
  if (file == nullptr || file->mtime == 0) return;
  file->mtime = 0;
  RecordFigures(file);
}

ChunkStoreStats ChunkStore::stats() const {
  const DiskSpace* disk = extents_.disk();
  constexpr uint64_t kBlock = DiskSpace::kBlockBytes;
  return {.files = files_.count(),
          .extents = extents_.count(),
          .staged = extents_.staged(),
          .pins = pins_,
          .unsettled_bytes = extents_.unsettled_bytes(),
          .unkept_bytes = extents_.unkept_blocks() * kBlock,
          .disk_bytes = disk != nullptr ? disk->blocks() * kBlock : 0,
          .disk_bytes_free = disk != nullptr ? disk->blocks_free() * kBlock : 0,
          .dead_bytes = extents_.dead_bytes(),
          .corrupt_blocks = extents_.corrupt_blocks(),
          .compacted_bytes = compacted_bytes_,
          .evicted = evicted_,
          .evicted_bytes = evicted_bytes_,
          .fetched = fetched_,
          .fetched_bytes = fetched_bytes_,
          .hits = hits_};
}

}  // namespace mayfly
