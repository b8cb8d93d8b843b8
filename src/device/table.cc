#include "device/table.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/check.h"
#include "base/checksum.h"
#include "base/coding.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = DeviceTable::kBlockBytes;
constexpr uint64_t kFirstBlock = DeviceTable::kDataOffset / kBlock;

struct Header {
  uint64_t checksum = 0;  // of bytes 8 to the last entry's end
  uint64_t magic = DeviceTable::kMagic;
  uint32_t version = DeviceTable::kVersion;
  uint32_t files = 0;
  uint64_t sequence = 0;
  uint64_t device_bytes = 0;
  uint64_t zero[3] = {};
  template <class Io>
  void Fields(Io& io) {
    io(checksum, magic, version, files, sequence, device_bytes, zero[0], zero[1], zero[2]);
  }
};
static_assert(DeviceTable::kNameBytesMax + 16 + 16 * DeviceTable::kRunsMax == DeviceTable::kEntryBytes);

void EncodeFile(const DeviceFile& file, Encoder* e) {
  char name[DeviceTable::kNameBytesMax] = {};
  std::memcpy(name, file.name.data(), file.name.size());
  e->Raw(name, sizeof name);
  e->Put(file.bytes);
  e->Put(static_cast<uint64_t>(file.runs.size()));
  for (size_t i = 0; i < DeviceTable::kRunsMax; ++i) {
    const DeviceRun run = i < file.runs.size() ? file.runs[i] : DeviceRun();
    e->Put(run.first);
    e->Put(run.blocks);
  }
}

bool DecodeFile(Decoder* d, DeviceFile* file) {
  char name[DeviceTable::kNameBytesMax] = {};
  d->Raw(name, sizeof name);
  file->name.assign(name, strnlen(name, sizeof name));
  uint64_t runs = 0;
  d->Get(file->bytes);
  d->Get(runs);
  if (file->name.empty() || runs > DeviceTable::kRunsMax) return false;
  for (size_t i = 0; i < DeviceTable::kRunsMax; ++i) {
    DeviceRun run;
    d->Get(run.first);
    d->Get(run.blocks);
    if (i < runs) file->runs.push_back(run);
  }
  return true;
}

// All runs of the table, by place.
std::vector<DeviceRun> RunsOf(const std::vector<DeviceFile>& files) {
  std::vector<DeviceRun> all;
  for (const DeviceFile& file : files) all.insert(all.end(), file.runs.begin(), file.runs.end());
  std::sort(all.begin(), all.end(), [](const DeviceRun& a, const DeviceRun& b) { return a.first < b.first; });
  return all;
}

// What lies between them.
std::vector<DeviceRun> FreeRuns(const std::vector<DeviceRun>& taken, uint64_t device_bytes) {
  std::vector<DeviceRun> free;
  uint64_t at = kFirstBlock;
  const uint64_t end = device_bytes / kBlock;
  for (const DeviceRun& run : taken) {
    if (run.first > at) free.push_back({at, run.first - at});
    at = run.first + run.blocks;
  }
  if (at < end) free.push_back({at, end - at});
  return free;
}

// T1
bool IsSound(const DeviceTable& table) {
  const uint64_t end = table.device_bytes / kBlock;
  std::set<std::string_view> names;
  for (const DeviceFile& file : table.files) {
    if (!names.insert(file.name).second) return false;
    for (const DeviceRun& run : file.runs) {
      if (run.first < kFirstBlock || run.blocks == 0 || run.first > end || run.blocks > end - run.first) return false;
    }
    if (file.bytes > file.blocks() * kBlock) return false;
  }
  uint64_t at = 0;
  for (const DeviceRun& run : RunsOf(table.files)) {
    if (run.first < at) return false;
    at = run.first + run.blocks;
  }
  return true;
}

}  // namespace

uint64_t DeviceFile::blocks() const {
  uint64_t all = 0;
  for (const DeviceRun& run : runs) all += run.blocks;
  return all;
}

DeviceFile* DeviceTable::Find(std::string_view name) {
  const auto found = std::find_if(files.begin(), files.end(), [&](const DeviceFile& one) { return one.name == name; });
  return found == files.end() ? nullptr : &*found;
}

