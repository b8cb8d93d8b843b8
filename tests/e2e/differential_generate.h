// Random operations that meet each other: few names, a tree a few levels deep, several descriptors, offsets around the
// borders of chunks and pages. It learns from the reference's answers which paths and descriptors exist, so that most
// operations have something to work on; the same seed and the same answers give the same sequence.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "differential_op.h"

namespace differential {

// What this machine and this run allow.
struct Traits {
  bool confined = false;          // the reference could not chroot: relative paths only, no ".."
  bool privileged = false;        // actors 0 and 1 are root
  bool user = false;              // actor 2 is somebody else
  bool fine_times = false;        // two changes in a row get two times
  bool user_xattrs = false;       // of the reference
  bool trusted_xattrs = false;    // likewise
  bool directory_einval = false;  // open(O_CREAT | O_DIRECTORY) is EINVAL (since Linux 6.4)
  bool protected_sticky = false;  // fs.protected_symlinks or _regular restrict sticky directories
};

constexpr int64_t kChunk = 65536;

class Generator {
 public:
  Generator(uint64_t seed, const Traits& traits) : random_(seed), traits_(traits) {
    profile_ = Percent(6) ? Profile::kXattrs : static_cast<Profile>(Below(4));
    umask_ = Pick<mode_t>({0, 0, 022, 022, 077, 027});
    chain_ = Percent(3) ? 44 : 0;
    timed_ = Percent(4);
  }
  // Whether time passes before each operation, so that every change shows.
  bool timed() const { return timed_; }
  mode_t umask() const { return umask_; }

  Op Next() {
    Op op;
    op.id = next_id_++;
    op.actor = Actor();
    op.observer = static_cast<int>(Below(2));
    if (chain_ > 0) return Chain(op);
    if (op.id % 24 == 23) return op;  // kCompare
    op.kind = PickKind();
    Fill(&op);
    return op;
  }

  void Learn(const Op& op, const Outcome& outcome) {
    if (outcome.value < 0) return;
    const size_t slot = static_cast<size_t>(op.slot);
    switch (op.kind) {
      case Kind::kOpen:
        slots_[slot] = true;
        return Know({op.path, (op.flags & O_DIRECTORY) != 0});
      case Kind::kCreate:
        return Know({op.path});
      case Kind::kMkdir:
      case Kind::kReaddir:
        return Know({op.path, true});
      case Kind::kUnlink:
      case Kind::kRmdir:
        Forget(op.path);
        return;
      case Kind::kRename: {
        const Known was = Forget(op.path);
        if (op.flags == 2) Know({op.path});
        return Know({op.other, was.directory, was.symlink});
      }
      case Kind::kLink:
        return Know({op.other});
      case Kind::kSymlink:
        return Know({op.other, false, true});
      case Kind::kClose:
        slots_[slot] = false;
        return;
      case Kind::kDirOpen:
        streams_[slot] = true;
        return;
      case Kind::kDirClose:
        streams_[slot] = false;
        return;
      default:
        return;
    }
  }

 private:
  enum class Profile { kNames, kData, kRights, kAll, kXattrs };
  static constexpr size_t kPool = 20;

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool Percent(uint64_t share) { return Below(100) < share; }
  template <class T>
  T Pick(std::initializer_list<T> values) {
    return *(values.begin() + Below(values.size()));
  }
  int Actor() {
    const uint64_t share = profile_ == Profile::kRights ? 50 : profile_ == Profile::kData ? 6 : 12;
    if (traits_.user && Percent(share)) return 2;
    return static_cast<int>(Below(2));
  }
  struct Known {
    std::string path;
    bool directory = false, symlink = false;
  };
  Known Forget(const std::string& path) {
    const auto found = std::find_if(pool_.begin(), pool_.end(), [&](const Known& known) { return known.path == path; });
    if (found == pool_.end()) return {path};
    const Known known = *found;
    pool_.erase(found);
    return known;
  }
  void Know(Known known) {
    if (known.path.size() > 600) return;
    known.directory |= Forget(known.path).directory;
    if (pool_.size() == kPool) pool_.erase(pool_.begin() + static_cast<int64_t>(Below(kPool)));
    pool_.push_back(std::move(known));
  }

