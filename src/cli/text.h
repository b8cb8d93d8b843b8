// How figures and names look to a person.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace mayfly::cli {

std::string Bytes(uint64_t bytes);                 // "1.5 GiB"
std::string Rate(uint64_t bytes, double seconds);  // "812 MiB/s"
std::string Duration(double seconds);              // "1m 05s", "0.42 s"
std::string Mode(mode_t mode);                     // "drwxr-xr-x"
std::string Time(const timespec& time);            // "2026-11-21 12:38:53", local
std::string Quoted(std::string_view name);         // bytes that are no printable text as \xNN

}  // namespace mayfly::cli
