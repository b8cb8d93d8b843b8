#include "sim/modelled_client.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace mayfly {
namespace {

ClientOptions OptionsOf(const ModelledClient::Options& o) {
  ClientOptions options;
  options.op_timeout = 600 * kSecond;  // an operation outlives every restart
  options.unreachable_after = options.op_timeout;
  if (o.gives_up) {
    const ClientOptions usual;
    options.op_timeout = usual.op_timeout;
    options.unreachable_after = usual.unreachable_after;
  }
  if (!o.write_behind) options.write_behind_bytes = 0;
  options.map_arena = o.mapped;
  if (o.makes_several) options.own_after = 1;
  return options;
}

}  // namespace

ModelledClient::ModelledClient(SimCluster& cluster, Options options, SharedModel* shared,
                               std::function<void()> before_operation)
    : options_(options),
      random_(options.seed * 7919 + 1 + options.number * 65537),
      cluster_(cluster),
      client_(NewProcess()),
      shared_(shared),
      before_(std::move(before_operation)),
      home_(fmt::format("/c{}", options.number)) {
  shared_->clients.push_back(this);
}

std::unique_ptr<SimClient> ModelledClient::NewProcess() const {
  ArenaViews* const views = options_.mapped ? &cluster_.views() : nullptr;
  return std::make_unique<SimClient>(cluster_, OptionsOf(options_), views, options_.host);
}

void ModelledClient::Fail(std::string what) {
  if (failure_.empty()) {
    failure_ = fmt::format("client {} at {:.6f}: {}", options_.number,
                           static_cast<double>(cluster_.clock().Now()) / 1e9, what);
  }
}

void ModelledClient::Note(uint64_t result) {
  for (const uint64_t part : {static_cast<uint64_t>(cluster_.clock().Now()), uint64_t{options_.number}, result}) {
    shared_->hash = (shared_->hash ^ part) * 0x9e3779b97f4a7c15u;
    shared_->hash ^= shared_->hash >> 29;
  }
}

bool ModelledClient::IsFault(Code got) const {
  if (!shared_->lost.empty() && InDoubt(got)) return NeedsLost();
  return shared_->faults &&
         (got == Code::kIo || got == Code::kReadOnly || got == Code::kNoSpace || got == Code::kTimedOut);
}

bool ModelledClient::Told(Code got, Code want, const std::string& what) {
  static const bool trace = std::getenv("MAYFLY_TRACE") != nullptr;
  if (trace) {
    std::printf("%.6f client %u %s: %s\n", static_cast<double>(cluster_.clock().Now()) / 1e9, options_.number,
                what.c_str(), std::string(TextOf(got)).c_str());
  }
  Note(static_cast<uint64_t>(got));
  if (gone_) return false;
  if (got == want) return true;
  if (IsFault(got)) {
    ++shared_->refused;
    if (got == Code::kTimedOut) ++shared_->timed_out;
  } else {
    Fail(fmt::format("{}: {}, not {}", what, TextOf(got), TextOf(want)));
  }
  return false;
}

bool ModelledClient::Changed(Code got, Code want, const std::string& what) {
  if (Told(got, want, what)) return got == Code::kOk;
  if (!failure_.empty() || !InDoubt(got) || want != Code::kOk) return false;
  if (!shared_->lost.empty() && begun_ > shared_->lost_at) return false;
  if (!otherwise_.has_value()) otherwise_ = Copy();
  doubt_ = aim_;
  return true;
}

bool ModelledClient::Wrote(Code got, const NodeRef& node, uint64_t from, uint64_t to, const std::string& what) {
  if (Told(got, Code::kOk, what)) return true;
  if (!failure_.empty()) return false;
  node->mtime = kNever;
  if (gone_) return false;
  node->blur_from = from;
  node->blur_to = to;
  return false;
}

bool ModelledClient::Read(Code got, const std::string& what) {
  if (shared_->rot && (got == Code::kIo || got == Code::kCorrupt)) {
    Note(static_cast<uint64_t>(got));
    ++shared_->rotten;
    return false;
  }
  return Told(got, Code::kOk, what);
}

