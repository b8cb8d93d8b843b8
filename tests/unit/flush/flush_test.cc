// What a flush leaves on the PFS when nothing goes wrong.
#include <sys/xattr.h>

#include "unit/flush/flush_world.h"

namespace mayfly {
namespace {

constexpr size_t kChunk = size_t{1} << kChunkBitsMin;

Nanos MtimeOf(const struct stat& st) {
  return static_cast<Nanos>(st.st_mtim.tv_sec) * kSecond + static_cast<Nanos>(st.st_mtim.tv_nsec);
}

// Each with one shard and with three: then chunks, dentries and inodes are spread.
class Flush : public testing::TestWithParam<uint32_t> {
 protected:
  Flush() : world(OptionsOf(GetParam())) {}
  static FlushWorld::Options OptionsOf(uint32_t shards) {
    FlushWorld::Options options;
    options.shards = shards;
    return options;
  }
  FlushWorld world;
};
INSTANTIATE_TEST_SUITE_P(Shards, Flush, testing::Values(1, 3));

TEST_P(Flush, AnEmptyNamespaceMakesAnEmptyTarget) {
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_TRUE(std::filesystem::is_empty(world.target));
  EXPECT_EQ(world.Count("files"), 0u);
}

TEST_P(Flush, FilesOfAllSizesArriveWithTheirContent) {
  const InodeId dir = world.Dir(world.root, "data");
  std::map<std::string, std::string> expected;
  uint64_t bytes = 0;
  for (size_t size :
       {size_t{0}, size_t{1}, size_t{4096}, kChunk - 1, kChunk, kChunk + 1, 5 * kChunk + 77, size_t{20} << 20}) {
    const std::string name = "f" + std::to_string(size);
    expected[name] = Noise(size, size);
    world.File(dir, name, expected[name]);
    bytes += size;
  }
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  for (const auto& [name, data] : expected) {
    EXPECT_TRUE(world.Content("data/" + name) == data) << name;
  }
  EXPECT_EQ(world.Count("files"), expected.size());
  EXPECT_EQ(world.Count("bytes"), bytes);
  EXPECT_EQ(world.Count("directories"), 2u);
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(Flush, HolesStayHoles) {
  const InodeId file = world.File(world.root, "sparse");
  world.Write(file, 3 * kChunk, Noise(1, 5000));
  world.InodeOf(file)->size = 900 * kChunk;  // truncated upwards
  EXPECT_EQ(world.Flush(), Code::kOk);
  const struct stat st = world.StatOf("sparse");
  EXPECT_EQ(static_cast<uint64_t>(st.st_size), 900 * kChunk);
  EXPECT_LE(st.st_blocks, 64);
  EXPECT_EQ(world.Content("sparse").substr(3 * kChunk, 5000), Noise(1, 5000));
  EXPECT_EQ(world.Count("bytes"), 5000u);
}

TEST_P(Flush, OverwrittenPiecesArriveAsTheyAre) {
  std::string data = Noise(1, 3 * kChunk);
  const InodeId file = world.File(world.root, "f", data);
  for (int i = 0; i < 200; ++i) {
    const std::string piece = Noise(100 + i, 1 + i * 7);
    const size_t at = (i * 7919) % (data.size() - piece.size());
    data.replace(at, piece.size(), piece);
    world.Write(file, at, piece);
  }
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_TRUE(world.Content("f") == data);
}

TEST_P(Flush, ModesAndTimesAreKept) {
  const InodeId dir = world.Dir(world.root, "dir");
  const InodeId inner = world.Dir(dir, "inner");
  const InodeId file = world.File(inner, "file", Noise(1, 2 * kChunk + 3));
  world.InodeOf(file)->permissions = 0440;
  world.InodeOf(inner)->permissions = 0500;
  world.InodeOf(dir)->permissions = 02751;
  world.SetTimes(file, 5 * kSecond, 6 * kSecond + 7);
  world.SetTimes(inner, 8 * kSecond, 9 * kSecond + 1);
  world.SetTimes(dir, 10 * kSecond, 11 * kSecond + 2);
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.StatOf("dir/inner/file").st_mode & 07777, 0440u);
  EXPECT_EQ(world.StatOf("dir/inner").st_mode & 07777, 0500u);
  EXPECT_EQ(world.StatOf("dir").st_mode & 07777, 02751u);
  EXPECT_EQ(MtimeOf(world.StatOf("dir/inner/file")), 6 * kSecond + 7);
  EXPECT_EQ(world.StatOf("dir/inner/file").st_atim.tv_sec, 5);
  EXPECT_EQ(MtimeOf(world.StatOf("dir/inner")), 9 * kSecond + 1);
  EXPECT_EQ(MtimeOf(world.StatOf("dir")), 11 * kSecond + 2);
}

TEST_P(Flush, ExtendedAttributesAreKept) {
  const InodeId dir = world.Dir(world.root, "dir");
  const InodeId file = world.File(dir, "file", "x");
  world.InodeOf(file)->Extra().xattrs.emplace_back("user.color", std::string("bl\0ue", 5));
  world.InodeOf(file)->permissions = 0400;
  world.InodeOf(dir)->Extra().xattrs.emplace_back("user.kind", "box");
  EXPECT_EQ(world.Flush(), Code::kOk);
  char value[16];
  ASSERT_EQ(getxattr(world.At("dir/file").c_str(), "user.color", value, sizeof value), 5);
  EXPECT_EQ(std::string(value, 5), std::string("bl\0ue", 5));
  ASSERT_EQ(getxattr(world.At("dir").c_str(), "user.kind", value, sizeof value), 3);
  EXPECT_EQ(world.Count("refused"), 0u);
}

TEST_P(Flush, SymbolicLinksAreKeptAndNotFollowed) {
  const InodeId dir = world.Dir(world.root, "dir");
  const InodeId link = world.Symlink(dir, "link", "../nowhere/at all");
  world.Symlink(world.root, "up", "/etc/passwd");
  world.SetTimes(link, 3 * kSecond, 4 * kSecond);
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(std::filesystem::read_symlink(world.At("dir/link")), "../nowhere/at all");
  EXPECT_EQ(std::filesystem::read_symlink(world.At("up")), "/etc/passwd");
  EXPECT_EQ(world.StatOf("dir/link").st_mtim.tv_sec, 4);
  EXPECT_EQ(world.Count("files"), 2u);
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("skipped"), 2u);
}

TEST_P(Flush, HardLinksAreOneFileAgain) {
  const InodeId a = world.Dir(world.root, "a");
  const InodeId b = world.Dir(world.root, "b");
  const std::string data = Noise(3, 3 * kChunk);
  const InodeId file = world.File(a, "one", data);
  world.HardLink(file, a, "two");
  for (int i = 0; i < 20; ++i) world.HardLink(file, b, "n" + std::to_string(i));
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  const struct stat one = world.StatOf("a/one");
  EXPECT_EQ(one.st_nlink, 22u);
  EXPECT_EQ(world.StatOf("a/two").st_ino, one.st_ino);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(world.StatOf("b/n" + std::to_string(i)).st_ino, one.st_ino);
  EXPECT_TRUE(world.Content("b/n7") == data);
  EXPECT_EQ(world.Count("bytes"), data.size());
  EXPECT_TRUE(world.Temporaries().empty());
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("skipped"), 22u);
  // With the content changed all names get the new one.
  world.Write(file, 5, "changed");
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.StatOf("a/one").st_nlink, 22u);
  EXPECT_EQ(world.Content("b/n19").substr(5, 7), "changed");
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(Flush, AnyNameWorks) {
  const std::vector<std::string> names = {"-",    "-rf",  "--",  "new\nline",           "\xff\xfe", " ", "*",
                                          "$(x)", "a\\b", "...", std::string(255, 'n'), "\xc3\xa4"};
  for (const std::string& name : names) {
    const InodeId dir = world.Dir(world.root, name);
    for (const std::string& inner : names) world.File(dir, inner, inner);
  }
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  for (const std::string& name : names) {
    for (const std::string& inner : names) EXPECT_EQ(world.Content(name + "/" + inner), inner);
  }
}

