// A file in the place of a raw device: what is on it, who may have it, and that nothing is left of it.
#include "device/device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/bytes.h"

namespace mayfly {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20, kBlock = DeviceTable::kBlockBytes;

struct Image {
  explicit Image(uint64_t bytes = 64 * kMiB) {
    path = (std::filesystem::temp_directory_path() / "mayfly_device_XXXXXX").string();
    const int fd = mkstemp(path.data());
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) std::abort();
    close(fd);
  }
  ~Image() { std::filesystem::remove(path); }
  void Put(uint64_t offset, std::string_view text) {
    const int fd = open(path.c_str(), O_WRONLY);
    if (pwrite(fd, text.data(), text.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(text.size())) abort();
    close(fd);
  }
  std::string All() const {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string path;
};

struct DeviceTest : testing::Test {
  void SetUp() override {
    ASSERT_TRUE(device.Open(image.path, false).ok());
    const DeviceFailure claimed = device.Claim();
    ASSERT_TRUE(claimed.ok()) << claimed.sentence;
  }
  Image image;
  Device device;
};

TEST_F(DeviceTest, FilesAreThereForWhoOpensItAgain) {
  ASSERT_TRUE(device.Create("s/member-0/journal", 8 * kMiB).ok());
  EXPECT_EQ(device.Create("s/member-0/journal", kMiB).code(), Code::kExists);
  ASSERT_TRUE(device.WriteFile("s/member-0/charter", AsBytes(std::string_view("who we are"))).ok());
  ASSERT_TRUE(device.WriteFile("s/member-0/charter", AsBytes(std::string_view("who we really are"))).ok());
  Device again;
  ASSERT_TRUE(again.Open(image.path, true).ok());
  EXPECT_EQ(AsText(*again.ReadFile("s/member-0/charter", 100)), "who we really are");
  EXPECT_EQ(again.ReadFile("s/member-0/charter", 5).code(), Code::kCorrupt);
  EXPECT_EQ(again.ReadFile("s/member-1/charter", 100).code(), Code::kNoEntry);
  const DeviceTable table = *again.Load();
  ASSERT_EQ(table.files.size(), 2u);
  EXPECT_EQ(table.Find("s/member-0/journal")->bytes, 8 * kMiB);
  EXPECT_EQ(table.blocks_free(), (64 - 2 - 8) * kMiB / kBlock - 1);
  EXPECT_EQ(device.Create("s/large", 64 * kMiB).code(), Code::kNoSpace);
}

TEST_F(DeviceTest, WhatIsRemovedIsGoneAndWithTheLastOfItTheTables) {
  ASSERT_TRUE(device.WriteFile("s/member-0/charter", AsBytes(std::string_view("secret one"))).ok());
  ASSERT_TRUE(device.WriteFile("s/member-1/charter", AsBytes(std::string_view("secret two"))).ok());
  ASSERT_TRUE(device.Create("s/member-1/shard-1/chunks", 40 * kMiB).ok());
  EXPECT_EQ(*device.Remove("s/member-", true), 0u) << "whole names only";
  EXPECT_EQ(*device.Remove("s/member-1", true), 2u);
  EXPECT_EQ(image.All().find("secret two"), std::string::npos);
  EXPECT_NE(image.All().find("secret one"), std::string::npos);
  EXPECT_EQ(*device.Remove("s/member-0", true), 1u);
  const std::string left = image.All();
  EXPECT_EQ(left.size(), 64 * kMiB);
  EXPECT_TRUE(std::all_of(left.begin(), left.end(), [](char c) { return c == 0; }));
  EXPECT_EQ(device.Load().code(), Code::kNoEntry);
}

TEST_F(DeviceTest, OfTwoPlacesTheYoungerThatIsWholeCounts) {
  ASSERT_TRUE(device.Create("a", kMiB).ok());
  ASSERT_TRUE(device.Create("b", kMiB).ok());
  const DeviceTable before = *device.Load();
  // A loss of power in the middle of the next change.
  image.Put((before.sequence + 1) % 2 * DeviceTable::kPlaceBytes + 100, "torn");
  EXPECT_EQ(device.Load()->files, before.files);
  ASSERT_TRUE(device.Create("c", kMiB).ok());
  EXPECT_EQ(device.Load()->files.size(), 3u);
  // Of the youngest, later: the one before it.
  image.Put((before.sequence + 1) % 2 * DeviceTable::kPlaceBytes + 100, "rot");
  EXPECT_EQ(device.Load()->files, before.files);
  image.Put(before.sequence % 2 * DeviceTable::kPlaceBytes + 100, "rot");
  EXPECT_EQ(device.Load().code(), Code::kCorrupt);
  EXPECT_EQ(device.Claim().code, Code::kCorrupt) << "it is not made anew over what may be files";
}

TEST_F(DeviceTest, AFileThatIsOpenToWriteIsLockedForOthers) {
  ASSERT_TRUE(device.Create("a", kMiB).ok());
  ASSERT_TRUE(device.Create("b", kMiB).ok());
  const DeviceTable table = *device.Load();
  const DeviceFile &a = *table.Find("a"), &b = *table.Find("b");
  const int first = *device.OpenData(O_RDWR), second = *device.OpenData(O_RDWR);
  EXPECT_EQ(Device::LockFile(first, a, 0), 0);
  EXPECT_EQ(Device::LockFile(second, a, 0), EAGAIN);
  EXPECT_EQ(Device::LockFile(second, b, 0), 0) << "another file";
  EXPECT_TRUE(*device.InUse(a, 0));
  ASSERT_TRUE(device.Create("c", kMiB).ok()) << "the table is not locked by them";
  Device::UnlockFile(first, a);
  EXPECT_FALSE(*device.InUse(a, 0));
  close(second);
  EXPECT_FALSE(*device.InUse(b, 0)) << "with its open file";
  close(first);
}

// N1: who looks without the lock sees one state or another, whatever others change meanwhile.
TEST_F(DeviceTest, ManyMayChangeItAtOnceAndOthersLook) {
  constexpr int kWriters = 4, kFiles = 40;
  std::vector<std::thread> threads;
  std::atomic<int> failed{0}, left{kWriters};
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      Device own;
      bool good = own.Open(image.path, false).ok() && own.Claim().ok();
      for (int i = 0; i < kFiles; ++i) good &= own.Create(fmt::format("s/{}/{}", w, i), kBlock).ok();
      failed += good ? 0 : 1;
      --left;
    });
  }
  while (left != 0) {
    if (!device.Load().ok()) ++failed;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  const DeviceTable table = *device.Load();  // sound: T1
  EXPECT_EQ(table.files.size(), size_t{kWriters} * kFiles);
}

