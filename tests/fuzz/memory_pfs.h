// A PFS in memory, as much of it as writing a tree needs: names and bytes. One thread.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "os/pfs_tree.h"

namespace mayfly {

class MemoryPfs final : public PfsRoot {
 public:
  static constexpr uint64_t kFileBytesMax = 1 << 20;  // beyond, it is full

  struct Node {
    PfsType type = PfsType::kFile;
    std::string data;
    uint64_t size = 0;
  };
  std::map<std::string, std::shared_ptr<Node>> nodes;

  PfsStatus MakeDirectory(const std::string& path, bool* created) override {
    *created = !nodes.contains(path);
    if (*created) return Add(path, PfsType::kDirectory, nullptr);
    return nodes[path]->type == PfsType::kDirectory ? PfsStatus() : PfsStatus{Code::kExists, path + " is there"};
  }
  PfsStatus CreateFile(const std::string& path, std::unique_ptr<PfsFile>* file) override {
    return Add(path, PfsType::kFile, file);
  }
  PfsStatus OpenFile(const std::string& path, std::unique_ptr<PfsFile>* file) override { return Open(path, file); }
  PfsStatus OpenDirectory(const std::string& path, std::unique_ptr<PfsFile>* file) override { return Open(path, file); }
  PfsStatus Symlink(const std::string&, const std::string& path) override {
    return Add(path, PfsType::kSymlink, nullptr);
  }
  PfsStatus SetSymlinkOwner(const std::string&, uint32_t, uint32_t) override { return {}; }
  PfsStatus SetSymlinkTimes(const std::string&, Nanos, Nanos) override { return {}; }
  PfsStatus Link(const std::string& from, const std::string& to) override {
    if (!nodes.contains(from)) return None(from);
    if (!nodes.emplace(to, nodes[from]).second) return {Code::kExists, to + " is there"};
    return {};
  }
  PfsStatus Rename(const std::string& from, const std::string& to) override {
    if (!nodes.contains(from)) return None(from);
    nodes[to] = nodes[from];
    if (from != to) nodes.erase(from);
    return {};
  }
  PfsStatus Unlink(const std::string& path) override { return nodes.erase(path) == 1 ? PfsStatus() : None(path); }
  PfsStatus Stat(const std::string& path, PfsAttr* attr) override {
    if (!nodes.contains(path)) return None(path);
    attr->type = nodes[path]->type;
    attr->size = nodes[path]->size;
    return {};
  }
  PfsStatus List(const std::string&, const std::function<void(std::string_view)>&) override { return {}; }
  PfsStatus Space(PfsSpace*) override { return {}; }

 private:
  class File final : public PfsFile {
   public:
    explicit File(std::shared_ptr<Node> node) : node_(std::move(node)) {}
    PfsStatus WriteAt(Bytes data, uint64_t offset) override {
      if (offset > kFileBytesMax || data.size() > kFileBytesMax - offset) return {Code::kNoSpace, "full"};
      const size_t end = offset + data.size();
      if (node_->data.size() < end) node_->data.resize(end);
      node_->data.replace(offset, data.size(), AsText(data));
      node_->size = std::max<uint64_t>(node_->size, end);
      return {};
    }
    PfsStatus ReadAt(MutableBytes to, uint64_t offset) override {
      if (offset > node_->data.size() || to.size() > node_->data.size() - offset) return {Code::kIo, "short"};
      std::copy_n(node_->data.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
      return {};
    }
    PfsStatus Truncate(uint64_t size) override {
      node_->size = size;
      if (node_->data.size() > size) node_->data.resize(size);
      return {};
    }
    PfsStatus Sync() override { return {}; }
    void DropCache(uint64_t, uint64_t) override {}
    PfsStatus SetOwner(uint32_t, uint32_t) override { return {}; }
    PfsStatus SetMode(uint16_t) override { return {}; }
    PfsStatus SetTimes(Nanos, Nanos) override { return {}; }
    PfsStatus SetXattr(const std::string&, std::string_view) override { return {}; }
    PfsStatus Stat(PfsAttr* attr) override {
      attr->type = node_->type;
      attr->size = node_->size;
      return {};
    }

   private:
    const std::shared_ptr<Node> node_;
  };
  static PfsStatus None(const std::string& path) { return {Code::kNoEntry, path + " is not there"}; }
  PfsStatus Add(const std::string& path, PfsType type, std::unique_ptr<PfsFile>* file) {
    const auto [at, fresh] = nodes.emplace(path, std::make_shared<Node>());
    if (!fresh) return {Code::kExists, path + " is there"};
    at->second->type = type;
    if (file != nullptr) *file = std::make_unique<File>(at->second);
    return {};
  }
  PfsStatus Open(const std::string& path, std::unique_ptr<PfsFile>* file) {
    if (path.empty()) return *file = std::make_unique<File>(std::make_shared<Node>()), PfsStatus();
    if (!nodes.contains(path)) return None(path);
    *file = std::make_unique<File>(nodes[path]);
    return {};
  }
};

}  // namespace mayfly