  // A chain of symlinks, longer than what Linux follows.
  Op Chain(Op op) {
    --chain_;
    op.actor = 0;
    op.kind = Kind::kSymlink;
    op.path = chain_ == 43 ? "a" : "l" + std::to_string(chain_ + 1);
    op.other = (traits_.confined ? "l" : "/l") + std::to_string(chain_);
    if (chain_ == 0 || chain_ == 5) Know({op.other, false, true});
    return op;
  }

  struct Weight {
    Kind kind;
    std::array<uint8_t, 5> share;  // by profile
  };
  Kind PickKind() {
    static const Weight weights[] = {
        {Kind::kOpen, {9, 9, 8, 8, 5}},      {Kind::kClose, {3, 3, 2, 3, 1}},
        {Kind::kRead, {1, 6, 1, 2, 0}},      {Kind::kWrite, {2, 10, 2, 4, 1}},
        {Kind::kPread, {1, 8, 1, 2, 0}},     {Kind::kPwrite, {1, 12, 2, 4, 0}},
        {Kind::kSeek, {0, 7, 0, 2, 0}},      {Kind::kFsync, {0, 2, 0, 1, 0}},
        {Kind::kFtruncate, {1, 6, 1, 2, 0}}, {Kind::kFallocate, {0, 6, 1, 2, 0}},
        {Kind::kStat, {4, 4, 4, 4, 1}},      {Kind::kChmod, {2, 1, 10, 4, 3}},
        {Kind::kChown, {1, 1, 8, 3, 2}},     {Kind::kUtimens, {2, 2, 4, 4, 0}},
        {Kind::kGetXattr, {0, 0, 2, 3, 12}}, {Kind::kSetXattr, {1, 1, 4, 6, 20}},
        {Kind::kListXattr, {0, 0, 1, 2, 5}}, {Kind::kRemoveXattr, {0, 0, 2, 3, 12}},
        {Kind::kAccess, {1, 0, 6, 2, 0}},    {Kind::kTruncate, {1, 5, 2, 2, 0}},
        {Kind::kUnlink, {9, 3, 6, 6, 2}},    {Kind::kMkdir, {10, 1, 6, 6, 3}},
        {Kind::kRmdir, {7, 1, 4, 4, 1}},     {Kind::kRename, {16, 3, 8, 8, 3}},
        {Kind::kLink, {7, 2, 4, 4, 3}},      {Kind::kSymlink, {6, 1, 3, 4, 3}},
        {Kind::kReadlink, {2, 0, 1, 1, 0}},  {Kind::kCreate, {5, 1, 3, 3, 5}},
        {Kind::kReaddir, {4, 1, 3, 3, 0}},   {Kind::kDirOpen, {2, 0, 0, 1, 0}},
        {Kind::kDirStep, {4, 0, 0, 2, 0}},   {Kind::kDirSeek, {1, 0, 0, 1, 0}},
        {Kind::kDirClose, {1, 0, 0, 1, 0}},
    };
    const size_t profile = static_cast<size_t>(profile_);
    uint64_t sum = 0;
    for (const Weight& weight : weights) sum += weight.share[profile];
    uint64_t at = Below(sum);
    for (const Weight& weight : weights) {
      if (at < weight.share[profile]) return weight.kind;
      at -= weight.share[profile];
    }
    return Kind::kCompare;
  }

