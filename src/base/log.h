// One line of text a fact, at one of four levels. The room knows no library: main() installs a sink (mayflyd: spdlog;
// the client library: standard error, warnings only, or what MAYFLY_LOG says). An error is logged once, where it is
// first detected, with what the user can do about it.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace mayfly {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError };

using LogSink = void (*)(LogLevel level, std::string_view line);
void SetLogSink(LogSink sink, LogLevel lowest);
bool LogEnabled(LogLevel level);
void LogLine(LogLevel level, std::string_view line);

template <class... A>
void Log(LogLevel level, fmt::format_string<A...> format, A&&... args) {
  if (LogEnabled(level)) LogLine(level, fmt::format(format, std::forward<A>(args)...));
}
#define MAYFLY_DEBUG(...) ::mayfly::Log(::mayfly::LogLevel::kDebug, __VA_ARGS__)
#define MAYFLY_INFO(...) ::mayfly::Log(::mayfly::LogLevel::kInfo, __VA_ARGS__)
#define MAYFLY_WARN(...) ::mayfly::Log(::mayfly::LogLevel::kWarn, __VA_ARGS__)
#define MAYFLY_ERROR(...) ::mayfly::Log(::mayfly::LogLevel::kError, __VA_ARGS__)

}  // namespace mayfly
