// Any bytes as what programs of a session find in files: session file, charter, node map, trail, mark, verdict. None of
// them crashes its reader; what is accepted is in range, and is the same when it is written and read again. Inputs are
// texts as they come, and good texts and maps with a few changes, maps with their checksum made right again.
#include "base/checksum.h"
#include "base/coding.h"
#include "fuzz/fuzz.h"
#include "session/node_map_format.h"
#include "session/process_mark.h"
#include "session/trail.h"
#include "session/verdict.h"
#include "unit/session/scratch.h"

namespace mayfly {
namespace {

const Uuid kUuid = UuidOf(9);

Trail ExampleTrail() {
  Trail trail;
  trail.session_path = "/home/u/s.json";
  trail.segments = {"/dev/shm/vader_segment.a.1", "/dev/shm/vader_segment.a.2"};
  trail.launcher_directory = "/tmp/ompi.a.0/pid.7";
  trail.storage = "/nvme/mayfly-" + UuidText(kUuid);
  return trail;
}

void TryTexts(Bytes bytes) {
  const std::string_view text = AsText(bytes);
  if (const auto file = ParseSessionFile(text, "x", kSpoken); file.ok()) {
    FUZZ_CHECK(file->protocol >= kSpoken.min && file->protocol <= kSpoken.max);
    const auto again = EncodeSessionFile(*file);
    FUZZ_CHECK(again.ok());
    const auto same = ParseSessionFile(*again, "x", kSpoken);
    FUZZ_CHECK(same.ok() && *same == *file);
  }
  if (const auto charter = ParseCharter(text, "x"); charter.ok()) {
    FUZZ_CHECK(Layout::Build(charter->members).ok());  // C1 of session/charter.h
    FUZZ_CHECK(charter->self.value < charter->members.size());
    const auto again = EncodeCharter(*charter);
    FUZZ_CHECK(again.ok());
    const auto same = ParseCharter(*again, "x");
    FUZZ_CHECK(same.ok() && *same == *charter);
  }
  if (const auto trail = ParseTrail(text)) FUZZ_CHECK(ParseTrail(EncodeTrail(*trail)) == trail);
  if (const auto mark = ParseMark(text)) FUZZ_CHECK(ParseMark(EncodeMark(*mark)) == mark);
  if (const auto uuid = ParseUuid(text)) FUZZ_CHECK(ParseUuid(UuidText(*uuid)) == uuid);
  (void)ParseVerdict(text, "x").ok();
}

// Looks at everything that is in an accepted map, which ends where its allocation does.
void TryMap(Bytes bytes) {
  if (bytes.empty()) return;
  std::vector<uint64_t> words((bytes.size() + 7) / 8);
  auto* begin = reinterpret_cast<uint8_t*>(words.data());
  std::copy(bytes.begin(), bytes.end(), begin);
  const auto map = NodeMap::Parse({begin, bytes.size()}, "x", nullptr);
  if (!map.ok()) return;
  const uint32_t shards = map->layout().shard_count();
  uint64_t sum = 0;
  std::vector<Bytes> addresses;
  for (uint32_t s = 0; s < shards; ++s) {
    addresses.push_back(map->AddressOf(ShardId(s)));
    FUZZ_CHECK(addresses.back().data() >= begin && addresses.back().size() <= bytes.size());
    FUZZ_CHECK(addresses.back().data() + addresses.back().size() <= begin + bytes.size());
    for (const uint8_t b : addresses.back()) sum += b;
    for (uint32_t chunk : {0u, 1u, ~0u}) {
      FUZZ_CHECK(map->layout().Has(map->placement().ChunkShard(ShardId(s), ChunkIndex(chunk))));
    }
  }
  FUZZ_CHECK(map->layout().Has(map->placement().ShardOfHash(sum << 56)));
  FUZZ_CHECK(map->layout().Has(map->placement().RootShard()));
  const auto again =
      EncodeNodeMap({map->session(), map->view(), map->layout(), map->ring(), map->placement(), addresses});
  FUZZ_CHECK(again.ok());
}

// A number that is another one.
void ChangeDigit(Choices* choices, FuzzInput* text) {
  std::vector<size_t> digits;
  for (size_t i = 0; i < text->size(); ++i) {
    if ((*text)[i] >= '0' && (*text)[i] <= '9') digits.push_back(i);
  }
  const size_t at = digits[choices->Below(static_cast<uint32_t>(digits.size()))];
  (*text)[at] = static_cast<uint8_t>('0' + choices->Byte() % 10);
}

std::vector<uint8_t> ChangedMap(Choices* choices) {
  static const std::vector<uint8_t> good = ExampleMap(kUuid);
  std::vector<uint8_t> bytes = good;
  NodeMapHeader header;
  Decoder(bytes).Get(header);
  const NodeMapSections at = NodeMapSections::Of(header);
  // Of the 256 KiB of slots few matter; what is before and behind them all does.
  for (int n = choices->Byte() % 5; n > 0; --n) {
    const size_t behind = bytes.size() - at.order, before = at.slots + 16;
    size_t where = choices->Below(static_cast<uint32_t>(before + behind));
    if (where >= before) where = where - before + at.order;
    for (int k = choices->Byte() % 4; k >= 0 && where < bytes.size(); --k) bytes[where++] = choices->Byte();
  }
  if (choices->Byte() % 8 == 0) bytes.resize(choices->Below(static_cast<uint32_t>(bytes.size() % 65536)));
  if (bytes.size() >= NodeMap::kHeaderBytes && choices->Byte() % 8 != 0) {
    Decoder(bytes).Get(header);
    header.file_bytes = bytes.size();
    Encoder(bytes).Put(header);
    header.checksum = Checksum(Bytes(bytes).subspan(kNodeMapSummedFrom));
    Encoder(bytes).Put(header);
  }
  return bytes;
}

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  TryTexts({data, size});
  Choices choices(data, size);
  static const std::vector<FuzzInput> good = Examples();
  FuzzInput text = good[choices.Byte() % good.size()];
  TryTexts(text);
  for (int n = choices.Byte() % 4; n > 0; --n) ChangeDigit(&choices, &text);
  if (choices.Byte() % 2 == 0) choices.Mutate(&text);
  TryTexts(text);
  TryMap(ChangedMap(&choices));
}

std::vector<FuzzInput> Examples() {
  std::vector<FuzzInput> all;
  const std::string texts[] = {*EncodeSessionFile(ExampleFile(kUuid)),
                               *EncodeCharter(ExampleCharter()),
                               EncodeTrail(ExampleTrail()),
                               "12 345 0b7a-boot pid:[4026531836] node1\n",
                               UuidText(kUuid),
                               R"({"complete": true, "sentence": "all 7 files are there", "missing": ""})",
                               R"({"complete": false, "sentence": "1 file is missing", "missing": "/a\n"})"};
  for (const std::string& text : texts) all.emplace_back(text.begin(), text.end());
  return all;
}

FUZZ_TEST_MAIN(FilesOfASessionAreReadOrRefused, 3000)

}  // namespace mayfly
