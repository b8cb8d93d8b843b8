// The door to the parallel filesystem (PFS): blocking calls, made only inside Offload work (offload.h), because the PFS
// may hang for minutes. Everything happens below one root directory.
// Paths are bytes without NUL, relative to the root, of any length; "" is the root itself.
// Invariants  F1  nothing below the root is reached through a symlink: a path with one on its way is an error (kLoop),
//                 and an operation on a name that is a symlink acts on the symlink.
//             F2  a failure carries a sentence with operation, path, cause and what the user can do.
//             F3  roots and files are used by several threads at once; they own nothing that calls would have to share.
// src/adapt/posix has the real one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"

namespace mayfly {

// How a call ended. It may allocate: all of this is far from any hot path.
struct [[nodiscard]] PfsStatus {
  Code code = Code::kOk;
  std::string why;  // F2; empty when ok
  bool ok() const { return code == Code::kOk; }
};

enum class PfsType : uint8_t { kFile, kDirectory, kSymlink, kOther };

struct PfsAttr {
  PfsType type = PfsType::kOther;
  uint16_t permissions = 0;  // mode & 07777
  uint32_t uid = 0, gid = 0;
  uint64_t size = 0;
  uint64_t blocks = 0;  // of 512 bytes
  Nanos mtime = 0;      // since 1970, as the PFS keeps it (some keep whole seconds)
  Nanos ctime = 0;
  uint64_t links = 0;
  uint64_t device = 0, number = 0;  // equal in both: the same file
};

struct PfsSpace {
  uint64_t bytes_total = 0, bytes_free = 0, files_free = 0;
};

// kKeep leaves an owner as it is.
constexpr uint32_t kKeepOwner = ~uint32_t{0};

// An open file or directory; closed by its destructor.
class PfsFile {
 public:
  virtual ~PfsFile() = default;
  // All of `data`, or an error. Files only.
  virtual PfsStatus WriteAt(Bytes data, uint64_t offset) = 0;
  // All of `to`, or an error: kIo if the file ends before.
  virtual PfsStatus ReadAt(MutableBytes to, uint64_t offset) = 0;
  virtual PfsStatus Truncate(uint64_t size) = 0;
  // Data and metadata are on stable storage afterwards; of a directory: its entries.
  virtual PfsStatus Sync() = 0;
  // Best effort: a following ReadAt of the range (0 bytes: to the end) comes from the storage, not from this node's
  // memory. Clean pages only, so after Sync.
  virtual void DropCache(uint64_t offset, uint64_t bytes) = 0;
  // kKeepOwner leaves a part alone. The kernel may clear set-id bits: SetMode comes afterwards.
  virtual PfsStatus SetOwner(uint32_t uid, uint32_t gid) = 0;
  virtual PfsStatus SetMode(uint16_t permissions) = 0;
  virtual PfsStatus SetTimes(Nanos atime, Nanos mtime) = 0;
  // kNotSupported, kPermission: the PFS does not want it.
  virtual PfsStatus SetXattr(const std::string& name, std::string_view value) = 0;
  virtual PfsStatus Stat(PfsAttr* attr) = 0;
};

// One directory of the PFS, held open.
class PfsRoot {
 public:
  virtual ~PfsRoot() = default;

  // A new directory with mode 0700. One that exists is fine (*created false); if it is ours and its owner could not
  // work in it, the owner's rwx bits are added. kExists: something else has the name.
  virtual PfsStatus MakeDirectory(const std::string& path, bool* created) = 0;
  // A new file, mode 0600, for writing and reading. kExists if the name is taken.
  virtual PfsStatus CreateFile(const std::string& path, std::unique_ptr<PfsFile>* file) = 0;
  // An existing regular file for writing and reading.
  virtual PfsStatus OpenFile(const std::string& path, std::unique_ptr<PfsFile>* file) = 0;
  virtual PfsStatus OpenDirectory(const std::string& path, std::unique_ptr<PfsFile>* directory) = 0;

  virtual PfsStatus Symlink(const std::string& target, const std::string& path) = 0;
  // Of a symlink itself.
  virtual PfsStatus SetSymlinkOwner(const std::string& path, uint32_t uid, uint32_t gid) = 0;
  virtual PfsStatus SetSymlinkTimes(const std::string& path, Nanos atime, Nanos mtime) = 0;
  // A further name of `from` (of the symlink itself, if it is one). kExists if `to` is taken.
  virtual PfsStatus Link(const std::string& from, const std::string& to) = 0;
  // Replaces a file or symlink at `to`. As rename(2): nothing happens if both are names of one file.
  virtual PfsStatus Rename(const std::string& from, const std::string& to) = 0;
  virtual PfsStatus Unlink(const std::string& path) = 0;
  virtual PfsStatus Stat(const std::string& path, PfsAttr* attr) = 0;
  // Calls `visit` with each name but "." and "..".
  virtual PfsStatus List(const std::string& path, const std::function<void(std::string_view name)>& visit) = 0;
  virtual PfsStatus Space(PfsSpace* space) = 0;
};

class PfsTree {
 public:
  virtual ~PfsTree() = default;
  // `directory` is absolute; symlinks in it are the user's own and are followed. With `create` it and its parents are
  // made (mode 0700 for itself; *created tells). It must be writable: kAccess, kReadOnly otherwise.
  virtual PfsStatus Open(const std::string& directory, bool create, std::shared_ptr<PfsRoot>* root, bool* created) = 0;
};

}  // namespace mayfly
