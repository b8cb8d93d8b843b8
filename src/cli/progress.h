// Progress of long work: a line that rewrites itself on a terminal, one line every few seconds in a log. It goes to
// standard error, so that what a command prints can be piped. One thread.
// Invariants  P1  a line on a terminal is shorter than the terminal is wide at that moment: it never wraps, so the next
//                 one stands in its place.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace mayfly::cli {

struct ProgressCounts {
  uint64_t files_done = 0, files_total = 0, bytes_done = 0, bytes_total = 0;
};

class Progress {
 public:
  static constexpr double kTerminalEvery = 0.25, kLogEvery = 3;  // seconds

  // Where it goes and what time it is; a test has its own.
  struct Ground {
    bool terminal = false;
    std::function<size_t()> width;    // of the terminal, in columns; 0: unknown
    std::function<double()> seconds;  // of any clock that does not jump
    std::function<void(const std::string& text)> write;
  };
  static Ground StandardError();

  explicit Progress(std::string what, Ground ground = StandardError());
  // May be called as often as one likes; prints when it is time to. Totals may grow.
  void Show(const ProgressCounts& now);
  // Takes an unfinished line off the terminal, before anything else is said.
  void Clear();
  // The last line: what was done, how long it took and at what rate.
  void Finish(uint64_t files, uint64_t bytes);
  double seconds() const { return ground_.seconds() - start_; }

 private:
  const std::string what_;
  const Ground ground_;
  const double start_;
  double shown_;
  bool line_open_ = false;
};

// The line after `seconds`, in at most `width` characters: the rate and the time left are the last to go.
std::string ProgressLine(const std::string& what, const ProgressCounts& now, double seconds, size_t width);

}  // namespace mayfly::cli
