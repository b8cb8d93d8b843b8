// A client for recover_test.sh and rejoin_test.sh, which kill the servers meanwhile and start them again.
//   e2e_survivor work NAME   works in the new directory /NAME until standard input ends; no operation may fail, however
//                            long the servers are away. After each one the count of those acknowledged is at the start
//                            of standard output. At the end: checks what it has open, and what should be there goes to
//                            standard output, as `look` prints it. At SIGUSR1, between two operations: compares what
//                            another connection finds with what should be there; behind the count is how often it did.
//   e2e_survivor elsewhere NAME  likewise, as if on another node: without the servers' memory
//   e2e_survivor look NAME   prints what is there: kind, mode, links, times, attributes, a checksum of the content
// Exit code 1 and a sentence on standard error if anything is not as it must be.
#include <errno.h>
#include <mayfly/mayfly.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr unsigned kPatienceMs = 240'000;  // of one operation, while servers are started again on a busy machine
constexpr int kSlots = 24, kDirectories = 4;
constexpr uint32_t kChunk = 64 << 10;  // so that files of a moderate size have many
constexpr size_t kSizeMax = 5 * kChunk;
constexpr size_t kAppend = 100;

volatile sig_atomic_t checks_wanted = 0;

[[noreturn]] void Fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void Fail(const char* format, ...) {
  const int code = errno;
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "e2e_survivor: ");
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, " (errno: %s; %s)\n", std::strerror(code), mayfly_error());
  va_end(arguments);
  std::exit(1);
}

mayfly_fs* Connect(bool elsewhere) {
  mayfly_options options;
  mayfly_options_init(&options);
  options.op_timeout_ms = kPatienceMs;
  options.ready_timeout_ms = kPatienceMs;
  options.chunk_bytes = kChunk;
  options.map_arena = elsewhere ? 0 : 1;
  mayfly_fs* fs = nullptr;
  if (mayfly_connect(nullptr, &options, &fs) != 0) Fail("cannot connect");
  return fs;
}

std::string Pattern(uint64_t seed, size_t bytes) {
  std::string text(bytes, '\0');
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < bytes; i += 8) {
    const uint64_t word = random();
    std::memcpy(text.data() + i, &word, std::min<size_t>(8, bytes - i));
  }
  return text;
}

