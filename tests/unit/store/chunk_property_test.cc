// The store against plain arrays of bytes (store_model.h).
#include "store_model.h"

namespace mayfly {
namespace {

TEST_P(StoreModelTest, AgreesWithPlainBytes) {
  shape = GetParam();
  random.seed(shape.seed);
  test = std::make_unique<StoreUnderTest>(shape.budget);
  for (int step = 0; step < 4000; ++step) {
    Step();
    ASSERT_FALSE(HasFatalFailure()) << "step " << step;
    if (step % 100 == 0) {
      ASSERT_NO_FATAL_FAILURE(CheckFile(Below(kFiles))) << "step " << step;
    }
  }
  for (uint32_t file = 0; file < kFiles; ++file) ASSERT_NO_FATAL_FAILURE(CheckFile(file));
  EXPECT_TRUE(refused > 0 || shape.budget > 4 * kMiB);
  EXPECT_GT(store().stats().compacted_bytes, 0u);
  DropAll();
  test->ExpectEmpty();
}

INSTANTIATE_TEST_SUITE_P(Shapes, StoreModelTest,
                         testing::Values(Shape{1, true, 64 * kMiB, 18, 100'000}, Shape{2, true, 64 * kMiB, 18, 262'144},
                                         Shape{3, false, 64 * kMiB, 18, 100'000}, Shape{4, true, 64 * kMiB, 16, 5'000},
                                         Shape{5, false, 64 * kMiB, 16, 500}, Shape{6, true, 64 * kMiB, 16, 500},
                                         Shape{7, true, 3 * kMiB, 18, 262'144}, Shape{8, true, 3 * kMiB, 18, 60'000},
                                         Shape{9, false, 3 * kMiB, 18, 30'000}, Shape{10, true, 3 * kMiB, 19, 9'000}));

}  // namespace
}  // namespace mayfly