ModelledClient::World ModelledClient::Copy() const {
  World copy;
  std::map<NodeRef, NodeRef> copies;  // no order escapes
  const auto of = [&copies](const NodeRef& node) {
    NodeRef& mine = copies[node];
    if (mine == nullptr) mine = std::make_shared<Node>(*node);
    return mine;
  };
  for (const auto& [path, node] : tree_) copy.tree[path] = of(node);
  for (const Held& held : held_) copy.held.push_back({held.fd, held.file, of(held.node)});
  return copy;
}

// ---- names ----------------------------------------------------------------------------------------------------------

std::string ModelledClient::SomePath(int depth) {
  static constexpr std::array<const char*, 4> kDirs = {"/a", "/b", "/c", "/d"};
  static constexpr std::array<const char*, 5> kNames = {"/k", "/l", "/m", "/n", "/o"};
  std::string above = depth == 0 ? home_ : "";
  if (depth < 2 && OneIn(2)) return above + kDirs[Below(kDirs.size())] + SomePath(depth + 1);
  return above + (OneIn(3) ? kDirs[Below(kDirs.size())] : kNames[Below(kNames.size())]);
}

std::string ModelledClient::ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

ModelledClient::NodeRef ModelledClient::Find(const std::string& path) const {
  const auto it = tree_.find(path);
  return it == tree_.end() ? nullptr : it->second;
}

// kOk if a name may be in that directory; else what Linux says.
Code ModelledClient::ParentState(const std::string& path) const {
  for (std::string at = ParentOf(path);; at = ParentOf(at)) {
    const NodeRef node = Find(at);
    if (node == nullptr) continue;
    if (node->type == FileType::kSymlink) return Code::kNoEntry;  // they lead nowhere
    if (node->type != FileType::kDirectory) return Code::kNotDirectory;
    return at == ParentOf(path) ? Code::kOk : Code::kNoEntry;
  }
}

bool ModelledClient::HasChildren(const std::string& path) const {
  const auto next = tree_.upper_bound(path + "/");
  return next != tree_.end() && next->first.starts_with(path + "/");
}

uint32_t ModelledClient::LinksOf(const NodeRef& node) const {
  uint32_t links = 0;
  for (const auto& [path, other] : tree_) links += other == node ? 1 : 0;
  return links;
}

void ModelledClient::Touched(const std::string& path) {
  if (const NodeRef dir = Find(ParentOf(path)); dir != nullptr) dir->mtime = kNever;
}

void ModelledClient::Move(const std::string& from, const std::string& to, std::map<std::string, NodeRef>* out) {
  for (auto it = tree_.begin(); it != tree_.end();) {
    if (it->first == from || it->first.starts_with(from + "/")) {
      (*out)[to + it->first.substr(from.size())] = it->second;
      it = tree_.erase(it);
    } else {
      ++it;
    }
  }
}

std::string ModelledClient::Text(size_t n) {
  std::string text(n, '\0');
  const uint64_t stamp = random_.U64();
  for (size_t i = 0; i < n; ++i) text[i] = static_cast<char>('a' + (stamp >> (i % 8 * 8)) % 26 + i % 3);
  return text;
}

// ---- life -----------------------------------------------------------------------------------------------------------

Task<void> ModelledClient::MakeHome() {
  const Status made = co_await Heard(lane().Mkdir(home_, 0755));
  if (!Told(made.code(), Code::kOk, "mkdir " + home_)) co_return;
  tree_[home_] = std::make_shared<Node>(Node{FileType::kDirectory, "", 0755, {}, kNever});
  co_await Locate(home_);
  const Status shared = co_await Heard(lane().Mkdir(SharedModel::kDir, 0755));
  if (!shared.ok()) (void)Told(shared.code(), Code::kExists, "mkdir /shared");
}

Task<void> ModelledClient::Live(int operations) {
  living_ = true;
  for (int i = 0; i < operations && failure_.empty() && !otherwise_.has_value(); ++i) {
    before_();
    co_await Operate();
    if (options_.makes_several && i % 20 == 7 && !gone_) co_await MakeSeveral();
    if (i % 16 == 15 && !otherwise_.has_value()) {
      size_t most = 8;
      const std::map<std::string, NodeRef> now = tree_;
      for (const auto& [path, node] : now) {
        if (most-- == 0 || !failure_.empty()) break;
        co_await CheckOne(path, node);
      }
    }
    if (!gone_) continue;
    living_ = false;
    co_await ComeBack();
    living_ = true;
  }
  living_ = false;
  client_->KillInside(-1);
}

