#include "client/quick_io.h"

#include <algorithm>

#include "client/data_path.h"
#include "client/mount.h"

namespace mayfly {
namespace {

// What the home promised holds for this process and from this file's point of view (F2, F4, M2).
bool IsOurs(const OpenFile& file) {
  const Mount& mount = file.mount;
  return file.sole.load(std::memory_order_acquire) && file.epoch.load(std::memory_order_acquire) == mount.epoch() &&
         !mount.poisoned() && mount.Listening(file.inode.home());
}

}  // namespace

bool IsSmallWrite(const Mount& mount, size_t bytes) { return bytes <= mount.options().write_behind_bytes / 4; }

size_t BufferRoom(const OpenFile& file, uint64_t start) {
  const size_t whole = std::min<uint64_t>(file.mount.options().write_behind_bytes, uint64_t{1} << file.chunk_bits);
  return whole - start % whole;
}

bool MayBuffer(const OpenFile& file, uint64_t offset, size_t bytes) {
  if (!file.sole || !file.mount.Listening(file.inode.home())) return false;
  if (offset + bytes > DataPath::SizeMax(file.chunk_bits)) return false;
  const WriteBuffer& buffer = file.buffer;
  return buffer.size != 0 ? offset == buffer.start + buffer.size : offset == buffer.next;
}

std::optional<size_t> QuickRead(OpenFile& file, MutableBytes to, std::optional<uint64_t> offset) {
  if (!file.readable() || to.empty() || to.size() > kAheadReadMax || !file.sole) return std::nullopt;
  FileGuard guard;
  if (!guard.Try(file.lock) || !IsOurs(file) || file.buffered.load(std::memory_order_relaxed)) return std::nullopt;
  Readahead& ahead = file.ahead;
  const uint64_t at = offset.value_or(file.offset);
  if (at != ahead.next || ahead.run < kAheadRun || ahead.pieces.empty()) return std::nullopt;
  const AheadPiece& piece = *ahead.pieces.front();
  if (piece.state.load(std::memory_order_acquire) != AheadPiece::State::kHere) return std::nullopt;
  if (piece.changes != file.changes.load(std::memory_order_acquire)) return std::nullopt;  // F3
  // Not up to its end: there the lane fetches what comes next, or finds the end of the file.
  if (at < piece.offset || at - piece.offset + to.size() >= piece.bytes) return std::nullopt;
  if (!piece.CopyOut(at - piece.offset, to)) return std::nullopt;
  ahead.next = at + to.size();
  ++ahead.run;
  ++ahead.hits;
  if (!offset) file.offset = ahead.next;
  return to.size();
}

std::optional<size_t> QuickWrite(OpenFile& file, Bytes data, std::optional<uint64_t> offset) {
  if (!file.writable() || file.appends() || data.empty() || !file.buffered.load(std::memory_order_relaxed) ||
      !IsSmallWrite(file.mount, data.size())) {
    return std::nullopt;
  }
  FileGuard guard;
  if (!guard.Try(file.lock) || !file.buffered.load(std::memory_order_relaxed) || !IsOurs(file)) return std::nullopt;
  if (file.deferred.load(std::memory_order_relaxed) != Code::kOk) return std::nullopt;
  WriteBuffer& buffer = file.buffer;
  const uint64_t at = offset.value_or(file.offset);
  if (!MayBuffer(file, at, data.size())) return std::nullopt;
  // Not up to its end: then it is sent. No bytes are read ahead, as long as some are buffered.
  if (buffer.size + data.size() >= buffer.room) return std::nullopt;
  buffer.Append(data);
  buffer.next = at + data.size();
  ++buffer.writes;
  if (buffer.next > file.size_hint.load(std::memory_order_relaxed)) {
    file.size_hint.store(buffer.next, std::memory_order_relaxed);
  }
  if (!offset) file.offset = buffer.next;
  return data.size();
}

}  // namespace mayfly
