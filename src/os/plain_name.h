// The names that the doors to storage and kept memory take: letters, digits, '.', '-', '_', at most 200 of them, and
// not
// "." or "..". Adapters may add to them what cannot be part of one.
#pragma once

#include <string_view>

namespace mayfly {

constexpr bool IsPlainName(std::string_view name) {
  constexpr std::string_view kOf = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
  return !name.empty() && name.size() <= 200 && name != "." && name != ".." &&
         name.find_first_not_of(kOf) == std::string_view::npos;
}

}  // namespace mayfly
