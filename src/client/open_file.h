// An open file: what one mayfly_open made, shared by the threads that use its descriptor.
// Invariants  F1  `offset`, `buffer`, `sending` and `ahead` are touched under `lock` only.
//             F2  bytes are buffered only while `sole`: then the home has promised that nobody else uses the file
//                 before this process gave it up. `sole` goes under `lock` and never comes back. Bytes are read ahead
//                 while `sole`, or while a lease lasts (Readahead::leased_until): then no other process writes to the
//                 file. `leased` is set by FileTable::MayLease only, and unset under `lock`.
//             F3  read-ahead bytes are served only if `changes` is what it was when they were asked for: every change
//                 through this file counts it up before and after.
//             F4  the home knows this process as an opener, and `grant()` is this process's, when `epoch` is the
//                 mount's.
//             F5  `content` is set before anybody else has the file, and served only while Content::IsThere.
//             F6  with a hold the home does not know of this open until it has marked the hold, and only then is it
//                 told of the close.
//             F7  a file that is not born yet has an epoch that is no mount's.
#pragma once

#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/copy.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/file_lock.h"
#include "client/place_pool.h"
#include "client/placed.h"
#include "wire/types.h"

namespace mayfly {

class Mount;
class Lane;

// Bytes [start, start + size) of a file that no server has yet: in a place of the shard's arena where that is mapped,
// so that sending them is telling where they are; else in memory of this process.
struct WriteBuffer {
  uint8_t* bytes = nullptr;  // one of:
  Lent lent;
  std::unique_ptr<uint8_t[]> own;
  uint64_t start = 0;
  size_t size = 0;
  size_t room = 0;      // that `bytes` has
  Nanos since = 0;      // when the first of them came
  uint64_t next = 0;    // where the last small write ended: one that begins there is sequential
  uint64_t writes = 0;  // that went into it, until it is sent
  RunningSums sums;     // of its bytes, if they are `summed`
  bool summed = false;

  // There is room for `data`.
  void Append(Bytes data) {
    if (summed) {
      sums.Append(bytes, size, data);
    } else if (lent.valid()) {
      CopyIn(bytes + size, data);
    } else {
      std::memcpy(bytes + size, data.data(), data.size());  // it is read again soon, to be sent
    }
    size += data.size();
  }
  void Clear() {
    lent = Lent();
    bytes = nullptr;
    size = 0;
    sums.Reset();
    summed = false;
  }
};

// A full buffer on its way to the shard, beside the filling of the next.
struct FullBuffer {
  WriteBuffer buffer;
  std::atomic<bool> over{false};  // set last by the lane that sends it; before it, what it failed with
};

// A stretch of a file on its way, or here.
struct AheadPiece {
  enum class State : uint8_t { kLoading, kHere, kFailed };
  uint64_t offset = 0;
  size_t asked = 0;
  size_t bytes = 0;                           // fewer than asked: the file ends there
  std::atomic<State> state{State::kLoading};  // set last by the lane that loads it
  uint64_t changes = 0;                       // F3
  Lane* lane = nullptr;                       // which alone looks at it while it loads
  Placed placed;                              // where its bytes lie; or
  std::unique_ptr<uint8_t[]> data;            // its bytes, in memory of
  size_t data_bytes = 0;

  // False: they are there no longer.
  bool CopyOut(size_t at, MutableBytes to) const {
    mayfly::CopyOut(to.data(), {(placed.valid() ? placed.bytes.data() : data.get()) + at, to.size()});
    return !placed.valid() || placed.IsThere();
  }
};

struct Readahead {
  std::deque<std::shared_ptr<AheadPiece>> pieces;  // in order, without gaps
  uint64_t next = 0;                               // where the last read ended
  uint32_t run = 0;                                // reads in a row that began where the last one ended
  size_t window = 0;
  Nanos leased_until = 0;  // F2
  Nanos ask_again = 0;     // when a lease may be asked for
  uint64_t hits = 0;       // reads that it served, not counted yet
  // Of the piece that was read last, for the next: fresh pages cost more than what is read into them.
  std::unique_ptr<uint8_t[]> spare;
  size_t spare_bytes = 0;

