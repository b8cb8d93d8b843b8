// Random changes of one shard's namespace, of every kind and in every state that several shards bring about: parts and
// inodes whose other half is elsewhere, transactions that stay prepared for a while, dead inodes that are not buried
// yet. What each call answers is not looked at: other tests do that. The records of what changed are kept.
#pragma once

#include "meta/namespace_walk.h"
#include "unit/meta/support.h"

namespace mayfly {

using Record = std::vector<uint8_t>;

// All there is to see of a namespace, a line a thing.
inline std::string Dump(Namespace& ns, const std::vector<InodeId>& dirs) {
  std::string text = "next " + std::to_string(ns.next_sequence()) + ", prepared " + std::to_string(ns.prepared()) +
                     ", inodes " + std::to_string(ns.inodes()) + "\n";
  const auto put = [&text](std::initializer_list<uint64_t> values) {
    for (const uint64_t v : values) text += " " + std::to_string(v);
  };
  const std::vector<ClientId> openers = ns.Openers();
  for (const TxnId txn : ns.Prepared()) text += "txn " + std::to_string(txn.value) + "\n";
  ns.ForEachInode([&](Inode& inode) {
    text += "inode";
    put({inode.id.value, static_cast<uint64_t>(inode.type), inode.chunk_bits, inode.permissions, inode.nlink, inode.uid,
         inode.gid, inode.opens, inode.pins, inode.mtime_set, inode.size, inode.atime, inode.mtime, inode.ctime,
         inode.version});
    const InodeExtra none;
    const InodeExtra& extra = inode.extra != nullptr ? *inode.extra : none;
    text += " " + extra.target + ":";
    put({extra.parent.value, static_cast<uint64_t>(extra.state), extra.rights_version, extra.truncate_epoch,
         extra.privileged, extra.truncating ? 1u : 0u});
    for (const ShardId shard : extra.shards) text += " shard " + std::to_string(shard.value);
    for (const auto& [name, value] : extra.xattrs) text += " " + name + "=" + value;
    for (const ClientId process : openers) {
      if (!ns.OpenBy(inode.id, process)) continue;
      put({process.value, inode.opens - ns.OpensByOthers(inode, process), ns.WrittenBy(inode.id, process) ? 1u : 0u});
    }
    text += "\n";
  });
  for (const InodeId dir : dirs) {
    const DirRights* rights = ns.Rights(dir);
    if (rights == nullptr) continue;
    const DirPartReply part = ns.PartOf(dir);
    text += "part";
    put({dir.value, rights->permissions, rights->uid, rights->gid, rights->version, part.entries, part.subdirectories,
         part.mtime, part.ctime});
    text += "\n";
    std::vector<uint8_t> page(1 << 20);
    Encoder out{MutableBytes(page)};
    const ReadDirReply reply = ns.List(dir, 0, out);
    EXPECT_TRUE(reply.end);
    Decoder in{Bytes(page.data(), out.size())};
    for (uint32_t i = 0; i < reply.count; ++i) {
      ListingEntry entry;
      in.Get(entry);
      const auto found = ns.Find(dir, entry.name);
      text += "  " + std::string(entry.name);
      put({entry.sequence, found->inode.value, static_cast<uint64_t>(found->type), found->busy ? 1u : 0u});
      text += "\n";
    }
  }
  return text;
}

class Storm {
 public:
  explicit Storm(uint64_t seed) : random_(seed), ns_({kSelf, 22}) {
    ns_.SetRecorder(&out_);
    dirs_.push_back(ns_.CreateRoot(0, 0, 01777, 1)->id);
    DirRights rights;
    rights.permissions = 0777;
    rights.version = 1;
    for (uint64_t i = 1; i <= 3; ++i) {
      rights.dir = InodeId::Make(ShardId(9), i);
      ns_.Join(rights);
      dirs_.push_back(rights.dir);
    }
    Cut();
  }
  void Step() {
    now_ += random_() % 3;  // times stand still now and then
    Change();
    Cut();
  }
  Namespace& ns() { return ns_; }
  const std::vector<Record>& records() const { return records_; }
  const std::vector<InodeId>& dirs() const { return dirs_; }  // all there ever were
  std::string Dump() { return mayfly::Dump(ns_, dirs_); }
  uint64_t Random() { return random_(); }
  const std::vector<TxnId>& prepared() const { return prepared_; }
  void DecideOne(bool commit) {
    Decide(0, commit);
    Cut();
  }

  static constexpr ShardId kSelf{3};

