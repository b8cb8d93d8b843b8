#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "cli/text.h"

namespace mayfly::cli {
namespace {
constexpr std::chrono::milliseconds kTerminalEvery{250};
constexpr std::chrono::milliseconds kLogEvery{5000};
}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)),
      terminal_(::isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      shown_(start_) {}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Progress::Show(uint64_t files_done, uint64_t files_total, uint64_t bytes_done, uint64_t bytes_total) {
  const auto now = std::chrono::steady_clock::now();
  const std::chrono::milliseconds every = terminal_ ? kTerminalEvery : kLogEvery;
  if (now - shown_ < every) return;
  shown_ = now;
  const double elapsed = seconds();
  std::string left = "-";
  if (bytes_done > 0 && bytes_total >= bytes_done) {
    left = Duration(elapsed * static_cast<double>(bytes_total - bytes_done) / static_cast<double>(bytes_done));
  }
  const std::string line = fmt::format("{}: {} of {} files, {} of {}, {}, {} left", what_, files_done, files_total,
                                       Bytes(bytes_done), Bytes(bytes_total), Rate(bytes_done, elapsed), left);
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    line_open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

void Progress::Finish(uint64_t files, uint64_t bytes) {
  if (line_open_) std::fprintf(stderr, "\r\033[K");
  const double elapsed = seconds();
  std::fprintf(stderr, "%s: %llu files, %s in %s (%s)\n", what_.c_str(), static_cast<unsigned long long>(files),
               Bytes(bytes).c_str(), Duration(elapsed).c_str(), Rate(bytes, elapsed).c_str());
}

}  // namespace mayfly::cli
