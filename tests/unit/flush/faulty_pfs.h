// A PFS that does as it is told: the real one on a temporary directory, with a word to say before each operation.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "os/pfs_tree.h"

namespace mayfly {

struct Faults {
  // Asked before each operation, by its name here ("create", "write", "sync", ...) and path below the target: kOk lets
  // it through.
  std::function<Code(std::string_view operation, const std::string& path)> fail;
  bool halve_writes = false;  // the second half of a write is lost, and nobody is told
  bool flip_writes = false;   // the storage keeps another first byte

  PfsStatus Ask(std::string_view operation, const std::string& path) const {
    PfsStatus status;
    if (fail) status.code = fail(operation, path);
    if (!status.ok()) status.why = "cannot " + std::string(operation) + " " + path + ": injected; nothing to be done";
    return status;
  }
};

#define FAULTY(operation, path) \
  if (PfsStatus asked = faults_.Ask(operation, path); !asked.ok()) return asked

class FaultyFile final : public PfsFile {
 public:
  FaultyFile(Faults& faults, std::string path, std::unique_ptr<PfsFile> real)
      : faults_(faults), path_(std::move(path)), real_(std::move(real)) {}
  PfsStatus WriteAt(Bytes data, uint64_t offset) override {
    FAULTY("write", path_);
    if (faults_.halve_writes) data = data.subspan(0, data.size() / 2);
    if (!faults_.flip_writes) return real_->WriteAt(data, offset);
    std::vector<uint8_t> other(data.begin(), data.end());
    other[0] ^= 1;
    return real_->WriteAt(other, offset);
  }
  PfsStatus ReadAt(MutableBytes to, uint64_t offset) override {
    FAULTY("read", path_);
    return real_->ReadAt(to, offset);
  }
  PfsStatus Truncate(uint64_t size) override {
    FAULTY("truncate", path_);
    return real_->Truncate(size);
  }
  PfsStatus Sync() override {
    FAULTY("sync", path_);
    return real_->Sync();
  }
  void DropCache(uint64_t offset, uint64_t bytes) override { real_->DropCache(offset, bytes); }
  PfsStatus SetOwner(uint32_t uid, uint32_t gid) override {
    FAULTY("owner", path_);
    return real_->SetOwner(uid, gid);
  }
  PfsStatus SetMode(uint16_t permissions) override {
    FAULTY("mode", path_);
    return real_->SetMode(permissions);
  }
  PfsStatus SetTimes(Nanos atime, Nanos mtime) override {
    FAULTY("times", path_);
    return real_->SetTimes(atime, mtime);
  }
  PfsStatus SetXattr(const std::string& name, std::string_view value) override {
    FAULTY("xattr", path_);
    return real_->SetXattr(name, value);
  }
  PfsStatus Stat(PfsAttr* attr) override {
    FAULTY("stat", path_);
    return real_->Stat(attr);
  }

 private:
  Faults& faults_;
  const std::string path_;
  const std::unique_ptr<PfsFile> real_;
};

class FaultyRoot final : public PfsRoot {
 public:
  FaultyRoot(Faults& faults, std::shared_ptr<PfsRoot> real) : faults_(faults), real_(std::move(real)) {}
  PfsStatus MakeDirectory(const std::string& path, bool* created) override {
    FAULTY("mkdir", path);
    return real_->MakeDirectory(path, created);
  }
  PfsStatus CreateFile(const std::string& path, std::unique_ptr<PfsFile>* file) override {
    FAULTY("create", path);
    return Wrap(real_->CreateFile(path, file), path, file);
  }
  PfsStatus OpenFile(const std::string& path, std::unique_ptr<PfsFile>* file) override {
    FAULTY("open", path);
    return Wrap(real_->OpenFile(path, file), path, file);
  }
  PfsStatus OpenDirectory(const std::string& path, std::unique_ptr<PfsFile>* directory) override {
    FAULTY("opendir", path);
    return Wrap(real_->OpenDirectory(path, directory), path, directory);
  }
  PfsStatus Symlink(const std::string& target, const std::string& path) override {
    FAULTY("symlink", path);
    return real_->Symlink(target, path);
  }
  PfsStatus SetSymlinkOwner(const std::string& path, uint32_t uid, uint32_t gid) override {
    FAULTY("owner", path);
    return real_->SetSymlinkOwner(path, uid, gid);
  }
  PfsStatus SetSymlinkTimes(const std::string& path, Nanos atime, Nanos mtime) override {
    FAULTY("times", path);
    return real_->SetSymlinkTimes(path, atime, mtime);
  }
  PfsStatus Link(const std::string& from, const std::string& to) override {
    FAULTY("link", to);
    return real_->Link(from, to);
  }
  PfsStatus Rename(const std::string& from, const std::string& to) override {
    FAULTY("rename", to);
    return real_->Rename(from, to);
  }
  PfsStatus Unlink(const std::string& path) override {
    FAULTY("unlink", path);
    return real_->Unlink(path);
  }
  PfsStatus Stat(const std::string& path, PfsAttr* attr) override {
    FAULTY("stat", path);
    return real_->Stat(path, attr);
  }
  PfsStatus List(const std::string& path, const std::function<void(std::string_view)>& visit) override {
    FAULTY("list", path);
    return real_->List(path, visit);
  }
  PfsStatus Space(PfsSpace* space) override { return real_->Space(space); }

 private:
  PfsStatus Wrap(PfsStatus status, const std::string& path, std::unique_ptr<PfsFile>* file) {
    if (status.ok()) *file = std::make_unique<FaultyFile>(faults_, path, std::move(*file));
    return status;
  }
  Faults& faults_;
  const std::shared_ptr<PfsRoot> real_;
};

class FaultyPfs final : public PfsTree {
 public:
  FaultyPfs(Faults& faults, PfsTree& real) : faults_(faults), real_(real) {}
  PfsStatus Open(const std::string& directory, bool create, std::shared_ptr<PfsRoot>* root, bool* created) override {
    FAULTY("open target", directory);
    std::shared_ptr<PfsRoot> real;
    PfsStatus status = real_.Open(directory, create, &real, created);
    if (status.ok()) *root = std::make_shared<FaultyRoot>(faults_, std::move(real));
    return status;
  }

 private:
  Faults& faults_;
  PfsTree& real_;
};
#undef FAULTY

}  // namespace mayfly