TEST(Device, WhatCarriesSomethingElseIsRefused) {
  Image image;
  image.Put(kMiB, "a letter");
  Device device;
  ASSERT_TRUE(device.Open(image.path, false).ok());
  const DeviceFailure refused = device.Claim();
  EXPECT_EQ(refused.code, Code::kExists);
  EXPECT_NE(refused.sentence.find("something else"), std::string::npos) << refused.sentence;
  EXPECT_EQ(image.All().substr(kMiB, 8), "a letter");
}

TEST(Device, KnownSignaturesAreNamed) {
  const struct {
    uint64_t offset;
    std::string_view bytes;
    std::string_view what;
  } cases[] = {{0x438, "\x53\xef", "ext4"},        {0, "XFSB", "XFS"},
               {0x10040, "_BHRfS_M", "btrfs"},     {4086, "SWAPSPACE2", "swap"},
               {512, "LABELONE", "LVM"},           {0, "LUKS\xba\xbe", "LUKS"},
               {512, "EFI PART", "partition"},     {510, "\x55\xaa", "MBR"},
               {4096, "\xfc\x4e\x2b\xa9", "RAID"}, {64 * kMiB - 512, "EFI PART", "partition"}};
  for (const auto& one : cases) {
    Image image;
    const int fd = open(image.path.c_str(), O_RDONLY);
    EXPECT_EQ(ForeignSignature(fd, 64 * kMiB), "");
    image.Put(one.offset, one.bytes);
    EXPECT_NE(ForeignSignature(fd, 64 * kMiB).find(one.what), std::string::npos) << one.what;
    close(fd);
  }
}

TEST(Device, WhoElseMayReadItIsSaid) {
  Image image;
  ASSERT_EQ(chmod(image.path.c_str(), 0644), 0);
  Device device;
  const DeviceFailure refused = device.Open(image.path, true);
  EXPECT_EQ(refused.code, Code::kAccess);
  EXPECT_NE(refused.sentence.find("chmod 600"), std::string::npos) << refused.sentence;
}

TEST(Device, ASmallOneIsNoPlaceForData) {
  Image image(kMiB);
  Device device;
  EXPECT_EQ(device.Open(image.path, false).code, Code::kNotDirectory);
}

TEST(Device, APathGoesOnBehindTheDevice) {
  Image image;
  const auto whole = SplitDevicePath(image.path), file = SplitDevicePath(image.path + "/mayfly-1/member-0/charter");
  ASSERT_TRUE(whole && file);
  EXPECT_EQ(whole->device, image.path);
  EXPECT_EQ(whole->name, "");
  EXPECT_EQ(file->device, image.path);
  EXPECT_EQ(file->name, "mayfly-1/member-0/charter");
  EXPECT_FALSE(SplitDevicePath("/tmp"));
  EXPECT_FALSE(SplitDevicePath("/tmp/there/is/no/such/thing"));
  EXPECT_FALSE(SplitDevicePath(""));
}

}  // namespace
}  // namespace mayfly
