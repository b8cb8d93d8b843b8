// cp and cat. A path with a leading ':' is in the session, any other is local: `mayfly cp result.h5 :/out/`.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "cli/cli.h"
#include "cli/text.h"

namespace mayfly::cli {
namespace {

constexpr size_t kBufferBytes = 8u << 20;

struct Place {
  bool session = false;
  std::string path;
};

Place Parse(const std::string& text) {
  Place place;
  place.session = !text.empty() && text[0] == ':';
  place.path = place.session ? text.substr(1) : text;
  return place;
}

// A file on either side.
class File {
 public:
  File(mayfly_fs* fs, const Place& place, int flags, mode_t mode)
      : session_(place.session),
        fd_(session_ ? mayfly_open(fs, place.path.c_str(), flags, mode)
                     : ::open(place.path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~File() { (void)Close(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool ok() const { return fd_ >= 0; }
  bool Close() {
    const int fd = fd_;
    fd_ = -1;
    return fd < 0 || (session_ ? mayfly_close(fd) : ::close(fd)) == 0;
  }
  ssize_t Read(void* to, size_t n, off_t at) {
    return session_ ? mayfly_pread(fd_, to, n, at) : ::pread(fd_, to, n, at);
  }
  bool WriteAll(const char* from, size_t n, off_t at) {
    while (n > 0) {
      ssize_t m = session_ ? mayfly_pwrite(fd_, from, n, at) : ::pwrite(fd_, from, n, at);
      if (m <= 0) return false;
      from += m;
      n -= static_cast<size_t>(m);
      at += m;
    }
    return true;
  }
  bool Truncate(off_t size) { return (session_ ? mayfly_ftruncate(fd_, size) : ::ftruncate(fd_, size)) == 0; }
  bool SetTimes(const timespec times[2]) {
    return (session_ ? mayfly_futimens(fd_, times) : ::futimens(fd_, times)) == 0;
  }

 private:
  bool session_;
  int fd_;
};

std::string WhyAt(const Place& place) {
  return place.session ? Why(":" + Quoted(place.path)) : Quoted(place.path) + ": " + std::strerror(errno);
}

bool StatAt(mayfly_fs* fs, const Place& place, struct stat* st) {
  return (place.session ? mayfly_stat(fs, place.path.c_str(), st) : ::stat(place.path.c_str(), st)) == 0;
}

int CopyFile(mayfly_fs* fs, const Place& from, Place to, bool preserve) {
  struct stat st;
  if (!StatAt(fs, from, &st)) return Fail(WhyAt(from));
  if (!S_ISREG(st.st_mode)) {
    return Fail(Quoted(from.path) + " is not a regular file; copy trees with `mayfly stage-in` and `mayfly stage-out`");
  }
  struct stat there;
  if (StatAt(fs, to, &there) && S_ISDIR(there.st_mode)) {
    if (!to.path.empty() && to.path.back() != '/') to.path += '/';
    to.path += from.path.substr(from.path.find_last_of('/') + 1);
  }
  File source(fs, from, O_RDONLY, 0);
  if (!source.ok()) return Fail(WhyAt(from));
  File target(fs, to, O_WRONLY | O_CREAT | O_TRUNC, st.st_mode & 0777);
  if (!target.ok()) return Fail(WhyAt(to));
  std::unique_ptr<char[]> buffer(new char[kBufferBytes]);
  off_t at = 0;
  for (;;) {
    ssize_t n = source.Read(buffer.get(), kBufferBytes, at);
    if (n < 0) return Fail(WhyAt(from));
    if (n == 0) break;
    if (!target.WriteAll(buffer.get(), static_cast<size_t>(n), at)) return Fail(WhyAt(to));
    at += n;
  }
  const timespec times[2] = {st.st_atim, st.st_mtim};
  if (preserve && !target.SetTimes(times)) return Fail(WhyAt(to));
  if (!target.Close()) return Fail(WhyAt(to));
  return kDone;
}

int Cp(const Context& c, const std::vector<std::string>& paths, bool preserve) {
  Session session(c);
  if (!session) return kFailed;
  const Place to = Parse(paths.back());
  struct stat st;
  if (paths.size() > 2 && !(StatAt(session.get(), to, &st) && S_ISDIR(st.st_mode))) {
    return Fail(Quoted(paths.back()) + " is not a directory: several files need one to go to");
  }
  int result = kDone;
  for (size_t i = 0; i + 1 < paths.size(); ++i) {
    result = std::max(result, CopyFile(session.get(), Parse(paths[i]), to, preserve));
  }
  return result;
}

int Cat(const Context& c, const std::vector<std::string>& paths) {
  Session session(c);
  if (!session) return kFailed;
  std::unique_ptr<char[]> buffer(new char[kBufferBytes]);
  for (const std::string& text : paths) {
    Place place = Parse(text);
    place.session = true;  // the ':' may be left out: there is nothing else to show
    File file(session.get(), place, O_RDONLY, 0);
    if (!file.ok()) return Fail(WhyAt(place));
    for (off_t at = 0;;) {
      ssize_t n = file.Read(buffer.get(), kBufferBytes, at);
      if (n < 0) return Fail(WhyAt(place));
      if (n == 0) break;
      at += n;
      for (ssize_t done = 0; done < n;) {
        ssize_t m = ::write(STDOUT_FILENO, buffer.get() + done, static_cast<size_t>(n - done));
        if (m < 0 && errno == EINTR) continue;
        if (m < 0) return Fail(fmt::format("standard output: {}", std::strerror(errno)));
        done += m;
      }
    }
  }
  return kDone;
}

}  // namespace

void AddCopy(CLI::App& app, Context* context) {
  auto paths = std::make_shared<std::vector<std::string>>();
  auto preserve = std::make_shared<bool>(false);
  CLI::App* cp = app.add_subcommand(
      "cp", "Copy files into, out of or within the session; paths in it start with ':', as in `mayfly cp a.dat :/in/`");
  cp->add_flag("-p,--preserve", *preserve, "Keep the times");
  cp->add_option("paths", *paths, "Sources, and where they go")->required()->expected(2, -1);
  cp->callback([=] { context->run = [=] { return Cp(*context, *paths, *preserve); }; });

  auto shown = std::make_shared<std::vector<std::string>>();
  CLI::App* cat = app.add_subcommand("cat", "Write files of the session to standard output");
  cat->add_option("path", *shown, "Files in the session")->required();
  cat->callback([=] { context->run = [=] { return Cat(*context, *shown); }; });
}

}  // namespace mayfly::cli
