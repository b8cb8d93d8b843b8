// Trees for the tests of staging:
//   e2e_tree make DIR           a tree with every kind of name, file, link, hole, mode, time and attribute that this
//                               user can make there and read again
//   e2e_tree dump posix DIR     a line an entry, sorted: what must be the same in a copy
//   e2e_tree dump mayfly PATH   the same of the session
// A path is never used in one piece, so it may be longer than the kernel takes.
#include <dirent.h>
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "e2e_tree: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}
void Check(bool good, const std::string& what) {
  if (!good) Die(what);
}

std::string Shown(const std::string& bytes) {
  std::string out;
  char hex[8];
  for (unsigned char c : bytes) {
    if (c > 0x20 && c < 0x7f && c != '\\') {
      out += static_cast<char>(c);
    } else {
      std::snprintf(hex, sizeof hex, "\\x%02x", c);
      out += hex;
    }
  }
  return out;
}

// "f12"
std::string Numbered(std::string name, unsigned n) {
  name += std::to_string(n);
  return name;
}

// ---- make -----------------------------------------------------------------------------------------------------------

int MakeDir(int at, const std::string& name) {
  Check(::mkdirat(at, name.c_str(), 0755) == 0, name);
  const int fd = ::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY);
  Check(fd >= 0, name);
  return fd;
}

