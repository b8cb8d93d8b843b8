#include "session/uuid.h"

namespace mayfly {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";
constexpr size_t kDashes[] = {8, 13, 18, 23};

}  // namespace

std::string HexText(Bytes bytes) {
  std::string text;
  for (uint8_t b : bytes) {
    text += kDigits[b >> 4];
    text += kDigits[b & 15];
  }
  return text;
}

bool ParseHex(std::string_view text, MutableBytes out) {
  if (text.size() != 2 * out.size()) return false;
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t high = kDigits.find(text[2 * i]), low = kDigits.find(text[2 * i + 1]);
    if (high == kDigits.npos || low == kDigits.npos) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

std::string UuidText(const Uuid& uuid) {
  std::string text = HexText(uuid);
  for (size_t dash : kDashes) text.insert(dash, 1, '-');
  return text;
}

std::optional<Uuid> ParseUuid(std::string_view text) {
  if (text.size() != kUuidTextBytes) return std::nullopt;
  std::string hex(text);
  for (size_t i = std::size(kDashes); i-- > 0;) {
    if (hex[kDashes[i]] != '-') return std::nullopt;
    hex.erase(kDashes[i], 1);
  }
  Uuid uuid;
  if (!ParseHex(hex, uuid)) return std::nullopt;
  return uuid;
}

}  // namespace mayfly