TEST_P(Flush, PathsLongerThanTheKernelTakesWork) {
  InodeId dir = world.root;
  for (int i = 0; i < 20; ++i) dir = world.Dir(dir, std::string(250, 'd'));
  world.File(dir, "deep", "down");
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  EXPECT_EQ(world.Count("files"), 1u);
  const int before = open(".", O_PATH | O_CLOEXEC);
  ASSERT_EQ(chdir(world.target.c_str()), 0);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(chdir(std::string(250, 'd').c_str()), 0);
  struct stat st;
  EXPECT_EQ(stat("deep", &st), 0);
  EXPECT_EQ(st.st_size, 4);
  ASSERT_EQ(fchdir(before), 0);
  close(before);
}

TEST_P(Flush, DeepAndWideTreesAreComplete) {
  std::vector<std::pair<InodeId, std::string>> dirs = {{world.root, ""}};
  uint64_t files = 0;
  for (size_t i = 0; i < 20; ++i) {
    const auto [parent, path] = dirs[i / 3];
    const std::string name = "d" + std::to_string(i);
    dirs.emplace_back(world.Dir(parent, name), path + name + "/");
    for (int f = 0; f < 2; ++f, ++files) world.File(dirs.back().first, "f" + std::to_string(f), dirs.back().second);
  }
  // More than a page of one directory.
  for (int f = 0; f < 300; ++f, ++files) world.File(dirs[1].first, fmt::format("{:x>230}", f));
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("files"), files);
  EXPECT_EQ(world.Count("directories"), 21u);
  for (size_t i = 1; i < dirs.size(); ++i) EXPECT_EQ(world.Content(dirs[i].second + "f1"), dirs[i].second);
  EXPECT_TRUE(world.Exists(dirs[1].second + fmt::format("{:x>230}", 299)));
}

