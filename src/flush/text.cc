#include "flush/text.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <charconv>

namespace mayfly::flush_internal {
namespace {

constexpr std::string_view kPrefix = ".mayfly-", kSuffix = ".tmp";
constexpr size_t kTemporaryBytes = kPrefix.size() + 16 + 1 + 16 + 1 + 8 + kSuffix.size();

// The length of the UTF-8 sequence at the start of `s` that may be shown as it is; 0 if there is none.
size_t ShownAt(std::string_view s) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t first = at(0);
  if (first < 0x20 || first == 0x7f || first == '\\') return 0;
  if (first < 0x80) return 1;
  const size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || s.size() < n) return 0;
  for (size_t i = 1; i < n; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, what lies beyond Unicode, and the C1 control characters.
  if (first == 0xe0 && at(1) < 0xa0) return 0;
  if (first == 0xed && at(1) > 0x9f) return 0;
  if (first == 0xf0 && at(1) < 0x90) return 0;
  if (first == 0xf4 && at(1) > 0x8f) return 0;
  if (first == 0xc2 && at(1) < 0xa0) return 0;
  return n;
}

bool Hex(std::string_view digits, uint64_t* value) {
  for (char c : digits) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return std::from_chars(digits.data(), digits.data() + digits.size(), *value, 16).ec == std::errc();
}

}  // namespace

std::string Printable(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t n = ShownAt(bytes);
    if (n == 0) {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(bytes[0]));
      bytes.remove_prefix(1);
    } else {
      out += bytes.substr(0, n);
      bytes.remove_prefix(n);
    }
  }
  return out;
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty()) path += '/';
  path += name;
  return path;
}

std::string_view DirectoryOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

bool IsPlainPath(std::string_view path) {
  if (path.empty()) return true;
  if (path.find('\0') != std::string_view::npos) return false;
  for (;;) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    if (name.empty() || name == "." || name == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

std::string TemporaryPath(std::string_view path, uint64_t job, InodeId inode, uint32_t number) {
  return JoinPath(DirectoryOf(path),
                  fmt::format("{}{:016x}-{:016x}-{:08x}{}", kPrefix, job, inode.value, number, kSuffix));
}

bool IsTemporaryName(std::string_view name, uint64_t* job, InodeId* inode) {
  if (name.size() != kTemporaryBytes || !name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
  const std::string_view middle = name.substr(kPrefix.size());
  uint64_t ignored = 0;
  return Hex(middle.substr(0, 16), job) && middle[16] == '-' && Hex(middle.substr(17, 16), &inode->value) &&
         middle[33] == '-' && Hex(middle.substr(34, 8), &ignored);
}

bool MatchesPattern(const std::string& pattern, const std::string& path) {
  return pattern.empty() || ::fnmatch(pattern.c_str(), path.c_str(), 0) == 0;
}

}  // namespace mayfly::flush_internal
