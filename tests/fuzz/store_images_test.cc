// Any images applied to a chunk store, in any order: each is taken or refused as corrupt, what is left either cannot be
// in the segments, or is a store like any other: it reads, changes, comes back from its own walk as it was, and lets go
// of everything. And any block as the first one of a chunk file. Inputs are images of few numbers, so that they agree
// and collide, and the same with a few changes.
#include <array>
#include <memory>

#include "base/checksum.h"
#include "fuzz/fuzz.h"
#include "store/chunk_file.h"
#include "unit/store/recording.h"

namespace mayfly {
namespace {

constexpr uint64_t kBudget = 8 * kMiB;
constexpr uint8_t kBits = 18;
constexpr uint32_t kFiles = 3;

class Run {
 public:
  Run(const uint8_t* data, size_t size) : choices_(data, size), store_(kBudget) {}

  void Go() {
    for (int i = 0; i < 60 && !choices_.empty(); ++i) ApplySome();
    if (!Finish()) return;
    for (int i = 0; i < 20 && !choices_.empty(); ++i) Change();
    ComesBack();
    store_.store.ReleaseQuarantine();
    for (InodeId file : files_) store_.store.Drop(file);
    store_.store.SetRecorder(nullptr);
    FUZZ_CHECK(store_.arena.stats().bytes_used == 0);
    FUZZ_CHECK(store_.arena.stats().bytes_quarantined == 0);
    FUZZ_CHECK(store_.store.MemoryUsage() == 0);
  }

