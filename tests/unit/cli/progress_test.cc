#include "cli/progress.h"

#include <gtest/gtest.h>

#include <vector>

namespace mayfly::cli {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

// A terminal or a log, and a clock that goes when it is told to.
struct Screen {
  size_t columns = 80;
  double now = 1000;
  std::vector<std::string> written;
  Progress::Ground Ground(bool terminal) {
    Progress::Ground ground;
    ground.terminal = terminal;
    ground.width = [this] { return columns; };
    ground.seconds = [this] { return now; };
    ground.write = [this](const std::string& text) { written.push_back(text); };
    return ground;
  }
};

TEST(ProgressLine, NamesFilesBytesRateAndTimeLeft) {
  EXPECT_EQ(ProgressLine("stage-in", {50, 200, kGiB, 4 * kGiB}, 2, 200),
            "stage-in: 50 of 200 files, 1.0 GiB of 4.0 GiB, 512.0 MiB/s, 6.00 s left");
  EXPECT_EQ(ProgressLine("flush", {0, 0, 0, 0}, 2, 200), "flush: 0 of 0 files, 0 B of 0 B, 0 B/s, - left");
  // Of a file that was only found its size is not known yet; and empty ones take their time too.
  EXPECT_EQ(ProgressLine("stage-in", {10, 40, 1024, 1024}, 2, 200),
            "stage-in: 10 of 40 files, 1.0 KiB of 1.0 KiB, 512 B/s, 6.00 s left");
  EXPECT_EQ(ProgressLine("flush", {10, 40, 0, 0}, 2, 200), "flush: 10 of 40 files, 0 B of 0 B, 0 B/s, 6.00 s left");
}

TEST(ProgressLine, KeepsRateAndTimeLeftOnNarrowTerminals) {
  const ProgressCounts now{50, 200, kGiB, 4 * kGiB};
  EXPECT_EQ(ProgressLine("stage-in", now, 2, 60), "stage-in: 1.0 GiB of 4.0 GiB, 512.0 MiB/s, 6.00 s left");
  EXPECT_EQ(ProgressLine("stage-in", now, 2, 40), "stage-in: 512.0 MiB/s, 6.00 s left");
  EXPECT_EQ(ProgressLine("stage-in", now, 2, 25), "512.0 MiB/s, 6.00 s left");
  EXPECT_EQ(ProgressLine("stage-in", now, 2, 10), "512.0 MiB/");
  for (size_t width = 0; width < 100; ++width) EXPECT_LE(ProgressLine("stage-in", now, 2, width).size(), width);
}

TEST(Progress, RewritesOneLineOnATerminalAndNeverFillsIt) {
  Screen screen;
  Progress progress("stage-in", screen.Ground(true));
  for (size_t columns = 1; columns <= 120; ++columns) {
    screen.columns = columns;
    screen.now += Progress::kTerminalEvery;
    progress.Show({1000000, 2000000, 3 * kGiB, 400 * kGiB});
    ASSERT_EQ(screen.written.size(), columns);
    const std::string& text = screen.written.back();
    ASSERT_EQ(text.substr(0, 4), "\r\033[K");
    EXPECT_LT(text.size() - 4, columns);
    EXPECT_EQ(text.find('\n'), std::string::npos);
    progress.Show({1000000, 2000000, 3 * kGiB, 400 * kGiB});  // too early for another
    EXPECT_EQ(screen.written.size(), columns);
  }
  screen.written.clear();
  progress.Finish(7, kGiB);
  ASSERT_EQ(screen.written.size(), 2u);
  EXPECT_EQ(screen.written[0], "\r\033[K");
  EXPECT_EQ(screen.written[1], "stage-in: 7 files, 1.0 GiB in 30.00 s (34.1 MiB/s)\n");
}

TEST(Progress, IsCarefulWhereTheWidthIsUnknown) {
  Screen screen;
  screen.columns = 0;
  Progress progress("stage-in", screen.Ground(true));
  screen.now += 1;
  progress.Show({1000000, 2000000, 3 * kGiB, 400 * kGiB});
  EXPECT_LT(screen.written.at(0).size(), 4u + 80);
}

TEST(Progress, IsALineNowAndThenInALog) {
  Screen screen;
  Progress progress("flush", screen.Ground(false));
  for (int i = 1; i <= 100; ++i) {
    screen.now += 0.1;
    progress.Show({1, 2, 3, 4});
  }
  ASSERT_EQ(screen.written.size(), 3u);
  for (const std::string& text : screen.written) {
    EXPECT_EQ(text.find('\r'), std::string::npos);
    EXPECT_EQ(text.find('\n'), text.size() - 1);
    EXPECT_NE(text.find("flush: 1 of 2 files, 3 B of 4 B, "), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace mayfly::cli
