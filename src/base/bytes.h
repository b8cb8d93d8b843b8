// Bytes on their way: spans over memory that somebody else owns. The owner is named where one is passed.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace mayfly {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

inline Bytes AsBytes(std::string_view s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }
inline std::string_view AsText(Bytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

}  // namespace mayfly
