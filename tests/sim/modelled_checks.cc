// What a modelled client finds when it looks at all that it knows of.
#include <algorithm>
#include <utility>

#include "sim/modelled_client.h"

namespace mayfly {

Task<void> ModelledClient::CheckData(FileRef file, NodeRef node, std::string path) {
  if (gone_) co_return;
  size_t size_most = node->data.size();
  for (const auto& [at, written] : node->unsent) size_most = std::max(size_most, at + written.size());
  std::string text(size_most + 10, '?');
  size_t bytes = 0;
  for (bool more = true; more;) {  // a read that meets what rots is short, and the next one fails
    const auto read = co_await Heard(lane().ReadAt(file, Room(text).subspan(bytes), bytes));
    if (!Read(read.code(), "read " + path)) co_return;
    bytes += *read;
    more = *read != 0 && bytes != text.size();
  }
  text.resize(bytes);
  if (node->torn) {
    if (!MayBe(*node, text)) Fail(fmt::format("{} has {} bytes, which nobody wrote so", path, text.size()));
    node->data = text;  // from now on
    node->torn = false;
    Settled(node);
  } else if (node->blurred()) {
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
  if (gone_) co_return;
  Aim({path}, node);
  const auto attr = co_await Heard(lane().Stat(path, false));
  if (!Told(attr.code(), Code::kOk, "stat " + path)) co_return;
  node->inode = attr->inode;
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
    const auto got = co_await Heard(lane().GetXattr(target, name, Room(value)));
    if (!Told(got.code(), Code::kOk, fmt::format("getxattr {} {}", path, name))) co_return;
    value.resize(*got);
    if (value != want) Fail(fmt::format("{} of {} is another value", name, path));
  }
  if (node->type == FileType::kSymlink) {
    const auto to = co_await Heard(lane().ReadLink(path));
    if (Told(to.code(), Code::kOk, "readlink " + path) && *to != node->data) Fail(path + " leads elsewhere");
  }
  if (node->type != FileType::kFile) co_return;
  if (attr->size != node->data.size() && !node->blurred() && !node->torn) {
    Fail(fmt::format("{} is of {} bytes, not {}", path, attr->size, node->data.size()));
  }
  if (attr->nlink != LinksOf(node)) Fail(fmt::format("{} has {} links, not {}", path, attr->nlink, LinksOf(node)));
  int fd = -1;
  const FileRef file = co_await Open(path, kOpenRead, &fd);
  if (file == nullptr) co_return;
  const bool torn = node->torn;
  co_await CheckData(file, node, path);
  if (torn && attr->size != node->data.size()) {
    Fail(fmt::format("{} is of {} bytes, and {} can be read", path, attr->size, node->data.size()));
  }
  co_await Close(fd, node);
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
  for (const Held& held : std::vector<Held>(held_)) {
    Aim({}, held.node);
    co_await CheckData(held.file, held.node, "an open file");
  }
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
