#include "base/log.h"

#include <atomic>
#include <cstdio>

namespace mayfly {
namespace {

void ToStderr(LogLevel level, std::string_view line) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  std::fprintf(stderr, "mayfly %s: %.*s\n", kNames[static_cast<int>(level)], static_cast<int>(line.size()),
               line.data());
}

std::atomic<LogSink> sink{ToStderr};
std::atomic<LogLevel> lowest{LogLevel::kWarn};

}  // namespace

void SetLogSink(LogSink s, LogLevel level) {
  sink = s != nullptr ? s : ToStderr;
  lowest = level;
}
bool LogEnabled(LogLevel level) { return level >= lowest.load(std::memory_order_relaxed); }
void LogLine(LogLevel level, std::string_view line) { sink.load()(level, line); }

}  // namespace mayfly