 private:
  void Cut() {
    if (!out_.empty()) records_.emplace_back(out_.bytes().begin(), out_.bytes().end());
    out_.Clear();
  }
  void Change() {
    switch (random_() % 20) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return Create(FileType::kFile);
      case 5:
        return Create(FileType::kSymlink);
      case 6:
        return Create(FileType::kDirectory);
      case 7:
      case 8:
        return Unlink();
      case 9:
        return SetAttr();
      case 10:
        return Xattrs();
      case 11:
        return OpenOrClose();
      case 12:
        return Touch();
      case 13:
        return ForeignRights();
      case 14:
      case 15:
        return Prepare(RenameOps());
      case 16:
        return Prepare(RemoveOps());
      case 17:
        return Prepare(LinkOps());
      case 18:
        if (!prepared_.empty()) Decide(random_() % prepared_.size(), random_() % 4 != 0);
        return;
      case 19:
        return Rare();
    }
  }

  InodeId AnyDir() {
    for (;;) {
      const InodeId dir = dirs_[random_() % dirs_.size()];
      if (ns_.Joined(dir)) return dir;
    }
  }
  std::string AnyName() { return "n" + std::to_string(random_() % 12); }
  Inode* AnyInode() {
    const auto entry = ns_.Find(AnyDir(), AnyName());
    return entry.ok() ? entry->local : nullptr;
  }
  void Bury(const std::vector<InodeId>& died) {
    for (const InodeId id : died) {
      Inode* inode = ns_.FindInode(id);
      if (random_() % 4 == 0) {
        dead_.push_back(id);  // the server was interrupted
      } else if (inode != nullptr && inode->dead()) {
        ns_.Forget(*inode);
      }
    }
  }

  void Create(FileType type) {
    const std::string name = AnyName();
    const auto made = ns_.Create({AnyDir(), name, type, static_cast<uint16_t>(random_() & 07777), 0, "target"},
                                 random_() % 2 == 0 ? kRoot : kAlice, now_);
    if (!made.ok()) return;
    if (random_() % 3 == 0) ns_.RegisterOpen(**made, AnyProcess(), random_() % 2 == 0);
    if (type != FileType::kDirectory || dirs_.size() > 25) return;
    ns_.AddShard(**made, kSelf);
    ns_.Join(ns_.RightsOf(**made));
    dirs_.push_back((*made)->id);
  }
  void Unlink() {
    const auto inode = ns_.Unlink(AnyDir(), AnyName(), kRoot, now_);
    if (inode.ok() && (*inode)->dead()) Bury({(*inode)->id});
  }
  void SetAttr() {
    Inode* inode = AnyInode();
    if (inode == nullptr) return;
    SetAttrRequest request;
    request.inode = inode->id;
    request.mask = static_cast<uint32_t>(random_() & (kSetMode | kSetUid | kSetGid | kSetAtime | kSetMtime));
    request.permissions = random_() & 07777;
    request.uid = random_() % 3;
    request.gid = random_() % 3;
    request.atime = random_() % 1000;
    request.mtime = random_() % 1000;
    bool changed = false;
    (void)ns_.SetAttr(*inode, request, kRoot, now_, &changed);
  }
  void Xattrs() {
    Inode* inode = AnyInode();
    if (inode == nullptr) return;
    const std::string name = "trusted." + AnyName();
    if (random_() % 3 == 0) {
      (void)ns_.RemoveXattr(*inode, name, kRoot, now_);
    } else {
      (void)ns_.SetXattr(*inode, name, std::string(random_() % 20, 'v') + AnyName(), 0, kRoot, now_);
    }
  }
  ClientId AnyProcess() { return ClientId(70 + random_() % 3); }
  void OpenOrClose() {
    const ClientId process = AnyProcess();
    std::vector<InodeId> died;
    if (random_() % 16 == 0) {
      ns_.ReleaseAll(process, &died);
    } else if (random_() % 2 == 0) {
      if (Inode* inode = AnyInode()) ns_.RegisterOpen(*inode, process, random_() % 2 == 0);
    } else {
      std::vector<InodeId> open;
      ns_.ForEachInode([&](Inode& inode) {
        if (ns_.OpenBy(inode.id, process)) open.push_back(inode.id);
      });
      if (!open.empty()) ns_.ReleaseOpen(open[random_() % open.size()], process, &died);
    }
    Bury(died);
  }
  // What the server changes by itself.
  void Touch() {
    Inode* inode = AnyInode();
    if (inode == nullptr || inode->type != FileType::kFile) return;
    inode->mtime = inode->ctime = now_;
    inode->mtime_set = 0;
    ++inode->version;
    switch (random_() % 4) {
      case 0:
        inode->size += random_() % 5000;
        break;
      case 1:
        ns_.AddShard(*inode, ShardId(random_() % 6));
        ++inode->Extra().truncate_epoch;
        inode->Extra().truncating = random_() % 2 == 0;
        break;
      case 2:
        ++inode->Extra().privileged;
        break;
      case 3:
        ns_.ClearPrivileges(*inode, kBob);
        break;
    }
    ns_.Changed(*inode);
  }
  void ForeignRights() {
    const InodeId dir = AnyDir();
    if (dir.home() == kSelf) return ns_.Expose(dir, AnyName());
    DirRights rights = *ns_.Rights(dir);
    rights.version += random_() % 2;
    rights.uid = random_() % 3;
    rights.clear_mtime = random_() % 2 == 0;
    ns_.UpdateRights(rights);
  }
  void Rare() {
    if (random_() % 4 == 0) ns_.ReserveSequences(ns_.next_sequence() + random_() % 20000);
    for (const InodeId id : dead_) {
      Inode* inode = ns_.FindInode(id);
      if (inode != nullptr && inode->dead()) ns_.Forget(*inode);
    }
    dead_.clear();
  }