TEST_P(Flush, EntriesWhoseInodeLivesElsewhereArrive) {
  const InodeId dir = world.Dir(world.root, "dir");
  for (int i = 0; i < 30; ++i) {
    const std::string from = "from" + std::to_string(i), to = "to" + std::to_string(i);
    world.File(dir, from, Noise(i, 3 * kChunk));
    world.Rename(dir, from, to);
    world.Symlink(dir, "l" + from, to);
    world.Rename(dir, "l" + from, "l" + to);
    world.Dir(dir, "d" + from);
    world.Rename(dir, "d" + from, "d" + to);
  }
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  for (int i = 0; i < 30; ++i) {
    const std::string to = "to" + std::to_string(i);
    EXPECT_TRUE(world.Content("dir/" + to) == Noise(i, 3 * kChunk));
    EXPECT_EQ(std::filesystem::read_symlink(world.At("dir/l" + to)), to);
    EXPECT_TRUE(std::filesystem::is_directory(world.At("dir/d" + to)));
  }
  if (GetParam() > 1) {
    EXPECT_GT(world.served[Method::kFlushFile], 10u);
    EXPECT_GT(world.served[Method::kFlushChunks], 10u);
    EXPECT_GT(world.served[Method::kShards], 0u);
  }
}

TEST_P(Flush, ASecondRunSkipsWhatIsThere) {
  const InodeId file = world.File(world.root, "a", Noise(1, 4 * kChunk));
  world.File(world.root, "b", "b");
  world.File(world.root, "c", "c");
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("files"), 3u);
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("files"), 0u);
  EXPECT_EQ(world.Count("skipped"), 3u);
  EXPECT_EQ(world.Count("bytes"), 0u);
  // One changes here, at a chunk that may be anywhere, one there, and one is gone there.
  world.Write(file, 2 * kChunk + 5, "x");
  std::ofstream(world.At("b")) << "somebody else's";
  std::filesystem::remove(world.At("c"));
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("files"), 3u);
  EXPECT_EQ(world.Content("a").substr(2 * kChunk + 5, 1), "x");
  EXPECT_EQ(world.Content("b"), "b");
  // To another target everything goes again.
  FlushSpec spec = world.Spec();
  spec.target += "2";
  EXPECT_EQ(world.Flush(spec), Code::kOk);
  EXPECT_EQ(world.Count("files"), 3u);
}

TEST_P(Flush, AChangeOfAttributesIsCopiedAgain) {
  const InodeId file = world.File(world.root, "f", "data");
  EXPECT_EQ(world.Flush(), Code::kOk);
  world.InodeOf(file)->permissions = 0600;
  ++world.InodeOf(file)->version;
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.StatOf("f").st_mode & 07777, 0600u);
}

TEST_P(Flush, ASubtreeGoesBelowTheTarget) {
  const InodeId a = world.Dir(world.root, "a");
  const InodeId b = world.Dir(a, "b");
  world.File(b, "in", "in");
  world.File(a, "out", "out");
  world.InodeOf(b)->permissions = 0711;
  EXPECT_EQ(world.Flush(world.Spec("//a/b/")), Code::kOk) << world.report.dump();
  EXPECT_EQ(world.Content("in"), "in");
  EXPECT_FALSE(world.Exists("out"));
  EXPECT_EQ(world.StatOf("").st_mode & 07777, 0711u);
}

TEST_P(Flush, ASingleFileGoesIntoTheTarget) {
  const InodeId a = world.Dir(world.root, "a");
  world.File(a, "one", "1");
  world.File(a, "two", "2");
  EXPECT_EQ(world.Flush(world.Spec("/a/one")), Code::kOk) << world.report.dump();
  EXPECT_EQ(world.Content("one"), "1");
  EXPECT_FALSE(world.Exists("two"));
}

