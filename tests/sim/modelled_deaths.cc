// What a modelled client does about the end of its process, and of servers that do not come back.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "sim/modelled_client.h"

namespace mayfly {

// ---- processes that are killed --------------------------------------------------------------------------------------

void ModelledClient::DieAfter(int64_t moments) {
  MAYFLY_CHECK(options_.mortal);
  if (living_ && client_ != nullptr) client_->KillInside(moments);
}

void ModelledClient::Turn() {
  while (waiting_ && client_->alive() && is_done_()) std::exchange(waiting_, nullptr).resume();
  if (client_->alive()) return;
  if (std::getenv("MAYFLY_TRACE") != nullptr) {
    std::printf("%.6f client %u is killed\n", static_cast<double>(cluster_.clock().Now()) / 1e9, options_.number);
  }
  client_->LetGo();
  Bury(std::exchange(client_, nullptr));
  gone_ = true;
  ++shared_->deaths;
  if (options_.after_death) options_.after_death();
  std::exchange(waiting_, nullptr).resume();
}

// What was under way when the process ended is in doubt, and so is what it had not sent. It may be that messages of it
// still arrive, and that servers are busy with it: until that has an end nothing of it is looked at.
Task<void> ModelledClient::ComeBack() {
  MAYFLY_CHECK(gone_ && client_ == nullptr);
  client_ = NewProcess();
  gone_ = false;
  held_.clear();
  bool doubt = otherwise_.has_value();
  if (doubt) otherwise_->held.clear();
  std::vector<NodeRef> nodes;
  for (const auto* tree : {&tree_, doubt ? &otherwise_->tree : nullptr}) {
    if (tree == nullptr) continue;
    for (const auto& [path, node] : *tree) {
      if (!node->unsent.empty()) nodes.push_back(node);
    }
  }
  doubt |= !nodes.empty();
  if (doubt) (void)co_await Heard(Pause(&lane().executor(), kArrived));
  for (const NodeRef& node : nodes) {
    const bool closed = node->closing != nullptr;
    if (closed && (!IsUnanswered(node->closing) || node->losses == shared_->losses())) Settled(node);
    node->torn = !node->unsent.empty();
  }
  if (doubt) (void)co_await Heard(Pause(&lane().executor(), kSettled));
  co_await CheckAll();
  otherwise_.reset();
}

Task<Status> ModelledClient::Pause(Executor* executor, Nanos nanos) {
  co_await executor->Sleep(nanos);
  co_return Code::kOk;
}

void ModelledClient::Begin(const NodeRef& node, uint64_t offset, std::string text) {
  if (!options_.mortal) return;
  if (node->unsent.empty()) node->kept = node->data;
  node->unsent.emplace_back(offset, std::move(text));
}

// A close that did not wait, and is a message of its own (client/lane_close.cc): it may be lost with the server, or on
// its way there, and is if this process ends before it could send it again.
bool ModelledClient::IsUnanswered(const FileRef& file) { return file != nullptr && file->departing && file->buffered; }

void ModelledClient::Settled(const NodeRef& node) {
  node->closing = nullptr;
  node->unsent.clear();
  node->kept.clear();
}

bool ModelledClient::MayBe(const Node& node, const std::string& text) {
  size_t most = node.kept.size();
  for (const auto& [at, written] : node.unsent) most = std::max(most, at + written.size());
  if (text.size() < node.kept.size() || text.size() > most) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    bool is = i < node.kept.size() ? text[i] == node.kept[i] : text[i] == '\0';
    for (const auto& [at, written] : node.unsent) {
      is |= i >= at && i < at + written.size() && text[i] == written[i - at];
    }
    if (!is) return false;
  }
  return true;
}

// ---- servers that are gone for good ---------------------------------------------------------------------------------

void ModelledClient::Aim(std::vector<std::string> paths, NodeRef node) {
  aim_ = std::move(paths);
  aim_node_ = std::move(node);
  anywhere_ = false;
}

bool ModelledClient::NeedsLost() const {
  if (IsLost(cluster_.placement().RootShard()) || anywhere_) return true;  // it leases the right to serve to all
  if (aim_node_ != nullptr && NeedsLost(*aim_node_)) return true;
  return std::any_of(aim_.begin(), aim_.end(), [this](const std::string& path) { return NeedsLost(path); });
}

// The entries and directories on the way, and what is there. Each shard may have a part of a directory.
bool ModelledClient::NeedsLost(const std::string& path) const {
  for (const std::string& doubtful : doubt_) {
    if ((path + "/").starts_with(doubtful + "/")) return true;
  }
  InodeId dir = cluster_.placement().RootInode();
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (IsLost(cluster_.placement().DentryShard(dir, path.substr(begin, end - begin)))) return true;
    const NodeRef node = Find(path.substr(0, end));
    if (node == nullptr) return false;
    if (node->type != FileType::kDirectory) return NeedsLost(*node);
    if (!node->inode.valid() || IsLost(node->inode.home())) return true;
    dir = node->inode;
    begin = end + 1;
  }
  return true;
}

bool ModelledClient::NeedsLost(const Node& node) const {
  if (!node.inode.valid() || IsLost(node.inode.home())) return true;
  for (uint64_t k = 0; k << kChunkBitsMin < node.reach; ++k) {
    if (IsLost(cluster_.placement().ChunkShard(node.inode.home(), ChunkIndex(k)))) return true;
  }
  return node.type == FileType::kDirectory;
}

// Of what was just made.
Task<void> ModelledClient::Locate(std::string path) {
  if (!options_.gives_up || otherwise_.has_value()) co_return;
  const auto attr = co_await Heard(lane().Stat(path, false));
  if (const NodeRef node = Find(path); node != nullptr && Told(attr.code(), Code::kOk, "locate " + path)) {
    node->inode = attr->inode;
  }
}

}  // namespace mayfly
