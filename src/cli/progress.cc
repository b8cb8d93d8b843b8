#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "cli/text.h"

namespace mayfly::cli {
namespace {

constexpr size_t kWidthUnknown = 80, kAnyWidth = ~size_t{0};

size_t WidthOfStandardError() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

// By what is furthest from its end, files or bytes: the size of a file may not be known before its turn, and empty
// files take their time too. "-" while nothing is done.
std::string TimeLeft(const ProgressCounts& now, double seconds) {
  const auto share = [](uint64_t done, uint64_t total) {
    return total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
  };
  const double done = std::min(share(now.files_done, now.files_total), share(now.bytes_done, now.bytes_total));
  if (done == 0 || done > 1 || now.files_total + now.bytes_total == 0) return "-";
  return Duration(seconds * (1 - done) / done);
}

}  // namespace

std::string ProgressLine(const std::string& what, const ProgressCounts& now, double seconds, size_t width) {
  const std::string pace = fmt::format("{}, {} left", Rate(now.bytes_done, seconds), TimeLeft(now, seconds));
  const std::string bytes = fmt::format("{} of {}", Bytes(now.bytes_done), Bytes(now.bytes_total));
  const std::string lines[] = {
      fmt::format("{}: {} of {} files, {}, {}", what, now.files_done, now.files_total, bytes, pace),
      fmt::format("{}: {}, {}", what, bytes, pace), fmt::format("{}: {}", what, pace), pace};
  for (const std::string& line : lines) {
    if (line.size() <= width) return line;
  }
  return pace.substr(0, width);
}

Progress::Ground Progress::StandardError() {
  Ground ground;
  ground.terminal = ::isatty(STDERR_FILENO) != 0;
  ground.width = WidthOfStandardError;
  ground.seconds = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  ground.write = [](const std::string& text) {
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
  };
  return ground;
}

Progress::Progress(std::string what, Ground ground)
    : what_(std::move(what)), ground_(std::move(ground)), start_(ground_.seconds()), shown_(start_) {}

void Progress::Show(const ProgressCounts& now) {
  const double time = ground_.seconds();
  if (time - shown_ < (ground_.terminal ? kTerminalEvery : kLogEvery)) return;
  shown_ = time;
  if (!ground_.terminal) {
    ground_.write(ProgressLine(what_, now, time - start_, kAnyWidth) + "\n");
    return;
  }
  const size_t width = ground_.width();
  // P1: in the last column the cursor of some terminals would be on the next line already.
  const size_t room = std::max<size_t>(width != 0 ? width : kWidthUnknown, 1) - 1;
  ground_.write("\r\033[K" + ProgressLine(what_, now, time - start_, room));
  line_open_ = true;
}

void Progress::Clear() {
  if (line_open_) ground_.write("\r\033[K");
  line_open_ = false;
}

void Progress::Finish(uint64_t files, uint64_t bytes) {
  Clear();
  const double elapsed = seconds();
  ground_.write(fmt::format("{}: {} files, {} in {} ({})\n", what_, files, Bytes(bytes), Duration(elapsed),
                            Rate(bytes, elapsed)));
}

}  // namespace mayfly::cli
