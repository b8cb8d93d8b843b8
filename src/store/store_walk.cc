#include "store/store_walk.h"

#include "store/images.h"

namespace mayfly {

bool StoreWalk::Step(TlvWriter* out, size_t bytes_about) {
  const auto& files = store_->files_.table();
  const size_t enough = out->size() + bytes_about;
  if (!begun_) store_internal::PutNext(out, store_->extents_.next_serial());
  begun_ = true;
  while (!done_ && out->size() < enough) {
    const store_internal::File* file = files.FirstFrom(position_);
    if (file == nullptr) {
      done_ = true;
      break;
    }
    const uint64_t position = files.PositionOf(file->key());
    if (position != position_) offset_ = 0;
    position_ = position;
    offset_ = store_internal::PutRangePart(out, *store_->arena_, *file, offset_, ChunkStore::kDone);
    if (offset_ != ChunkStore::kDone) continue;
    offset_ = 0;
    done_ = ++position_ == 0;
  }
  return !done_;
}

}  // namespace mayfly
