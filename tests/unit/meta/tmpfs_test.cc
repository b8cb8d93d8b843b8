// The same random calls, by the same users, on this machine's tmpfs and on a namespace: errno for errno, and after each
// the same modes, owners, links, sizes, xattrs, and the same times that moved. Needs root (to become others) and a
// tmpfs; skipped without.
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "unit/meta/support.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

namespace mayfly {
namespace {

// Who acts, for the kernel, while it lives.
class Become {
 public:
  explicit Become(const Cred& cred) {
    if (cred.uid == 0) return;
    std::vector<gid_t> groups(cred.groups.begin(), cred.groups.end());
    if (setgroups(groups.size(), groups.data()) != 0 || setegid(cred.gid) != 0 || seteuid(cred.uid) != 0) abort();
  }
  ~Become() {
    if (seteuid(0) != 0 || setegid(0) != 0 || setgroups(0, nullptr) != 0) abort();
  }
};

struct Seen {
  uint32_t mode = 0, uid = 0, gid = 0, nlink = 0;
  uint64_t size = 0;
  friend bool operator==(const Seen&, const Seen&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Seen& s) {
    return out << std::oct << s.mode << std::dec << " uid " << s.uid << " gid " << s.gid << " nlink " << s.nlink
               << " size " << s.size;
  }
};
struct Times {
  uint64_t mtime = 0, ctime = 0;
};

class Twins {
 public:
  Twins(std::string dir, uint64_t seed) : dir_(std::move(dir)), random_(seed) {}

  void Step() {
    who_ = Any<Cred>({kRoot, Cred{1000, 1000, {77}}, kBob});
    a_ = names_[random_() % names_.size()];
    ++now_;
    const std::map<std::string, std::pair<Times, Times>> before = TimesOfAll();
    // A time that moved shows only once the kernel's coarse clock went on: now and then wait for that.
    compare_times_ = random_() % 16 == 0;
    if (compare_times_) AwaitTick(before);
    int kernel = 0;
    Code ours = Code::kOk;
    Act(&kernel, &ours);
    text_ += " by " + std::to_string(who_.uid) + " on " + a_;
    ASSERT_EQ(kernel, ErrnoOf(ours)) << text_ << ": tmpfs says " << strerror(kernel);
    CompareAll(before);
  }
  const std::string& text() const { return text_; }

 private:
  template <class T>
  T Any(std::initializer_list<T> of) {
    return *(of.begin() + random_() % of.size());
  }
  uint16_t AnyMode() {
    return static_cast<uint16_t>(random_() % 2 == 0 ? random_() & 07777
                                                    : Any<int>({0755, 0777, 06777, 02755, 0644, 0666, 01777}));
  }
  std::string PathOf(const std::string& name) const { return name == "." ? dir_ : dir_ + "/" + name; }
  static FileType TypeOf(uint32_t mode) {
    return S_ISDIR(mode) ? FileType::kDirectory : S_ISLNK(mode) ? FileType::kSymlink : FileType::kFile;
  }

  // The inode that the client's path walk would find, or why it finds none.
  Result<Inode*> Walk(const std::string& name) {
    if (name == ".") return shard_.ns.FindInode(shard_.root);
    const DirRights& dir = *shard_.ns.Rights(shard_.root);
    if (!MayAccess(FileType::kDirectory, dir.permissions, dir.uid, dir.gid, who_, kMayExec)) return Code::kAccess;
    auto entry = shard_.ns.Find(shard_.root, name);
    if (!entry.ok()) return entry.code();
    return entry->local;
  }
  template <class Call>
  int Kernel(Call&& call) {
    Become as(who_);
    errno = 0;
    return call() < 0 ? errno : 0;
  }