  // ---- paths ----
  std::string Name() {
    if (!Percent(4)) {
      static const char* const names[] = {"a", "b", "c", "d", "e"};
      return names[Below(profile_ == Profile::kData ? 2 : 5)];
    }
    static const std::string odd[] = {std::string(255, 'n'),
                                      std::string(256, 'm'),
                                      "new\nline",
                                      "\xff\xfe",
                                      " ",
                                      "-rf",
                                      "...",
                                      ".hidden",
                                      "back\\slash",
                                      "\xc3\xbc",
                                      "*",
                                      std::string(254, 'k')};
    return odd[Below(std::size(odd))];
  }
  std::string TreePath() {
    uint64_t depth = profile_ == Profile::kData ? 1 : Pick<uint64_t>({1, 1, 1, 2, 2, 2, 3, 3, 4});
    std::string path;
    for (; depth > 0; --depth) path += "/" + Name();
    return path;
  }
  // What the path should mostly name.
  enum class Want { kAny, kThere, kDirectory, kSymlink, kNew };
  std::string Path(Want want = Want::kAny) {
    std::string path = Percent(want == Want::kAny || want == Want::kNew ? 30 : 12) ? TreePath() : FromPool(want);
    if (Percent(8)) path = Decorate(path);
    if (Percent(1)) path = Pick<std::string>({"", "/", ".", "//", "/.", "./", "/..", "..", "/../a", "../../b"});
    if (Percent(1)) path = Long(path);
    return Permitted(path);
  }
  std::string FromPool(Want want) {
    std::vector<const Known*> fit;
    for (const Known& known : pool_) {
      const bool is = want == Want::kSymlink ? known.symlink : known.directory;
      if (want == Want::kAny || want == Want::kThere || is) fit.push_back(&known);
    }
    const bool directory = want == Want::kNew || (want == Want::kAny && profile_ != Profile::kData && Percent(25));
    if (fit.empty()) return directory ? "/" + Name() : TreePath();
    std::string path = fit[Below(fit.size())]->path;
    if (want == Want::kNew && Percent(30)) path.clear();
    if (directory && path.size() < 600) path += "/" + Name();
    return path;
  }
  std::string Decorate(const std::string& path) {
    const size_t slash = path.find('/', path.empty() ? 0 : Below(path.size()));
    const auto insert = [&](const std::string& what) {
      return slash == std::string::npos ? path : path.substr(0, slash) + what + path.substr(slash + 1);
    };
    switch (Below(10)) {
      case 0:
        return insert("//");
      case 1:
        return insert("/./");
      case 2:
        return insert("/" + Name() + "/../");
      case 3:
        return insert("/../");
      case 4:
        return path + "/.";
      case 5:
        return path + "/..";
      case 6:
        return path + "//";
      case 7:
        return path.substr(0, 1) == "/" ? path.substr(1) : path;
      default:
        return path + "/";
    }
  }
  // As long as a path may be, or a byte or two beside it.
  std::string Long(const std::string& path) {
    const size_t bytes = 4094 + Below(4);
    std::string prefix;
    const std::string unit = Percent(50) ? "/." : "/";
    while (prefix.size() + unit.size() + path.size() + 1 <= bytes) prefix += unit;
    std::string whole = prefix + (path.substr(0, 1) == "/" ? "" : "/") + path;
    while (whole.size() < bytes) whole.insert(whole.begin(), '/');
    return whole;
  }
  std::string Permitted(std::string path) {
    if (!traits_.confined) return path;
    for (size_t at; (at = path.find("..")) != std::string::npos;) path.erase(at, 2);
    return path.substr(0, 1) == "/" ? "." + path : path;
  }
  std::string LinkTarget() {
    const std::string name = Name();
    if (traits_.confined) return Percent(50) ? Permitted(TreePath()) : name;
    switch (Below(8)) {
      case 0:
        return "../" + name;
      case 1:
        return "../../" + name + "/" + Name();
      case 2:
        return name + "/" + Name();
      case 3:
        return Pick<std::string>({".", "..", "/", "./", "../", name + "/", name + "/.."});
      case 4:
        return Percent(30) ? Pick<std::string>({"", std::string(4095, 'x'), std::string(4096, 'y')}) : name;
      case 5:
        return Path();
      case 6:
        return TreePath();
      default:
        return name;
    }
  }

