// The tree of what outlives servers, wherever it lies: directories and files of a file system, or names on a raw device
// (device/device.h), whose path goes on behind the device's: "/dev/sdb1/mayfly-UUID/member-0". One-shot calls, any
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "session/outcome.h"
#include "session/private_file.h"

namespace mayfly {

// On a device a directory is there while a name begins with it.
bool IsStorageDirectory(const std::string& path);
bool StorageExists(const std::string& path);
// Full paths of directories in it, by name; none if it cannot be read.
std::vector<std::string> StorageDirectoriesIn(const std::string& path);
// As WritePrivateFile and ReadPrivateFile (on a device all that is there belongs to who may open it).
Outcome<Done> WriteStorageFile(const PrivateFile& file, Bytes content);
Outcome<std::string> ReadStorageFile(const PrivateFile& file, uint64_t bytes_max);
// Of files in it, with those below.
uint64_t StorageBytesIn(const std::string& path);
// The directory and all in it; symbolic links are not followed. How much there was.
Outcome<uint64_t> RemoveStorageTree(const std::string& path);
// Whether a process has the file, locked as a disk locks what is open to write. False also if it is not there.
bool IsStorageFileInUse(const std::string& path);

}  // namespace mayfly
