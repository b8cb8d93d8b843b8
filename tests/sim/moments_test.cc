// What an operation of several messages says was true at one moment: a message of it waits on its way while others
// change what it has looked at. sim/model_test searches for such cases by chance; these are the ones that were found.
#include <gtest/gtest.h>

#include "sim/client.h"

namespace mayfly {
namespace {

constexpr uint32_t kNewFile = kOpenRead | kOpenWrite | kOpenCreate;

class MomentsTest : public testing::Test {
 protected:
  MomentsTest() {
    ClientOptions options;
    options.map_arena = false;
    options.write_behind_bytes = options.readahead_bytes = 0;
    one_ = std::make_unique<SimClient>(cluster_, options);
    other_ = std::make_unique<SimClient>(cluster_, options);
    cluster_.network().SetPolicy([this](const SimNetwork::Passing& passing) { return Pass(passing); });
  }
  void TearDown() override {
    cluster_.network().SetPolicy(nullptr);
    one_.reset();
    other_.reset();
  }

  SimNetwork::Fate Pass(const SimNetwork::Passing& passing) {
    SimNetwork::Fate fate;
    if (!slow_ || MethodOf(passing) != slow_) return fate;
    ++on_their_way_;
    fate.delay = kSecond;
    return fate;
  }
  // Starts nothing new: runs until a message of this method is on its way, where it stays for a second.
  template <class T>
  void RunUntilSent(Method method, Task<T>& task) {
    while (on_their_way_ == 0) {
      ASSERT_FALSE(task.done()) << "without " << InfoOf(method)->name;
      ASSERT_TRUE(cluster_.Turn());
    }
    slow_.reset();
    sent_at_ = cluster_.clock().Now();
  }
  std::string PathAt(uint32_t shard, const std::string& name) { return cluster_.PathAt(ShardId(shard), name); }
  void Make(const std::string& path) { ASSERT_TRUE(other_->Wait(other_->lane().Create(path, true, 0644)).ok()); }
  Code Mkdir(const std::string& path) { return other_->Wait(other_->lane().Mkdir(path, 0755)).code(); }
  Result<Attr> Stat(const std::string& path) { return other_->Wait(other_->lane().Stat(path, true)); }

  SimCluster cluster_;
  std::unique_ptr<SimClient> one_, other_;
  std::optional<Method> slow_;
  int on_their_way_ = 0;
  Nanos sent_at_ = 0;
};

// The old name was there before the directory was, at no moment beside it.
TEST_F(MomentsTest, ARenameFailsForWhatBothNamesWereAtOnce) {
  const std::string from = PathAt(1, "from"), to = PathAt(2, "to"), by_there = PathAt(2, "other");
  Make(from);
  Make(by_there);
  slow_ = Method::kPeek;
  Task<Status> rename = one_->lane().Rename(from, to, 0);
  RunUntilSent(Method::kPeek, rename);
  ASSERT_TRUE(other_->Wait(other_->lane().Unlink(from)).ok());
  ASSERT_EQ(Mkdir(to), Code::kOk);
  ASSERT_FALSE(rename.done());
  EXPECT_EQ(cluster_.Wait(std::move(rename)).code(), Code::kNoEntry);  // and not kIsDirectory
}

TEST_F(MomentsTest, TwoNamesOfOneFileAreSoAtOnce) {
  const std::string from = PathAt(1, "from"), to = PathAt(2, "to"), by_there = PathAt(2, "other");
  Make(from);
  Make(by_there);
  slow_ = Method::kPeek;
  Task<Status> rename = one_->lane().Rename(from, to, 0);
  RunUntilSent(Method::kPeek, rename);
  ASSERT_TRUE(other_->Wait(other_->lane().Rename(from, to, 0)).ok());
  ASSERT_FALSE(rename.done());
  EXPECT_EQ(cluster_.Wait(std::move(rename)).code(), Code::kNoEntry);  // and not nothing to do
}

// A shard that is about to hold the directory's first entry there asks the directory's home.
TEST_F(MomentsTest, AFileIsMadeInTheDirectoryThatIsThere) {
  ASSERT_EQ(Mkdir("/d"), Code::kOk);
  const InodeId dir = Stat("/d")->inode;
  const uint32_t away = (dir.home().value + 1) % cluster_.placement().shard_count();
  const std::string path = "/d/" + cluster_.NameAt(ShardId(away), "f", dir);
  slow_ = Method::kDirJoin;
  Task<Result<int>> open = one_->lane().Open(path, kNewFile, 0644);
  RunUntilSent(Method::kDirJoin, open);
  ASSERT_EQ(Mkdir("/e"), Code::kOk);
  ASSERT_TRUE(other_->Wait(other_->lane().Rename("/e", "/d", 0)).ok());
  ASSERT_FALSE(open.done());
  EXPECT_EQ(cluster_.Wait(std::move(open)).code(), Code::kOk);  // at each moment there was a /d
  EXPECT_TRUE(Stat(path).ok());
}

// The name is at one shard, the file at another, which hears of the end a second later.
TEST_F(MomentsTest, ANameGoesOnlyOnceItsLinkIsCounted) {
  const std::string here = PathAt(1, "here"), there = PathAt(2, "there");
  Make(here);
  ASSERT_TRUE(other_->Wait(other_->lane().Link(here, there)).ok());
  ASSERT_EQ(Stat(here)->nlink, 2u);
  slow_ = Method::kDecide;
  Task<Status> unlink = one_->lane().Unlink(there);
  RunUntilSent(Method::kDecide, unlink);
  Task<Result<Attr>> look = other_->lane().Stat(there, true);
  while (cluster_.clock().Now() < sent_at_ + kSecond / 2) ASSERT_TRUE(cluster_.Turn());
  EXPECT_EQ(Stat(here)->nlink, 2u);
  EXPECT_FALSE(look.done());
  EXPECT_EQ(cluster_.Wait(std::move(look)).code(), Code::kNoEntry);
  EXPECT_EQ(Stat(here)->nlink, 1u);
  EXPECT_TRUE(cluster_.Wait(std::move(unlink)).ok());
}

// A new name that is not there yet, of a file whose old name is gone already.
TEST_F(MomentsTest, AFileThatIsRenamedIsAlwaysSomewhere) {
  const std::string from = PathAt(1, "from"), to = PathAt(2, "to"), by_there = PathAt(2, "other");
  Make(from);
  Make(by_there);
  slow_ = Method::kDecide;
  Task<Status> rename = one_->lane().Rename(from, to, 0);
  RunUntilSent(Method::kDecide, rename);
  Task<Result<Attr>> look = other_->lane().Stat(to, true);
  while (cluster_.clock().Now() < sent_at_ + kSecond / 2) ASSERT_TRUE(cluster_.Turn());
  EXPECT_EQ(Stat(from).code(), Code::kNoEntry);
  EXPECT_FALSE(look.done());
  EXPECT_TRUE(cluster_.Wait(std::move(look)).ok());
  EXPECT_TRUE(cluster_.Wait(std::move(rename)).ok());
}

}  // namespace
}  // namespace mayfly
