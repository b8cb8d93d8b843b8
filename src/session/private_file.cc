#include "session/private_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

namespace mayfly {
namespace {

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

struct OpenFile {
  FileDescriptor fd;
  uint64_t bytes = 0;
};

Outcome<OpenFile> OpenPrivate(const PrivateFile& file) {
  // O_NONBLOCK: a named pipe in the place of the file must not hang the caller.
  OpenFile open_file;
  open_file.fd = FileDescriptor(open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!open_file.fd.valid()) return FailErrno(errno, "open", file.what, file.path);
  struct stat attributes;
  if (fstat(open_file.fd.get(), &attributes) != 0) return FailErrno(errno, "stat", file.what, file.path);
  if (!S_ISREG(attributes.st_mode)) {
    return Fail(Code::kInvalid, "{} {} is not a regular file: give the path of a {}", file.what, file.path, file.what);
  }
  if (attributes.st_uid != file.uid) {
    return Fail(Code::kAccess, "{} {} belongs to uid {}, not to uid {}: use a session of your own", file.what,
                file.path, attributes.st_uid, file.uid);
  }
  if ((attributes.st_mode & 077) != 0) {
    return Fail(Code::kAccess, "{} {} is open to other users (mode {:04o}): run chmod 600 {}", file.what, file.path,
                attributes.st_mode & 07777, file.path);
  }
  open_file.bytes = static_cast<uint64_t>(attributes.st_size);
  return open_file;
}

// Zero or an errno.
int WriteAll(int fd, Bytes content) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content = content.subspan(static_cast<size_t>(written));
  }
  return 0;
}

// Makes the rename last. Some file systems cannot sync a directory (EINVAL): nothing more can be done there.
int SyncDirectory(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return errno;
  return fsync(fd.get()) == 0 || errno == EINVAL ? 0 : errno;
}

std::string TemporaryPrefix(const std::string& path, const std::string& session) {
  return path + ".new." + (session.empty() ? "" : session + ".");
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

int FileDescriptor::Release() { return std::exchange(fd_, -1); }

MappedFile::~MappedFile() { munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size()); }

Failure FailErrno(int error, std::string_view verb, std::string_view what, std::string_view path) {
  return Fail(CodeOfErrno(error), "cannot {} {} {}: {}", verb, what, path, std::generic_category().message(error));
}

Outcome<std::string> ReadPrivateFile(const PrivateFile& file, uint64_t bytes_max) {
  Outcome<OpenFile> opened = OpenPrivate(file);  // F1
  if (!opened.ok()) return opened.failure();
  if (opened->bytes > bytes_max) {
    return Fail(Code::kCorrupt,
                "{} {} is damaged ({} bytes, never more than {}): remove it and start the session again", file.what,
                file.path, opened->bytes, bytes_max);
  }
  std::string content(opened->bytes, '\0');
  size_t have = 0;
  while (have < content.size()) {
    const ssize_t got = read(opened->fd.get(), content.data() + have, content.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(errno, "read", file.what, file.path);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  content.resize(have);
  return content;
}

Outcome<std::shared_ptr<const MappedFile>> MapPrivateFile(const PrivateFile& file) {
  Outcome<OpenFile> opened = OpenPrivate(file);  // F1
  if (!opened.ok()) return opened.failure();
  if (opened->bytes == 0) {
    return Fail(Code::kCorrupt, "{} {} is damaged (empty): run mayfly clean and start the session again", file.what,
                file.path);
  }
  void* data = mmap(nullptr, opened->bytes, PROT_READ, MAP_SHARED, opened->fd.get(), 0);
  if (data == MAP_FAILED) return FailErrno(errno, "map", file.what, file.path);
  return std::make_shared<const MappedFile>(static_cast<const uint8_t*>(data), opened->bytes);
}

Outcome<Done> WritePrivateFile(const PrivateFile& file, Bytes content) {
  const std::string directory = DirectoryOf(file.path);
  std::string temporary = TemporaryPrefix(file.path, file.session) + "XXXXXX";
  FileDescriptor fd(mkostemp(temporary.data(), O_CLOEXEC));  // 0600 by definition, whatever the umask
  if (!fd.valid()) return FailErrno(errno, "create", file.what, file.path);
  int error = WriteAll(fd.get(), content);
  if (error == 0 && fsync(fd.get()) != 0) error = errno;
  if (error == 0 && rename(temporary.c_str(), file.path.c_str()) != 0) error = errno;
  if (error != 0) {
    unlink(temporary.c_str());
    return FailErrno(error, "write", file.what, file.path);
  }
  error = SyncDirectory(directory);
  if (error != 0) return FailErrno(error, "sync the directory of", file.what, file.path);
  return Done{};
}

std::vector<std::string> TemporariesOf(const std::string& path, const std::string& session) {
  const std::filesystem::path prefix = TemporaryPrefix(path, session);
  std::vector<std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it(DirectoryOf(path), error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename().string().starts_with(prefix.filename().string())) found.push_back(it->path());
  }
  return found;
}

}  // namespace mayfly