void PutAt(int fd, off_t at, size_t bytes, unsigned seed) {
  std::string data(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<char>((seed = seed * 1103515245 + 12345) >> 16);
  Check(::pwrite(fd, data.data(), bytes, at) == static_cast<ssize_t>(bytes), "write");
}

// Closed with mode and a time of its own.
void Settle(int fd, mode_t mode, unsigned seed) {
  Check(::fchmod(fd, mode) == 0, "chmod");
  const timespec times[2] = {{1'600'000'000, 1}, {1'500'000'000 + static_cast<time_t>(seed) * 7, 123'456'789 + seed}};
  Check(::futimens(fd, times) == 0, "times");
  ::close(fd);
}

int NewFile(int at, const std::string& name) {
  const int fd = ::openat(at, name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  Check(fd >= 0, name);
  return fd;
}
void File(int at, const std::string& name, size_t bytes, mode_t mode, unsigned seed) {
  const int fd = NewFile(at, name);
  PutAt(fd, 0, bytes, seed);
  Settle(fd, mode, seed);
}
void Link(int at, const std::string& target, const std::string& name, unsigned seed) {
  Check(::symlinkat(target.c_str(), at, name.c_str()) == 0, name);
  const timespec times[2] = {{1'600'000'000, 1}, {1'400'000'000 + static_cast<time_t>(seed), 987'654'321}};
  Check(::utimensat(at, name.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0, name);
}

void MakeNames(int root) {
  const int dir = MakeDir(root, "names");
  unsigned seed = 0;
  const std::vector<std::string> names = {"-",
                                          "-rf",
                                          "--help",
                                          "--",
                                          "new\nline",
                                          "\n",
                                          " ",
                                          "sp ace ",
                                          "tab\t",
                                          "quote'\"`",
                                          "back\\slash",
                                          "*?[x]",
                                          "~",
                                          "$HOME",
                                          "\xff\xfe",
                                          "\x01",
                                          "\xc3\xa4 umlaut",
                                          "\xc3",
                                          "...",
                                          ".hidden",
                                          "a:b",
                                          "#x",
                                          "%s%n",
                                          std::string(255, 'n'),
                                          std::string(254, 'n') + "\xff",
                                          ".mayfly"};
  for (const std::string& name : names) {
    ++seed;
    File(dir, name, 10 + seed, 0644, seed);
  }
  for (const std::string& name :
       {std::string("-dir"), std::string("dir\nline"), std::string("\xfe\xff dir"), std::string(255, 'd')}) {
    const int below = MakeDir(dir, name);
    File(below, name, 5, 0640, ++seed);
    Settle(below, 0755, ++seed);
  }
  Settle(dir, 0755, 1);
}

void MakeDeep(int root) {
  // 39 names of 100 bytes: below the limit of a path in the session, and beyond the kernel's with what is above it.
  int dir = MakeDir(root, "deep");
  std::vector<int> chain = {dir};
  for (int i = 0; i < 39; ++i) chain.push_back(dir = MakeDir(dir, std::string(97, 'D') + std::to_string(100 + i)));
  File(dir, std::string(90, 'f'), 100, 0644, 5);
  Link(dir, "../x", "l", 3);
  for (size_t i = chain.size(); i-- > 0;) Settle(chain[i], 0755, static_cast<unsigned>(i));
}

void MakeLinks(int root) {
  const int dir = MakeDir(root, "links");
  Link(dir, "/etc/passwd", "absolute", 1);
  Link(dir, "nowhere/at all", "dangling", 2);
  Link(dir, "../../../../../outside", "outside", 3);
  Link(dir, ".", "self", 4);
  Link(dir, std::string(4000, 't'), "long", 5);
  Link(dir, "\xff\n -", "-bytes", 6);
  const int other = MakeDir(dir, "other");
  File(dir, "one", 1000, 0644, 7);
  Check(::linkat(dir, "one", dir, "two", 0) == 0, "link");
  Check(::linkat(dir, "one", other, "three", 0) == 0, "link");
  File(other, "pair", 70'000, 0600, 8);
  Check(::linkat(other, "pair", root, "pair-above", 0) == 0, "link");
  Settle(other, 0755, 1);
  Settle(dir, 0755, 2);
}

void MakeSparse(int root) {
  const int dir = MakeDir(root, "sparse");
  int fd = NewFile(dir, "only-a-hole");
  Check(::ftruncate(fd, 300'000'000) == 0, "size");
  Settle(fd, 0644, 1);
  fd = NewFile(dir, "holes-everywhere");
  for (off_t at : {65'536, 1'048'576, 5'000'000 / 4096 * 4096, 20 << 20}) PutAt(fd, at, 8192, 3);
  Check(::ftruncate(fd, 30 << 20) == 0, "size");
  Settle(fd, 0644, 2);
  fd = NewFile(dir, "large-and-sparse");  // copied by ranges
  for (off_t at = 0; at < 200; at += 50) PutAt(fd, (at << 20) + 4096, 100'000 / 4096 * 4096, 4);
  Check(::ftruncate(fd, off_t{210} << 20) == 0, "size");
  Settle(fd, 0644, 3);
  Settle(dir, 0755, 3);
}

void MakeModes(int root) {
  const int dir = MakeDir(root, "modes");
  const bool all = ::geteuid() == 0;  // others could not read them again
  for (mode_t mode : {0400, 0444, 0600, 0644, 0666, 0777, 0755, 04755, 02755, 06711, 01644}) {
    char name[16];
    std::snprintf(name, sizeof name, "%04o", static_cast<unsigned>(mode));
    if (all || (mode & 0400) != 0) File(dir, name, 20, mode, static_cast<unsigned>(mode));
  }
  if (all) File(dir, "0000", 20, 0, 1);
  if (all) Settle(MakeDir(dir, "closed"), 0, 1);
  if (all) {
    File(dir, "of-another", 20, 0640, 1);
    Check(::fchownat(dir, "of-another", 1234, 4321, 0) == 0, "owner");
  }
  Settle(MakeDir(dir, "sticky"), 01777, 2);
  Settle(MakeDir(dir, "group"), 02755, 2);
  const int closed = MakeDir(dir, "not-writable");
  File(closed, "file", 20, 0444, 1);
  const int below = MakeDir(closed, "below");
  File(below, "file", 20, 0444, 2);
  Settle(below, 0500, 3);
  Settle(closed, 0555, 3);
  Settle(dir, 0755, 4);
}

void MakeTimes(int root) {
  const int dir = MakeDir(root, "times");
  const timespec all[] = {{0, 1}, {1, 0}, {-1, 999'999'999}, {4'000'000'000, 123}, {1'700'000'000, 999'999'999}};
  unsigned n = 0;
  for (const timespec& time : all) {
    const int fd = NewFile(dir, Numbered("t", n++));
    const timespec times[2] = {time, time};
    Check(::futimens(fd, times) == 0, "times");
    ::close(fd);
  }
  Settle(dir, 0755, 5);
}

void MakeXattrs(int root) {
  const int dir = MakeDir(root, "attributes");
  const int fd = NewFile(dir, "file");
  if (::fsetxattr(fd, "user.one", "value", 5, 0) == 0) {
    Check(::fsetxattr(fd, "user.empty", "", 0, 0) == 0, "xattr");
    Check(::fsetxattr(fd, "user.bytes \xff\n", "\0\xff\n", 3, 0) == 0, "xattr");
    const std::string long_value(2000, 'v');
    Check(::fsetxattr(fd, "user.long", long_value.data(), long_value.size(), 0) == 0, "xattr");
    Check(::fsetxattr(dir, "user.dir", "d", 1, 0) == 0, "xattr");
  }
  Settle(fd, 0640, 6);
  Settle(dir, 0755, 6);
}

void Make(const char* path) {
  ::umask(0);
  Check(::mkdir(path, 0755) == 0, path);
  const int root = ::open(path, O_RDONLY | O_DIRECTORY);
  Check(root >= 0, path);
  File(root, "empty", 0, 0644, 1);
  File(root, "small", 1, 0644, 2);
  File(root, "page", 4096, 0644, 3);
  File(root, "odd", 4'194'305, 0644, 4);
  File(root, "large", (70u << 20) + 1, 0644, 5);  // copied by ranges
  Settle(MakeDir(root, "empty-directory"), 0750, 1);
  MakeNames(root);
  MakeDeep(root);
  MakeLinks(root);
  MakeSparse(root);
  MakeModes(root);
  MakeTimes(root);
  MakeXattrs(root);
  const int many = MakeDir(root, "many");
  for (unsigned i = 0; i < 600; ++i) File(many, Numbered("f", i), i * 37 % 9000, 0644, i);
  Settle(many, 0755, 7);
  Settle(root, 0711, 9);
}

// ---- dump -----------------------------------------------------------------------------------------------------------

class Printer {
 public:
  void Line(const std::string& path, const struct stat& st, const std::string& more, const std::string& xattrs) {
    const char type = S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : S_ISREG(st.st_mode) ? 'f' : '?';
    std::string first = "-";
    if (type == 'f' && st.st_nlink > 1) first = Numbered("links=", static_cast<unsigned>(st.st_nlink));
    char text[256];
    std::snprintf(text, sizeof text, " %c %04o %u:%u %lld %lld.%09ld ", type,
                  type == 'l' ? 0u : static_cast<unsigned>(st.st_mode & 07777), st.st_uid, st.st_gid,
                  type == 'd' ? 0LL : static_cast<long long>(st.st_size), static_cast<long long>(st.st_mtim.tv_sec),
                  st.st_mtim.tv_nsec);
    if (type == 'f' && st.st_nlink > 1) groups_[{st.st_dev, st.st_ino}].push_back(path);
    lines_.push_back(Shown(path) + text + first + " " + more + " " + xattrs);
  }
  ~Printer() {
    for (auto& [inode, paths] : groups_) {
      std::sort(paths.begin(), paths.end());
      std::string line = "same file:";
      for (const std::string& path : paths) line += " " + Shown(path);
      lines_.push_back(line);
    }
    std::sort(lines_.begin(), lines_.end());
    for (const std::string& line : lines_) std::printf("%s\n", line.c_str());
  }

 private:
  std::vector<std::string> lines_;
  std::map<std::pair<dev_t, ino_t>, std::vector<std::string>> groups_;
};

// Where data is, and a sum of all of it.
template <class Seek, class Read>
std::string Content(off_t size, Seek seek, Read read) {
  std::string map;
  uint64_t sum = 1469598103934665603u;
  std::vector<unsigned char> buffer(1 << 20);
  for (off_t at = 0; at < size;) {
    const off_t data = seek(at, SEEK_DATA);
    if (data < 0) {
      Check(errno == ENXIO, "SEEK_DATA");
      break;
    }
    const off_t hole = seek(data, SEEK_HOLE);
    Check(hole > data, "SEEK_HOLE");
    map.append(" ").append(std::to_string(data)).append("-").append(std::to_string(hole));
    for (at = data; at < hole;) {
      const ssize_t n = read(buffer.data(), std::min<off_t>(hole - at, static_cast<off_t>(buffer.size())), at);
      Check(n > 0, "read");
      for (ssize_t i = 0; i < n; ++i) sum = (sum ^ buffer[static_cast<size_t>(i)]) * 1099511628211u;
      at += n;
    }
  }
  char text[32];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(sum));
  return std::string(text) + map;
}

template <class List, class Get>
std::string Xattrs(List list, Get get) {
  std::vector<char> names(65536);
  const ssize_t n = list(names.data(), names.size());
  std::vector<std::string> all;
  for (ssize_t at = 0; at < n; at += static_cast<ssize_t>(std::strlen(&names[static_cast<size_t>(at)])) + 1) {
    const char* const name = &names[static_cast<size_t>(at)];
    if (std::strncmp(name, "user.", 5) != 0) continue;
    std::vector<char> value(65536);
    const ssize_t bytes = get(name, value.data(), value.size());
    Check(bytes >= 0, name);
    all.push_back(Shown(name) + "=" + Shown(std::string(value.data(), static_cast<size_t>(bytes))));
  }
  std::sort(all.begin(), all.end());
  std::string text;
  for (const std::string& one : all) text += one + ";";
  return text;
}

void DumpPosix(int at, const std::string& name, const std::string& path, Printer* out) {
  struct stat st;
  Check(::fstatat(at, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0, path);
  if (S_ISLNK(st.st_mode)) {
    char target[4096];
    const ssize_t n = ::readlinkat(at, name.c_str(), target, sizeof target);
    Check(n >= 0, path);
    return out->Line(path, st, Shown(std::string(target, static_cast<size_t>(n))), "");
  }
  const int fd = ::openat(at, name.c_str(), O_RDONLY | O_NOFOLLOW);
  Check(fd >= 0, path);
  const std::string xattrs =
      Xattrs([&](char* list, size_t bytes) { return ::flistxattr(fd, list, bytes); },
             [&](const char* key, char* value, size_t bytes) { return ::fgetxattr(fd, key, value, bytes); });
  if (!S_ISDIR(st.st_mode)) {
    out->Line(path, st,
              Content(
                  st.st_size, [&](off_t o, int whence) { return ::lseek(fd, o, whence); },
                  [&](void* to, off_t n, off_t o) { return ::pread(fd, to, static_cast<size_t>(n), o); }),
              xattrs);
    ::close(fd);
    return;
  }
  out->Line(path, st, "", xattrs);
  DIR* const dir = ::fdopendir(fd);
  Check(dir != nullptr, path);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) names.push_back(entry->d_name);
  for (const std::string& child : names) {
    if (child != "." && child != "..") DumpPosix(fd, child, path + "/" + child, out);
  }
  ::closedir(dir);
}

void DumpMayfly(mayfly_fs* fs, const std::string& at, const std::string& path, Printer* out) {
  struct stat st;
  Check(mayfly_lstat(fs, at.c_str(), &st) == 0, at);
  if (S_ISLNK(st.st_mode)) {
    char target[4096];
    const ssize_t n = mayfly_readlink(fs, at.c_str(), target, sizeof target);
    Check(n >= 0, at);
    return out->Line(path, st, Shown(std::string(target, static_cast<size_t>(n))), "");
  }
  const std::string xattrs = Xattrs(
      [&](char* list, size_t bytes) { return mayfly_llistxattr(fs, at.c_str(), list, bytes); },
      [&](const char* key, char* value, size_t bytes) { return mayfly_lgetxattr(fs, at.c_str(), key, value, bytes); });
  if (!S_ISDIR(st.st_mode)) {
    const int fd = mayfly_open(fs, at.c_str(), O_RDONLY);
    Check(fd >= 0, at);
    out->Line(path, st,
              Content(
                  st.st_size, [&](off_t o, int whence) { return mayfly_lseek(fd, o, whence); },
                  [&](void* to, off_t n, off_t o) { return mayfly_pread(fd, to, static_cast<size_t>(n), o); }),
              xattrs);
    mayfly_close(fd);
    return;
  }
  out->Line(path, st, "", xattrs);
  mayfly_dir* const dir = mayfly_opendir(fs, at.c_str());
  Check(dir != nullptr, at);
  std::vector<std::string> names;
  mayfly_dirent entry;
  while (mayfly_readdir(dir, &entry) == 1) names.emplace_back(entry.name, entry.name_bytes);
  mayfly_closedir(dir);
  for (const std::string& child : names) {
    if (child != "." && child != "..") DumpMayfly(fs, at + "/" + child, path + "/" + child, out);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "", side = argc > 2 ? argv[2] : "";
  if (what == "make" && argc == 3) {
    Make(argv[2]);
    return 0;
  }
  if (what == "dump" && argc == 4 && side == "posix") {
    Printer out;
    DumpPosix(AT_FDCWD, argv[3], "", &out);
    return 0;
  }
  if (what == "dump" && argc == 4 && side == "mayfly") {
    mayfly_fs* fs = nullptr;
    if (mayfly_connect(nullptr, nullptr, &fs) != 0) Die(mayfly_error());
    {
      Printer out;
      DumpMayfly(fs, argv[3], "", &out);
    }
    mayfly_disconnect(fs);
    return 0;
  }
  std::fprintf(stderr, "usage: e2e_tree make DIR | dump posix DIR | dump mayfly PATH\n");
  return 2;
}
