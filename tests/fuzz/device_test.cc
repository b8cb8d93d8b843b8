// Any bytes as the table of a device, also with the checksum made right again: refused, or sound, and the same when it
// is written once more. What is sound gives out only blocks that nobody has.
#include <cstring>

#include "base/checksum.h"
#include "device/table.h"
#include "fuzz/fuzz.h"

namespace mayfly {
namespace {

DeviceTable Example() {
  DeviceTable table;
  table.sequence = 7;
  table.device_bytes = uint64_t{64} << 20;
  table.files.push_back({"mayfly-1/member-0/charter", 1234, {{512, 1}}});
  table.files.push_back({"mayfly-1/member-0/shard-0/journal", 8 << 20, {{513, 1000}, {1600, 1100}}});
  return table;
}

void Try(Bytes bytes) {
  DeviceTable table;
  if (DecodeDeviceTable(bytes, &table) != DeviceTableState::kGood) return;
  const auto again = EncodeDeviceTable(table);
  FUZZ_CHECK(again.ok());
  DeviceTable same;
  FUZZ_CHECK(DecodeDeviceTable(*again, &same) == DeviceTableState::kGood && same.files == table.files);
  DeviceFile more;
  more.name = "mayfly-1/more";
  const uint64_t free = table.blocks_free();
  if (table.Find(more.name) != nullptr || free == 0 || !table.Allocate(&more, 1 + free / 3).ok()) return;
  table.files.push_back(more);
  FUZZ_CHECK(table.blocks_free() == free - 1 - free / 3);
  const auto grown = EncodeDeviceTable(table);
  if (grown.ok()) FUZZ_CHECK(DecodeDeviceTable(*grown, &same) == DeviceTableState::kGood);
}

void Seal(std::vector<uint8_t>* bytes) {
  uint32_t files = 0;
  if (bytes->size() < DeviceTable::kHeaderBytes) return;
  std::memcpy(&files, bytes->data() + 20, sizeof files);
  const uint64_t used = DeviceTable::kHeaderBytes + uint64_t{files} * DeviceTable::kEntryBytes;
  if (used > bytes->size()) return;
  const uint64_t checksum = Checksum(Bytes(*bytes).subspan(8, used - 8));
  std::memcpy(bytes->data(), &checksum, sizeof checksum);
}

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  Try({data, size});
  Choices choices(data, size);
  std::vector<uint8_t> bytes = *EncodeDeviceTable(Example());
  Try(bytes);
  // In what says something; most of the block does not.
  std::vector<uint8_t> head(bytes.begin(), bytes.begin() + 1100);
  choices.Mutate(&head);
  head.resize(bytes.size());
  if (choices.Byte() % 8 != 0) Seal(&head);
  Try(head);
}

std::vector<FuzzInput> Examples() { return {*EncodeDeviceTable(Example())}; }

FUZZ_TEST_MAIN(TablesOfADeviceAreSoundOrRefused, 20000)

}  // namespace mayfly