  void Act(int* kernel, Code* ours) {
    switch (random_() % 14) {
      case 0:
        return Create(kernel, ours, FileType::kFile);
      case 1:
        return Create(kernel, ours, random_() % 2 == 0 ? FileType::kDirectory : FileType::kSymlink);
      case 2:
        return Remove(kernel, ours);
      case 3:
        return Link(kernel, ours);
      case 4:
      case 5:
        return Chmod(kernel, ours);
      case 6:
      case 7:
        return Chown(kernel, ours);
      case 8:
        return Utimens(kernel, ours);
      case 9:
        return Truncate(kernel, ours);
      case 10:
        return Access(kernel, ours);
      case 11:
        return GetXattr(kernel, ours);
      case 12:
        return RemoveXattr(kernel, ours);
      default:
        return SetXattr(kernel, ours);
    }
  }

  void Create(int* kernel, Code* ours, FileType type) {
    if (a_ == ".") a_ = "a";  // the client's path walk ends before it asks for this
    if (random_() % 50 == 0) a_ = std::string(256, 'l');
    const uint16_t mode = AnyMode();
    const mode_t mask = Any<mode_t>({0, 0, 022, 077, 010});
    uint16_t asked = static_cast<uint16_t>(mode & ~mask);
    if ((mode & S_IXGRP) != 0) asked |= kAskedGroupExec;
    text_ = "create " + std::to_string(static_cast<int>(type));
    umask(mask);
    *kernel = Kernel([&] {
      if (type == FileType::kDirectory) return mkdir(PathOf(a_).c_str(), mode);
      if (type == FileType::kSymlink) return symlink("target", PathOf(a_).c_str());
      const int fd = open(PathOf(a_).c_str(), O_CREAT | O_EXCL | O_WRONLY, mode);
      return fd < 0 ? -1 : close(fd);
    });
    umask(0);
    Result<Inode*> made = shard_.ns.Create({shard_.root, a_, type, asked, 0, "target"}, who_, now_);
    *ours = made.code();
    if (made.ok() && type == FileType::kDirectory) shard_.ns.Join(shard_.ns.RightsOf(**made));
    if (a_.size() > 255) a_ = names_[0];
  }
  void Remove(int* kernel, Code* ours) {
    if (a_ == ".") a_ = "a";
    text_ = "unlink";
    *kernel = Kernel([&] { return unlink(PathOf(a_).c_str()); });
    *ours = shard_.Remove(shard_.root, a_, who_, now_);
    if (*ours != Code::kIsDirectory) return;
    // Directories go by root's hand, so that names get free again.
    EXPECT_EQ(rmdir(PathOf(a_).c_str()), 0);
    const InodeId dir = shard_.ns.Find(shard_.root, a_)->inode;
    std::vector<InodeId> died;
    const std::vector<TxnOp> ops{DirOp(TxnKind::kDirRemove, dir), DirOp(TxnKind::kDirEmpty, dir),
                                 DentryOp(shard_.root, a_, dir, {}, FileType::kDirectory)};
    EXPECT_TRUE(shard_.ns.Prepare(TxnId(1), ops, kRoot, nullptr).ok());
    EXPECT_TRUE(shard_.ns.Decide(TxnId(1), true, now_, &died).ok());
    for (InodeId id : died) shard_.ns.Forget(*shard_.ns.FindInode(id));
  }
  void Link(int* kernel, Code* ours) {
    const std::string to = names_[1 + random_() % (names_.size() - 1)];
    text_ = "link to " + to;
    Result<Inode*> inode = Walk(a_);
    if (inode.ok() && (*inode)->type == FileType::kDirectory) return;
    *kernel = Kernel([&] { return linkat(AT_FDCWD, PathOf(a_).c_str(), AT_FDCWD, PathOf(to).c_str(), 0); });
    *ours = inode.code();
    if (!inode.ok()) return;
    *ours = Code::kExists;
    if (shard_.ns.Find(shard_.root, to).ok()) return;
    TxnOp add = DentryOp(shard_.root, to, {}, (*inode)->id, FileType::kNone, (*inode)->type);
    TxnOp link = LinkOp((*inode)->id, 1);
    add.check = link.check = true;
    *ours = shard_.ns.Prepare(TxnId(1), std::vector<TxnOp>{link, add}, who_, nullptr).code();
    std::vector<InodeId> died;
    EXPECT_TRUE(shard_.ns.Decide(TxnId(1), true, now_, &died).ok());
  }
  void SetAttr(Code* ours, const SetAttrRequest& request) {
    Result<Inode*> inode = Walk(a_);
    *ours = inode.code();
    if (!inode.ok()) return;
    bool told = false;
    *ours = shard_.ns.SetAttr(**inode, request, who_, now_, &told).code();
    if (*ours == Code::kOk && (request.mask & kSetSize) != 0) (*inode)->size = request.size;
  }
  void Chmod(int* kernel, Code* ours) {
    SetAttrRequest request;
    request.mask = kSetMode;
    request.permissions = AnyMode();
    text_ = "chmod";
    *kernel = Kernel([&] {
      return static_cast<int>(
          syscall(SYS_fchmodat2, AT_FDCWD, PathOf(a_).c_str(), request.permissions, AT_SYMLINK_NOFOLLOW));
    });
    SetAttr(ours, request);
  }
  void Chown(int* kernel, Code* ours) {
    SetAttrRequest request;
    request.mask = kSetOwner | Any<uint32_t>({0, kSetUid, kSetGid, kSetUid | kSetGid});
    request.uid = Any<uint32_t>({0, 1000, 2000});
    request.gid = Any<uint32_t>({0, 77, 88, 1000, 2000});
    text_ = "chown";
    const uid_t uid = (request.mask & kSetUid) != 0 ? request.uid : static_cast<uid_t>(-1);
    const gid_t gid = (request.mask & kSetGid) != 0 ? request.gid : static_cast<gid_t>(-1);
    *kernel = Kernel([&] { return lchown(PathOf(a_).c_str(), uid, gid); });
    SetAttr(ours, request);
  }
  void Utimens(int* kernel, Code* ours) {
    SetAttrRequest request;
    timespec times[2];
    const uint32_t explicit_bits[] = {kSetAtime, kSetMtime}, now_bits[] = {kSetAtimeNow, kSetMtimeNow};
    for (int i = 0; i < 2; ++i) {
      const int how = static_cast<int>(random_() % 3);
      times[i] = {static_cast<time_t>(random_() % 1000), how == 0 ? UTIME_NOW : how == 1 ? UTIME_OMIT : 0};
      if (how == 0) request.mask |= now_bits[i];
      if (how == 2) request.mask |= explicit_bits[i];
    }
    request.atime = static_cast<Nanos>(times[0].tv_sec) * kSecond;
    request.mtime = static_cast<Nanos>(times[1].tv_sec) * kSecond;
    text_ = "utimens " + std::to_string(request.mask);
    if (request.mask == 0) return;  // the kernel does not even look
    *kernel = Kernel([&] { return utimensat(AT_FDCWD, PathOf(a_).c_str(), times, AT_SYMLINK_NOFOLLOW); });
    SetAttr(ours, request);
  }
  void Truncate(int* kernel, Code* ours) {
    SetAttrRequest request;
    request.mask = kSetSize;
    request.size = ++size_;  // an unchanged size changes no times on tmpfs, and does here
    text_ = "truncate";
    Result<Inode*> inode = Walk(a_);
    if (inode.ok() && (*inode)->type == FileType::kSymlink) return;  // followed by the kernel
    *kernel = Kernel([&] { return truncate(PathOf(a_).c_str(), static_cast<off_t>(request.size)); });
    SetAttr(ours, request);
  }
  void Access(int* kernel, Code* ours) {
    const int want = static_cast<int>(random_() % 8);
    text_ = "access " + std::to_string(want);
    *kernel = Kernel([&] { return faccessat(AT_FDCWD, PathOf(a_).c_str(), want, AT_EACCESS | AT_SYMLINK_NOFOLLOW); });
    Result<Inode*> inode = Walk(a_);
    *ours = inode.code();
    if (!inode.ok()) return;
    const Inode& i = **inode;
    if (!MayAccess(i.type, i.permissions, i.uid, i.gid, who_, static_cast<uint32_t>(want))) *ours = Code::kAccess;
  }
  std::string AnyXattr() {
    if (random_() % 12 == 0) return "user." + std::string(random_() % 2 == 0 ? 250 : 251, 'n');
    return Any<const char*>({"user.a", "user.b", "user.c", "trusted.a", "trusted.", "security.a", "security.b",
                             "security.", "system.a", "system.", "other.a", "user.", "user", "x", ""});
  }
  void SetXattr(int* kernel, Code* ours) {
    const std::string name = AnyXattr(), value(random_() % 40 == 0 ? 65537 : random_() % 5, 'v');
    const int flags = static_cast<int>(random_() % 3 == 0 ? random_() % 5 : 0);
    text_ = "setxattr " + name + " " + std::to_string(flags);
    *kernel = Kernel([&] { return lsetxattr(PathOf(a_).c_str(), name.c_str(), value.data(), value.size(), flags); });
    Result<Inode*> inode = Walk(a_);
    // The arguments are read before the path: the namespace never meets these on a path that does not resolve.
    if (!inode.ok() && (flags > 3 || name.empty() || name.size() > 255 || value.size() > 65536)) {
      inode = shard_.ns.FindInode(shard_.root);
    }
    *ours = inode.code();
    if (inode.ok()) {
      *ours = shard_.ns.SetXattr(**inode, name, value, static_cast<uint32_t>(flags), who_, now_).code();
    }
  }
  void GetXattr(int* kernel, Code* ours) {
    const std::string name = AnyXattr();
    text_ = "getxattr " + name;
    char value[70000];
    *kernel =
        Kernel([&] { return static_cast<int>(lgetxattr(PathOf(a_).c_str(), name.c_str(), value, sizeof value)); });
    Result<Inode*> inode = Walk(a_);
    if (!inode.ok() && (name.empty() || name.size() > 255)) inode = shard_.ns.FindInode(shard_.root);
    *ours = inode.code();
    if (inode.ok()) *ours = shard_.ns.GetXattr(**inode, name, who_).code();
  }
  void RemoveXattr(int* kernel, Code* ours) {
    const std::string name = AnyXattr();
    text_ = "removexattr " + name;
    *kernel = Kernel([&] { return lremovexattr(PathOf(a_).c_str(), name.c_str()); });
    Result<Inode*> inode = Walk(a_);
    if (!inode.ok() && (name.empty() || name.size() > 255)) inode = shard_.ns.FindInode(shard_.root);
    *ours = inode.code();
    if (inode.ok()) *ours = shard_.ns.RemoveXattr(**inode, name, who_, now_).code();
  }

