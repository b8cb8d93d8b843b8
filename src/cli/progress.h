// Progress of long work: a line that rewrites itself on a terminal, one line every few seconds in a log.
#pragma once

#include <chrono>
#include <string>

namespace mayfly::cli {

class Progress {
 public:
  explicit Progress(std::string what);
  // May be called as often as one likes; prints when it is time to. Totals may grow.
  void Show(uint64_t files_done, uint64_t files_total, uint64_t bytes_done, uint64_t bytes_total);
  // The last line: what was done, how long it took and at what rate.
  void Finish(uint64_t files, uint64_t bytes);
  double seconds() const;

 private:
  const std::string what_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point shown_;
  bool line_open_ = false;
};

}  // namespace mayfly::cli
