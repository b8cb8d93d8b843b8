#include "store/disk_loader.h"

#include <memory>
#include <vector>

#include "os/block_buffer.h"
#include "task/disk_request.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = DiskSpace::kBlockBytes;
constexpr size_t kAtOnce = 16;
constexpr uint32_t kCopyBytesMax = 32 * 1024;  // longer ones lie on pages, and are read to where they belong

struct Reading {
  Reading(Executor& executor, Disk& disk) : request(executor, disk) {}
  DiskRequest request;
  store_internal::Extent* extent = nullptr;
  std::unique_ptr<BlockBuffer> buffer;
  uint64_t skip = 0;  // of the buffer, before the extent's first byte
  bool copies = false;
};

}  // namespace

Task<Status> DiskLoader::Load(Executor* executor, Disk* disk, DiskFileId file, ChunkStore* store,
                              DiskLoaderReport* report) {
  store_internal::Extents& extents = store->extents_;
  std::vector<std::unique_ptr<Reading>> readings;
  for (size_t i = 0; i < kAtOnce; ++i) readings.push_back(std::make_unique<Reading>(*executor, *disk));
  Status failed;
  // Several are under way at a time; each is looked at when its turn comes again.
  for (size_t i = 0; i < store->absent_.size() + kAtOnce; ++i) {
    Reading& reading = *readings[i % kAtOnce];
    if (store_internal::Extent* const extent = std::exchange(reading.extent, nullptr); extent != nullptr) {
      const Status status = co_await reading.request;
      if (!status.ok()) failed = status;
      if (status.ok() && reading.copies) {
        const MutableBytes to = extents.Data(extent);
        std::copy_n(reading.buffer->data() + reading.skip, to.size(), to.data());
      }
      const uint64_t before = extents.corrupt_blocks();
      if (!status.ok() || !extents.Check(extent, 0, extent->blocks() - 1)) extent->known_corrupt = true;
      report->corrupt_blocks += status.ok() ? extents.corrupt_blocks() - before : extent->blocks();
      ++report->extents;
      report->bytes += extent->bytes;
    }
    if (i >= store->absent_.size()) continue;
    store_internal::Extent* const extent = store->absent_[i];
    if (extent->reserved) continue;
    const uint64_t offset = extents.DiskOffset(extent), begin = offset / kBlock * kBlock;
    const uint64_t bytes = uint64_t{DiskSpace::BlocksFor(offset + extent->bytes - begin)} * kBlock;
    // What was written in place may share its first and last block with a neighbour that is there already.
    reading.copies = extent->inside || extent->bytes <= kCopyBytesMax;
    reading.extent = extent;
    MutableBytes to;
    if (reading.copies) {
      if (reading.buffer == nullptr || reading.buffer->size() < bytes) {
        reading.buffer = std::make_unique<BlockBuffer>(bytes);
      }
      reading.skip = offset - begin;
      to = reading.buffer->span().first(bytes);
    } else {
      to = store->arena_->Data({extent->place_offset, static_cast<uint32_t>(bytes)});
    }
    reading.request.Read(file, begin, to);
  }
  for (store_internal::Extent* extent : std::exchange(store->absent_, {})) extents.Unref(extent);
  co_return failed;
}

}  // namespace mayfly