Task<void> ModelledClient::Operate() {
  const std::string path = SomePath(), other = SomePath(), dir = OneIn(4) ? home_ : path;
  const uint32_t flags = OneIn(4) ? 1 : OneIn(3) ? 2 : 0;
  begun_ = cluster_.clock().Now();
  Aim({path, other});
  if (options_.fills_journal && OneIn(2)) co_return co_await Xattr(dir);
  switch (Below(26)) {
    case 0:
    case 1:
      co_await Mkdir(path);
      break;
    case 2:
      co_await Rmdir(path);
      break;
    case 3:
    case 4:
    case 5:
    case 6:
      co_await Write(path);
      break;
    case 7:
    case 8:
      co_await Append(path);
      break;
    case 9:
      co_await Truncate(path);
      break;
    case 10:
    case 11:
      co_await Unlink(path);
      break;
    case 12:
      co_await Link(path, other);
      break;
    case 13:
      co_await Symlink(path);
      break;
    case 14:
    case 15:
    case 16:
      co_await Rename(path, other, flags);
      break;
    case 17:
      co_await Attributes(dir);
      break;
    case 18:
      co_await Xattr(dir);
      break;
    case 19:
      co_await Allocate(path);
      break;
    case 20:
      co_await List(dir);
      break;
    case 21:
      co_await Hold(path);
      break;
    case 22:
      co_await UseHeld();
      break;
    case 23:
      if (OneIn(4)) {
        co_await DropHeld();
      } else {
        co_await UseHeld();
      }
      break;
    default:
      if (options_.idles && OneIn(20)) {
        (void)co_await Heard(Pause(&lane().executor(), static_cast<Nanos>(Below(100)) * kSecond));
      } else {
        co_await Share();
      }
  }
}

// ---- operations: what the model says must be what the client is told ------------------------------------------------

Task<void> ModelledClient::Mkdir(std::string path) {
  Code want = ParentState(path);
  if (want == Code::kOk && Find(path) != nullptr) want = Code::kExists;
  const Status got = co_await Heard(lane().Mkdir(path, 0755));
  if (!Changed(got.code(), want, "mkdir " + path)) co_return;
  tree_[path] = std::make_shared<Node>(Node{FileType::kDirectory, "", 0755, {}, kNever});
  Touched(path);
  co_await Locate(path);
}

Task<void> ModelledClient::Rmdir(std::string path) {
  Code want = ParentState(path);
  const NodeRef node = Find(path);
  if (want == Code::kOk && node == nullptr) want = Code::kNoEntry;
  if (want == Code::kOk && node->type != FileType::kDirectory) want = Code::kNotDirectory;
  if (want == Code::kOk && HasChildren(path)) want = Code::kNotEmpty;
  const Status got = co_await Heard(lane().Rmdir(path));
  if (!Changed(got.code(), want, "rmdir " + path)) co_return;
  tree_.erase(path);
  Touched(path);
}

// Null if the model says that this must fail, and it did.
Task<FileRef> ModelledClient::Open(std::string path, uint32_t flags, int* fd) {
  Code want = ParentState(path);
  const NodeRef node = Find(path);
  if (want == Code::kOk && node != nullptr) {
    if ((flags & kOpenExclusive) != 0) {
      want = Code::kExists;
    } else if (node->type == FileType::kDirectory) {
      want = Code::kIsDirectory;
    } else if (node->type == FileType::kSymlink) {
      co_return nullptr;
    }
  }
  if (want == Code::kOk && node == nullptr && (flags & kOpenCreate) == 0) want = Code::kNoEntry;
  const auto got = co_await Heard(lane().Open(path, flags, 0644));
  if (!Changed(got.code(), want, fmt::format("open {} {}", path, flags))) co_return nullptr;
  if (node == nullptr) {
    tree_[path] = std::make_shared<Node>();
    Touched(path);
  } else if ((flags & kOpenTruncate) != 0) {
    node->data.clear();
    Settled(node);
    node->mtime = kNever;
  }
  if (!got.ok()) co_return nullptr;
  *fd = *got;
  Find(path)->inode = client_->mount().files().Find(*got)->inode;
  co_return client_->mount().files().Find(*got);
}

