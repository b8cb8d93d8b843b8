#include "session/process_mark.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <sstream>

namespace mayfly {
namespace {

constexpr std::string_view kUnreadable = "-";

// One word, so that a mark stays one line of five words.
std::string WordOr(std::string text) {
  text = text.substr(0, text.find_first_of(" \t\n"));
  return text.empty() ? std::string(kUnreadable) : text;
}

std::string ReadWord(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return WordOr(line);
}

std::string ReadLink(const char* path) {
  std::array<char, 128> target;
  const ssize_t n = readlink(path, target.data(), target.size());
  return WordOr(n > 0 ? std::string(target.data(), static_cast<size_t>(n)) : std::string());
}

std::string HostName() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return WordOr(name.data());
}

struct ProcessStat {
  char state = 0;
  uint64_t start_ticks = 0;
};

// None if there is no such process.
std::optional<ProcessStat> ReadStat(uint32_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t name_end = text.rfind(')');  // the name of a program may itself contain ") "
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  ProcessStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;  // state is field 3, the start time 22
  fields >> stat.start_ticks;
  if (!fields) return std::nullopt;
  return stat;
}

bool Differ(const std::string& a, const std::string& b) { return a != b && a != kUnreadable && b != kUnreadable; }

}  // namespace

ProcessMark MarkOfThisProcess() {
  const auto pid = static_cast<uint32_t>(getpid());
  const auto stat = ReadStat(pid);
  return {pid, stat ? stat->start_ticks : 0, ReadWord("/proc/sys/kernel/random/boot_id"), ReadLink("/proc/self/ns/pid"),
          HostName()};
}

Liveness LivenessOf(const ProcessMark& mark) {
  const ProcessMark here = MarkOfThisProcess();
  if (Differ(mark.boot, here.boot)) return Differ(mark.host, here.host) ? Liveness::kUnknown : Liveness::kDead;
  if (Differ(mark.pid_namespace, here.pid_namespace)) return Liveness::kUnknown;
  const auto stat = ReadStat(mark.pid);
  if (!stat || stat->state == 'Z' || stat->state == 'X') return Liveness::kDead;
  return stat->start_ticks == mark.start_ticks ? Liveness::kAlive : Liveness::kDead;
}

std::string EncodeMark(const ProcessMark& mark) {
  return fmt::format("{} {} {} {} {}\n", mark.pid, mark.start_ticks, mark.boot, mark.pid_namespace, mark.host);
}

std::optional<ProcessMark> ParseMark(std::string_view text) {
  std::istringstream words{std::string(text)};
  ProcessMark mark;
  words >> mark.pid >> mark.start_ticks >> mark.boot >> mark.pid_namespace >> mark.host;
  if (!words || mark.pid == 0) return std::nullopt;
  return mark;
}

}  // namespace mayfly
