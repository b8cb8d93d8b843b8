// A store whose images are kept as a journal would keep them, and the store that comes back from them.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "store/images.h"
#include "store/store_walk.h"
#include "store_fixture.h"

namespace mayfly {

using Record = std::vector<uint8_t>;

inline Status ApplyAll(ChunkStore* store, Bytes images, bool unwritten = false) {
  TlvReader reader(images);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) MAYFLY_TRY(store->Apply(tag, value, unwritten));
  return reader.Finish();
}

// Everything there is, as one record.
inline Record WalkOf(const ChunkStore& store) {
  TlvWriter out;
  StoreWalk walk(&store);
  while (walk.Step(&out, 10'000)) {
  }
  return {out.bytes().begin(), out.bytes().end()};
}
// The same without the serial that comes next, which a store that staged something is ahead with.
inline Record StateOf(const ChunkStore& store) {
  Record all = WalkOf(store);
  all.erase(all.begin(), all.begin() + kTlvHeaderBytes + sizeof(uint64_t));
  return all;
}

// A copy of the segments of `from`, as they are when its server dies, with their numbers.
inline std::vector<ArenaMemory::Found> CopySegments(const SimArenaMemory& from, SimArenaMemory* to) {
  constexpr uint32_t kLooked = 200;
  uint32_t end = 0;
  for (uint32_t i = 0; i < kLooked; ++i) {
    if (!from.segment(i).empty()) end = i + 1;
  }
  std::vector<ArenaMemory::Found> segments;
  for (uint32_t i = 0; i < end; ++i) {
    const MutableBytes old = from.segment(i);
    const MutableBytes copy = *to->Map(old.empty() ? SimArenaMemory::kSegmentUnit : old.size());
    if (old.empty()) {
      to->Unmap(copy);
    } else {
      std::memcpy(copy.data(), old.data(), old.size());
      segments.push_back({i, copy});
    }
  }
  return segments;
}

class Recording {
 public:
  explicit Recording(StoreUnderTest* test) { Follow(test); }
  // From now on records what happens there.
  void Follow(StoreUnderTest* test) {
    test_ = test;
    test->store.SetRecorder(&writer_);
  }
  // What was recorded is kept; blocks of a chunk file that it cut loose come free by Kept(`mark`).
  void Seal(uint64_t mark = 0) {
    if (!writer_.empty()) records.push_back({writer_.bytes().begin(), writer_.bytes().end()});
    writer_.Clear();
    test_->store.Settle(mark);
  }
  // The server dies: what was not sealed is lost, memory stays.
  void Lose() {
    writer_.Clear();
    test_->store.SetRecorder(nullptr);
  }
  const TlvWriter& writer() const { return writer_; }

  std::vector<Record> records;

 private:
  StoreUnderTest* test_ = nullptr;
  TlvWriter writer_;
};

// A store over a copy of the memory of `dead`, out of the records.
inline std::unique_ptr<StoreUnderTest> Recover(const StoreUnderTest& dead, const std::vector<Record>& records) {
  auto test = std::make_unique<StoreUnderTest>(dead.budget.bytes_max());
  for (const Record& record : records) EXPECT_TRUE(ApplyAll(&test->store, record).ok());
  EXPECT_TRUE(test->store.FinishRecovery(CopySegments(dead.memory, &test->memory)).ok());
  return test;
}

}  // namespace mayfly