 private:
  // An extent for a slice at `begin`: mostly what the same serial was before.
  void PutExtent(Encoder& e, uint64_t serial, uint64_t file_offset, uint8_t flags, int parent) {
    const bool is_cell = serial % 2 == 0 && parent < 0;
    const uint32_t bytes = is_cell ? 1'000 + static_cast<uint32_t>(serial) % 24 : 6'000;
    uint64_t place = is_cell ? serial * 1'024 : (128 + serial * 2) * 4'096;
    if (choices_.Byte() == 0) place += choices_.Below(300) * 64;
    if (parent >= 0) place = (128 + static_cast<uint64_t>(parent) * 2) * 4'096;
    if (is_cell) flags |= static_cast<uint8_t>((place >> 12 & 15) << 4);
    e(serial, place, bytes, bytes, file_offset, flags);
    if ((flags & 4) != 0) e.Put(uint8_t{0});
    if ((flags & 2) != 0) e.Put(choices_.U64());
  }
  Record Range() {
    uint8_t buffer[600];
    Encoder e(buffer);
    const uint64_t file = 1 + choices_.Byte() % kFiles, begin = choices_.Below(20) * 3'000;
    const uint8_t slices = choices_.Byte() % 3, kind = choices_.Byte() % 4, slice_kind = kind == 3 ? 0 : kind;
    // With `slices` of 2, the second lies in the first one's place: a reservation and what was written in it.
    const bool inside = slices == 2 && slice_kind != 0 && choices_.Byte() % 2 == 0;
    const uint64_t end = choices_.Byte() % 8 == 0 ? ~uint64_t{0} : begin + 6'000ull * slices;
    e(file, begin, end, uint64_t{choices_.Byte()}, uint64_t{1}, uint64_t{choices_.Byte()} % 3, uint64_t{9});
    e(slices, slices);
    const uint64_t first = (file * 20 + begin / 3'000) * 4 + slice_kind % 2 * 2 + 1;
    const uint8_t flags = slice_kind != 0 ? 1 : choices_.Byte() % 2 * 2;
    for (uint8_t i = 0; i < slices; ++i) {
      const bool in_first = inside && i == 1;
      PutExtent(e, first + i * 81u, begin + i * 6'000u, in_first ? 4 : flags, in_first ? static_cast<int>(first) : -1);
    }
    for (uint8_t i = 0; i < slices; ++i) {
      const uint32_t bytes = (first + i * 81u) % 2 == 0 && !(inside && i == 1) ? 1'000 : 6'000;
      e(begin + i * 6'000u, bytes, i, inside && i == 1 ? uint8_t{0} : slice_kind);
    }
    return Record(buffer, buffer + e.size());
  }
  void ApplySome() {
    Tag tag = kTagFileRange;
    Record value;
    switch (choices_.Byte() % 16) {
      case 0:
        tag = kTagFileGone;
        value = {static_cast<uint8_t>(1 + choices_.Byte() % kFiles), 0, 0, 0, 0, 0, 0, 0};
        break;
      case 1:
        tag = kTagStoreNext;
        value = {choices_.Byte(), choices_.Byte(), 0, 0, 0, 0, 0, 0};
        break;
      case 2:
        tag = static_cast<Tag>(choices_.U64());
        value = choices_.Some(100);
        break;
      default:
        value = Range();
    }
    if (choices_.Byte() % 8 == 0) choices_.Mutate(&value);
    const Code code = store_.store.Apply(tag, value).code();
    FUZZ_CHECK(code == Code::kOk || code == Code::kCorrupt);
    store_internal::RangeImage image;
    if (code == Code::kOk && tag == kTagFileRange && store_internal::DecodeRange(value, &image).ok()) {
      files_.push_back(image.file);
    }
  }
  bool Finish() {
    std::vector<ArenaMemory::Found> segments{{0, *store_.memory.Map(4 * kMiB)}};
    if (choices_.Byte() % 16 == 0) segments[0].number = choices_.Byte();
    const Status status = store_.store.FinishRecovery(segments);
    FUZZ_CHECK(status.ok() || status.code() == Code::kCorrupt);
    return status.ok() && segments[0].number == 0;  // the memory counts from 0
  }
  void Change() {
    ChunkStore& store = store_.store;
    store.SetRecorder(&recorder_);
    ChunkRange range{.file = InodeId(1 + choices_.Byte() % kFiles), .chunk_bits = kBits};
    range.offset = choices_.Below(60'000);
    range.bytes = 1 + choices_.Below(choices_.Byte() % 2 == 0 ? 300 : 60'000);
    switch (choices_.Byte() % 8) {
      case 0:
        (void)store.Truncate(range.file, range.offset, 1 + choices_.Byte());
        break;
      case 1:
        FUZZ_CHECK(store.Punch(range).ok());
        break;
      case 2:
        (void)!store.ReserveRange(range).ok();
        break;
      case 3:
        (void)store.DropSlice(range.file, choices_.Byte());
        break;
      case 4:
        store.Settle();
        break;
      case 5:
        store.ReleaseQuarantine();
        break;
      default:
        Write(range);
    }
    files_.push_back(range.file);
    ReadPieces pieces;
    FUZZ_CHECK(store.Read(range, &pieces).ok());
    for (const ReadPiece& piece : pieces) (void)store.Verify(piece).ok();
  }
  void Write(ChunkRange range) {
    auto place = choices_.Byte() % 2 == 0 ? store_.store.Stage(range.bytes) : store_.store.StageFor(range);
    if (!place.ok()) return;
    range.bytes = std::min(range.bytes, place->bytes);
    FUZZ_CHECK(store_.store.Commit(range, *place, {}, 1).ok());
  }
  void ComesBack() {
    const auto again = Recover(store_, {WalkOf(store_.store)});
    FUZZ_CHECK(StateOf(again->store) == StateOf(store_.store));
  }

  Choices choices_;
  TlvWriter recorder_;
  StoreUnderTest store_;
  std::vector<InodeId> files_;
};

// As it comes, and with a checksum that holds.
void ChunkFileBlock(Bytes bytes) {
  constexpr std::array<uint8_t, 16> kUuid = {7};
  std::vector<uint8_t> block(bytes.begin(), bytes.end());
  for (bool sealed : {false, true}) {
    ChunkFileHeader header;
    if (sealed && block.size() >= ChunkFileHeader::kBytes) {
      const uint64_t checksum = Checksum(Bytes(block).subspan(8, ChunkFileHeader::kBytes - 8));
      std::memcpy(block.data(), &checksum, sizeof checksum);
    }
    const ChunkFileState state = DecodeChunkFileHeader(block, kUuid, ShardId(3), &header);
    if (state != ChunkFileState::kGood) {
      FUZZ_CHECK(!SentenceOf(state).empty());
      continue;
    }
    std::vector<uint8_t> again(Disk::kBlockBytes);
    EncodeChunkFileHeader(header, MutableBytes(again));
    FUZZ_CHECK(header.shard == ShardId(3) && header.uuid == kUuid);
    FUZZ_CHECK(std::equal(again.begin(), again.begin() + ChunkFileHeader::kBytes, block.begin()));
  }
}

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  ChunkFileBlock({data, size});
  Run(data, size).Go();
}

// A chunk file's; the rest is a list of choices.
std::vector<FuzzInput> Examples() {
  FuzzInput block(Disk::kBlockBytes);
  ChunkFileHeader header;
  header.shard = ShardId(3);
  header.uuid = {7};
  header.bytes = kChunkFileBytesMin;
  EncodeChunkFileHeader(header, MutableBytes(block));
  block.resize(64);
  return {block};
}

FUZZ_TEST_MAIN(ImagesAreTakenOrRefusedAndWhatIsLeftIsAStore, 600)

}  // namespace mayfly
