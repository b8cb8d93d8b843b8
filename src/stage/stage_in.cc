#include "stage/stage_in.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace mayfly::stage {
namespace {

constexpr size_t kBufferBytes = 4u << 20;

// A large file in work: its last range finishes it.
struct LargeFile {
  std::string source, target;
  struct stat attributes {};
  std::atomic<uint32_t> ranges_left{0};
  std::atomic<bool> failed{false};
};

struct Item {
  enum class Kind { kEntry, kRange, kDirectoryEnd } kind = Kind::kEntry;
  std::string source, target;
  std::shared_ptr<LargeFile> large;
  uint64_t begin = 0, end = 0;
};

// A directory whose attributes are set when everything below is there.
struct OpenDirectory {
  std::string source, target;
  struct stat attributes {};
};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

class Copier {
 public:
  Copier(mayfly_fs* fs, const StageInOptions& options, StageCounts* counts, const std::atomic<bool>* stop)
      : fs_(fs), options_(options), counts_(counts), stop_(stop) {}

  StageResult Run() {
    Item root;
    root.source = options_.source;
    root.target = options_.target;
    Push(std::move(root));
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < std::max(1u, options_.streams); ++i) threads.emplace_back([this] { Work(); });
    for (std::thread& thread : threads) thread.join();
    FinishDirectories();
    result_.interrupted = stop_->load();
    result_.files = counts_->files_done;
    result_.bytes = counts_->bytes_done;
    result_.skipped = counts_->skipped;
    result_.failed = counts_->failed;
    return std::move(result_);
  }

