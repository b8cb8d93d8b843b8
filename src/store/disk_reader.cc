#include "store/disk_reader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "os/block_buffer.h"
#include "task/all.h"
#include "task/disk_request.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = DiskSpace::kBlockBytes;
constexpr size_t kInPartsMax = 64 * 1024;
constexpr uint32_t kCopyBytesMax = 32 * 1024;  // longer ones lie on pages, and are read to where they belong

// The file is shorter than it was.
Status AsOfDevice(Status status) { return status.code() == Code::kCorrupt ? Status(Code::kIo) : status; }

}  // namespace

Task<Status> DiskReader::Fetch(ReadPieces* pieces, bool in_order, Nanos deadline) {
  uint64_t in_whole = 0, bytes = 0;
  for (const ReadPiece& piece : *pieces) in_whole += piece.is_absent() ? piece.pin.extent_->bytes : 0;
  const bool spares = in_whole > bytes_max_;  // X3
  absl::InlinedVector<ReadPiece*, 4> whole;
  absl::InlinedVector<std::pair<ReadPiece*, Part>, 4> parts;
  for (ReadPiece& piece : *pieces) {
    if (!piece.is_absent()) continue;
    const Part part = PartOf(piece);
    if (spares ? !piece.pin.extent_->inside && part.bytes < piece.pin.extent_->bytes
               : !in_order && WantsPart(piece, part)) {
      parts.emplace_back(&piece, part);
      bytes += part.bytes;
    } else {
      whole.push_back(&piece);
      bytes += piece.pin.extent_->bytes;
    }
  }
  while (reading_bytes_ != 0 && reading_bytes_ + bytes > bytes_max_) {  // X3
    MAYFLY_CO_TRY(co_await admitted_.Wait(deadline));
  }
  reading_bytes_ += bytes;
  std::vector<Task<Status>> tasks;
  for (ReadPiece* piece : whole) tasks.push_back(FetchOne(piece, deadline));
  for (const auto& [piece, part] : parts) tasks.push_back(FetchPart(piece, part, deadline));
  const Status status = co_await All(std::move(tasks));
  reading_bytes_ -= bytes;
  admitted_.WakeAll();
  co_return status;
}

DiskReader::Part DiskReader::PartOf(const ReadPiece& piece) {
  const Extent* extent = piece.pin.extent_;
  const uint64_t at = piece.file_offset - extent->file_offset;
  Part part;
  part.first = at / kChecksumBlockBytes;
  part.last = (at + piece.bytes - 1) / kChecksumBlockBytes;
  part.begin = static_cast<uint32_t>(part.first * kChecksumBlockBytes);
  part.bytes = std::min(static_cast<uint32_t>((part.last + 1) * kChecksumBlockBytes), extent->bytes) - part.begin;
  return part;
}

// And counts it.
bool DiskReader::WantsPart(const ReadPiece& piece, const Part& part) {
  const Extent* extent = piece.pin.extent_;
  // What lies in a reservation does not begin with a block.
  if (extent->inside || reading_.contains(extent)) return false;
  if (part.bytes > extent->bytes / 2) return false;
  if (read_in_parts_.size() >= kInPartsMax) read_in_parts_.clear();
  uint64_t& so_far = read_in_parts_[extent];
  if (so_far + part.bytes > extent->bytes) return false;
  so_far += part.bytes;
  return true;
}

Task<Result<Place>> DiskReader::PlaceFor(uint32_t bytes, Nanos deadline) {
  Result<Place> place = store_.arena_->Allocate(bytes);
  while (!place.ok()) {
    MAYFLY_CO_TRY(co_await make_room_(bytes, deadline));
    place = store_.arena_->Allocate(bytes);
  }
  co_return place;
}

Task<Status> DiskReader::FetchPart(ReadPiece* piece, Part part, Nanos deadline) {
  Extent* const extent = piece->pin.extent_;
  const uint32_t bytes = static_cast<uint32_t>(DiskSpace::BlocksFor(part.bytes) * kBlock);  // on pages of the arena
  Arena* const arena = store_.arena_;
  const Result<Place> place = co_await PlaceFor(bytes, deadline);
  if (!place.ok()) co_return place.status();
  OwnPlace copy(arena, *place);
  DiskRequest request(executor_, disk_);
  request.Read(file_, store_.extents_.DiskOffset(extent) + part.begin, arena->Data({place->offset, bytes}));
  MAYFLY_CO_TRY(AsOfDevice(co_await request));
  ++store_.fetched_;
  store_.fetched_bytes_ += part.bytes;
  if (!store_.extents_.CheckCopy(extent, part.first, part.last, arena->Data({place->offset, part.bytes}))) {
    extent->known_corrupt = true;
    co_return Code::kCorrupt;
  }
  const uint64_t at = piece->file_offset - extent->file_offset - part.begin;
  piece->place = {place->offset + at, piece->bytes};
  piece->data = arena->Data(piece->place);
  piece->copy = std::move(copy);
  co_return Code::kOk;
}

Task<Status> DiskReader::FetchOne(ReadPiece* piece, Nanos deadline) {
  Extent* const extent = piece->pin.extent_;
  while (extent->absent) {
    auto& waiters = reading_[extent];
    if (waiters != nullptr) {
      MAYFLY_CO_TRY(co_await waiters->Wait(deadline));
      continue;
    }
    waiters = std::make_unique<WaitQueue>(executor_);
    const Status status = co_await Read(extent, deadline);
    auto node = reading_.extract(extent);
    node.mapped()->WakeAll();
    if (!status.ok()) co_return status;
  }
  store_.Show(piece);
  co_return Status();
}

Task<Status> DiskReader::Read(Extent* extent, Nanos deadline) {
  store_internal::Extents& extents = store_.extents_;
  const Result<Place> place = co_await PlaceFor(extent->bytes, deadline);
  if (!place.ok()) co_return place.status();
  const Status status = co_await ReadInto(extent, *place);
  extents.Return(extent, *place, status.ok());
  if (!status.ok()) co_return status;
  ++store_.fetched_;
  store_.fetched_bytes_ += extent->bytes;
  read_in_parts_.erase(extent);
  // Those of its blocks that hold are good for whoever wants them alone: each reader checks what it reads.
  if (!extents.Check(extent, 0, extent->blocks() - 1)) extent->known_corrupt = true;
  co_return Status();
}

Task<Status> DiskReader::ReadInto(const Extent* extent, Place place) {
  const uint64_t offset = store_.extents_.DiskOffset(extent), begin = offset / kBlock * kBlock;
  const uint64_t bytes = uint64_t{DiskSpace::BlocksFor(offset + extent->bytes - begin)} * kBlock;
  DiskRequest request(executor_, disk_);
  Status status;
  // What lies in a reservation begins anywhere in a block.
  if (extent->inside || extent->bytes <= kCopyBytesMax) {
    BlockBuffer buffer(bytes);
    request.Read(file_, begin, buffer.span());
    status = co_await request;
    if (status.ok()) {
      std::copy_n(buffer.data() + (offset - begin), extent->bytes,
                  store_.arena_->Data({place.offset, extent->bytes}).data());
    }
  } else {
    request.Read(file_, begin, store_.arena_->Data({place.offset, static_cast<uint32_t>(bytes)}));
    status = co_await request;
  }
  co_return AsOfDevice(status);
}

}  // namespace mayfly
