// Tells whether the process that left a mark still runs. A process id alone does not: it is reused, and the same number
// means other processes in other containers and on other nodes. Free functions and values, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mayfly {

enum class Liveness : uint8_t {
  kDead,
  kAlive,
  kUnknown,  // cannot be told from here; treated as alive wherever being wrong would harm
};

struct ProcessMark {
  uint32_t pid = 0;
  uint64_t start_ticks = 0;  // since boot, from /proc/PID/stat
  // Each "-" if it cannot be read.
  std::string boot;           // of the kernel: /proc/sys/kernel/random/boot_id
  std::string pid_namespace;  // /proc/self/ns/pid
  std::string host;

  friend bool operator==(const ProcessMark&, const ProcessMark&) = default;
};

ProcessMark MarkOfThisProcess();
// Dead if it ended (a zombie has ended), if its number is now another process's, or if this host was booted since.
// Unknown if the mark is of another container or another host.
Liveness LivenessOf(const ProcessMark& mark);

// One line: pid, start, boot, pid namespace, host.
std::string EncodeMark(const ProcessMark& mark);
std::optional<ProcessMark> ParseMark(std::string_view text);

}  // namespace mayfly
