#include "inspect/chunk_writer.h"

#include <algorithm>

#include "os/block_buffer.h"
#include "task/disk_request.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = Disk::kBlockBytes;
constexpr uint64_t Down(uint64_t bytes) { return bytes / kBlock * kBlock; }
constexpr uint64_t Up(uint64_t bytes) { return Down(bytes + kBlock - 1); }

// The stretch of the extent from `begin` on that has a checksum of its own.
uint64_t SummedFrom(const StoredPiece& extent, uint64_t begin) {
  return std::min<uint64_t>(kChecksumBlockBytes, extent.end() - begin);
}

bool AnyMissing(const Gaps& gaps) {
  return std::any_of(gaps.begin(), gaps.end(), [](const Gap& gap) { return gap.kind == GapKind::kMissing; });
}

// Blocks of a file, of which the first and the last may be another's in part.
class Blocks {
 public:
  Blocks(Executor* executor, Disk* disk, DiskFileId file) : disk_file_(file), request_(*executor, *disk) {}

  Task<Status> Write(uint64_t offset, Bytes data) {
    const uint64_t begin = Down(offset), end = Up(offset + data.size());
    if (begin != offset) MAYFLY_CO_TRY(co_await Fill(begin, begin));
    if (end != offset + data.size()) MAYFLY_CO_TRY(co_await Fill(begin, end - kBlock));  // B2
    std::copy(data.begin(), data.end(), buffer_.data() + (offset - begin));
    request_.Write(disk_file_, begin, buffer_.span().first(end - begin));
    co_return co_await request_;
  }
  Task<Status> Flush() {
    request_.Flush(disk_file_);
    co_return co_await request_;
  }

 private:
  // The block at `at` into the buffer, which begins with that at `begin`.
  Task<Status> Fill(uint64_t begin, uint64_t at) {
    request_.Read(disk_file_, at, buffer_.span().subspan(at - begin, kBlock));
    co_return co_await request_;
  }

  const DiskFileId disk_file_;
  BlockBuffer buffer_{kChecksumBlockBytes + 2 * kBlock};
  DiskRequest request_;
};

}  // namespace

UnwrittenCount CountUnwritten(UnwrittenSource* source, const std::vector<StoredPiece>& extents) {
  UnwrittenCount count;
  BlockBuffer buffer(kChecksumBlockBytes);
  for (const StoredPiece& extent : extents) {
    if (!source->IsInMemory(extent)) {
      count.missing_bytes += extent.bytes;
      continue;
    }
    for (uint64_t begin = extent.begin; begin < extent.end();) {
      const uint64_t bytes = SummedFrom(extent, begin);
      Gaps gaps;
      source->Read(extent, begin, buffer.span().first(bytes), &gaps);
      (gaps.empty() ? count.bytes : AnyMissing(gaps) ? count.missing_bytes : count.corrupt_bytes) += bytes;
      begin += bytes;
    }
  }
  return count;
}

Task<Status> WriteUnwritten(Executor* executor, Disk* disk, DiskFileId file, UnwrittenSource* source,
                            std::vector<StoredPiece> extents) {
  Blocks blocks(executor, disk, file);
  BlockBuffer buffer(kChecksumBlockBytes);
  for (const StoredPiece& extent : extents) {
    if (!source->IsInMemory(extent)) co_return Code::kCorrupt;
    for (uint64_t begin = extent.begin; begin < extent.end();) {
      const uint64_t bytes = SummedFrom(extent, begin);
      Gaps gaps;
      source->Read(extent, begin, buffer.span().first(bytes), &gaps);
      if (AnyMissing(gaps)) co_return Code::kCorrupt;
      if (gaps.empty()) {  // B1
        const Bytes data = buffer.span().first(bytes);
        MAYFLY_CO_TRY(co_await blocks.Write(extent.disk_offset + (begin - extent.begin), data));
      }
      begin += bytes;
    }
  }
  if (extents.empty()) co_return Status();
  co_return co_await blocks.Flush();  // B3
}

}  // namespace mayfly