TEST_P(Flush, APatternTakesWhatMatchesAndOnlyTheDirectoriesThatItNeeds) {
  const InodeId a = world.Dir(world.root, "a");
  const InodeId deep = world.Dir(a, "deep");
  const InodeId empty = world.Dir(world.root, "empty");
  world.Dir(empty, "inner");
  world.File(deep, "x.ckpt", "x");
  world.File(deep, "x.log", "x");
  world.File(world.root, "y.ckpt", "y");
  FlushSpec spec = world.Spec();
  spec.pattern = "*.ckpt";
  EXPECT_EQ(world.Flush(spec), Code::kOk);
  EXPECT_EQ(world.Count("files"), 2u);
  EXPECT_TRUE(world.Exists("a/deep/x.ckpt"));
  EXPECT_TRUE(world.Exists("y.ckpt"));
  EXPECT_FALSE(world.Exists("a/deep/x.log"));
  EXPECT_FALSE(world.Exists("empty"));
  spec.pattern = "empty";
  EXPECT_EQ(world.Flush(spec), Code::kOk);
  EXPECT_TRUE(world.Exists("empty"));
  EXPECT_FALSE(world.Exists("empty/inner"));
}

TEST_P(Flush, TheRootOfTheNamespaceLeavesAnExistingTargetItsMode) {
  ASSERT_EQ(mkdir(world.target.c_str(), 0750), 0);
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.StatOf("").st_mode & 07777, 0750u);
}

TEST_P(Flush, ProgressGrowsToItsTotals) {
  for (int i = 0; i < 40; ++i) world.File(world.root, std::to_string(i), Noise(i, 1000 + i));
  world.File(world.root, "large", Noise(1, 100 * kChunk));
  const uint64_t job = world.Start(world.Spec());
  uint64_t last = 0;
  for (;;) {
    const FlushStatusReply now = world.flusher().StatusOf(job).value();
    EXPECT_GE(now.files_done, last);
    EXPECT_LE(now.files_done, now.files_total);
    EXPECT_LE(now.bytes_done, now.bytes_total);
    last = now.files_done;
    if (now.done) {
      EXPECT_EQ(now.files_done, 41u);
      EXPECT_EQ(now.files_total, 41u);
      EXPECT_EQ(now.bytes_done, now.bytes_total);
      EXPECT_EQ(now.result, Code::kOk);
      break;
    }
    EXPECT_EQ(world.flusher().ReportOf(job).value(), "");
    world.Turn();
  }
  EXPECT_FALSE(world.flusher().busy());
  EXPECT_EQ(world.flusher().StatusOf(job + 1).code(), Code::kNoEntry);
}

TEST_P(Flush, TwoFlushesAtOnceDoNotDisturbEachOther) {
  for (int i = 0; i < 20; ++i) world.File(world.root, std::to_string(i), Noise(i, 2 * kChunk));
  FlushSpec other = world.Spec();
  other.target += "2";
  const uint64_t one = world.Start(world.Spec()), two = world.Start(other), three = world.Start(world.Spec());
  EXPECT_EQ(world.Finish(one), Code::kOk);
  EXPECT_EQ(world.Finish(two), Code::kOk);
  EXPECT_EQ(world.Finish(three), Code::kOk);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(world.Content(std::to_string(i)) == Noise(i, 2 * kChunk));
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST(FlushWithoutChecksums, IsVerifiedAllTheSame) {
  FlushWorld::Options options;
  options.shards = 2;
  options.checksums = false;
  FlushWorld world(options);
  world.File(world.root, "f", Noise(1, 5 * kChunk + 5));
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_TRUE(world.Content("f") == Noise(1, 5 * kChunk + 5));
  world.faults.flip_writes = true;
  world.File(world.root, "g", Noise(2, 5 * kChunk));
  EXPECT_EQ(world.Flush(), Code::kIo);
  EXPECT_FALSE(world.Exists("g"));
}

TEST(FlushRefuses, SourcesAndTargetsThatAreNone) {
  FlushWorld world({});
  for (const char* source : {"/a/../b", "/./a", ".."}) {
    EXPECT_EQ(world.flusher().Start(world.Spec(source)).code(), Code::kInvalid) << source;
  }
  FlushSpec spec = world.Spec();
  for (const std::string& target : {std::string(), std::string("relative/path"), std::string("/with\0nul", 9)}) {
    spec.target = target;
    EXPECT_EQ(world.flusher().Start(spec).code(), Code::kInvalid);
  }
  EXPECT_EQ(world.Flush(world.Spec("/not/there")), Code::kNoEntry);
  world.File(world.root, "file");
  EXPECT_EQ(world.Flush(world.Spec("/file/below")), Code::kNotDirectory);
  EXPECT_EQ(world.report["errors"].size(), 1u);
}

}  // namespace
}  // namespace mayfly
