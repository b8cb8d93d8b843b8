// The door to a shard's node-local storage: the files of one directory, read and written at offsets. It knows nothing
// of journals, chunks or checksums. One thread owns a disk and calls everything here; completions run inside Poll on
// it. Adapters: adapt/uring (io_uring), adapt/posix (where io_uring may not be used; adapt/local_disk.h chooses), and
// tests/fake/sim_disk.h (crashes, faults).
// Invariants  K1  memory given to Read and Write belongs to the disk until the completion ran, which it does once.
//             K2  a completion with kOk: all bytes were moved (short transfers, EINTR and EAGAIN are the adapter's).
//             K3  nothing written is durable before a Flush that was asked for after its completion has completed;
//                 until then a loss of power may keep it, lose it, or tear it at any sector of 512 bytes, in any order.
//                 What was written through is durable with its completion; that says nothing of other writes.
//             K4  a death of the process loses nothing whose Write has completed.
//             K5  a failed Flush says that anything written since the last good one may be lost, whatever a later one
//                 says: the caller must not ask again and believe it.
//             K6  what is under way at a time happens in any order.
//             K7  who destroys a disk with something under way gets no completion of it, and then its memory back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "os/completion.h"

namespace mayfly {

using DiskFileId = Id<struct DiskFileTag, uint32_t>;  // 0 is none

class Disk {
 public:
  // Every offset and length of Read and Write is a multiple of this, and so is the memory's address.
  static constexpr uint32_t kBlockBytes = 4096;
  // Open at a time, and asked for and not completed at a time. The caller keeps to them.
  static constexpr uint32_t kFilesMax = 64;
  static constexpr uint32_t kPendingMax = 65536;

  struct Facts {
    std::string directory;
    std::string how;                           // "io_uring, O_DIRECT", "posix, page cache": for reports
    bool direct = false;                       // O_DIRECT: past the page cache
    bool in_memory = false;                    // tmpfs and the like: survives the process, not the node
    bool writes_through = false;               // WriteThrough may be called
    uint64_t bytes_total = 0, bytes_free = 0;  // of its file system, as of now
    uint64_t bytes_registered = 0;             // of memory (Register), as of now
    // System calls' worth of reads and writes so far, and how many of them were in registered memory and took it so.
    uint64_t transfers = 0, transfers_registered = 0;
  };

  struct OpenHow {
    bool create = false;  // a new file (kExists if there is one); zeros, on a raw device its first MiB alone
    uint64_t bytes = 0;   // with `create`: all of them allocated, so that a write never meets a full file system
    // With `create`: all blocks are written once, as zeros. A file system that only allocated them has a change of its
    // own to make at the first write to each, and a flush behind that is twice as long.
    bool written = false;
    bool read_only = false;  // for tools
  };

  virtual ~Disk() = default;
  virtual Facts facts() const = 0;

  // ---- slow calls: they may block for as long as the file system likes. At the start, at the end, and for tools. ----
  // Names are plain (plain_name.h). kNoEntry, kExists, kNoSpace, kAccess, kReadOnly, kIo, kBusy: another process has it
  // open to write (two servers on one directory); kTooManyFiles; kInvalid: the name is not plain.
  virtual Result<DiskFileId> Open(std::string_view name, OpenHow how) = 0;
  // With nothing under way on it.
  virtual void Close(DiskFileId file) = 0;
  virtual Result<uint64_t> BytesOf(DiskFileId file) = 0;
  virtual Status Remove(std::string_view name) = 0;  // kNoEntry is an error
  // Atomic, replaces. Durable, as is every Open with `create` and every Remove, after SyncNames.
  virtual Status Rename(std::string_view from, std::string_view to) = 0;
  virtual Status SyncNames() = 0;
  virtual Result<std::vector<std::string>> List() = 0;  // sorted

  // ---- calls that do not wait ----
  // A read behind the end of the file is kCorrupt. kNoSpace: the file system is full after all; kIo: the device failed.
  virtual void Read(DiskFileId file, uint64_t offset, MutableBytes to, Completion* done) = 0;
  virtual void Write(DiskFileId file, uint64_t offset, Bytes from, Completion* done) = 0;
  virtual void Flush(DiskFileId file, Completion* done) = 0;  // K3
  // A Write and a flush of these bytes in one (K3), which is faster than the two. Where facts() say so: not every file
  // system is known to keep that promise. K5 as well.
  virtual void WriteThrough(DiskFileId file, uint64_t offset, Bytes from, Completion* done) = 0;
  // The range, of whole blocks, takes no room any more and reads as zeros; a write into it may meet a full file system.
  // kNotSupported: the file system cannot, nothing has changed.
  virtual void Discard(DiskFileId file, uint64_t offset, uint64_t bytes, Completion* done) = 0;
  // Submits what was asked for since the last call in one batch, and runs the completions of what has ended; true if
  // there was either. Once a turn of the loop.
  virtual bool Poll() = 0;
  // Asked for and not completed.
  virtual uint32_t pending() const = 0;
  // The bytes of a file, where they lie in memory that may be written to directly: a store there is a write that has
  // completed, at that moment (K4), and is seen by Read; what is written is seen there. Until Close. Empty: not here.
  virtual MutableBytes Map(DiskFileId) { return {}; }
  // Makes memory, of whole blocks, cheap to read into and write from (registers it). Failure costs speed only. Its
  // pages stay pinned, so it is unregistered, whole and with nothing under way in it, before it is unmapped.
  virtual void Register(MutableBytes region) = 0;
  virtual void Unregister(MutableBytes region) = 0;
};

}  // namespace mayfly
