// The store of the model (store_model.h) dies again and again, at any point between two seals, and comes back from
// walks that were taken while it changed and from what it recorded: it must be what it was at the last seal.
#include "recording.h"
#include "store_model.h"

namespace mayfly {
namespace {

class RecoveryModelTest : public StoreModelTest {
 protected:
  void Start() {
    shape = GetParam();
    random.seed(shape.seed);
    test = std::make_unique<StoreUnderTest>(shape.budget);
    recording = std::make_unique<Recording>(test.get());
    between = [this] { GoOn(); };
  }
  // A step of the walk, or a seal, now and then.
  void GoOn() {
    if (Below(3) == 0) recording->Seal();
    if (Below(2) == 0) StepWalk();
  }
  void StepWalk() {
    if (walk == nullptr) {
      walk = std::make_unique<StoreWalk>(&store());
      walk_images.Clear();
      walk_begin = recording->records.size();
    }
    if (walk->Step(&walk_images, 1 + Below(3000))) return;
    // The checkpoint is complete: recovery starts with it.
    checkpoint.assign(walk_images.bytes().begin(), walk_images.bytes().end());
    checkpoint_begin = walk_begin;
    ++walks;
    walk.reset();
  }
  // What a recovery may read: the checkpoint, and the records from its begin or from an earlier one on; some twice.
  std::vector<Record> History() {
    const auto& records = recording->records;
    std::vector<Record> history;
    uint64_t begin = 0;
    if (!checkpoint.empty()) {
      history.push_back(checkpoint);
      begin = checkpoint_begin;
      if (Below(3) == 0) begin = Below(begin + 1);
    }
    history.insert(history.end(), records.begin() + static_cast<long>(begin), records.end());
    if (Below(3) == 0 && begin < records.size()) {
      begin += Below(records.size() - begin);
      history.insert(history.end(), records.begin() + static_cast<long>(begin), records.end());
    }
    return history;
  }
  void Die() {
    recording->Lose();
    auto recovered = Recover(*test, History());
    held.clear();
    walk.reset();
    test = std::move(recovered);
    recording->Follow(test.get());
    const bool were_held = std::exchange(in_quarantine, true);
    model = kept_model;
    ASSERT_TRUE(StateOf(store()) == kept_state);
    EXPECT_EQ(store().stats().files, kept_stats.files);
    EXPECT_EQ(store().stats().dead_bytes, kept_stats.dead_bytes);
    // In quarantine, reservations outlive their slices.
    if (!were_held) {
      EXPECT_EQ(store().stats().extents, kept_stats.extents);
      EXPECT_EQ(test->arena.stats().bytes_used, kept_used);
      ++compared;
    }
    for (uint32_t file = 0; file < kFiles; ++file) ASSERT_NO_FATAL_FAILURE(CheckFile(file));
    ASSERT_NO_FATAL_FAILURE(CheckBudget());
  }
  void Keep() {
    while (!held.empty()) ASSERT_NO_FATAL_FAILURE(LetGo());
    if (Below(2) == 0) EndQuarantine();
    recording->Seal();
    kept_model = model;
    kept_state = StateOf(store());
    kept_stats = store().stats();
    kept_used = test->arena.stats().bytes_used;
  }
  void EndQuarantine() {
    if (in_quarantine) store().ReleaseQuarantine();
    in_quarantine = false;
  }

  std::unique_ptr<Recording> recording;
  std::unique_ptr<StoreWalk> walk;
  TlvWriter walk_images;
  size_t walk_begin = 0, checkpoint_begin = 0;
  Record checkpoint;
  uint64_t walks = 0, compared = 0;
  bool in_quarantine = false;
  std::map<uint32_t, ModelFile> kept_model;
  Record kept_state;
  ChunkStoreStats kept_stats;
  uint64_t kept_used = 0;
};

TEST_P(RecoveryModelTest, ComesBackAsItWasWhenItsImagesWereKept) {
  Start();
  for (int life = 0; life < 12; ++life) {
    for (int steps = 50 + static_cast<int>(Below(150)); steps > 0; --steps) {
      ASSERT_NO_FATAL_FAILURE(Step()) << "life " << life;
      GoOn();
      if (Below(100) == 0) EndQuarantine();
    }
    ASSERT_NO_FATAL_FAILURE(Keep());
    // No seal from here on, so no place of the kept state may be written over.
    between = [] {};
    for (uint32_t steps = Below(20); steps > 0; --steps) ASSERT_NO_FATAL_FAILURE(Step());
    between = [this] { GoOn(); };
    ASSERT_NO_FATAL_FAILURE(Die()) << "life " << life;
  }
  EXPECT_GT(walks, 3u);
  EXPECT_GT(compared, 1u);
  EndQuarantine();
  ASSERT_NO_FATAL_FAILURE(DropAll());
  recording->Seal();
  test->ExpectEmpty();
  EXPECT_EQ(test->arena.stats().bytes_quarantined, 0u);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RecoveryModelTest,
                         testing::Values(Shape{1, true, 64 * kMiB, 18, 100'000}, Shape{2, true, 64 * kMiB, 18, 262'144},
                                         Shape{3, false, 64 * kMiB, 18, 100'000}, Shape{4, true, 64 * kMiB, 16, 5'000},
                                         Shape{5, false, 64 * kMiB, 16, 500}, Shape{6, true, 64 * kMiB, 16, 500},
                                         Shape{7, true, 4 * kMiB, 18, 262'144}, Shape{8, true, 4 * kMiB, 18, 60'000},
                                         Shape{9, false, 4 * kMiB, 18, 30'000}, Shape{10, true, 4 * kMiB, 19, 9'000}));

}  // namespace
}  // namespace mayfly
