#include "server_log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace mayfly {
namespace {

void ToSpdlog(LogLevel level, std::string_view line) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                   spdlog::level::err};
  spdlog::log(kLevels[static_cast<int>(level)], spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void StartLog(LogLevel lowest) {
  auto logger = spdlog::stderr_logger_mt("mayflyd");
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e mayflyd[%P] %l: %v");
  logger->set_level(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  SetLogSink(ToSpdlog, lowest);
}

void SetLogLevel(LogLevel lowest) { SetLogSink(ToSpdlog, lowest); }

void SayFailure(const std::string& sentence) {
  const std::string line = "mayflyd: " + sentence + "\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace mayfly
