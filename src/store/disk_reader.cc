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
constexpr size_t kAtOnce = 16;
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
  const Status status = co_await All(std::move(tasks));
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
  const Status status = co_await ReadInto(extent, *place);
  extents.Return(extent, *place, status.ok());
  if (!status.ok()) co_return status;
  ++store_.fetched_;
  store_.fetched_bytes_ += extent->bytes;
  // Those of its blocks that hold are good for whoever wants them alone: each reader checks what it reads.
  if (!extents.Check(extent, 0, extent->blocks() - 1)) extent->known_corrupt = true;
  co_return Status();
}

Task<Status> DiskReader::ReadInto(const Extent* extent, Place place) {
  const uint64_t offset = store_.extents_.DiskOffset(extent), begin = offset / kBlock * kBlock;
  const uint64_t bytes = uint64_t{DiskSpace::BlocksFor(offset + extent->bytes - begin)} * kBlock;
  DiskRequest request(executor_, disk_);
  Status status;
  // What was written in place may share its first and last block with a neighbour that is there already.
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
  co_return status.code() == Code::kCorrupt ? Status(Code::kIo) : status;  // the file is shorter than it was
}

Task<Status> DiskReader::FillPlaced(Filled* filled) {
  store_internal::Extents& extents = store_.extents_;
  const std::vector<Extent*> all = std::exchange(store_.absent_, {});
  Status failed;
  for (size_t first = 0; first < all.size(); first += kAtOnce) {
    std::vector<std::pair<Extent*, Task<Status>>> reads;
    for (size_t i = first; i < std::min(first + kAtOnce, all.size()); ++i) {
      if (!all[i]->reserved) reads.emplace_back(all[i], ReadInto(all[i], all[i]->place()));
    }
    for (auto& [extent, read] : reads) {
      const Status status = co_await read;
      if (!status.ok()) failed = status;
      const uint64_t before = extents.corrupt_blocks();
      if (!status.ok() || !extents.Check(extent, 0, extent->blocks() - 1)) extent->known_corrupt = true;
      filled->corrupt_blocks += status.ok() ? extents.corrupt_blocks() - before : extent->blocks();
      ++filled->extents;
      filled->bytes += extent->bytes;
    }
  }
  for (Extent* extent : all) extents.Unref(extent);
  co_return failed;
}

}  // namespace mayfly