  // The front piece has been read.
  void Pop() {
    AheadPiece& front = *pieces.front();
    if (front.state == AheadPiece::State::kHere && front.data_bytes >= spare_bytes) {
      spare_bytes = std::exchange(front.data_bytes, 0);
      spare = std::move(front.data);
    }
    pieces.pop_front();
  }
};

// All bytes of a small file, where they lay in a mapped arena when it was opened.
struct Content {
  Placed placed;
  const ArenaStamp* changes = nullptr;  // the home counts it up before it answers who changed the file
  uint32_t changes_then = 0;
  Nanos until = 0;  // whatever the count says
  bool sum_known = false;
  uint64_t sum = 0;

  bool valid() const { return placed.valid(); }
  // After a copy, by a call that began at `now`: whether what was copied is what the file holds.
  bool IsThere(Nanos now) const {
    return now < until && placed.IsThere() && changes->load(std::memory_order_relaxed) == changes_then;
  }
};

// What an open gave, and to which process. Its forked children show it at the home for one of their own.
struct Granted {
  ClientId opener;
  Grant grant;
};

struct OpenFile : std::enable_shared_from_this<OpenFile> {
  OpenFile(Mount& mount, const Attr& attr, uint32_t flags, uint64_t epoch, const Granted& original)
      : mount(mount),
        inode(attr.inode),
        type(attr.type),
        chunk_bits(attr.chunk_bits),
        flags(flags),
        original(original),
        tag(original.grant.tag),
        epoch(epoch),
        unsynced((flags & (kOpenCreate | kOpenTruncate)) != 0) {}
  OpenFile(const OpenFile&) = delete;

  Mount& mount;
  const InodeId inode;
  const FileType type;
  const uint8_t chunk_bits;
  const uint32_t flags;              // OpenFlags
  Content content;                   // F5
  ArenaBoard::Hold* hold = nullptr;  // set likewise; F6
  bool created = false;              // set likewise: by this open
  std::atomic<bool> counted{true};   // by the home, since the open or the adoption (OpenReply::uncounted)
  const Granted original;            // of mayfly_open, in this process or one that it descends from
  std::atomic<uint64_t> tag;         // of this process's grant, F4
  std::atomic<uint64_t> epoch;       // Mount::epoch() of the process that opened it at its home
  std::atomic<bool> unsynced;        // changed by this handle, perhaps, since the last Sync
  std::atomic<bool> sole{false};
  std::atomic<bool> leased{false};
  std::atomic<bool> buffered{false};  // buffer.size != 0, or something is in `sending`
  // What sending the buffer failed with in the background: reported once, by the next write, fsync or close.
  std::atomic<Code> deferred{Code::kOk};
  std::atomic<uint64_t> changes{0};
  std::atomic<uint64_t> size_hint{0};  // how long the file was when it was last looked at

  FileLock lock;
  uint64_t offset = 0;
  WriteBuffer buffer;
  std::vector<std::shared_ptr<FullBuffer>> sending;
  Readahead ahead;

  // What is on its way to the home though the call has returned: the open, of a file in an own part (lane_create.cc),
  // and the close (lane_close.cc). Until it is born no request about it is sent but the one that closes it.
  enum Birth : uint8_t { kBorn, kUnborn, kLeft };  // kLeft: unborn, and closed
  std::atomic<uint8_t> birth{kBorn};
  std::atomic<Code> stillborn{Code::kOk};
  std::atomic<bool> departing{false};
  // Of one that is not born yet: the bundle of its birth (outbox.h), and where that stands in it. Outbox's.
  uint64_t written_down = 0;
  uint32_t record_at = 0;
  bool born_to_parent = false;  // in a forked child: the parent's open was on its way
  bool unborn() const { return birth.load(std::memory_order_acquire) != kBorn; }

  // At the close. Whether the home has to be told of it.
  bool EndHold() { return hold == nullptr ? counted.load() : std::exchange(hold, nullptr)->exchange(0) != inode.value; }
  Grant grant() const {
    Grant grant = original.grant;
    grant.tag = tag.load(std::memory_order_relaxed);
    return grant;
  }
  bool readable() const { return (flags & kOpenRead) != 0; }
  bool writable() const { return (flags & kOpenWrite) != 0; }
  bool appends() const { return (flags & kOpenAppend) != 0; }
};

using FileRef = std::shared_ptr<OpenFile>;

}  // namespace mayfly
