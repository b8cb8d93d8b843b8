#include "inspect/piece_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "task/disk_request.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = Disk::kBlockBytes;
constexpr uint64_t kSummed = kChecksumBlockBytes;

}  // namespace

// Offsets are the extent's.
struct PieceReader::Reading {
  StoredPiece piece;
  uint64_t begin = 0, end = 0;  // wanted
  uint64_t from = 0, to = 0;    // the same in whole blocks with a checksum
  MutableBytes out;             // of [begin, end)
  std::vector<bool> had;        // by block from `from` on
  std::vector<bool> wrong;      // likewise: some source had something else
  bool all() const { return std::find(had.begin(), had.end(), false) == had.end(); }
};

PieceReader::~PieceReader() {
  if (chunks_.value != 0) from_.disk->Close(chunks_);
  for (const Segment& segment : segments_) {
    if (segment.file.value != 0) from_.memory->Close(segment.file);
  }
}

Task<ChunkFileState> PieceReader::Open() {
  ChunkFileState state = ChunkFileState::kGood;
  Disk::OpenHow how;
  how.read_only = true;
  auto opened = co_await OpenChunkFile(from_.executor, from_.disk, from_.uuid, from_.shard, &state, how);
  if (opened.ok()) chunks_ = opened->file;
  if (opened.ok()) chunk_file_bytes_ = opened->bytes;
  chunks_hold_ = opened.ok();
  if (state == ChunkFileState::kCut || state == ChunkFileState::kForeign) {
    // What is left of it can be told from other bytes where there are checksums.
    if (auto file = from_.disk->Open(kChunkFileName, how); file.ok()) chunks_ = *file;
  }
  co_return state;
}

uint32_t PieceReader::Stretch(const StoredPiece& piece, uint64_t begin) {
  const uint64_t at = begin - piece.extent_begin;
  const uint64_t end = (at / kSummed + kReadBytesMax / kSummed) * kSummed;
  return static_cast<uint32_t>(std::min(piece.end() - begin, end - at));
}

Task<void> PieceReader::Read(StoredPiece piece, uint64_t begin, MutableBytes to, Gaps* gaps) {
  MAYFLY_CHECK(!to.empty() && to.size() <= kReadBytesMax && begin >= piece.begin && begin + to.size() <= piece.end());
  Reading r;
  r.piece = piece;
  r.begin = begin - piece.extent_begin;
  r.end = r.begin + to.size();
  r.from = r.begin / kSummed * kSummed;
  r.to = std::min<uint64_t>(piece.extent_bytes, (r.end + kSummed - 1) / kSummed * kSummed);
  r.out = to;
  r.had.resize(BlocksOf(r.to - r.from));
  r.wrong.resize(r.had.size());
  if (piece.place.valid() && from_.memory != nullptr && (!piece.sums.empty() || from_.places_hold)) {  // R2
    const DiskFileId file = SegmentFile(piece.place.segment());
    if (file.value != 0) co_await Try(&r, from_.memory, file, piece.place.within());
  }
  if (!r.all() && piece.disk_offset != 0 && chunks_.value != 0 && (!piece.sums.empty() || chunks_hold_)) {
    co_await Try(&r, from_.disk, chunks_, piece.disk_offset);
  }
  for (size_t i = 0; i < r.had.size(); ++i) {
    if (r.had[i]) continue;
    Gap gap;
    gap.begin = piece.extent_begin + std::max(r.begin, r.from + i * kSummed);
    gap.end = piece.extent_begin + std::min(r.end, r.from + (i + 1) * kSummed);
    gap.kind = r.wrong[i] ? GapKind::kCorrupt : GapKind::kMissing;
    gaps->push_back(gap);
  }
}

bool PieceReader::IsInMemory(const StoredPiece& piece) {
  if (!piece.place.valid() || from_.memory == nullptr) return false;
  const DiskFileId file = SegmentFile(piece.place.segment());
  if (file.value == 0) return false;
  const auto bytes = from_.memory->BytesOf(file);
  return bytes.ok() && *bytes >= uint64_t{piece.place.within()} + piece.extent_bytes;
}

// At once, or, if some of it cannot be read, block by block.
Task<void> PieceReader::Try(Reading* r, Disk* disk, DiskFileId file, uint64_t extent_offset) {
  const bool all = co_await TryBlocks(r, disk, file, extent_offset, 0, r->had.size());
  if (all) co_return;
  for (size_t i = 0; i < r->had.size(); ++i) {
    if (!r->had[i]) (void)co_await TryBlocks(r, disk, file, extent_offset, i, i + 1);
  }
}

// False: they cannot be read.
Task<bool> PieceReader::TryBlocks(Reading* r, Disk* disk, DiskFileId file, uint64_t extent_offset, size_t first,
                                  size_t last) {
  const uint64_t from = r->from + first * kSummed, to = std::min(r->from + last * kSummed, r->to);
  const auto skip = co_await ReadFrom(disk, file, extent_offset + from, to - from);
  if (!skip.ok()) co_return false;
  const Bytes data = buffer_->span().subspan(*skip, to - from);
  for (size_t i = first; i < last; ++i) {
    if (r->had[i]) continue;
    const uint64_t at = r->from + i * kSummed, behind = std::min(at + kSummed, r->to);
    const Bytes block = data.subspan(at - from, behind - at);
    if (!r->piece.sums.empty() && Checksum(block) != r->piece.sums[at / kSummed]) {
      r->wrong[i] = true;  // R1
      continue;
    }
    r->had[i] = true;
    const uint64_t begin = std::max(at, r->begin), end = std::min(behind, r->end);
    std::copy_n(block.begin() + static_cast<ptrdiff_t>(begin - at), end - begin,
                r->out.begin() + static_cast<ptrdiff_t>(begin - r->begin));
  }
  co_return true;
}

Task<Result<uint64_t>> PieceReader::ReadFrom(Disk* disk, DiskFileId file, uint64_t offset, uint64_t bytes) {
  const uint64_t begin = offset / kBlock * kBlock;
  const uint64_t end = (offset + bytes + kBlock - 1) / kBlock * kBlock;
  if (buffer_ == nullptr) buffer_ = std::make_unique<BlockBuffer>(kReadBytesMax + kSummed + 2 * kBlock);
  MAYFLY_CHECK(end - begin <= buffer_->size());
  DiskRequest request(*from_.executor, *disk);
  request.Read(file, begin, buffer_->span().first(end - begin));
  const Status status = co_await request;
  if (!status.ok()) co_return status;
  co_return offset - begin;
}

DiskFileId PieceReader::SegmentFile(uint32_t number) {
  const auto open =
      std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return s.number == number; });
  if (open != segments_.end()) {
    std::rotate(open, open + 1, segments_.end());
    return segments_.back().file;
  }
  if (segments_.size() == kSegmentsOpen) {
    if (segments_.front().file.value != 0) from_.memory->Close(segments_.front().file);
    segments_.erase(segments_.begin());
  }
  Disk::OpenHow how;
  how.read_only = true;
  const auto file = from_.memory->Open(fmt::format("{}.{}", from_.arena_prefix, number), how);
  segments_.push_back({number, file.ok() ? *file : DiskFileId()});
  return segments_.back().file;
}

}  // namespace mayfly
