// Random operations on one shard against a map that is obviously right, with Check() in between.
#include <map>
#include <set>

#include "unit/meta/support.h"

namespace mayfly {
namespace {

class Model {
 public:
  explicit Model(uint64_t seed) : random_(seed) { dirs_.push_back(shard_.root); }

  void Step() {
    ++now_;
    switch (random_() % 16) {
      case 0:
        return MakeDir();
      case 1:
      case 2:
        return Link();
      case 3:
      case 4:
        return Rename();
      case 5:
        return RemoveDir();
      case 6:
      case 7:
      case 8:
        return Unlink();
      case 9:
        return Open();
      case 10:
        return Close();
      default:
        return Create();
    }
  }
  void Compare() {
    ASSERT_EQ(shard_.ns.Check(), "");
    for (InodeId dir : dirs_) {
      std::map<std::string, InodeId> listed;
      uint64_t last = 0;
      for (const auto& [name, sequence] : shard_.ListAll(dir, 300 + random_() % 4000)) {
        EXPECT_GT(sequence, last);
        last = sequence;
        listed[name] = shard_.ns.Find(dir, name)->inode;
      }
      EXPECT_EQ(listed, entries_[dir]);
      uint32_t subdirectories = 0;
      for (const auto& [name, inode] : entries_[dir]) subdirectories += links_.contains(inode) ? 0 : 1;
      EXPECT_EQ(shard_.ns.PartOf(dir).entries, listed.size());
      EXPECT_EQ(shard_.ns.PartOf(dir).subdirectories, subdirectories);
    }
    for (const auto& [inode, nlink] : links_) {
      Inode* found = shard_.ns.FindInode(inode);
      ASSERT_EQ(found != nullptr, nlink > 0 || opens_.contains(inode));
      if (found != nullptr) {
        EXPECT_EQ(found->nlink, nlink);
      }
    }
    size_t alive = dirs_.size();
    for (const auto& [inode, nlink] : links_) alive += nlink > 0 || opens_.contains(inode) ? 1 : 0;
    EXPECT_EQ(shard_.ns.inodes(), alive);
  }
  // Empties everything; what is left is the root and no memory worth speaking of.
  void RemoveAll() {
    std::vector<InodeId> died;
    shard_.ns.ReleaseAll(kClient, &died);
    for (InodeId id : died) shard_.ns.Forget(*shard_.ns.FindInode(id));
    opens_.clear();
    while (!entries_[dirs_.back()].empty() || dirs_.size() > 1) {
      for (size_t i = dirs_.size(); i-- > 0;) {
        while (!entries_[dirs_[i]].empty()) {
          const auto [name, inode] = *entries_[dirs_[i]].begin();
          if (links_.contains(inode)) {
            RemoveName(dirs_[i], name);
          } else if (!RemoveDirAt(dirs_[i], name)) {
            break;
          }
        }
      }
    }
    for (InodeId dir : dirs_) EXPECT_TRUE(entries_[dir].empty());
  }
  Namespace& ns() { return shard_.ns; }

 private:
  static constexpr ClientId kClient{77};

  InodeId AnyDir() { return dirs_[random_() % dirs_.size()]; }
  std::string AnyName() {
    return std::string(1 + random_() % 3, static_cast<char>('a' + random_() % 26)) + std::to_string(random_() % 40);
  }
  InodeId At(InodeId dir, const std::string& name) {
    const auto it = entries_[dir].find(name);
    return it == entries_[dir].end() ? InodeId() : it->second;
  }
  Code Transact(std::vector<TxnOp> ops) {
    const TxnId txn(++txn_);
    std::vector<ShardId> set;
    const Status vote = shard_.ns.Prepare(txn, ops, kRoot, &set);
    if (!vote.ok()) return vote.code();
    if (random_() % 4 == 0) {
      EXPECT_EQ(shard_.ns.Check(), "");
    }
    const bool commit = random_() % 8 != 0;
    std::vector<InodeId> died;
    EXPECT_TRUE(shard_.ns.Decide(txn, commit, now_, &died).ok());
    for (InodeId id : died) shard_.ns.Forget(*shard_.ns.FindInode(id));
    return commit ? Code::kOk : Code::kInterrupted;
  }