  static uint64_t NanosOf(const timespec& t) { return static_cast<uint64_t>(t.tv_sec) * kSecond + t.tv_nsec; }
  // {tmpfs, ours} of everything that is there.
  std::map<std::string, std::pair<Times, Times>> TimesOfAll() {
    std::map<std::string, std::pair<Times, Times>> all;
    for (const std::string& name : names_) {
      struct stat s;
      if (lstat(PathOf(name).c_str(), &s) != 0) continue;
      const Attr attr = AttrOf(name);
      all[name] = {{NanosOf(s.st_mtim), NanosOf(s.st_ctim)}, {attr.mtime, attr.ctime}};
    }
    return all;
  }
  static void AwaitTick(const std::map<std::string, std::pair<Times, Times>>& all) {
    Nanos newest = 0;
    for (const auto& [name, times] : all) newest = std::max(newest, times.first.ctime);
    timespec now{};
    while (NanosOf(now) <= newest) clock_gettime(CLOCK_REALTIME_COARSE, &now);
  }
  Attr AttrOf(const std::string& name) {
    const Inode& inode = name == "." ? *shard_.ns.FindInode(shard_.root) : *shard_.ns.Find(shard_.root, name)->local;
    if (inode.type != FileType::kDirectory) return shard_.ns.AttrOf(inode);
    const DirPartReply part = shard_.ns.PartOf(inode.id);
    return shard_.ns.AttrOfDirectory(inode, {&part, 1});
  }
  void CompareAll(const std::map<std::string, std::pair<Times, Times>>& before) {
    for (const std::string& name : names_) {
      struct stat s;
      const bool there = lstat(PathOf(name).c_str(), &s) == 0;
      ASSERT_EQ(there, name == "." || shard_.ns.Find(shard_.root, name).ok()) << name << " after " << text_;
      if (!there) continue;
      const Attr attr = AttrOf(name);
      ASSERT_EQ(attr.type, TypeOf(s.st_mode));
      const Seen kernel{s.st_mode & 07777, s.st_uid, s.st_gid, static_cast<uint32_t>(s.st_nlink),
                        static_cast<uint64_t>(s.st_size)};
      const Seen ours{attr.permissions, attr.uid, attr.gid, attr.nlink, attr.size};
      ASSERT_EQ(kernel, ours) << name << " after " << text_;
      const auto old = before.find(name);
      if (compare_times_ && old != before.end()) {
        const auto& [kernel_old, ours_old] = old->second;
        ASSERT_EQ(NanosOf(s.st_ctim) != kernel_old.ctime, attr.ctime != ours_old.ctime) << name << " after " << text_;
        ASSERT_EQ(NanosOf(s.st_mtim) != kernel_old.mtime, attr.mtime != ours_old.mtime) << name << " after " << text_;
      }
      CompareXattrs(name);
    }
  }
  void CompareXattrs(const std::string& name) {
    Inode& inode = name == "." ? *shard_.ns.FindInode(shard_.root) : *shard_.ns.Find(shard_.root, name)->local;
    for (const Cred& cred : {kRoot, kBob}) {
      if (cred.uid != 0 &&
          !MayAccess(FileType::kDirectory, AttrOf(".").permissions, AttrOf(".").uid, AttrOf(".").gid, cred, kMayExec)) {
        continue;
      }
      Become as(cred);
      char text[4096];
      const ssize_t bytes = llistxattr(PathOf(name).c_str(), text, sizeof text);
      ASSERT_GE(bytes, 0);
      ASSERT_EQ(std::string(text, static_cast<size_t>(bytes)), shard_.ns.ListXattr(inode, cred)) << text_;
    }
  }