uint64_t Checksum(const std::string& text) {
  uint64_t sum = 0xcbf29ce484222325;
  for (char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return sum;
}

struct File {
  std::string content;
  mode_t mode = 0;
  int links = 1;
  timespec modified{};  // as the servers said after the last change
  std::string attribute;
};

std::string Line(const std::string& path, const File& file) {
  char text[512];
  std::snprintf(text, sizeof text,
                "%s file %o links %d size %zu modified %jd.%09ld attribute %s content %016" PRIx64 "\n", path.c_str(),
                file.mode, file.links, file.content.size(), static_cast<intmax_t>(file.modified.tv_sec),
                file.modified.tv_nsec, file.attribute.c_str(), Checksum(file.content));
  return text;
}
std::string Line(const std::string& path, const std::string& target) { return path + " symlink " + target + "\n"; }

// ---- look ----

std::string ReadAll(int fd, size_t expected) {
  std::string content(expected + 1, '\0');
  size_t have = 0;
  for (;;) {
    const ssize_t got = mayfly_pread(fd, content.data() + have, content.size() - have, static_cast<off_t>(have));
    if (got < 0) Fail("pread");
    if (got == 0) break;
    have += static_cast<size_t>(got);
    if (have == content.size()) Fail("a file is longer than its size of %zu", expected);
  }
  content.resize(have);
  return content;
}

void Look(mayfly_fs* fs, const std::string& path, std::vector<std::string>* lines) {
  struct stat st;
  if (mayfly_lstat(fs, path.c_str(), &st) != 0) Fail("lstat %s", path.c_str());
  if (S_ISLNK(st.st_mode)) {
    char target[256];
    const ssize_t bytes = mayfly_readlink(fs, path.c_str(), target, sizeof target);
    if (bytes < 0) Fail("readlink %s", path.c_str());
    lines->push_back(Line(path, std::string(target, static_cast<size_t>(bytes))));
    return;
  }
  if (S_ISREG(st.st_mode)) {
    File file;
    const int fd = mayfly_open(fs, path.c_str(), O_RDONLY);
    if (fd < 0) Fail("open %s", path.c_str());
    file.content = ReadAll(fd, static_cast<size_t>(st.st_size));
    file.mode = st.st_mode & 07777;
    file.links = static_cast<int>(st.st_nlink);
    file.modified = st.st_mtim;
    char value[64];
    const ssize_t bytes = mayfly_fgetxattr(fd, "user.survivor", value, sizeof value);
    if (bytes < 0 && errno != ENODATA) Fail("getxattr %s", path.c_str());
    if (bytes > 0) file.attribute.assign(value, static_cast<size_t>(bytes));
    if (mayfly_close(fd) != 0) Fail("close %s", path.c_str());
    lines->push_back(Line(path, file));
    return;
  }
  lines->push_back(path + " directory\n");
  mayfly_dir* dir = mayfly_opendir(fs, path.c_str());
  if (dir == nullptr) Fail("opendir %s", path.c_str());
  std::vector<std::string> names;
  mayfly_dirent entry;
  int more;
  while ((more = mayfly_readdir(dir, &entry)) == 1) names.emplace_back(entry.name);
  if (more != 0 || mayfly_closedir(dir) != 0) Fail("readdir %s", path.c_str());
  for (const std::string& name : names) {
    if (name != "." && name != "..") Look(fs, path + "/" + name, lines);
  }
}

void Print(std::vector<std::string> lines) {
  std::sort(lines.begin(), lines.end());
  for (const std::string& line : lines) std::fputs(line.c_str(), stdout);
}

// ---- work ----

class Worker {
 public:
  Worker(mayfly_fs* fs, const std::string& name)
      : fs_(fs), root_("/" + name), random_(std::hash<std::string>()(name)) {}

  void Run() {
    Must(mayfly_mkdir(fs_, root_.c_str(), 0755), "mkdir", root_);
    for (int i = 0; i < kDirectories; ++i) Must(mayfly_mkdir(fs_, Directory(i).c_str(), 0755), "mkdir", Directory(i));
    gone_ = mayfly_open(fs_, (root_ + "/gone").c_str(), O_CREAT | O_RDWR, 0600);
    if (gone_ < 0) Fail("create gone");
    Must(mayfly_unlink(fs_, (root_ + "/gone").c_str()), "unlink", "gone");
    log_ = mayfly_open(fs_, (root_ + "/log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0640);
    if (log_ < 0) Fail("create log");
    Must(mayfly_fchmod(log_, 0640), "fchmod", "log");
    log_file_ = std::make_shared<File>();
    log_file_->mode = 0640;
    for (;;) {
      Step();
      Acknowledged();
      if (checks_wanted != checked_) Check();
      pollfd input{0, POLLIN, 0};
      if (poll(&input, 1, 0) > 0) break;
    }
    End();
  }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  std::string Directory(int i) const { return root_ + "/d" + std::to_string(i); }
  std::string AnySlot() {
    const int slot = static_cast<int>(Below(kSlots));
    return Directory(slot % kDirectories) + "/" + std::to_string(slot);
  }
  static void Must(int result, const char* what, const std::string& path) {
    if (result != 0) Fail("%s %s", what, path.c_str());
  }
  void Acknowledged() {
    char text[16];
    const int bytes = std::snprintf(text, sizeof text, "%010" PRIu64 "\n", ++count_);
    if (pwrite(1, text, static_cast<size_t>(bytes), 0) != bytes) Fail("write of the count");
  }
  std::vector<std::string> Expected() const {
    std::vector<std::string> lines{root_ + " directory\n", Line(root_ + "/log", *log_file_)};
    for (int i = 0; i < kDirectories; ++i) lines.push_back(Directory(i) + " directory\n");
    for (const auto& [path, file] : files_) lines.push_back(Line(path, *file));
    for (const auto& [path, target] : links_) lines.push_back(Line(path, target));
    std::sort(lines.begin(), lines.end());
    return lines;
  }
  // Over a connection that remembers nothing and maps nothing.
  void Check() {
    mayfly_fs* const other = Connect(true);
    std::vector<std::string> found, differences;
    Look(other, root_, &found);
    if (mayfly_disconnect(other) != 0) Fail("disconnect");
    std::sort(found.begin(), found.end());
    const std::vector<std::string> expected = Expected();
    std::set_symmetric_difference(found.begin(), found.end(), expected.begin(), expected.end(),
                                  std::back_inserter(differences));
    for (const std::string& line : differences) {
      std::fprintf(stderr, "%s %s", std::binary_search(found.begin(), found.end(), line) ? "found" : "expected",
                   line.c_str());
    }
    if (!differences.empty()) Fail("after %" PRIu64 " operations not what was acknowledged", count_);
    checked_ = checks_wanted;
    char text[16];
    const int bytes = std::snprintf(text, sizeof text, "%010d\n", checked_);
    if (pwrite(1, text, static_cast<size_t>(bytes), bytes) != bytes) Fail("write of the number of checks");
  }

  void Write(int fd, const std::string& path, size_t offset, const std::string& data, File* file) {
    if (mayfly_pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(data.size()))
      Fail("pwrite %s", path.c_str());
    if (file->content.size() < offset + data.size()) file->content.resize(offset + data.size());
    file->content.replace(offset, data.size(), data);
  }
  // What is open holds nothing back, and the servers have said what the file's time is.
  void Settle(int fd, const std::string& path, File* file, bool close) {
    struct stat st;
    Must(mayfly_fsync(fd), "fsync", path);
    Must(mayfly_fstat(fd, &st), "fstat", path);
    file->modified = st.st_mtim;
    if (close) Must(mayfly_close(fd), "close", path);
  }

  void Step() {
    const std::string path = AnySlot();
    const auto it = files_.find(path);
    const auto link = links_.find(path);
    if (Below(8) == 0) return Append();
    if (link != links_.end()) {
      Must(mayfly_unlink(fs_, path.c_str()), "unlink the symlink", path);
      links_.erase(link);
      return;
    }
    if (it == files_.end()) return Below(6) == 0 ? MakeSymlink(path) : Create(path);
    File& file = *it->second;
    switch (Below(9)) {
      case 0:
        Must(mayfly_unlink(fs_, path.c_str()), "unlink", path);
        --file.links;
        files_.erase(it);
        return;
      case 1:
      case 2:
        return Move(path, AnySlot());
      case 3:
        return MakeLink(path, AnySlot());
      case 4:
        return Truncate(path, &file);
      case 5: {
        file.attribute = std::to_string(count_);
        Must(mayfly_setxattr(fs_, path.c_str(), "user.survivor", file.attribute.data(), file.attribute.size(), 0),
             "setxattr", path);
        return;
      }
      case 6: {
        const timespec times[2] = {{1000, 0}, {static_cast<time_t>(1'000'000 + count_), 5}};
        file.mode = count_ % 2 == 0 ? 0600 : 0754;
        Must(mayfly_chmod(fs_, path.c_str(), file.mode), "chmod", path);
        Must(mayfly_utimens(fs_, path.c_str(), times, 0), "utimens", path);
        file.modified = times[1];
        return;
      }
      default:
        return Change(path, &file);
    }
  }

  void Create(const std::string& path) {
    auto file = std::make_shared<File>();
    const int fd = mayfly_open(fs_, path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0) Fail("create %s", path.c_str());
    Must(mayfly_fchmod(fd, 0644), "fchmod", path);  // whatever the umask is
    file->mode = 0644;
    Write(fd, path, 0, Pattern(count_, Below(kSizeMax)), file.get());
    Settle(fd, path, file.get(), true);
    files_[path] = file;
  }
  void Change(const std::string& path, File* file) {
    const int fd = mayfly_open(fs_, path.c_str(), O_RDWR);
    if (fd < 0) Fail("open %s", path.c_str());
    const size_t offset = Below(kSizeMax);
    Write(fd, path, offset, Pattern(count_, 1 + Below(std::min<size_t>(kSizeMax - offset, kChunk))), file);
    Settle(fd, path, file, false);
    if (ReadAll(fd, file->content.size()) != file->content) Fail("%s is not what was written", path.c_str());
    Must(mayfly_close(fd), "close", path);
  }
  void Truncate(const std::string& path, File* file) {
    const size_t size = Below(kSizeMax);
    Must(mayfly_truncate(fs_, path.c_str(), static_cast<off_t>(size)), "truncate", path);
    file->content.resize(size);
    struct stat st;
    Must(mayfly_stat(fs_, path.c_str(), &st), "stat", path);
    file->modified = st.st_mtim;
  }
  void Move(const std::string& from, const std::string& to) {
    Must(mayfly_rename(fs_, from.c_str(), to.c_str(), 0), "rename", from + " to " + to);
    const std::shared_ptr<File> file = files_[from];
    const auto old = files_.find(to);
    if (old != files_.end() && old->second == file) return;  // two names of one file: nothing happens
    if (old != files_.end()) --old->second->links;
    links_.erase(to);
    files_.erase(from);
    files_[to] = file;
  }
  void MakeLink(const std::string& from, const std::string& to) {
    const bool taken = files_.count(to) != 0 || links_.count(to) != 0;
    const int result = mayfly_link(fs_, from.c_str(), to.c_str());
    if (taken && result == -1 && errno == EEXIST) return;
    if (taken) Fail("link to %s, which is there", to.c_str());
    Must(result, "link", to);
    files_[to] = files_[from];
    ++files_[to]->links;
  }
  void MakeSymlink(const std::string& path) {
    const std::string target = "target-" + std::to_string(count_);
    Must(mayfly_symlink(fs_, target.c_str(), path.c_str()), "symlink", path);
    links_[path] = target;
  }
  // Write-behind: the bytes of several calls are acknowledged by the sync, and the open file without a name.
  void Append() {
    const std::string line = Pattern(count_, kAppend);
    for (size_t i = 0; i < kAppend; i += kAppend / 4) {
      if (mayfly_write(log_, line.data() + i, kAppend / 4) != kAppend / 4) Fail("write log");
    }
    log_file_->content += line;
    Settle(log_, "log", log_file_.get(), false);
    Write(gone_, "gone", Below(2 * kChunk), line, &gone_file_);
    Must(mayfly_fdatasync(gone_), "fdatasync", "gone");
  }

  void End() {
    if (ReadAll(gone_, gone_file_.content.size()) != gone_file_.content)
      Fail("the file without a name is not as written");
    Must(mayfly_close(gone_), "close", "gone");
    Must(mayfly_close(log_), "close", "log");
    Must(ftruncate(1, 0), "truncate", "standard output");
    Print(Expected());
  }

  mayfly_fs* const fs_;
  const std::string root_;
  std::mt19937_64 random_;
  uint64_t count_ = 0;
  int checked_ = 0;
  int gone_ = -1, log_ = -1;
  File gone_file_;
  std::shared_ptr<File> log_file_;
  std::map<std::string, std::shared_ptr<File>> files_;
  std::map<std::string, std::string> links_;  // symlinks
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const bool elsewhere = std::strcmp(argv[1], "elsewhere") == 0;
  struct sigaction action {};
  action.sa_handler = [](int) { checks_wanted = checks_wanted + 1; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  mayfly_fs* const fs = Connect(elsewhere);
  if (elsewhere || std::strcmp(argv[1], "work") == 0) {
    Worker(fs, argv[2]).Run();
  } else {
    std::vector<std::string> lines;
    Look(fs, std::string("/") + argv[2], &lines);
    Print(std::move(lines));
  }
  if (mayfly_disconnect(fs) != 0) Fail("disconnect");
  return 0;
}
