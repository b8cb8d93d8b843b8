#include "store/disk_reader.h"

#include <algorithm>
#include <vector>

#include "os/block_buffer.h"
#include "task/disk_request.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = DiskSpace::kBlockBytes;
constexpr uint32_t kCopyBytesMax = 32 * 1024;  // longer ones lie on pages, and are read to where they belong

}  // namespace

Task<Status> DiskReader::Fetch(ReadPieces* pieces, Nanos deadline) {
  uint64_t bytes = 0;
  for (const ReadPiece& piece : *pieces) {
    if (piece.is_absent()) bytes += piece.pin.extent_->bytes;
  }
  while (reading_bytes_ != 0 && reading_bytes_ + bytes > bytes_max_) {  // X3
    MAYFLY_CO_TRY(co_await admitted_.Wait(deadline));
  }
  reading_bytes_ += bytes;
  std::vector<Task<Status>> tasks;
  for (ReadPiece& piece : *pieces) {
    if (piece.is_absent()) tasks.push_back(FetchOne(&piece, deadline));
  }
  Status status;
  for (auto& task : tasks) {
    const Status one = co_await task;
    if (!one.ok()) status = one;
  }
  reading_bytes_ -= bytes;
  admitted_.WakeAll();
  co_return status;
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
  Result<Place> place = extents.PlaceAbsent(extent);
  while (!place.ok()) {
    MAYFLY_CO_TRY(co_await make_room_(extent->bytes, deadline));
    place = extents.PlaceAbsent(extent);
  }
  const uint64_t bytes = uint64_t{DiskSpace::BlocksFor(extent->bytes)} * kBlock;
  DiskRequest request(executor_, disk_);
  Status status;
  if (extent->bytes <= kCopyBytesMax) {
    BlockBuffer buffer(bytes);
    request.Read(file_, extents.DiskOffset(extent), buffer.span());
    status = co_await request;
    if (status.ok()) std::copy_n(buffer.data(), extent->bytes, store_.arena_->Data(*place).data());
  } else {
    request.Read(file_, extents.DiskOffset(extent), store_.arena_->Data({place->offset, static_cast<uint32_t>(bytes)}));
    status = co_await request;
  }
  if (status.code() == Code::kCorrupt) status = Code::kIo;  // the file is shorter than it was
  extents.Return(extent, *place, status.ok());
  if (!status.ok()) co_return status;
  ++store_.fetched_;
  store_.fetched_bytes_ += extent->bytes;
  // Those of its blocks that hold are good for whoever wants them alone: each reader checks what it reads.
  if (!extents.Check(extent, 0, extent->blocks() - 1)) extent->known_corrupt = true;
  co_return Status();
}

}  // namespace mayfly