  void Create() {
    const InodeId dir = AnyDir();
    const std::string name = AnyName();
    const Result<Inode*> made = shard_.Make(dir, name, random_() % 4 == 0 ? FileType::kSymlink : FileType::kFile);
    EXPECT_EQ(made.ok(), !At(dir, name).valid());
    if (!made.ok()) {
      EXPECT_EQ(made.code(), Code::kExists);
      return;
    }
    entries_[dir][name] = (*made)->id;
    links_[(*made)->id] = 1;
  }
  void MakeDir() {
    const InodeId dir = AnyDir();
    const std::string name = AnyName();
    if (At(dir, name).valid() || dirs_.size() > 20) return;
    const InodeId made = shard_.MakeDir(dir, name);
    entries_[dir][name] = made;
    dirs_.push_back(made);
  }
  void RemoveName(InodeId dir, const std::string& name) {
    const InodeId inode = At(dir, name);
    const Code code = shard_.Remove(dir, name, kRoot, now_);
    if (!inode.valid()) {
      EXPECT_EQ(code, Code::kNoEntry);
      return;
    }
    if (!links_.contains(inode)) {
      EXPECT_EQ(code, Code::kIsDirectory);
      return;
    }
    EXPECT_EQ(code, Code::kOk);
    entries_[dir].erase(name);
    --links_[inode];
  }
  void Unlink() {
    const InodeId dir = AnyDir();
    RemoveName(dir, PickName(dir));
  }
  std::string PickName(InodeId dir) {
    const auto& names = entries_[dir];
    if (names.empty() || random_() % 4 == 0) return AnyName();
    return std::next(names.begin(), static_cast<ptrdiff_t>(random_() % names.size()))->first;
  }
  void Link() {
    const InodeId from = AnyDir(), to = AnyDir();
    const std::string old_name = PickName(from), name = AnyName();
    const InodeId inode = At(from, old_name);
    if (!inode.valid() || !links_.contains(inode)) return;
    const FileType type = shard_.ns.FindInode(inode)->type;
    const Code code = Transact({LinkOp(inode, 1), DentryOp(to, name, {}, inode, type, type)});
    if (At(to, name).valid()) {
      EXPECT_EQ(code, Code::kConflict);
      return;
    }
    if (code != Code::kOk) {
      EXPECT_EQ(code, Code::kInterrupted);
      return;
    }
    entries_[to][name] = inode;
    ++links_[inode];
  }
  // A file over nothing or over another file.
  void Rename() {
    const InodeId from = AnyDir(), to = AnyDir();
    const std::string old_name = PickName(from), name = PickName(to);
    const InodeId inode = At(from, old_name), target = At(to, name);
    if (!inode.valid() || inode == target || (target.valid() && links_.contains(inode) != links_.contains(target)))
      return;
    if (!links_.contains(inode)) return;
    const FileType type = shard_.ns.FindInode(inode)->type;
    const FileType old_type = target.valid() ? shard_.ns.FindInode(target)->type : FileType::kNone;
    std::vector<TxnOp> ops{DentryOp(from, old_name, inode, {}, type), DentryOp(to, name, target, inode, old_type, type),
                           LinkOp(inode, 0)};
    if (target.valid()) ops.push_back(LinkOp(target, -1));
    const Code code = Transact(ops);
    if (code != Code::kOk) {
      EXPECT_EQ(code, Code::kInterrupted);
      return;
    }
    entries_[from].erase(old_name);
    entries_[to][name] = inode;
    if (target.valid()) --links_[target];
  }
  bool RemoveDirAt(InodeId parent, const std::string& name) {
    const InodeId dir = At(parent, name);
    const Code code = Transact({DirOp(TxnKind::kDirRemove, dir), DirOp(TxnKind::kDirEmpty, dir),
                                DentryOp(parent, name, dir, {}, FileType::kDirectory)});
    if (!entries_[dir].empty()) {
      EXPECT_EQ(code, Code::kNotEmpty);
      return false;
    }
    if (code != Code::kOk) {
      EXPECT_EQ(code, Code::kInterrupted);
      return true;
    }
    entries_[parent].erase(name);
    entries_.erase(dir);
    dirs_.erase(std::find(dirs_.begin(), dirs_.end(), dir));
    EXPECT_FALSE(shard_.ns.Joined(dir));
    EXPECT_EQ(shard_.ns.FindInode(dir), nullptr);
    return true;
  }
  void RemoveDir() {
    const InodeId parent = AnyDir();
    const std::string name = PickName(parent);
    const InodeId dir = At(parent, name);
    if (dir.valid() && !links_.contains(dir)) RemoveDirAt(parent, name);
  }
  void Open() {
    const InodeId dir = AnyDir();
    const InodeId inode = At(dir, PickName(dir));
    if (!inode.valid() || !links_.contains(inode)) return;
    shard_.ns.RegisterOpen(*shard_.ns.FindInode(inode), kClient);
    opens_.insert(inode);
  }
  void Close() {
    if (opens_.empty()) return;
    const auto it = std::next(opens_.begin(), static_cast<ptrdiff_t>(random_() % opens_.size()));
    std::vector<InodeId> died;
    shard_.ns.ReleaseOpen(*it, kClient, &died);
    for (InodeId id : died) shard_.ns.Forget(*shard_.ns.FindInode(id));
    opens_.erase(it);
  }

  Shard shard_;
  std::mt19937_64 random_;
  std::vector<InodeId> dirs_;
  std::map<InodeId, std::map<std::string, InodeId>> entries_;
  std::map<InodeId, uint32_t> links_;  // of everything that is no directory, also when gone
  std::multiset<InodeId> opens_;
  uint64_t txn_ = 0;
  Nanos now_ = 100;
};

class ModelTest : public testing::TestWithParam<uint64_t> {};

TEST_P(ModelTest, AgreesWithAMapAfterRandomOperations) {
  Model model(GetParam());
  for (int i = 0; i < 10000; ++i) {
    model.Step();
    if (i % 500 == 0) model.Compare();
    if (testing::Test::HasFailure()) FAIL() << "at step " << i << " of seed " << GetParam();
  }
  model.Compare();
  model.RemoveAll();
  EXPECT_EQ(model.ns().Check(), "");
  EXPECT_EQ(model.ns().inodes(), 1u);
  EXPECT_EQ(model.ns().prepared(), 0u);
  EXPECT_LT(model.ns().memory_bytes(), 64u * 1024);
}
INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest, testing::Range<uint64_t>(1, 7));

}  // namespace
}  // namespace mayfly
