// Extended attributes of one inode, by the rules of tmpfs: which names there are, who may read and set them, and in
// which order they are listed (descending, as tmpfs does). Pure functions on an inode; times are the caller's.
// Invariants  X1  an inode's xattrs are in descending order of their name, each once.
//             X2  they take at most kXattrsBytesMax together.
#pragma once

#include <string>
#include <string_view>

#include "meta/inode.h"

namespace mayfly {

constexpr uint32_t kXattrCreate = 1, kXattrReplace = 2;  // XattrRequest::flags
constexpr uint64_t kXattrsBytesMax = 1024 * 1024;        // of one inode, names and values: beyond it kNoSpace

Result<std::string_view> FindXattr(const Inode& inode, std::string_view name, const Cred& cred);
Status PutXattr(Inode& inode, std::string_view name, std::string_view value, uint32_t flags, const Cred& cred);
Status DropXattr(Inode& inode, std::string_view name, const Cred& cred);
// Without any rule (X1 is kept; X2 is the caller's). Erasing what is not there does nothing.
void StoreXattr(Inode& inode, std::string_view name, std::string_view value);
void EraseXattr(Inode& inode, std::string_view name);
uint64_t XattrBytes(const Inode& inode);  // X2
std::string XattrNames(const Inode& inode, const Cred& cred);

}  // namespace mayfly