 private:
  // ---- the queue: done when it is empty and nobody works ----
  void Push(Item item) {
    std::lock_guard lock(mutex_);
    // Ranges go first: a large file keeps all streams busy until it is done, instead of at the end alone.
    if (item.kind == Item::Kind::kRange) {
      queue_.push_front(std::move(item));
    } else {
      queue_.push_back(std::move(item));
    }
    ready_.notify_one();
  }
  bool Pop(Item* item) {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (stop_->load()) return false;
      if (!queue_.empty()) {
        *item = std::move(queue_.front());
        queue_.pop_front();
        ++working_;
        return true;
      }
      if (working_ == 0) return false;
      ready_.wait_for(lock, std::chrono::milliseconds(200));
    }
  }
  void Done() {
    std::lock_guard lock(mutex_);
    if (--working_ == 0 && queue_.empty()) ready_.notify_all();
  }

  void Work() {
    std::unique_ptr<char[]> buffer(new char[kBufferBytes]);
    Item item;
    while (Pop(&item)) {
      if (item.kind == Item::Kind::kRange) {
        CopyRange(item, buffer.get());
      } else {
        CopyEntry(item, buffer.get());
      }
      Done();
    }
  }

  void Fail(const std::string& path, const char* what, int error) {
    ++counts_->failed;
    std::string sentence = path + ": " + what + ": " + std::strerror(error);
    if (error == ENOSPC) sentence += " (give the servers more --memory, or stage less)";
    std::lock_guard lock(mutex_);
    if (result_.failures.size() < options_.failures_max) result_.failures.push_back(std::move(sentence));
  }

  // ---- entries ----
  void CopyEntry(const Item& item, char* buffer) {
    struct stat st;
    if (::lstat(item.source.c_str(), &st) != 0) return Fail(item.source, "cannot be read", errno);
    if (S_ISDIR(st.st_mode)) return CopyDirectory(item, st);
    ++counts_->files_total;
    if (S_ISLNK(st.st_mode)) return CopySymlink(item, st);
    if (!S_ISREG(st.st_mode)) return Fail(item.source, "is neither file, directory nor symlink", EOPNOTSUPP);
    if (st.st_nlink > 1 && LinkToFirst(item, st)) return;
    CopyFile(item, st, buffer);
  }

  void CopyDirectory(const Item& item, const struct stat& st) {
    if (mayfly_mkdir(fs_, item.target.c_str(), 0700) != 0 && errno != EEXIST) {
      return Fail(item.target, "directory cannot be made", errno);
    }
    DIR* dir = ::opendir(item.source.c_str());
    if (dir == nullptr) return Fail(item.source, "directory cannot be read", errno);
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(dir);
      if (entry == nullptr) {
        if (errno != 0) Fail(item.source, "directory cannot be read to its end", errno);
        break;
      }
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      Item child;
      child.source = item.source + "/" + entry->d_name;
      child.target = (item.target == "/" ? "" : item.target) + "/" + entry->d_name;
      Push(std::move(child));
    }
    ::closedir(dir);
    std::lock_guard lock(mutex_);
    directories_.push_back({item.source, item.target, st});
  }

  void CopySymlink(const Item& item, const struct stat& st) {
    char target[4096];
    ssize_t n = ::readlink(item.source.c_str(), target, sizeof target - 1);
    if (n < 0) return Fail(item.source, "symlink cannot be read", errno);
    target[n] = '\0';
    if (mayfly_symlink(fs_, target, item.target.c_str()) != 0) {
      if (errno != EEXIST) return Fail(item.target, "symlink cannot be made", errno);
      char now[4096];
      ssize_t m = mayfly_readlink(fs_, item.target.c_str(), now, sizeof now);
      if (m != n || std::memcmp(now, target, static_cast<size_t>(n)) != 0) {
        if (mayfly_unlink(fs_, item.target.c_str()) != 0 || mayfly_symlink(fs_, target, item.target.c_str()) != 0) {
          return Fail(item.target, "symlink cannot be replaced", errno);
        }
      } else {
        ++counts_->skipped;
      }
    }
    SetOwner(item.target, st);
    const timespec times[2] = {st.st_atim, st.st_mtim};
    if (mayfly_utimens(fs_, item.target.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      return Fail(item.target, "times cannot be set", errno);
    }
    ++counts_->files_done;
  }

  // The second and later names of a file become links to the first, which may still be in work: the link is made from
  // the inode that exists from the first moment.
  bool LinkToFirst(const Item& item, const struct stat& st) {
    std::string first;
    {
      std::lock_guard lock(mutex_);
      auto [it, is_first] = links_.try_emplace({st.st_dev, st.st_ino}, item.target);
      if (is_first) {
        // Made here, under the lock, so that whoever comes second finds it.
        int fd = mayfly_open(fs_, item.target.c_str(), O_CREAT | O_WRONLY, 0600);
        if (fd >= 0) mayfly_close(fd);
        return false;
      }
      first = it->second;
    }
    struct stat one, two;
    if (mayfly_lstat(fs_, first.c_str(), &one) == 0 && mayfly_lstat(fs_, item.target.c_str(), &two) == 0) {
      if (one.st_ino == two.st_ino) {
        ++counts_->skipped;
        ++counts_->files_done;
        return true;
      }
      mayfly_unlink(fs_, item.target.c_str());
    }
    if (mayfly_link(fs_, first.c_str(), item.target.c_str()) != 0) {
      Fail(item.target, "hard link cannot be made", errno);
      return true;
    }
    ++counts_->files_done;
    return true;
  }

  void CopyFile(const Item& item, const struct stat& st, char* buffer) {
    const uint64_t size = static_cast<uint64_t>(st.st_size);
    counts_->bytes_total += size;
    struct stat there;
    if (mayfly_lstat(fs_, item.target.c_str(), &there) == 0 && S_ISREG(there.st_mode) && there.st_size == st.st_size &&
        there.st_mtim.tv_sec == st.st_mtim.tv_sec && there.st_mtim.tv_nsec == st.st_mtim.tv_nsec) {
      ++counts_->skipped;  // G1
      ++counts_->files_done;
      counts_->bytes_done += size;
      return;
    }
    int fd = mayfly_open(fs_, item.target.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_NOFOLLOW, 0600);
    if (fd < 0) return Fail(item.target, "cannot be made", errno);
    if (size > options_.large_bytes) {
      mayfly_close(fd);
      auto large = std::make_shared<LargeFile>();
      large->source = item.source;
      large->target = item.target;
      large->attributes = st;
      large->ranges_left = static_cast<uint32_t>((size + options_.large_bytes - 1) / options_.large_bytes);
      for (uint64_t at = 0; at < size; at += options_.large_bytes) {
        Item range;
        range.kind = Item::Kind::kRange;
        range.large = large;
        range.begin = at;
        range.end = std::min(size, at + options_.large_bytes);
        Push(std::move(range));
      }
      return;
    }
    Descriptor source(::open(item.source.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    bool good = source.ok();
    if (!good) Fail(item.source, "cannot be opened", errno);
    good = good && CopyBytes(source.get(), fd, 0, size, item, buffer);
    if (mayfly_close(fd) != 0 && good) {
      Fail(item.target, "cannot be written", errno);
      good = false;
    }
    if (good) FinishFile(item.source, item.target, st);
  }

  void CopyRange(const Item& item, char* buffer) {
    LargeFile& large = *item.large;
    bool good = !large.failed;
    if (good) {
      Item names;
      names.source = large.source;
      names.target = large.target;
      Descriptor source(::open(large.source.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      int fd = mayfly_open(fs_, large.target.c_str(), O_WRONLY | O_NOFOLLOW);
      if (!source.ok() || fd < 0) {
        Fail(source.ok() ? large.target : large.source, "cannot be opened", errno);
        good = false;
      }
      good = good && CopyBytes(source.get(), fd, item.begin, item.end, names, buffer);
      if (fd >= 0 && mayfly_close(fd) != 0 && good) {
        Fail(large.target, "cannot be written", errno);
        good = false;
      }
    }
    if (!good) large.failed = true;
    if (--large.ranges_left == 0 && !large.failed) FinishFile(large.source, large.target, large.attributes);
  }

  // Data goes, holes stay holes.
  bool CopyBytes(int source, int fd, uint64_t begin, uint64_t end, const Item& names, char* buffer) {
    uint64_t at = begin;
    while (at < end) {
      if (stop_->load()) return false;
      off_t data = ::lseek(source, static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // a hole to the end
      uint64_t stop = end;
      if (data >= 0) {
        at = std::max<uint64_t>(at, static_cast<uint64_t>(data));
        off_t hole = ::lseek(source, static_cast<off_t>(at), SEEK_HOLE);
        if (hole > 0) stop = std::min<uint64_t>(end, static_cast<uint64_t>(hole));
      }  // else: this filesystem does not tell holes
      while (at < stop) {
        if (stop_->load()) return false;
        ssize_t n = ::pread(source, buffer, std::min<uint64_t>(kBufferBytes, stop - at), static_cast<off_t>(at));
        if (n < 0) {
          Fail(names.source, "cannot be read", errno);
          return false;
        }
        if (n == 0) {
          Fail(names.source, "became shorter while it was copied", EIO);
          return false;
        }
        for (ssize_t done = 0; done < n;) {
          ssize_t m = mayfly_pwrite(fd, buffer + done, static_cast<size_t>(n - done), static_cast<off_t>(at) + done);
          if (m <= 0) {
            Fail(names.target, "cannot be written", errno);
            return false;
          }
          done += m;
        }
        at += static_cast<uint64_t>(n);
        counts_->bytes_done += static_cast<uint64_t>(n);
      }
      at = std::max(at, stop);
    }
    return true;
  }

  // ---- attributes ----
  void FinishFile(const std::string& source, const std::string& target, const struct stat& st) {
    struct stat now;
    if (::lstat(source.c_str(), &now) != 0 || now.st_size != st.st_size || now.st_mtim.tv_sec != st.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != st.st_mtim.tv_nsec) {
      return Fail(source, "changed while it was copied: run stage-in again", EAGAIN);
    }
    if (mayfly_truncate(fs_, target.c_str(), st.st_size) != 0) return Fail(target, "size cannot be set", errno);
    if (SetAttributes(source, target, st)) ++counts_->files_done;
  }

  bool SetAttributes(const std::string& source, const std::string& target, const struct stat& st) {
    CopyXattrs(source, target);
    SetOwner(target, st);
    if (mayfly_chmod(fs_, target.c_str(), st.st_mode & 07777) != 0) {
      Fail(target, "mode cannot be set", errno);
      return false;
    }
    const timespec times[2] = {st.st_atim, st.st_mtim};
    if (mayfly_utimens(fs_, target.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {  // G1: last
      Fail(target, "times cannot be set", errno);
      return false;
    }
    return true;
  }

  // Only root can give files away; for others the copy is theirs, as with cp.
  void SetOwner(const std::string& target, const struct stat& st) {
    if (::geteuid() == 0 && mayfly_lchown(fs_, target.c_str(), st.st_uid, st.st_gid) != 0) {
      Fail(target, "owner cannot be set", errno);
    }
  }

  void CopyXattrs(const std::string& source, const std::string& target) {
    char list[65536];
    ssize_t n = ::llistxattr(source.c_str(), list, sizeof list);
    std::unique_ptr<char[]> value;
    for (ssize_t at = 0; at < n;) {
      const char* name = list + at;
      at += static_cast<ssize_t>(std::strlen(name)) + 1;
      if (std::strncmp(name, "user.", 5) != 0 && !(::geteuid() == 0 && std::strncmp(name, "trusted.", 8) == 0))
        continue;
      if (value == nullptr) value.reset(new char[65536]);
      ssize_t bytes = ::lgetxattr(source.c_str(), name, value.get(), 65536);
      if (bytes < 0 || mayfly_lsetxattr(fs_, target.c_str(), name, value.get(), static_cast<size_t>(bytes), 0) != 0) {
        Fail(target, "extended attribute cannot be copied", errno);
      }
    }
  }

  // Deepest first, because making an entry changes its directory's times.
  void FinishDirectories() {
    if (stop_->load()) return;
    std::sort(directories_.begin(), directories_.end(), [](const OpenDirectory& a, const OpenDirectory& b) {
      return std::count(a.target.begin(), a.target.end(), '/') > std::count(b.target.begin(), b.target.end(), '/');
    });
    for (const OpenDirectory& dir : directories_) {
      if (dir.target != "/") SetAttributes(dir.source, dir.target, dir.attributes);
    }
  }

  mayfly_fs* const fs_;
  const StageInOptions& options_;
  StageCounts* const counts_;
  const std::atomic<bool>* const stop_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Item> queue_;
  uint32_t working_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
  std::vector<OpenDirectory> directories_;
  StageResult result_;
};

}  // namespace

StageResult StageIn(mayfly_fs* fs, const StageInOptions& options, StageCounts* counts, const std::atomic<bool>* stop) {
  return Copier(fs, options, counts, stop).Run();
}

}  // namespace mayfly::stage
