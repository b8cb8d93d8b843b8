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
      client_(cluster, OptionsOf(options), options.mapped ? &cluster.views() : nullptr, options.host),
      shared_(shared),
      before_(std::move(before_operation)),
      home_(fmt::format("/c{}", options.number)) {
  shared_->clients.push_back(this);
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
  if (!otherwise_.has_value()) otherwise_ = Copy();
  return true;
}

bool ModelledClient::Wrote(Code got, const NodeRef& node, uint64_t from, uint64_t to, const std::string& what) {
  if (Told(got, Code::kOk, what)) return true;
  if (!failure_.empty()) return false;
  node->blur_from = from;
  node->blur_to = to;
  node->mtime = kNever;
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
  const Status made = co_await lane().Mkdir(home_, 0755);
  if (!Told(made.code(), Code::kOk, "mkdir " + home_)) co_return;
  tree_[home_] = std::make_shared<Node>(Node{FileType::kDirectory, "", 0755, {}, kNever});
  const Status shared = co_await lane().Mkdir(SharedModel::kDir, 0755);
  if (!shared.ok()) (void)Told(shared.code(), Code::kExists, "mkdir /shared");
}

Task<void> ModelledClient::Live(int operations) {
  for (int i = 0; i < operations && failure_.empty() && !otherwise_.has_value(); ++i) {
    before_();
    co_await Operate();
    if (options_.makes_several && i % 20 == 7) co_await MakeSeveral();
    if (i % 16 != 15 || otherwise_.has_value()) continue;
    size_t most = 8;
    const std::map<std::string, NodeRef> now = tree_;
    for (const auto& [path, node] : now) {
      if (most-- == 0 || !failure_.empty()) break;
      co_await CheckOne(path, node);
    }
  }
}

Task<void> ModelledClient::Operate() {
  const std::string path = SomePath(), other = SomePath(), dir = OneIn(4) ? home_ : path;
  const uint32_t flags = OneIn(4) ? 1 : OneIn(3) ? 2 : 0;
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
        co_await lane().executor().Sleep(static_cast<Nanos>(Below(100)) * kSecond);
      } else {
        co_await Share();
      }
  }
}

// ---- operations: what the model says must be what the client is told ------------------------------------------------

Task<void> ModelledClient::Mkdir(std::string path) {
  Code want = ParentState(path);
  if (want == Code::kOk && Find(path) != nullptr) want = Code::kExists;
  const Status got = co_await lane().Mkdir(path, 0755);
  if (!Changed(got.code(), want, "mkdir " + path)) co_return;
  tree_[path] = std::make_shared<Node>(Node{FileType::kDirectory, "", 0755, {}, kNever});
  Touched(path);
}

Task<void> ModelledClient::Rmdir(std::string path) {
  Code want = ParentState(path);
  const NodeRef node = Find(path);
  if (want == Code::kOk && node == nullptr) want = Code::kNoEntry;
  if (want == Code::kOk && node->type != FileType::kDirectory) want = Code::kNotDirectory;
  if (want == Code::kOk && HasChildren(path)) want = Code::kNotEmpty;
  const Status got = co_await lane().Rmdir(path);
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
  const auto got = co_await lane().Open(path, flags, 0644);
  if (!Changed(got.code(), want, fmt::format("open {} {}", path, flags))) co_return nullptr;
  if (node == nullptr) {
    tree_[path] = std::make_shared<Node>();
    Touched(path);
  } else if ((flags & kOpenTruncate) != 0) {
    node->data.clear();
    node->mtime = kNever;
  }
  if (!got.ok()) co_return nullptr;
  *fd = *got;
  co_return client_.mount().files().Find(*got);
}

Task<void> ModelledClient::Close(int fd) {
  const Status closed = co_await lane().Close(fd);
  (void)Told(closed.code(), Code::kOk, "close");
}