  // ---- transactions ----
  using Ops = std::vector<TxnOp>;
  void AddLink(Ops* ops, InodeId inode, int delta) {
    if (inode.home() == kSelf) ops->push_back(LinkOp(inode, delta));
  }
  Ops RenameOps() {
    const InodeId from = AnyDir(), to = AnyDir();
    const std::string old_name = AnyName(), name = AnyName();
    const auto source = ns_.Find(from, old_name), target = ns_.Find(to, name);
    if (!source.ok()) return {};
    Ops ops{DentryOp(from, old_name, source->inode, {}, source->type),
            DentryOp(to, name, target.ok() ? target->inode : InodeId(), source->inode,
                     target.ok() ? target->type : FileType::kNone, source->type)};
    if (target.ok() && target->type == FileType::kDirectory) return {};
    AddLink(&ops, source->inode, 0);
    if (source->type == FileType::kDirectory && source->inode.home() == kSelf && random_() % 2 == 0) {
      ops.push_back(DirOp(TxnKind::kDirParent, source->inode, to));
    }
    if (target.ok() && target->inode != source->inode) AddLink(&ops, target->inode, -1);
    return ops;
  }
  Ops RemoveOps() {
    const InodeId parent = AnyDir();
    const std::string name = AnyName();
    const auto entry = ns_.Find(parent, name);
    if (!entry.ok()) return {};
    Ops ops{DentryOp(parent, name, entry->inode, {}, entry->type)};
    if (entry->type == FileType::kDirectory) {
      if (entry->inode.home() == kSelf) ops.push_back(DirOp(TxnKind::kDirRemove, entry->inode));
      ops.push_back(DirOp(TxnKind::kDirEmpty, entry->inode));
    } else {
      AddLink(&ops, entry->inode, -1);
    }
    return ops;
  }
  Ops LinkOps() {
    const std::string name = AnyName();
    if (random_() % 3 == 0) {
      return {DentryOp(AnyDir(), name, {}, InodeId::Make(ShardId(8), 1 + random_() % 100))};
    }
    const Inode* inode = AnyInode();
    if (inode == nullptr || inode->type == FileType::kDirectory) return {};
    return {LinkOp(inode->id, 1), DentryOp(AnyDir(), name, {}, inode->id, FileType::kNone, inode->type)};
  }
  void Prepare(const Ops& ops) {
    if (ops.empty()) return;
    const TxnId txn(++txn_);
    if (!ns_.Prepare(txn, ops, kRoot, nullptr).ok()) return;
    prepared_.push_back(txn);
    if (random_() % 2 == 0 || prepared_.size() > 6) Decide(prepared_.size() - 1, random_() % 8 != 0);
  }
  void Decide(size_t which, bool commit) {
    std::vector<InodeId> died;
    EXPECT_TRUE(ns_.Decide(prepared_[which], commit, now_, &died, random_() % 2 * 7).ok());
    prepared_.erase(prepared_.begin() + static_cast<ptrdiff_t>(which));
    Bury(died);
  }

  std::mt19937_64 random_;
  Namespace ns_;
  TlvWriter out_;
  std::vector<Record> records_;
  std::vector<InodeId> dirs_, dead_;
  std::vector<TxnId> prepared_;
  uint64_t txn_ = 0;
  Nanos now_ = 100;
};

// A namespace made of images.
struct Recovered {
  Recovered() : ns({Storm::kSelf, 22}) {}
  void Replay(Bytes record) {
    TlvReader reader(record);
    Tag tag = 0;
    Bytes value;
    while (reader.Next(&tag, &value)) {
      EXPECT_TRUE(IsNamesTag(tag));
      EXPECT_EQ(ns.Apply(tag, value).code(), Code::kOk);
    }
    EXPECT_TRUE(reader.Finish().ok());
  }
  void Replay(std::span<const Record> records) {
    for (const Record& record : records) Replay(Bytes(record));
  }
  Code Finish() {
    const Code code = ns.FinishRecovery(&dead, &orphans).code();
    EXPECT_EQ(code == Code::kOk ? ns.Check() : "", "");
    return code;
  }
  Namespace ns;
  std::vector<InodeId> dead, orphans;
};

}  // namespace mayfly