  // ---- numbers ----
  int64_t Offset() {
    if (Percent(3)) return Pick<int64_t>({-1, -4096, int64_t{1} << 32, (int64_t{1} << 40) - 1});
    const int64_t base = Percent(60) ? kChunk * static_cast<int64_t>(Below(6)) : 4096 * static_cast<int64_t>(Below(40));
    const int64_t off = Percent(50) ? Pick<int64_t>({-1, 0, 0, 1, 7, 4095, 4097, -4096})
                                    : static_cast<int64_t>(Below(kChunk)) - kChunk / 2;
    return std::max<int64_t>(0, base + off);
  }
  int64_t Bytes() {
    if (Percent(45)) return static_cast<int64_t>(Below(5000));
    if (Percent(30)) return static_cast<int64_t>(Below(4 * kChunk));
    return Pick<int64_t>({0, 1, 511, 4095, 4096, 4097, kChunk - 1, kChunk, kChunk + 1, 2 * kChunk});
  }
  int64_t Size() { return Percent(25) ? 0 : Offset(); }
  unsigned Mode() {
    unsigned mode = Pick<unsigned>({0755, 0777, 0777, 0700,  0644,  0666,  0600,  0555,  0333,  0111,  0444,
                                    0070, 0007, 0,    01777, 01755, 02775, 02755, 04755, 06755, 02644, 07777});
    if (traits_.protected_sticky && (mode & 022) != 0) mode &= ~01000u;
    return mode;
  }
  uint32_t Id() { return Pick<uint32_t>({0, 65534, 65534, 100, 1234, ~0u}); }
  timespec Time() {
    timespec t = {Pick<int64_t>({0, 1, -1, 1'000'000'000, 2'147'483'648, 8'000'000'000, -5'000'000'000}),
                  Pick<int64_t>({0, 1, 500, 999'999'999, 123'456'789})};
    if (Percent(20)) t.tv_nsec = UTIME_NOW;
    if (Percent(20)) t.tv_nsec = UTIME_OMIT;
    if (Percent(3)) t.tv_nsec = Pick<int64_t>({1'000'000'000, -1});
    return t;
  }
  int OpenSlot() {  // mostly one that is open
    const size_t first = Below(kSlots);
    for (size_t i = 0; i < kSlots; ++i) {
      const size_t slot = (first + i) % kSlots;
      if (slots_[slot]) return static_cast<int>(slot);
    }
    return static_cast<int>(first);
  }

  // ---- arguments ----
  void Fill(Op* op) {
    op->slot = OpenSlot();
    if (op->kind <= Kind::kFallocate && !slots_[static_cast<size_t>(op->slot)] && Percent(90)) op->kind = Kind::kOpen;
    op->batch = Percent(10);
    op->mode = Mode();
    op->offset = Offset();
    op->bytes = Bytes();
    if (op->kind <= Kind::kFallocate) {
      FillSlot(op);
    } else if (op->kind <= Kind::kRemoveXattr) {
      FillTarget(op);
    } else if (op->kind <= Kind::kReaddir) {
      FillPath(op);
    } else {
      FillStream(op);
    }
  }
  void FillSlot(Op* op) {
    const bool reads = op->kind == Kind::kRead || op->kind == Kind::kPread || op->kind == Kind::kSeek;
    op->quiet = Percent(reads ? 80 : 45);
    if (Percent(15)) op->parts = static_cast<int>(2 + Below(3));
    switch (op->kind) {
      case Kind::kOpen:
        op->slot = static_cast<int>(Below(kSlots));
        op->quiet = Percent(20);
        op->flags = Pick<int>({O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR});
        if (Percent(60)) op->flags |= O_CREAT;
        op->path = Path((op->flags & O_CREAT) == 0 ? Want::kThere : Percent(50) ? Want::kNew : Want::kAny);
        if (Percent(12)) op->flags |= O_EXCL;
        if (Percent(12)) op->flags |= O_TRUNC;
        if (Percent(15)) op->flags |= O_APPEND;
        if (Percent(profile_ == Profile::kData ? 1 : 10)) op->flags |= O_DIRECTORY;
        if (Percent(10)) op->flags |= O_NOFOLLOW;
        if ((op->flags & O_DIRECTORY) != 0 && (!traits_.directory_einval || Percent(60))) op->flags &= ~O_CREAT;
        return;
      case Kind::kSeek:
        op->flags = Pick<int>({SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_DATA, SEEK_HOLE, SEEK_HOLE});
        if (op->flags == SEEK_END || op->flags == SEEK_CUR) op->offset = static_cast<int64_t>(Below(9000)) - 4500;
        return;
      case Kind::kFtruncate:
        op->offset = Size();
        return;
      case Kind::kFallocate:
        op->flags = Pick<int>({0, 1, 3, 3, 3, 2});  // 1: KEEP_SIZE, 2: PUNCH_HOLE
        if (op->offset > 16 * kChunk) op->offset = kChunk;
        if (Percent(60)) op->bytes = kChunk * static_cast<int64_t>(Below(4)) + Pick<int64_t>({0, 1, 4096, -1});
        return;
      default:
        return;
    }
  }
  void FillTarget(Op* op) {
    op->by_slot = slots_[static_cast<size_t>(op->slot)] && Percent(30);
    op->path = op->by_slot ? "" : Path(Want::kThere);
    op->follow = Percent(65);
    op->quiet = Percent(op->kind == Kind::kStat ? 80 : 20);
    switch (op->kind) {
      case Kind::kChmod:
        op->follow = true;
        return;
      case Kind::kChown:
        op->uid = Id();
        op->gid = Id();
        return;
      case Kind::kUtimens:
        op->times[0] = Time();
        op->times[1] = Time();
        op->null_times = Percent(12);
        op->quiet = false;
        return;
      default:
        return FillXattr(op);
    }
  }
  void FillXattr(Op* op) {
    op->other =
        Pick<std::string>({"user.a", "user.a", "user.b", "user.c", "trusted.t", "security.s", "user.", "none",
                           "system.other", "", "user." + std::string(250, 'x'), "user." + std::string(251, 'y')});
    if (Percent(70)) op->other = Pick<std::string>({"user.a", "user.a", "user.b", "trusted.t"});
    if (!traits_.user_xattrs && op->other.rfind("user.", 0) == 0) op->other = "trusted.t";
    if (!traits_.trusted_xattrs && op->other.rfind("trusted.", 0) == 0) op->other = "none";
    op->flags = Pick<int>({0, 0, 0, 0, 0, 1, 2, 3, 4});  // 1: CREATE, 2: REPLACE
    const int64_t large = Percent(5) ? Pick<int64_t>({65536, 65537, 5000}) : static_cast<int64_t>(Below(40));
    op->value = op->kind == Kind::kSetXattr ? Pattern(op->id, static_cast<size_t>(large)) : "";
    op->bytes = Pick<int64_t>({0, 1, 8, 4096, 65536, 65536});
    if (!op->by_slot && Percent(profile_ == Profile::kXattrs ? 80 : 40)) op->path = Permitted(Percent(75) ? "/" : "/a");
  }
  void FillPath(Op* op) {
    const bool makes = op->kind == Kind::kMkdir || op->kind == Kind::kCreate;
    const bool directory = op->kind == Kind::kRmdir || op->kind == Kind::kReaddir;
    op->path = Path(makes                         ? Want::kNew
                    : directory                   ? Want::kDirectory
                    : op->kind == Kind::kReadlink ? Want::kSymlink
                                                  : Want::kThere);
    op->follow = Percent(70);
    op->quiet = Percent(10);
    switch (op->kind) {
      case Kind::kAccess:
        op->flags = static_cast<int>(Below(8));
        op->quiet = true;
        return;
      case Kind::kTruncate:
        op->offset = Size();
        return;
      case Kind::kRename:
        op->other = Percent(4)   ? op->path
                    : Percent(6) ? op->path + "/" + Name()
                                 : Path(Percent(50) ? Want::kNew : Want::kThere);
        if (Percent(5)) std::swap(op->path, op->other);
        op->flags = Pick<int>({0, 0, 0, 0, 0, 1, 2, 2});
        if (Percent(1)) op->flags = Pick<int>({3, 8});
        return;
      case Kind::kLink:
        op->other = Path(Want::kNew);
        return;
      case Kind::kSymlink:
        op->other = Path(Want::kNew);
        op->path = LinkTarget();
        return;
      case Kind::kReadlink:
        op->bytes = Pick<int64_t>({0, 1, 5, 4096, 4096, 4096});
        op->quiet = true;
        return;
      case Kind::kCreate:
        op->flags = Percent(40) ? O_EXCL : 0;
        return;
      case Kind::kReaddir:
        op->quiet = true;
        return;
      default:
        return;
    }
  }
  void FillStream(Op* op) {
    op->slot = static_cast<int>(Below(kDirSlots));
    op->path = Percent(40) ? (traits_.confined ? "." : "/") : Path(Want::kDirectory);
    op->quiet = true;
    op->bytes = op->kind == Kind::kDirStep ? static_cast<int64_t>(1 + Below(4)) : static_cast<int64_t>(Below(6));
    if (op->kind != Kind::kDirOpen && !streams_[static_cast<size_t>(op->slot)]) op->kind = Kind::kDirOpen;
    if (op->kind == Kind::kDirStep && Percent(20)) op->bytes = 1000;
  }

  std::mt19937_64 random_;
  const Traits traits_;
  Profile profile_;
  mode_t umask_ = 0;
  int chain_ = 0;
  bool timed_ = false;
  uint32_t next_id_ = 0;
  std::vector<Known> pool_;
  std::array<bool, kSlots> slots_ = {};
  std::array<bool, kDirSlots> streams_ = {};
};

}  // namespace differential