Task<void> ModelledClient::WriteSome(FileRef file, NodeRef node) {
  // Chunks are of 64 KiB, so many a write goes to several shards.
  const uint64_t offset = Below(OneIn(2) ? 5000 : 300'000);
  const std::string text = Text(1 + Below(OneIn(2) ? 4000 : 150'000));
  if (node->blurred()) co_return;
  const auto wrote = co_await lane().WriteAt(file, AsBytes(text), offset);
  const std::string told = fmt::format("write {} at {}", text.size(), offset);
  if (!Wrote(wrote.code(), node, offset, offset + text.size(), told)) co_return;
  if (*wrote != text.size() && !Wrote(Code::kIo, node, offset, offset + text.size(), "a short " + told)) co_return;
  if (node->data.size() < offset + text.size()) node->data.resize(offset + text.size());
  node->data.replace(offset, text.size(), text);
  node->mtime = kNever;
}

Task<void> ModelledClient::Write(std::string path) {
  int fd = -1;
  if (const NodeRef there = Find(path); there != nullptr && there->blurred()) co_return;
  const uint32_t flags = kOpenCreate | kOpenWrite | (OneIn(4) ? kOpenExclusive : OneIn(6) ? kOpenTruncate : 0u);
  const FileRef file = co_await Open(path, flags, &fd);
  if (file == nullptr) co_return;
  const NodeRef node = Find(path);
  for (uint64_t n = Below(3); n > 0; --n) co_await WriteSome(file, node);
  co_await Close(fd);
}

Task<void> ModelledClient::MakeSeveral() {
  std::vector<std::string> dirs = {home_};
  for (const auto& [path, node] : tree_) {
    if (node->type == FileType::kDirectory) dirs.push_back(path);
  }
  const std::string dir = dirs[Below(dirs.size())];
  std::string last;
  for (uint64_t n = 6 + Below(16); n > 0 && failure_.empty() && !otherwise_.has_value(); --n) {
    before_();
    const std::string path = fmt::format("{}/s{}", dir, number_++);
    int fd = -1;
    const FileRef file = co_await Open(path, kOpenCreate | kOpenWrite | (OneIn(2) ? kOpenExclusive : 0u), &fd);
    if (file == nullptr) co_return;
    const NodeRef node = Find(path);
    if (!OneIn(3)) {
      const std::string text = Text(1 + Below(OneIn(4) ? 20'000 : 4000));
      const auto wrote = co_await lane().WriteAt(file, AsBytes(text), 0);
      if (!Wrote(wrote.code(), node, 0, text.size(), fmt::format("write {} of {}", text.size(), path))) co_return;
      node->data = text;
      node->mtime = kNever;
    }
    co_await Close(fd);
    switch (Below(12)) {
      case 0:
        co_await CheckOne(path, node);
        break;
      case 1:
        if (!last.empty()) co_await Unlink(last);
        last.clear();
        continue;
      case 2:
        co_await List(dir);
        break;
      case 3:
        co_await lane().executor().Sleep(static_cast<Nanos>(Below(3000)) * kMillisecond);
        break;
      case 4:
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
    const auto wrote = co_await lane().Write(file, AsBytes(text));
    const std::string told = fmt::format("append {} to {}", text.size(), path);
    if (!Wrote(wrote.code(), node, node->data.size(), node->data.size() + text.size(), told)) break;
    if (*wrote != text.size() &&
        !Wrote(Code::kIo, node, node->data.size(), node->data.size() + text.size(), "a short " + told)) {
      break;
    }
    node->data += text;
    node->mtime = kNever;
  }
  co_await Close(fd);
}

Task<void> ModelledClient::Truncate(std::string path) {
  const NodeRef node = Find(path);
  if (node == nullptr || node->type != FileType::kFile || node->blurred()) co_return;
  SetAttrRequest change;
  change.mask = kSetSize;
  change.size = Below(OneIn(2) ? 5000 : 300'000);
  Lane::Target target;
  target.path = path;
  const Status got = co_await lane().SetAttr(target, change);
  const uint64_t size = node->data.size(), least = std::min(size, change.size), most = std::max(size, change.size);
  if (!Wrote(got.code(), node, least, most, fmt::format("truncate {} to {}", path, change.size))) co_return;
  node->data.resize(change.size);
  node->mtime = kNever;
}

Task<void> ModelledClient::Unlink(std::string path) {
  Code want = ParentState(path);
  const NodeRef node = Find(path);
  if (want == Code::kOk && node == nullptr) want = Code::kNoEntry;
  if (want == Code::kOk && node->type == FileType::kDirectory) want = Code::kIsDirectory;
  const Status got = co_await lane().Unlink(path);
  if (!Changed(got.code(), want, "unlink " + path)) co_return;
  tree_.erase(path);
  Touched(path);
}

Task<void> ModelledClient::Link(std::string from, std::string to) {
  const NodeRef node = Find(from);
  if (node == nullptr || node->type != FileType::kFile) co_return;
  Code want = ParentState(to);
  if (want == Code::kOk && Find(to) != nullptr) want = Code::kExists;
  const Status got = co_await lane().Link(from, to);
  if (!Changed(got.code(), want, "link " + from + " " + to)) co_return;
  tree_[to] = node;
  Touched(to);
}

Task<void> ModelledClient::Symlink(std::string path) {
  Code want = ParentState(path);
  if (want == Code::kOk && Find(path) != nullptr) want = Code::kExists;
  const std::string target = "/nowhere/" + Text(1 + Below(200));
  const Status got = co_await lane().Symlink(target, path);
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
  const Status got = co_await lane().Rename(from, to, flags);
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
  const Status got = co_await lane().SetAttr(target, change);
  if (IsFault(got.code())) node->mtime = kNever;  // some shards' own may have stayed
  if (!Changed(got.code(), Code::kOk, fmt::format("setattr {} {}", path, change.mask))) co_return;
  if ((change.mask & kSetMode) != 0) node->permissions = change.permissions;
  if ((change.mask & kSetMtime) != 0 && got.ok()) node->mtime = change.mtime;
}

Task<void> ModelledClient::Xattr(std::string path) {
  const NodeRef node = Find(path);
  if (node == nullptr || node->type == FileType::kSymlink) co_return;
  const std::string name = fmt::format("user.{}", Below(4));
  Lane::Target target;
  target.path = path;
  const bool there = node->xattrs.contains(name);
  if (OneIn(3)) {
    const Status got = co_await lane().RemoveXattr(target, name);
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
  const Status got = co_await lane().SetXattr(target, name, AsBytes(value), flags);
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
  const Status got = co_await lane().Fallocate(file, what, offset, bytes);
  const std::string told = fmt::format("fallocate {} {} at {} of {}", static_cast<int>(what), bytes, offset, path);
  const uint64_t end = offset + bytes;
  if (Wrote(got.code(), node, offset, end, told)) {
    if (what == Lane::Allocate::kExtend && node->data.size() < end) node->data.resize(end);
    if (what == Lane::Allocate::kPunch && offset < node->data.size()) {
      const uint64_t n = std::min(end, static_cast<uint64_t>(node->data.size())) - offset;
      node->data.replace(offset, n, n, '\0');
    }
    node->mtime = kNever;
  }
  co_await Close(fd);
}

Task<void> ModelledClient::List(std::string path) {
  const NodeRef node = Find(path);
  if (node == nullptr || node->type != FileType::kDirectory) co_return;
  auto listing = co_await Directory::Open(&lane(), path);
  if (!Told(listing.code(), Code::kOk, "list " + path)) co_return;
  std::multiset<std::string> names, want = {".", ".."};
  for (;;) {
    Directory::Entry entry;
    const auto more = co_await (*listing)->Next(&lane(), &entry);
    if (!Told(more.code(), Code::kOk, "next of " + path)) co_return;
    if (!*more) break;
    names.insert(std::string(entry.name));
  }
  for (auto it = tree_.upper_bound(path + "/"); it != tree_.end() && it->first.starts_with(path + "/"); ++it) {
    const std::string name = it->first.substr(path.size() + 1);
    if (name.find('/') == std::string::npos) want.insert(name);
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
  if (OneIn(2)) co_await WriteSome(held.file, held.node);
  co_await CheckData(held.file, held.node, "an open file");
  const auto attr = co_await lane().Stat(held.file);
  if (!Told(attr.code(), Code::kOk, "fstat")) co_return;
  if (attr->nlink != LinksOf(held.node)) Fail(fmt::format("an open file has {} links", attr->nlink));
}

Task<void> ModelledClient::DropHeld() {
  if (held_.empty()) co_return;
  const size_t at = Below(held_.size());
  const Held held = held_[at];
  held_.erase(held_.begin() + static_cast<ptrdiff_t>(at));
  co_await Close(held.fd);
}

// ---- what is there --------------------------------------------------------------------------------------------------

Task<void> ModelledClient::CheckData(FileRef file, NodeRef node, std::string path) {
  std::string text(node->data.size() + 10, '?');
  size_t bytes = 0;
  for (bool more = true; more;) {  // a read that meets what rots is short, and the next one fails
    const auto read = co_await lane().ReadAt(file, Room(text).subspan(bytes), bytes);
    if (!Read(read.code(), "read " + path)) co_return;
    bytes += *read;
    more = *read != 0 && bytes != text.size();
  }
  text.resize(bytes);
  if (node->blurred()) {
    const size_t size = node->data.size();
    const bool ends = node->blur_to >= size;
    const uint64_t least = ends ? std::min<uint64_t>(size, node->blur_from) : size;
    const uint64_t most = ends ? std::max<uint64_t>(size, node->blur_to) : size;
    if (text.size() < least || text.size() > most)
      Fail(fmt::format("{} has {} bytes, not {}", path, text.size(), size));
    for (size_t i = 0; i < std::min(size, text.size()); ++i) {
      if (text[i] == node->data[i] || (i >= node->blur_from && i < node->blur_to)) continue;
      Fail(fmt::format("{} differs at byte {} of {}, where nobody wrote", path, i, text.size()));
      break;
    }
  } else if (text.size() != node->data.size()) {
    Fail(fmt::format("{} has {} bytes, not {}", path, text.size(), node->data.size()));
  } else if (text != node->data) {
    const auto at = std::mismatch(text.begin(), text.end(), node->data.begin()).first - text.begin();
    Fail(fmt::format("{} differs at byte {} of {}", path, at, text.size()));
  }
}

Task<void> ModelledClient::CheckOne(std::string path, NodeRef node) {
  const auto attr = co_await lane().Stat(path, false);
  if (!Told(attr.code(), Code::kOk, "stat " + path)) co_return;
  if (attr->type != node->type) Fail(path + " is of another type");
  if (node->type != FileType::kSymlink && attr->permissions != node->permissions) {
    Fail(fmt::format("{} has mode {:o}, not {:o}", path, attr->permissions, node->permissions));
  }
  if (node->mtime != kNever && attr->mtime != node->mtime) {
    Fail(fmt::format("{} has mtime {}, not {}", path, attr->mtime, node->mtime));
  }
  Lane::Target target;
  target.path = path;
  target.follow = false;
  for (const auto& [name, want] : node->xattrs) {
    std::string value(want.size() + 1, '?');
    const auto got = co_await lane().GetXattr(target, name, Room(value));
    if (!Told(got.code(), Code::kOk, fmt::format("getxattr {} {}", path, name))) co_return;
    value.resize(*got);
    if (value != want) Fail(fmt::format("{} of {} is another value", name, path));
  }
  if (node->type == FileType::kSymlink) {
    const auto to = co_await lane().ReadLink(path);
    if (Told(to.code(), Code::kOk, "readlink " + path) && *to != node->data) Fail(path + " leads elsewhere");
  }
  if (node->type != FileType::kFile) co_return;
  if (attr->size != node->data.size() && !node->blurred()) {
    Fail(fmt::format("{} is of {} bytes, not {}", path, attr->size, node->data.size()));
  }
  if (attr->nlink != LinksOf(node)) Fail(fmt::format("{} has {} links, not {}", path, attr->nlink, LinksOf(node)));
  int fd = -1;
  const FileRef file = co_await Open(path, kOpenRead, &fd);
  if (file == nullptr) co_return;
  co_await CheckData(file, node, path);
  co_await Close(fd);
}

Task<void> ModelledClient::CheckAll() {
  if (shared_->faults && otherwise_.has_value()) co_return;  // what is in doubt is held until the failed server is back
  co_await CheckTree();
  if (failure_.empty() || !otherwise_.has_value()) co_return;
  const std::string so = std::exchange(failure_, "");
  std::swap(tree_, otherwise_->tree);
  std::swap(held_, otherwise_->held);
  co_await CheckTree();
  if (!failure_.empty()) failure_ = fmt::format("neither as if it had been done, nor as if not: {}; {}", so, failure_);
}

Task<void> ModelledClient::CheckTree() {
  const std::map<std::string, NodeRef> now = tree_;
  for (const auto& [path, node] : now) {
    co_await CheckOne(path, node);
    if (!failure_.empty()) co_return;
    if (node->type == FileType::kDirectory) co_await List(path);
  }
  for (const Held& held : std::vector<Held>(held_)) co_await CheckData(held.file, held.node, "an open file");
}

Task<void> ModelledClient::Leave() {
  while (!held_.empty()) co_await DropHeld();
  while (tree_.size() > 1 && failure_.empty()) {
    const auto last = std::prev(tree_.end());
    const std::string path = last->first;
    if (last->second->type == FileType::kDirectory) {
      co_await Rmdir(path);
    } else {
      co_await Unlink(path);
    }
  }
}

}  // namespace mayfly