bool DeviceTable::Has(std::string_view prefix) const {
  return std::any_of(files.begin(), files.end(), [&](const DeviceFile& one) { return one.name.starts_with(prefix); });
}

uint64_t DeviceTable::blocks_free() const {
  uint64_t all = 0;
  for (const DeviceRun& run : FreeRuns(RunsOf(files), device_bytes)) all += run.blocks;
  return all;
}

Status DeviceTable::Allocate(DeviceFile* file, uint64_t blocks) const {
  std::vector<DeviceRun> free = FreeRuns(RunsOf(files), device_bytes);
  // The shortest that is long enough, else the longest ones.
  std::stable_sort(free.begin(), free.end(),
                   [](const DeviceRun& a, const DeviceRun& b) { return a.blocks < b.blocks; });
  const auto fit = std::find_if(free.begin(), free.end(), [&](const DeviceRun& run) { return run.blocks >= blocks; });
  std::vector<DeviceRun> runs = file->runs;
  if (fit != free.end()) std::rotate(fit, fit + 1, free.end());
  for (auto run = free.rbegin(); run != free.rend() && blocks != 0; ++run) {
    const uint64_t take = std::min(run->blocks, blocks);
    if (!runs.empty() && runs.back().first + runs.back().blocks == run->first) {
      runs.back().blocks += take;
    } else {
      runs.push_back({run->first, take});
    }
    blocks -= take;
  }
  if (blocks != 0 || runs.size() > kRunsMax) return Code::kNoSpace;
  file->runs = std::move(runs);
  return {};
}

Result<std::vector<uint8_t>> EncodeDeviceTable(const DeviceTable& table) {
  if (table.files.size() > DeviceTable::kFilesMax) return Code::kNoSpace;
  const size_t used = DeviceTable::kHeaderBytes + table.files.size() * DeviceTable::kEntryBytes;
  std::vector<uint8_t> bytes((used + kBlock - 1) / kBlock * kBlock);
  Encoder e(bytes);
  Header header;
  header.files = static_cast<uint32_t>(table.files.size());
  header.sequence = table.sequence;
  header.device_bytes = table.device_bytes;
  e.Put(header);
  for (const DeviceFile& file : table.files) {
    if (file.name.empty() || file.name.size() > DeviceTable::kNameBytesMax) return Code::kInvalid;
    EncodeFile(file, &e);
  }
  const uint64_t checksum = Checksum(Bytes(bytes).subspan(8, used - 8));
  std::memcpy(bytes.data(), &checksum, sizeof checksum);
  return bytes;
}

size_t DeviceTableBytes(Bytes first_block) {
  MAYFLY_CHECK(first_block.size() >= DeviceTable::kHeaderBytes);
  Header header;
  Decoder(first_block).Get(header);
  if (header.magic != DeviceTable::kMagic || header.files > DeviceTable::kFilesMax) return kBlock;
  return (DeviceTable::kHeaderBytes + header.files * DeviceTable::kEntryBytes + kBlock - 1) / kBlock * kBlock;
}

DeviceTableState DecodeDeviceTable(Bytes place, DeviceTable* table) {
  if (place.size() < DeviceTable::kHeaderBytes) return DeviceTableState::kNone;
  Header header;
  Decoder d(place);
  d.Get(header);
  if (header.magic != DeviceTable::kMagic) return DeviceTableState::kNone;
  if (header.version > DeviceTable::kVersion) return DeviceTableState::kFutureVersion;
  const uint64_t used = DeviceTable::kHeaderBytes + uint64_t{header.files} * DeviceTable::kEntryBytes;
  if (header.files > DeviceTable::kFilesMax || used > place.size() ||
      header.checksum != Checksum(place.subspan(8, used - 8))) {
    return DeviceTableState::kDamaged;
  }
  table->sequence = header.sequence;
  table->device_bytes = header.device_bytes;
  table->files.assign(header.files, DeviceFile());
  for (DeviceFile& file : table->files) {
    if (!DecodeFile(&d, &file)) return DeviceTableState::kDamaged;
  }
  const bool sound = header.device_bytes % kBlock == 0 && IsSound(*table);
  return sound ? DeviceTableState::kGood : DeviceTableState::kDamaged;
}

}  // namespace mayfly
