#include "session/storage_tree.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>

#include "device/device.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

Failure DeviceError(const DevicePath& where, const DeviceFailure& failure) {
  return Fail(failure.code, "{}: {}", where.device, failure.sentence);
}

Failure DeviceError(std::string_view verb, const PrivateFile& file, Code code) {
  return Fail(code, "cannot {} {} {}: {}", verb, file.what, file.path, TextOf(code));
}

// The table of a device that is to be read; none if it has none of ours.
std::optional<DeviceTable> TableOf(const DevicePath& where) {
  Device device;
  if (!device.Open(where.device, true).ok()) return std::nullopt;
  Result<DeviceTable> table = device.Load();
  if (!table.ok()) return std::nullopt;
  return std::move(*table);
}

bool IsBelow(std::string_view name, std::string_view directory) {
  return directory.empty() ||
         (name.size() > directory.size() && name.starts_with(directory) && name[directory.size()] == '/');
}

}  // namespace

bool IsStorageDirectory(const std::string& path) {
  if (const auto where = SplitDevicePath(path)) {
    const auto table = TableOf(*where);
    return table && std::any_of(table->files.begin(), table->files.end(),
                                [&](const DeviceFile& file) { return IsBelow(file.name, where->name); });
  }
  std::error_code error;
  return fs::is_directory(path, error);
}

bool StorageExists(const std::string& path) {
  if (const auto where = SplitDevicePath(path); where && !where->name.empty()) {
    const auto table = TableOf(*where);
    return table && (table->Find(where->name) != nullptr || IsStorageDirectory(path));
  }
  std::error_code error;
  return fs::exists(path, error);
}

std::vector<std::string> StorageDirectoriesIn(const std::string& path) {
  std::vector<std::string> found;
  if (const auto where = SplitDevicePath(path)) {
    const auto table = TableOf(*where);
    std::set<std::string> names;
    const size_t behind = where->name.empty() ? 0 : where->name.size() + 1;
    for (const DeviceFile& file : table ? table->files : std::vector<DeviceFile>()) {
      if (!IsBelow(file.name, where->name)) continue;
      const size_t slash = file.name.find('/', behind);
      if (slash != std::string::npos) names.insert(file.name.substr(0, slash));
    }
    for (const std::string& name : names) found.push_back(where->device + "/" + name);
    return found;
  }
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) found.push_back(it->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

Outcome<Done> WriteStorageFile(const PrivateFile& file, Bytes content) {
  const auto where = SplitDevicePath(file.path);
  if (!where || where->name.empty()) return WritePrivateFile(file, content);
  Device device;
  const DeviceFailure opened = device.Open(where->device, false);
  if (!opened.ok()) return DeviceError(*where, opened);
  const Status written = device.WriteFile(where->name, content);
  if (!written.ok()) return DeviceError("write", file, written.code());
  return Done{};
}

Outcome<std::string> ReadStorageFile(const PrivateFile& file, uint64_t bytes_max) {
  const auto where = SplitDevicePath(file.path);
  if (!where || where->name.empty()) return ReadPrivateFile(file, bytes_max);
  Device device;
  const DeviceFailure opened = device.Open(where->device, true);
  if (!opened.ok()) return DeviceError(*where, opened);
  const Result<std::vector<uint8_t>> content = device.ReadFile(where->name, bytes_max);
  if (!content.ok()) return DeviceError("read", file, content.code());
  return std::string(AsText(*content));
}

uint64_t StorageBytesIn(const std::string& path) {
  uint64_t bytes = 0;
  if (const auto where = SplitDevicePath(path)) {
    const auto table = TableOf(*where);
    for (const DeviceFile& file : table ? table->files : std::vector<DeviceFile>()) {
      if (IsBelow(file.name, where->name)) bytes += file.bytes;
    }
    return bytes;
  }
  std::error_code error;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    const bool file = it->is_regular_file(ignored) && !it->is_symlink(ignored);
    if (const uint64_t size = file ? it->file_size(ignored) : 0; !ignored) bytes += size;
  }
  return bytes;
}

Outcome<uint64_t> RemoveStorageTree(const std::string& path) {
  if (const auto where = SplitDevicePath(path)) {
    if (where->name.empty()) return Fail(Code::kInvalid, "cannot remove {}: it is no directory", path);
    Device device;
    const DeviceFailure opened = device.Open(where->device, false);
    if (!opened.ok()) return DeviceError(*where, opened);
    const Result<uint64_t> removed = device.Remove(where->name, true);
    if (removed.code() == Code::kNoEntry) return uint64_t{0};
    if (!removed.ok()) return Fail(removed.code(), "cannot remove {}: {}", path, TextOf(removed.code()));
    return *removed;
  }
  std::error_code error;
  const auto count = fs::remove_all(path, error);
  if (error) return FailErrno(error.value(), "remove", "directory", path);
  return static_cast<uint64_t>(count);
}

bool IsStorageFileInUse(const std::string& path) {
  const auto where = SplitDevicePath(path);
  if (where && !where->name.empty()) {
    Device device;
    if (!device.Open(where->device, true).ok()) return false;
    const Result<DeviceTable> table = device.Load();
    const DeviceFile* const file = table.ok() ? table->Find(where->name) : nullptr;
    return file != nullptr && *device.InUse(*file, 0);
  }
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  // Shared: several processes may ask at once.
  return file.valid() && flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace mayfly
