// The store of the model (store_model.h) with a chunk file, and less of memory and of disk than the model would fill.
// It evicts, reads back, dies by kills and losses of power, and comes back as it was; what is reserved can be written
// however full the disk is; and every block is somebody's, or free.
#include "recording.h"
#include "store_model.h"
#include "store_on_disk.h"

namespace mayfly {
namespace {

class DiskModelTest : public StoreModelTest {
 protected:
  static constexpr uint64_t kMemoryBytes = 4 * kMiB;

  void Start() {
    shape = GetParam();
    random.seed(shape.seed);
    platter = std::make_unique<SimPlatter>(SimPlatter::Options{.seed = shape.seed});
    platter->faults.latency_max = shape.seed % 2 == 0 ? kMillisecond : 0;
    Take(std::make_shared<StoreOnDisk>(*platter, clock, false, kMemoryBytes, shape.budget));
    recording = std::make_unique<Recording>(test.get());
    between = [this] { GoOn(); };
    make_memory = [this] { MakeMemory(); };
  }
  void Take(std::shared_ptr<StoreOnDisk> fresh) {
    on_disk = std::move(fresh);
    test = std::shared_ptr<StoreUnderTest>(on_disk, &on_disk->test);
    test->fetch = [this](ReadPieces* pieces) { Fetch(pieces); };
  }
  void Fetch(ReadPieces* pieces) {
    Status status = on_disk->Run(on_disk->reader->Fetch(pieces, Below(2) == 0, kNever));
    if (status.code() == Code::kNoSpace) {
      held.clear();
      MakeMemory();
      status = on_disk->Run(on_disk->reader->Fetch(pieces, false, kNever));
    }
    ASSERT_TRUE(status.ok()) << TextOf(status.code());
  }
  void MakeMemory() {
    ASSERT_TRUE(on_disk->Keep().ok());
    (void)store().EvictSome(kMemoryBytes);
    Seal();
  }
  // A record, of which no loss of power need know.
  void Seal() { recording->Seal(recording->records.size() + 1); }
  void GoOn() {
    if (Below(3) == 0) Seal();
    for (uint32_t turns = Below(3); turns != 0; --turns) on_disk->Turn();
    if (Below(10) == 0) (void)store().EvictSome(Below(200'000));
    if (Below(10) == 0) ASSERT_NO_FATAL_FAILURE(Compact());
    if (!is_kept_alone && Below(5) == 0) MakeDurable();
  }
  void Compact() {
    for (uint32_t calls = 1 + Below(8); calls != 0 && store().MayCompact(); --calls) {
      InodeId file;
      ReadPieces pieces;
      if (!store().FindSparse(&file, &pieces)) continue;
      ASSERT_NO_FATAL_FAILURE(Fetch(&pieces));
      given_up += store().GiveUp(file, pieces.front()) ? 1 : 0;
    }
  }
  void MakeDurable() {
    ASSERT_TRUE(on_disk->Keep().ok());
    Seal();
    if (Below(10) == 0) recording->records = {WalkOf(store())};
    store().Kept(~uint64_t{0});
    durable_records = recording->records.size();
  }
  // What nothing is lost of from here on.
  void Keep() {
    while (!held.empty()) ASSERT_NO_FATAL_FAILURE(LetGo());
    ASSERT_NO_FATAL_FAILURE(MakeDurable());
    kept_model = model;
    EXPECT_EQ(on_disk->blocks_used(), on_disk->BlocksOfFiles());
    EXPECT_EQ(store().stats().unkept_bytes, 0u);
  }
  void Die() {
    const bool power = Below(2) == 0;
    if (power) {
      recording->records.resize(durable_records);
      model = kept_model;
    } else {
      while (!held.empty()) ASSERT_NO_FATAL_FAILURE(LetGo());
      Seal();
    }
    recording->Lose();
    held.clear();
    on_disk->disk.Crash(power);
    graves.push_back(on_disk);  // its writes never end
    const StoreOnDisk& dead = *on_disk;
    Take(std::make_shared<StoreOnDisk>(*platter, clock, true, kMemoryBytes, shape.budget));
    if (power) {
      TlvWriter gone;
      ChunkStore::PutPlacesVoid(&gone);
      recording->records.push_back({gone.bytes().begin(), gone.bytes().end()});
    }
    // After a kill, what is in the tail region alone may never have reached the chunk file.
    for (size_t i = 0; i < recording->records.size(); ++i) {
      ASSERT_TRUE(ApplyAll(&store(), recording->records[i], i >= durable_records).ok());
    }
    std::vector<ArenaMemory::Found> segments;
    if (!power) segments = CopySegments(dead.test.memory, &test->memory);
    ASSERT_TRUE(store().FinishRecovery(segments).ok());
    store().ReleaseQuarantine();
    EXPECT_EQ(on_disk->blocks_used(), on_disk->BlocksOfFiles());
    recording->Follow(test.get());
    for (uint32_t file = 0; file < kFiles; ++file) ASSERT_NO_FATAL_FAILURE(CheckFile(file)) << "after " << power;
  }

  SimClock clock;
  std::unique_ptr<SimPlatter> platter;
  std::shared_ptr<StoreOnDisk> on_disk;
  std::unique_ptr<Recording> recording;
  std::map<uint32_t, ModelFile> kept_model;
  size_t durable_records = 0;
  uint64_t given_up = 0;       // extents
  bool is_kept_alone = false;  // what is kept must stay, so nothing more is
  // Never destroyed, as what a dead process had; the list neither, or leak checkers would find what is in it.
  static inline std::vector<std::shared_ptr<StoreOnDisk>>& graves = *new std::vector<std::shared_ptr<StoreOnDisk>>;
};

TEST_P(DiskModelTest, ComesBackAsItWasAndEveryBlockIsSomebodysOrFree) {
  Start();
  for (int life = 0; life < 12; ++life) {
    for (int steps = 50 + static_cast<int>(Below(150)); steps > 0; --steps) {
      ASSERT_NO_FATAL_FAILURE(Step()) << "life " << life;
      ASSERT_NO_FATAL_FAILURE(GoOn());
    }
    ASSERT_NO_FATAL_FAILURE(Keep());
    is_kept_alone = true;
    for (uint32_t steps = Below(40); steps > 0; --steps) {
      ASSERT_NO_FATAL_FAILURE(Step()) << "life " << life;
      ASSERT_NO_FATAL_FAILURE(GoOn());
    }
    is_kept_alone = false;
    ASSERT_NO_FATAL_FAILURE(Die()) << "life " << life;
  }
  ASSERT_NO_FATAL_FAILURE(DropAll());
  ASSERT_NO_FATAL_FAILURE(MakeDurable());
  EXPECT_EQ(on_disk->blocks_used(), 0u);
  test->ExpectEmpty();
  EXPECT_GT(refused, 0u);
  RecordProperty("given_up", static_cast<int>(given_up));
}

// `budget`: of the chunk file.
INSTANTIATE_TEST_SUITE_P(Shapes, DiskModelTest,
                         testing::Values(Shape{1, true, 3 * kMiB, 18, 100'000}, Shape{2, true, 3 * kMiB, 18, 262'144},
                                         Shape{3, false, 3 * kMiB, 18, 100'000},
                                         Shape{4, true, 3 * kMiB / 2, 18, 30'000}, Shape{5, false, kMiB, 18, 9'000},
                                         Shape{6, true, kMiB, 18, 9'000}, Shape{7, true, 2 * kMiB, 18, 60'000},
                                         Shape{8, true, 3 * kMiB, 18, 200'000}));

}  // namespace
}  // namespace mayfly
