// Between the types of POSIX and those of the client.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include "client/open_file.h"
#include "wire/messages.h"

namespace mayfly {

// Flags of open(2): kInvalid for what Linux refuses or Mayfly does not know (O_PATH), kNotSupported for O_TMPFILE.
Result<uint32_t> OpenFlagsOf(int flags);
// What umask(2) has set for this process.
mode_t ProcessUmask();
// The permissions of something new, without what `mask` forbids.
uint16_t NewPermissions(mode_t mode, mode_t mask);
void StatOf(const Attr& attr, uint64_t device, struct stat* out);
// As utimensat's argument; adds to `change`. False: nothing to do. kInvalid for impossible nanoseconds.
Result<bool> TimesOf(const struct timespec* times, SetAttrRequest* change);

}  // namespace mayfly
