// The name of a session: 16 random bytes, written as 8-4-4-4-12 lower-case hex digits. And hex text as such.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace mayfly {

using Uuid = std::array<uint8_t, 16>;
using SessionSecret = std::array<uint8_t, 32>;

constexpr size_t kUuidTextBytes = 36;

std::string UuidText(const Uuid& uuid);
std::optional<Uuid> ParseUuid(std::string_view text);

std::string HexText(Bytes bytes);
// False unless `text` is exactly the lower-case hex of `out`.
bool ParseHex(std::string_view text, MutableBytes out);

}  // namespace mayfly