  const std::string dir_;
  Shard shard_{3, 0755};
  std::mt19937_64 random_;
  bool compare_times_ = false;
  const std::vector<std::string> names_{".", "a", "b", "c", "d", "e", "f", "g"};
  Cred who_;
  std::string a_, text_;
  Nanos now_ = 5000 * kSecond;
  uint64_t size_ = 0;
};

class TmpfsTest : public testing::TestWithParam<uint64_t> {};

TEST_P(TmpfsTest, SaysWhatWeSay) {
  struct statfs fs;
  if (geteuid() != 0) GTEST_SKIP() << "needs root to act for others";
  if (statfs("/dev/shm", &fs) != 0 || fs.f_type != TMPFS_MAGIC) GTEST_SKIP() << "needs a tmpfs";
  char path[] = "/dev/shm/mayfly_meta_XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  const std::string dir = path;
  if (lsetxattr(path, "user.probe", "", 0, 0) != 0 || seteuid(1) != 0 || seteuid(0) != 0) {
    rmdir(path);
    GTEST_SKIP() << "needs user xattrs on tmpfs and the right to change the user";
  }
  lremovexattr(path, "user.probe");
  int hardlinks = 0;
  std::ifstream("/proc/sys/fs/protected_hardlinks") >> hardlinks;
  const mode_t umask_before = umask(0);
  EXPECT_EQ(chmod(path, 0755), 0);
  if (hardlinks == 1) {
    Twins twins(dir, GetParam());
    for (int i = 0; i < 4000 && !HasFailure(); ++i) twins.Step();
  }
  umask(umask_before);
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g"}) {
    unlink((dir + "/" + name).c_str());
    rmdir((dir + "/" + name).c_str());
  }
  EXPECT_EQ(rmdir(path), 0);
  if (hardlinks != 1) GTEST_SKIP() << "needs fs.protected_hardlinks";
}
INSTANTIATE_TEST_SUITE_P(Seeds, TmpfsTest, testing::Range<uint64_t>(1, 5));

}  // namespace
}  // namespace mayfly
