#include "base/status.h"

#include <cerrno>

namespace mayfly {
namespace {

struct Row {
  Code code;
  int error;
  std::string_view text;
};

// The one table of codes; status_test enumerates the enum against it.
constexpr Row kRows[] = {
    {Code::kOk, 0, "ok"},
    {Code::kPermission, EPERM, "operation not permitted"},
    {Code::kNoEntry, ENOENT, "no such entry"},
    {Code::kIo, EIO, "input/output error"},
    {Code::kBadHandle, EBADF, "bad handle"},
    {Code::kAgain, EAGAIN, "try again"},
    {Code::kNoMemory, ENOMEM, "out of memory"},
    {Code::kAccess, EACCES, "permission denied"},
    {Code::kBusy, EBUSY, "busy"},
    {Code::kExists, EEXIST, "exists"},
    {Code::kCrossDevice, EXDEV, "another filesystem"},
    {Code::kNotDirectory, ENOTDIR, "not a directory"},
    {Code::kIsDirectory, EISDIR, "is a directory"},
    {Code::kInvalid, EINVAL, "invalid argument"},
    {Code::kTooManyFiles, EMFILE, "too many open files"},
    {Code::kFileTooBig, EFBIG, "file too big"},
    {Code::kNoSpace, ENOSPC, "no space left"},
    {Code::kIllegalSeek, ESPIPE, "illegal seek"},
    {Code::kReadOnly, EROFS, "read only"},
    {Code::kTooManyLinks, EMLINK, "too many links"},
    {Code::kRange, ERANGE, "result does not fit"},
    {Code::kNameTooLong, ENAMETOOLONG, "name too long"},
    {Code::kNotEmpty, ENOTEMPTY, "directory not empty"},
    {Code::kLoop, ELOOP, "too many symbolic links"},
    {Code::kNoData, ENODATA, "no such attribute"},
    {Code::kOverflow, EOVERFLOW, "value too large"},
    {Code::kNotSupported, EOPNOTSUPP, "not supported"},
    {Code::kTimedOut, ETIMEDOUT, "deadline passed"},
    {Code::kStale, ESTALE, "inode is gone"},
    {Code::kTooBig, E2BIG, "attribute too big"},
    {Code::kNoDevice, ENXIO, "no data beyond this offset"},
    {Code::kShutdown, ESHUTDOWN, "session is stopping"},
    {Code::kInterrupted, EINTR, "interrupted"},
    {Code::kFault, EFAULT, "bad address"},
    {Code::kNotMapped, ENODEV, "no session"},
    {Code::kCorrupt, EIO, "corrupt bytes"},
    {Code::kGeneration, EIO, "namespace generation is older"},
    {Code::kConflict, EIO, "precondition no longer holds"},
    {Code::kUnavailable, EIO, "member cannot be reached"},
    {Code::kDenied, EIO, "not authenticated"},
    {Code::kElsewhere, EIO, "another shard coordinates this"},
};

const Row* Find(Code code) {
  for (const Row& row : kRows) {
    if (row.code == code) return &row;
  }
  return nullptr;
}

}  // namespace

int ErrnoOf(Code code) {
  const Row* row = Find(code);
  return row != nullptr ? row->error : EIO;
}

Code CodeOfErrno(int error) {
  for (const Row& row : kRows) {
    if (row.error == error) return row.code;
  }
  return Code::kIo;
}

std::string_view TextOf(Code code) {
  const Row* row = Find(code);
  return row != nullptr ? row->text : "unknown code";
}

bool IsKnownCode(uint8_t raw) { return Find(static_cast<Code>(raw)) != nullptr; }

}  // namespace mayfly