Task<void> ModelledClient::Close(int fd, NodeRef node) {
  if (gone_) co_return;
  const FileRef file = options_.mortal ? client_->mount().files().Find(fd) : nullptr;
  const Status closed = co_await Heard(lane().Close(fd));
  anywhere_ = true;  // it says what went wrong with any that was closed before
  if (!Told(closed.code(), Code::kOk, "close") || node == nullptr) co_return;
  if (IsUnanswered(file)) {
    node->closing = file;
    node->losses = shared_->losses();
  } else {
    Settled(node);
  }
}

Task<void> ModelledClient::WriteSome(FileRef file, NodeRef node) {
  // Chunks are of 64 KiB, so many a write goes to several shards.
  const uint64_t offset = Below(OneIn(2) ? 5000 : 300'000);
  const std::string text = Text(1 + Below(OneIn(2) ? 4000 : 150'000));
  if (node->blurred() || gone_) co_return;
  Begin(node, offset, text);
  node->reach = std::max(node->reach, offset + text.size());
  const auto wrote = co_await Heard(lane().WriteAt(file, AsBytes(text), offset));
  const std::string told = fmt::format("write {} at {}", text.size(), offset);
  if (!Wrote(wrote.code(), node, offset, offset + text.size(), told)) co_return;
  if (*wrote != text.size() && !Wrote(Code::kIo, node, offset, offset + text.size(), "a short " + told)) co_return;
  if (node->data.size() < offset + text.size()) node->data.resize(offset + text.size());
  node->data.replace(offset, text.size(), text);
  node->mtime = kNever;
  if (!options_.write_behind) Settled(node);
}

Task<void> ModelledClient::Write(std::string path) {
  int fd = -1;
  if (const NodeRef there = Find(path); there != nullptr && there->blurred()) co_return;
  const uint32_t flags = kOpenCreate | kOpenWrite | (OneIn(4) ? kOpenExclusive : OneIn(6) ? kOpenTruncate : 0u);
  const FileRef file = co_await Open(path, flags, &fd);
  if (file == nullptr) co_return;
  const NodeRef node = Find(path);
  for (uint64_t n = Below(3); n > 0; --n) co_await WriteSome(file, node);
  co_await Close(fd, node);
}

Task<void> ModelledClient::MakeSeveral() {
  std::vector<std::string> dirs = {home_};
  for (const auto& [path, node] : tree_) {
    if (node->type == FileType::kDirectory) dirs.push_back(path);
  }
  const std::string dir = dirs[Below(dirs.size())];
  std::string last;
  for (uint64_t n = 6 + Below(16); n > 0 && failure_.empty() && !otherwise_.has_value() && !gone_; --n) {
    before_();
    const std::string path = fmt::format("{}/s{}", dir, number_++);
    begun_ = cluster_.clock().Now();
    Aim({path});
    int fd = -1;
    const FileRef file = co_await Open(path, kOpenCreate | kOpenWrite | (OneIn(2) ? kOpenExclusive : 0u), &fd);
    if (file == nullptr) co_return;
    const NodeRef node = Find(path);
    if (!OneIn(3)) {
      const std::string text = Text(1 + Below(OneIn(4) ? 20'000 : 4000));
      Begin(node, 0, text);
      node->reach = text.size();
      const auto wrote = co_await Heard(lane().WriteAt(file, AsBytes(text), 0));
      if (!Wrote(wrote.code(), node, 0, text.size(), fmt::format("write {} of {}", text.size(), path))) co_return;
      node->data = text;
      node->mtime = kNever;
      if (!options_.write_behind) Settled(node);
    }
    co_await Close(fd, node);
    if (gone_) co_return;
    switch (Below(12)) {
      case 0:
        co_await CheckOne(path, node);
        break;
      case 1:
        Aim({last});
        if (!last.empty()) co_await Unlink(last);
        last.clear();
        continue;
      case 2:
        co_await List(dir);
        break;
      case 3:
        (void)co_await Heard(Pause(&lane().executor(), static_cast<Nanos>(Below(3000)) * kMillisecond));
        break;
      case 4:
        Aim({path, fmt::format("{}/s{}", dir, number_)});
        co_await Rename(path, fmt::format("{}/s{}", dir, number_++), 0);
        continue;
      default:
        break;
    }
    last = path;
  }
}

Task<void> ModelledClient::Append(std::string path) {
  int fd = -1;
  if (const NodeRef there = Find(path); there != nullptr && there->blurred()) co_return;
  const FileRef file = co_await Open(path, kOpenCreate | kOpenWrite | kOpenAppend, &fd);
  if (file == nullptr) co_return;
  const NodeRef node = Find(path);
  for (uint64_t n = 1 + Below(3); n > 0; --n) {
    const std::string text = Text(1 + Below(OneIn(2) ? 2000 : 100'000));
    Begin(node, node->data.size(), text);
    node->reach = std::max<uint64_t>(node->reach, node->data.size() + text.size());
    const auto wrote = co_await Heard(lane().Write(file, AsBytes(text)));
    const std::string told = fmt::format("append {} to {}", text.size(), path);
    if (!Wrote(wrote.code(), node, node->data.size(), node->data.size() + text.size(), told)) break;
    if (*wrote != text.size() &&
        !Wrote(Code::kIo, node, node->data.size(), node->data.size() + text.size(), "a short " + told)) {
      break;
    }
    node->data += text;
    node->mtime = kNever;
    Settled(node);  // it is never held back
  }
  co_await Close(fd, node);
}

Task<void> ModelledClient::Truncate(std::string path) {
  const NodeRef node = Find(path);
  if (node == nullptr || node->type != FileType::kFile || node->blurred()) co_return;
  SetAttrRequest change;
  change.mask = kSetSize;
  change.size = Below(OneIn(2) ? 5000 : 300'000);
  node->reach = std::max(node->reach, change.size);
  Lane::Target target;
  target.path = path;
  const Status got = co_await Heard(lane().SetAttr(target, change));
  const uint64_t size = node->data.size(), least = std::min(size, change.size), most = std::max(size, change.size);
  if (gone_) otherwise_ = Copy();
  if (!gone_ && !Wrote(got.code(), node, least, most, fmt::format("truncate {} to {}", path, change.size))) co_return;
  node->data.resize(change.size);
  node->mtime = kNever;
  Settled(node);
}

Task<void> ModelledClient::Unlink(std::string path) {
  if (gone_) co_return;
  Code want = ParentState(path);
  const NodeRef node = Find(path);
  if (want == Code::kOk && node == nullptr) want = Code::kNoEntry;
  if (want == Code::kOk && node->type == FileType::kDirectory) want = Code::kIsDirectory;
  const Status got = co_await Heard(lane().Unlink(path));
  if (!Changed(got.code(), want, "unlink " + path)) co_return;
  tree_.erase(path);
  Touched(path);
}

Task<void> ModelledClient::Link(std::string from, std::string to) {
  const NodeRef node = Find(from);
  if (node == nullptr || node->type != FileType::kFile) co_return;
  Code want = ParentState(to);
  if (want == Code::kOk && Find(to) != nullptr) want = Code::kExists;
  const Status got = co_await Heard(lane().Link(from, to));
  if (!Changed(got.code(), want, "link " + from + " " + to)) co_return;
  tree_[to] = node;
  Touched(to);
}

Task<void> ModelledClient::Symlink(std::string path) {
  Code want = ParentState(path);
  if (want == Code::kOk && Find(path) != nullptr) want = Code::kExists;
  const std::string target = "/nowhere/" + Text(1 + Below(200));
  const Status got = co_await Heard(lane().Symlink(target, path));
  if (!Changed(got.code(), want, "symlink " + path)) co_return;
  tree_[path] = std::make_shared<Node>(Node{FileType::kSymlink, target, 0777, {}, kNever});
  Touched(path);
}

// flags: 1 no replace, 2 exchange.
Task<void> ModelledClient::Rename(std::string from, std::string to, uint32_t flags) {
  const NodeRef node = Find(from), old = Find(to);
  if (node == nullptr || ParentState(to) != Code::kOk || (to + "/").starts_with(from + "/") ||
      (from + "/").starts_with(to + "/")) {
    co_return;
  }
  const bool is_dir = node->type == FileType::kDirectory;
  Code want = Code::kOk;
  if (flags == 1 && old != nullptr) {
    want = Code::kExists;
  } else if (flags == 2) {
    if (old == nullptr) want = Code::kNoEntry;
  } else if (old != nullptr && old != node) {
    const bool old_dir = old->type == FileType::kDirectory;
    if (is_dir && !old_dir) want = Code::kNotDirectory;
    if (!is_dir && old_dir) want = Code::kIsDirectory;
    if (is_dir && old_dir && HasChildren(to)) want = Code::kNotEmpty;
  }
  const Status got = co_await Heard(lane().Rename(from, to, flags));
  if (!Changed(got.code(), want, fmt::format("rename {} {} {}", from, to, flags)) || old == node) co_return;
  std::map<std::string, NodeRef> moved;
  Move(from, to, &moved);
  if (flags == 2) {
    Move(to, from, &moved);
  } else {
    tree_.erase(to);
  }
  tree_.merge(moved);
  Touched(from);
  Touched(to);
}

Task<void> ModelledClient::Attributes(std::string path) {
  Aim({path});
  const NodeRef node = Find(path);
  if (node == nullptr || node->type == FileType::kSymlink) co_return;
  SetAttrRequest change;
  if (OneIn(2)) {
    change.mask |= kSetMode;
    change.permissions = static_cast<uint16_t>(0700 | Below(0100));
  }
  if (change.mask == 0 || OneIn(2)) {
    change.mask |= kSetMtime;
    change.mtime = static_cast<Nanos>(Below(1u << 30)) * kSecond;
  }
  Lane::Target target;
  target.path = path;
  const Status got = co_await Heard(lane().SetAttr(target, change));
  if (IsFault(got.code()) || gone_) node->mtime = kNever;  // some shards' own may have stayed
  if (!Changed(got.code(), Code::kOk, fmt::format("setattr {} {}", path, change.mask))) co_return;
  if ((change.mask & kSetMode) != 0) node->permissions = change.permissions;
  if ((change.mask & kSetMtime) != 0 && got.ok()) node->mtime = change.mtime;
}

Task<void> ModelledClient::Xattr(std::string path) {
  Aim({path});
  const NodeRef node = Find(path);
  if (node == nullptr || node->type == FileType::kSymlink) co_return;
  const std::string name = fmt::format("user.{}", Below(4));
  Lane::Target target;
  target.path = path;
  const bool there = node->xattrs.contains(name);
  if (OneIn(3)) {
    const Status got = co_await Heard(lane().RemoveXattr(target, name));
    const Code want = there ? Code::kOk : Code::kNoData;
    if (!Changed(got.code(), want, fmt::format("removexattr {} {}", path, name))) co_return;
    node->xattrs.erase(name);
    co_return;
  }
  const uint32_t flags = OneIn(3) ? 1 : OneIn(3) ? 2 : 0;
  const std::string value = Text(Below(options_.fills_journal || OneIn(4) ? 30'000 : 100));
  Code want = Code::kOk;
  if (flags == 1 && there) want = Code::kExists;
  if (flags == 2 && !there) want = Code::kNoData;
  const Status got = co_await Heard(lane().SetXattr(target, name, AsBytes(value), flags));
  if (Changed(got.code(), want, fmt::format("setxattr {} {} {}", path, name, flags))) node->xattrs[name] = value;
}

Task<void> ModelledClient::Allocate(std::string path) {
  const NodeRef node = Find(path);
  if (node == nullptr || node->type != FileType::kFile || node->blurred()) co_return;
  int fd = -1;
  const FileRef file = co_await Open(path, kOpenWrite | kOpenRead, &fd);
  if (file == nullptr) co_return;
  const uint64_t offset = Below(200'000), bytes = 1 + Below(200'000);
  const auto what = static_cast<Lane::Allocate>(Below(3));
  const uint64_t end = offset + bytes;
  node->reach = std::max(node->reach, end);
  if (what == Lane::Allocate::kPunch && offset < node->data.size()) {
    Begin(node, offset, std::string(std::min<uint64_t>(end, node->data.size()) - offset, '\0'));
  }
  const Status got = co_await Heard(lane().Fallocate(file, what, offset, bytes));
  const std::string told = fmt::format("fallocate {} {} at {} of {}", static_cast<int>(what), bytes, offset, path);
  if (gone_ && what == Lane::Allocate::kExtend && node->data.size() < end) {
    otherwise_ = Copy();
    node->data.resize(end);
  }
  if (Wrote(got.code(), node, offset, end, told)) {
    if (what == Lane::Allocate::kExtend && node->data.size() < end) node->data.resize(end);
    if (what == Lane::Allocate::kPunch && offset < node->data.size()) {
      const uint64_t n = std::min(end, static_cast<uint64_t>(node->data.size())) - offset;
      node->data.replace(offset, n, n, '\0');
    }
    node->mtime = kNever;
    Settled(node);
  }
  co_await Close(fd, node);
}

Task<void> ModelledClient::List(std::string path) {
  if (gone_) co_return;
  Aim({path});
  const NodeRef node = Find(path);
  if (node == nullptr || node->type != FileType::kDirectory) co_return;
  auto listing = co_await Heard(Directory::Open(&lane(), path));
  if (!Told(listing.code(), Code::kOk, "list " + path)) co_return;
  std::multiset<std::string> names, want = {".", ".."};
  bool whole = true;
  for (;;) {
    Directory::Entry entry;
    const auto more = co_await Heard((*listing)->Next(&lane(), &entry));
    whole = Told(more.code(), Code::kOk, "next of " + path);
    if (!whole && shared_->lost.empty()) co_return;
    if (!whole || !*more) break;
    names.insert(std::string(entry.name));
  }
  for (auto it = tree_.upper_bound(path + "/"); it != tree_.end() && it->first.starts_with(path + "/"); ++it) {
    const std::string name = it->first.substr(path.size() + 1);
    if (name.find('/') == std::string::npos) want.insert(name);
  }
  if (!whole) {
    // All that can be had.
    if (!std::includes(want.begin(), want.end(), names.begin(), names.end())) Fail(path + " lists what is not there");
    for (const std::string& name : want) {
      if (name.starts_with('.') || names.contains(name) || NeedsLost(path + "/" + name)) continue;
      Fail(fmt::format("{} does not list {}, which lives", path, name));
    }
    co_return;
  }
  if (names != want) Fail(fmt::format("{} lists {} names, not {}", path, names.size(), want.size()));
}

// ---- files that stay open -------------------------------------------------------------------------------------------

Task<void> ModelledClient::Hold(std::string path) {
  if (held_.size() >= 4) co_return co_await DropHeld();
  int fd = -1;
  const FileRef file = co_await Open(path, kOpenCreate | kOpenWrite | kOpenRead, &fd);
  if (file == nullptr) co_return;
  const NodeRef node = Find(path);
  held_.push_back({fd, file, node});
  co_await WriteSome(file, node);
  if (OneIn(2)) co_await Unlink(path);
}

Task<void> ModelledClient::UseHeld() {
  if (held_.empty()) co_return;
  const Held held = held_[Below(held_.size())];
  Aim({}, held.node);
  if (OneIn(2)) co_await WriteSome(held.file, held.node);
  co_await CheckData(held.file, held.node, "an open file");
  if (gone_) co_return;
  const auto attr = co_await Heard(lane().Stat(held.file));
  if (!Told(attr.code(), Code::kOk, "fstat")) co_return;
  if (attr->nlink != LinksOf(held.node)) Fail(fmt::format("an open file has {} links", attr->nlink));
}

Task<void> ModelledClient::DropHeld() {
  if (held_.empty()) co_return;
  const size_t at = Below(held_.size());
  const Held held = held_[at];
  held_.erase(held_.begin() + static_cast<ptrdiff_t>(at));
  Aim({}, held.node);
  co_await Close(held.fd, held.node);
}

}  // namespace mayfly
