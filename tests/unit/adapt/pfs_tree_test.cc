// The door to the PFS, on a real directory: by openat2, and component by component.
#include "adapt/posix/pfs_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace mayfly {
namespace {

class PfsTreeTest : public testing::TestWithParam<bool> {
 protected:
  PfsTreeTest() {
    std::string pattern = ::testing::TempDir() + "mayfly-pfs-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    scratch = pattern;
    EXPECT_EQ(Open("in", true).code, Code::kOk);
  }
  ~PfsTreeTest() override { std::filesystem::remove_all(scratch); }
  PfsStatus Open(const std::string& name, bool create) {
    PosixPfsTree::Options options;
    options.openat2 = GetParam();
    PosixPfsTree tree(options);
    return tree.Open(scratch + "/" + name, create, &root, &created);
  }
  // A sentence: one line that names what it is about.
  void ExpectFailure(const PfsStatus& status, Code code, const std::string& about) {
    EXPECT_EQ(status.code, code) << status.why;
    EXPECT_NE(status.why.find(about), std::string::npos) << status.why;
    EXPECT_EQ(status.why.find('\n'), std::string::npos);
  }
  std::string scratch;
  std::shared_ptr<PfsRoot> root;
  bool created = false;
};
INSTANTIATE_TEST_SUITE_P(ByOpenat2, PfsTreeTest, testing::Bool());

TEST_P(PfsTreeTest, MakesTheTargetWithItsParents) {
  EXPECT_TRUE(created);
  EXPECT_TRUE(Open("a/b//c/", true).ok());
  EXPECT_TRUE(created);
  struct stat st;
  ASSERT_EQ(stat((scratch + "/a/b/c").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  EXPECT_TRUE(Open("a/b/c", true).ok());
  EXPECT_FALSE(created);
  ExpectFailure(Open("not/there", false), Code::kNoEntry, "not/there");
  std::filesystem::create_symlink(scratch + "/a", scratch + "/link");
  EXPECT_TRUE(Open("link/b", false).ok());
}

TEST_P(PfsTreeTest, NothingIsReachedThroughASymlink) {
  std::filesystem::create_directories(scratch + "/outside/sub");
  std::ofstream(scratch + "/outside/file") << "x";
  std::filesystem::create_symlink("../outside", scratch + "/in/rel");
  std::filesystem::create_symlink(scratch + "/outside", scratch + "/in/abs");
  std::filesystem::create_symlink("file", scratch + "/in/final");
  std::ofstream(scratch + "/in/file") << "x";
  std::unique_ptr<PfsFile> file;
  PfsAttr attr;
  bool made = false;
  for (const std::string link : {"rel", "abs"}) {
    ExpectFailure(root->CreateFile(link + "/new", &file), Code::kLoop, link + "/new");
    ExpectFailure(root->OpenFile(link + "/file", &file), Code::kLoop, link + "/file");
    ExpectFailure(root->MakeDirectory(link + "/dir", &made), Code::kLoop, link + "/dir");
    ExpectFailure(root->MakeDirectory(link, &made), Code::kExists, link);
    ExpectFailure(root->OpenDirectory(link, &file), Code::kLoop, link);
    ExpectFailure(root->Symlink("x", link + "/s"), Code::kLoop, link + "/s");
    ExpectFailure(root->Link("file", link + "/l"), Code::kLoop, link + "/l");
    ExpectFailure(root->Link(link + "/file", "l"), Code::kLoop, link + "/file");
    ExpectFailure(root->Rename("file", link + "/r"), Code::kLoop, link + "/r");
    ExpectFailure(root->Rename(link + "/file", "r"), Code::kLoop, link + "/file");
    ExpectFailure(root->Unlink(link + "/file"), Code::kLoop, link + "/file");
    ExpectFailure(root->Stat(link + "/file", &attr), Code::kLoop, link + "/file");
    ExpectFailure(root->SetSymlinkOwner(link + "/file", 0, 0), Code::kLoop, link + "/file");
    ExpectFailure(root->SetSymlinkTimes(link + "/file", 0, 0), Code::kLoop, link + "/file");
    ExpectFailure(root->List(link, [](std::string_view) {}), Code::kLoop, link);
    ExpectFailure(root->CreateFile(link + "/sub/new", &file), Code::kLoop, link + "/sub/new");
  }
  ExpectFailure(root->OpenFile("final", &file), Code::kLoop, "final");
  // A symlink itself can be looked at, linked, replaced and removed.
  EXPECT_TRUE(root->Stat("rel", &attr).ok());
  EXPECT_EQ(attr.type, PfsType::kSymlink);
  EXPECT_TRUE(root->Link("rel", "rel2").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(scratch + "/in/rel2"));
  EXPECT_TRUE(root->Rename("file", "rel").ok());
  EXPECT_TRUE(root->Unlink("abs").ok());
  std::set<std::string> outside;
  for (const auto& entry : std::filesystem::directory_iterator(scratch + "/outside")) {
    outside.insert(entry.path().filename());
  }
  EXPECT_EQ(outside, (std::set<std::string>{"file", "sub"}));
}

TEST_P(PfsTreeTest, PathsThatAreNoneAreRefused) {
  std::unique_ptr<PfsFile> file;
  for (const std::string& path : {std::string("../x"), std::string(".."), std::string("."), std::string("a/../x"),
                                  std::string("/etc/x"), std::string("x/"), std::string("a\0b/c", 5)}) {
    EXPECT_NE(root->CreateFile(path, &file).code, Code::kOk) << path;
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch + "/in"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch), {}), 1);
}

TEST_P(PfsTreeTest, WritesAndReadsAtOffsets) {
  std::unique_ptr<PfsFile> file;
  ASSERT_TRUE(root->CreateFile("f", &file).ok());
  ExpectFailure(root->CreateFile("f", &file), Code::kExists, "/in/f");
  ASSERT_TRUE(root->OpenFile("f", &file).ok());
  EXPECT_TRUE(file->WriteAt(AsBytes("world"), 100'000).ok());
  EXPECT_TRUE(file->WriteAt(AsBytes("hello"), 5).ok());
  EXPECT_TRUE(file->Sync().ok());
  file->DropCache(0, 0);
  std::vector<uint8_t> read(5);
  EXPECT_TRUE(file->ReadAt(read, 100'000).ok());
  EXPECT_EQ(AsText(read), "world");
  ExpectFailure(file->ReadAt(read, 100'001), Code::kIo, "too early");
  PfsAttr attr;
  EXPECT_TRUE(file->Truncate(7).ok());
  EXPECT_TRUE(file->SetMode(04711).ok());
  EXPECT_TRUE(file->SetTimes(3 * kSecond + 1, 4 * kSecond + 2).ok());
  EXPECT_TRUE(file->Stat(&attr).ok());
  EXPECT_EQ(attr.size, 7u);
  EXPECT_EQ(attr.permissions, 04711);
  EXPECT_EQ(attr.mtime, 4 * kSecond + 2);
  EXPECT_EQ(attr.type, PfsType::kFile);
  ExpectFailure(file->SetXattr("nonsense", "x"), Code::kNotSupported, "nonsense");
}

TEST_P(PfsTreeTest, DirectoriesAreMadeOnceAndListed) {
  bool made = false;
  EXPECT_TRUE(root->MakeDirectory("d", &made).ok());
  EXPECT_TRUE(made);
  EXPECT_TRUE(root->MakeDirectory("d", &made).ok());
  EXPECT_FALSE(made);
  ExpectFailure(root->MakeDirectory("x/y", &made), Code::kNoEntry, "x/y");
  std::unique_ptr<PfsFile> file;
  for (const char* name : {"d/-a", "d/b\nc", "d/\xff"}) EXPECT_TRUE(root->CreateFile(name, &file).ok());
  std::set<std::string> names;
  EXPECT_TRUE(root->List("d", [&](std::string_view name) { names.emplace(name); }).ok());
  EXPECT_EQ(names, (std::set<std::string>{"-a", "b\nc", "\xff"}));
  ExpectFailure(root->MakeDirectory("d/-a", &made), Code::kExists, "d/-a");
  ExpectFailure(root->OpenFile("d", &file), Code::kIsDirectory, "/in/d");
  EXPECT_EQ(mkfifo((scratch + "/in/fifo").c_str(), 0600), 0);
  ExpectFailure(root->OpenFile("fifo", &file), Code::kExists, "fifo");
  PfsSpace space;
  EXPECT_TRUE(root->Space(&space).ok());
  EXPECT_GT(space.bytes_total, 0u);
}

TEST_P(PfsTreeTest, ALockedDirectoryOfOursIsOpenedForTheFlush) {
  bool made = false;
  EXPECT_TRUE(root->MakeDirectory("d", &made).ok());
  EXPECT_EQ(chmod((scratch + "/in/d").c_str(), 0050), 0);
  EXPECT_TRUE(root->MakeDirectory("d", &made).ok());
  std::unique_ptr<PfsFile> file;
  EXPECT_TRUE(root->CreateFile("d/f", &file).ok());
  PfsAttr attr;
  EXPECT_TRUE(root->Stat("d", &attr).ok());
  EXPECT_EQ(attr.permissions, geteuid() == 0 ? 0050 : 0750);  // root may work anywhere
  EXPECT_EQ(chmod((scratch + "/in").c_str(), 0), 0);
  EXPECT_TRUE(Open("in", false).ok());
}

}  // namespace
}  // namespace mayfly
