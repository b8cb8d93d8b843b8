// Names during a flush: paths on the PFS, temporary names, the pattern, and bytes made fit to be shown.
#pragma once

#include <string>
#include <string_view>

#include "base/ids.h"

namespace mayfly::flush_internal {

// What is no printable UTF-8, and the backslash, as \xNN: the bytes can be had back, and it is one line.
std::string Printable(std::string_view bytes);

std::string JoinPath(std::string_view directory, std::string_view name);
std::string_view DirectoryOf(std::string_view path);
// "" or components that are none of "", ".", ".."; no NUL.
bool IsPlainPath(std::string_view path);

// A name beside `path` that no other copy has: .mayfly-JOB-INODE-NUMBER.tmp, in hexadecimal (16, 16, 8 digits).
std::string TemporaryPath(std::string_view path, uint64_t job, InodeId inode, uint32_t number);
// True for exactly such names.
bool IsTemporaryName(std::string_view name, uint64_t* job, InodeId* inode);

// fnmatch(3) without flags: '*' also matches '/'. An empty pattern matches everything.
bool MatchesPattern(const std::string& pattern, const std::string& path);

}  // namespace mayfly::flush_internal
