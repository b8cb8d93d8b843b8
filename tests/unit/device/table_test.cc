// The table of a device as bytes, and whose blocks are whose.
#include "device/table.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/checksum.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = DeviceTable::kBlockBytes, kFirst = DeviceTable::kDataOffset / kBlock;

DeviceTable Example() {
  DeviceTable table;
  table.sequence = 7;
  table.device_bytes = uint64_t{64} << 20;
  table.files.push_back({"mayfly-00112233-4455-6677-8899-aabbccddeeff/member-0/charter", 1234, {{kFirst, 1}}});
  table.files.push_back({"mayfly-00112233-4455-6677-8899-aabbccddeeff/member-0/shard-0/checkpoint.0",
                         12 * kBlock,
                         {{kFirst + 1, 4}, {kFirst + 100, 8}}});
  return table;
}

// The hex dump of share/doc/format/device.md: lines of "offset bytes", rows that are left out are zeros.
std::vector<uint8_t> Documented() {
  std::ifstream file(std::string(std::getenv("MAYFLY_SOURCE_DIR")) + "/share/doc/format/device.md");
  std::vector<uint8_t> bytes(kBlock);
  std::string line;
  while (std::getline(file, line)) {
    if (line.size() < 8 || line.find_first_not_of("0123456789abcdef") != 6 || line[6] != ' ') continue;
    std::istringstream words(line);
    size_t at = 0;
    words >> std::hex >> at;
    for (unsigned byte = 0; words >> std::hex >> byte; ++at) bytes.at(at) = static_cast<uint8_t>(byte);
  }
  return bytes;
}

TEST(DeviceTable, TheDocumentedExampleIsWhatIsWritten) {
  const std::vector<uint8_t> written = *EncodeDeviceTable(Example()), documented = Documented();
  ASSERT_EQ(written.size(), documented.size());
  for (size_t i = 0; i < written.size(); i += 16) {
    EXPECT_EQ(std::memcmp(written.data() + i, documented.data() + i, 16), 0) << "row " << std::hex << i;
  }
  DeviceTable read;
  ASSERT_EQ(DecodeDeviceTable(documented, &read), DeviceTableState::kGood);
  EXPECT_EQ(read.sequence, 7u);
  EXPECT_EQ(read.files, Example().files);
}

TEST(DeviceTable, EachFlippedBitIsFoundOut) {
  const std::vector<uint8_t> good = *EncodeDeviceTable(Example());
  for (size_t bit = 0; bit < 8 * (DeviceTable::kHeaderBytes + 2 * DeviceTable::kEntryBytes); ++bit) {
    std::vector<uint8_t> bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    DeviceTable read;
    ASSERT_NE(DecodeDeviceTable(bad, &read), DeviceTableState::kGood) << bit;
  }
}

// Bytes that somebody sealed who did not care.
DeviceTableState Sealed(const DeviceTable& table, size_t cut = 0) {
  const std::vector<uint8_t> bytes = *EncodeDeviceTable(table);
  DeviceTable read;
  return DecodeDeviceTable(Bytes(bytes).first(bytes.size() - cut), &read);
}

TEST(DeviceTable, WhatContradictsItselfIsDamage) {
  EXPECT_EQ(Sealed(Example()), DeviceTableState::kGood);
  EXPECT_EQ(Sealed(Example(), kBlock - DeviceTable::kHeaderBytes), DeviceTableState::kDamaged);
  DeviceTable table = Example();
  table.files[1].runs[0] = {kFirst, 4};
  EXPECT_EQ(Sealed(table), DeviceTableState::kDamaged) << "two files in one block";
  table = Example();
  table.files[0].runs[0].first = 3;
  EXPECT_EQ(Sealed(table), DeviceTableState::kDamaged) << "in the tables";
  table = Example();
  table.files[1].runs[1] = {table.device_bytes / kBlock - 1, 2};
  EXPECT_EQ(Sealed(table), DeviceTableState::kDamaged) << "behind the end";
  table = Example();
  table.files[1].runs[1] = {~uint64_t{0}, 2};
  EXPECT_EQ(Sealed(table), DeviceTableState::kDamaged);
  table = Example();
  table.files[0].bytes = kBlock + 1;
  EXPECT_EQ(Sealed(table), DeviceTableState::kDamaged) << "more than it has";
  table = Example();
  table.files[1].name = table.files[0].name;
  EXPECT_EQ(Sealed(table), DeviceTableState::kDamaged) << "one name twice";
}

TEST(DeviceTable, BlocksAreGivenOutInFewRunsAndNeverTwice) {
  DeviceTable table;
  table.device_bytes = DeviceTable::kDataOffset + 100 * kBlock;
  const auto add = [&](const char* name, uint64_t blocks) {
    DeviceFile file;
    file.name = name;
    const Status status = table.Allocate(&file, blocks);
    if (status.ok()) table.files.push_back(file);
    return status.ok();
  };
  EXPECT_TRUE(add("a", 10) && add("b", 20) && add("c", 30));
  std::erase_if(table.files, [](const DeviceFile& file) { return file.name == "b"; });
  EXPECT_TRUE(add("d", 15)) << "in the gap";
  EXPECT_EQ(table.Find("d")->runs, (std::vector<DeviceRun>{{kFirst + 10, 15}}));
  EXPECT_TRUE(add("e", 42)) << "in pieces";
  EXPECT_EQ(table.Find("e")->runs, (std::vector<DeviceRun>{{kFirst + 60, 40}, {kFirst + 25, 2}}));
  EXPECT_EQ(table.blocks_free(), 3u);
  EXPECT_FALSE(add("f", 4));
  EXPECT_TRUE(table.Allocate(table.Find("e"), 3).ok());
  EXPECT_EQ(table.Find("e")->runs.back(), (DeviceRun{kFirst + 25, 5})) << "next to what it had";
  EXPECT_EQ(Sealed(table), DeviceTableState::kGood);
}

}  // namespace
}  // namespace mayfly
