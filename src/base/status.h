// Status and Result: how an operating error (disk, peer, user) travels. A Status is one byte of code, never allocates
// and must be looked at. Our own bugs are MAYFLY_CHECK (check.h); bytes from a peer or a disk decode to kCorrupt.
// The numeric values travel on the wire: append only, never renumber.
#pragma once

#include <cstdint>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace mayfly {

enum class Code : uint8_t {
  kOk = 0,
  kPermission = 1,     // EPERM: not the owner
  kNoEntry = 2,        // ENOENT
  kIo = 3,             // EIO: also a member that died, and data that failed its checksum
  kBadHandle = 4,      // EBADF
  kAgain = 5,          // EAGAIN
  kNoMemory = 6,       // ENOMEM
  kAccess = 7,         // EACCES
  kBusy = 8,           // EBUSY
  kExists = 9,         // EEXIST
  kCrossDevice = 10,   // EXDEV
  kNotDirectory = 11,  // ENOTDIR
  kIsDirectory = 12,   // EISDIR
  kInvalid = 13,       // EINVAL
  kTooManyFiles = 14,  // EMFILE
  kFileTooBig = 15,    // EFBIG
  kNoSpace = 16,       // ENOSPC
  kIllegalSeek = 17,   // ESPIPE
  kReadOnly = 18,      // EROFS
  kTooManyLinks = 19,  // EMLINK
  kRange = 20,         // ERANGE
  kNameTooLong = 21,   // ENAMETOOLONG
  kNotEmpty = 22,      // ENOTEMPTY
  kLoop = 23,          // ELOOP
  kNoData = 24,        // ENODATA: no such xattr
  kOverflow = 25,      // EOVERFLOW
  kNotSupported = 26,  // EOPNOTSUPP
  kTimedOut = 27,      // ETIMEDOUT: the deadline passed, the outcome is unknown
  kStale = 28,         // ESTALE: the inode of an open file is gone
  kTooBig = 29,        // E2BIG: an xattr value beyond the limit
  kNoDevice = 30,      // ENXIO: SEEK_DATA past the end
  kShutdown = 31,      // ESHUTDOWN: the session is stopping
  kInterrupted = 32,   // EINTR
  kFault = 33,         // EFAULT
  kNotMapped = 34,     // ENODEV: no session found
  // Codes of the protocol; no call returns one of these to a user (they map to EIO if a bug lets one out).
  kCorrupt = 64,      // bytes that do not decode, or fail their checksum
  kGeneration = 65,   // the path walk began under an older namespace generation: walk again
  kConflict = 66,     // an optimistic precondition no longer holds: read again, then retry
  kUnavailable = 67,  // the member cannot be reached
  kDenied = 68,       // handshake or tag refused
  kElsewhere = 69,    // another shard coordinates this operation: ask there
};

class [[nodiscard]] Status {
 public:
  constexpr Status() = default;
  constexpr Status(Code code) : code_(code) {}  // NOLINT: a code is a status
  constexpr bool ok() const { return code_ == Code::kOk; }
  constexpr Code code() const { return code_; }
  friend constexpr bool operator==(Status a, Status b) { return a.code_ == b.code_; }

 private:
  Code code_ = Code::kOk;
};

// The errno that Linux would give; 0 for kOk.
int ErrnoOf(Code code);
// The nearest code of a Linux errno; kIo where there is none.
Code CodeOfErrno(int error);
// Short lower-case text for logs: "no such entry".
std::string_view TextOf(Code code);
// True when `raw` is the number of a known code (for decoding).
bool IsKnownCode(uint8_t raw);

// A value or the code of why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(Code code) : code_(code) { MAYFLY_CHECK(code != Code::kOk); }                // NOLINT
  Result(Status status) : code_(status.code()) { MAYFLY_CHECK(code_ != Code::kOk); }  // NOLINT
  Result(T value) : code_(Code::kOk) { new (&storage_) T(std::move(value)); }         // NOLINT
  Result(Result&& other) noexcept : code_(other.code_) {
    if (ok()) new (&storage_) T(std::move(other.get()));
  }
  Result(const Result& other) : code_(other.code_) {
    if (ok()) new (&storage_) T(other.get());
  }
  Result& operator=(Result other) noexcept {
    this->~Result();
    new (this) Result(std::move(other));
    return *this;
  }
  ~Result() {
    if (ok()) get().~T();
  }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  Status status() const { return code_; }
  T& value() & { return checked(); }
  const T& value() const& { return const_cast<Result*>(this)->checked(); }
  T value() && { return std::move(checked()); }
  T& operator*() { return checked(); }
  const T& operator*() const { return const_cast<Result*>(this)->checked(); }
  T* operator->() { return &checked(); }
  const T* operator->() const { return &const_cast<Result*>(this)->checked(); }

 private:
  T& get() { return *std::launder(reinterpret_cast<T*>(&storage_)); }
  const T& get() const { return *std::launder(reinterpret_cast<const T*>(&storage_)); }
  T& checked() {
    MAYFLY_CHECK(ok());
    return get();
  }

  Code code_;
  alignas(T) unsigned char storage_[sizeof(T)];
};

// Leaves the enclosing plain function with the error of `expr`, if it has one. In a coroutine use MAYFLY_CO_TRY.
#define MAYFLY_TRY(expr)                                                                           \
  do {                                                                                             \
    if (::mayfly::Status mayfly_status = (expr); !mayfly_status.ok()) return mayfly_status.code(); \
  } while (false)
#define MAYFLY_CO_TRY(expr)                                  \
  do {                                                       \
    ::mayfly::Status mayfly_status = (expr);                 \
    if (!mayfly_status.ok()) co_return mayfly_status.code(); \
  } while (false)

}  // namespace mayfly
