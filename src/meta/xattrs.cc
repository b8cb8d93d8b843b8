#include "meta/xattrs.h"

#include <algorithm>

#include "meta/namespace.h"
#include "meta/permissions.h"

namespace mayfly {
namespace {

using List = std::vector<std::pair<std::string, std::string>>;
constexpr std::string_view kUser = "user.", kTrusted = "trusted.", kSecurity = "security.", kSystem = "system.";

bool NameFits(std::string_view name) { return !name.empty() && name.size() <= kXattrNameBytesMax; }

Status MayAccessUser(const Inode& inode, const Cred& cred, uint32_t want) {
  const bool write = (want & kMayWrite) != 0;
  const bool directory = inode.type == FileType::kDirectory;
  if (inode.type != FileType::kFile && !directory) return write ? Code::kPermission : Code::kNoData;
  const bool owner = cred.uid == 0 || cred.uid == inode.uid;
  if (directory && write && (inode.permissions & kSticky) != 0 && !owner) return Code::kPermission;
  return {};
}

// The permission first, the name after it: as the kernel asks them.
Status MayUse(const Inode& inode, std::string_view name, const Cred& cred, uint32_t want) {
  const bool root = cred.uid == 0, write = (want & kMayWrite) != 0;
  if (name.starts_with(kSystem)) return Code::kNotSupported;
  if (name.starts_with(kSecurity)) {
    if (write && !root) return Code::kPermission;
    return name.size() == kSecurity.size() ? Code::kInvalid : Code::kOk;
  }
  if (name.starts_with(kTrusted)) {
    if (!root) return write ? Code::kPermission : Code::kNoData;
    return name.size() == kTrusted.size() ? Code::kInvalid : Code::kOk;
  }
  const bool user = name.starts_with(kUser);
  if (user) MAYFLY_TRY(MayAccessUser(inode, cred, want));
  if (!MayAccess(inode.type, inode.permissions, inode.uid, inode.gid, cred, want)) return Code::kAccess;
  if (!user) return Code::kNotSupported;
  return name.size() == kUser.size() ? Code::kInvalid : Code::kOk;
}

// The place of `name`, or where it would be (X1).
template <class L>
auto PlaceOf(L& list, std::string_view name) {
  return std::lower_bound(list.begin(), list.end(), name,
                          [](const auto& item, std::string_view wanted) { return item.first > wanted; });
}

uint64_t BytesOf(const List& list) {
  uint64_t bytes = 0;
  for (const auto& [name, value] : list) bytes += name.size() + value.size();
  return bytes;
}

}  // namespace

Result<std::string_view> FindXattr(const Inode& inode, std::string_view name, const Cred& cred) {
  if (!NameFits(name)) return Code::kRange;
  MAYFLY_TRY(MayUse(inode, name, cred, kMayRead));
  if (inode.extra == nullptr) return Code::kNoData;
  const List& list = inode.extra->xattrs;
  const auto it = PlaceOf(list, name);
  if (it == list.end() || it->first != name) return Code::kNoData;
  return std::string_view(it->second);
}

Status PutXattr(Inode& inode, std::string_view name, std::string_view value, uint32_t flags, const Cred& cred) {
  if ((flags & ~(kXattrCreate | kXattrReplace)) != 0) return Code::kInvalid;
  if (!NameFits(name)) return Code::kRange;
  if (value.size() > kXattrValueBytesMax) return Code::kTooBig;
  MAYFLY_TRY(MayUse(inode, name, cred, kMayWrite));
  static const List kEmpty;
  const List& now = inode.extra != nullptr ? inode.extra->xattrs : kEmpty;
  const auto it = PlaceOf(now, name);
  const bool found = it != now.end() && it->first == name;
  if (found && (flags & kXattrCreate) != 0) return Code::kExists;
  if (!found && (flags & kXattrReplace) != 0) return Code::kNoData;
  const uint64_t freed = found ? name.size() + it->second.size() : 0;
  if (BytesOf(now) - freed + name.size() + value.size() > kXattrsBytesMax) return Code::kNoSpace;  // X2
  StoreXattr(inode, name, value);
  return {};
}

void StoreXattr(Inode& inode, std::string_view name, std::string_view value) {
  List& list = inode.Extra().xattrs;
  const auto place = PlaceOf(list, name);
  if (place != list.end() && place->first == name) {
    place->second.assign(value);
  } else {
    list.emplace(place, std::string(name), std::string(value));
  }
}

void EraseXattr(Inode& inode, std::string_view name) {
  if (inode.extra == nullptr) return;
  List& list = inode.extra->xattrs;
  const auto place = PlaceOf(list, name);
  if (place != list.end() && place->first == name) list.erase(place);
}

uint64_t XattrBytes(const Inode& inode) { return inode.extra == nullptr ? 0 : BytesOf(inode.extra->xattrs); }

Status DropXattr(Inode& inode, std::string_view name, const Cred& cred) {
  if (!NameFits(name)) return Code::kRange;
  MAYFLY_TRY(MayUse(inode, name, cred, kMayWrite));
  if (inode.extra == nullptr) return Code::kNoData;
  List& list = inode.extra->xattrs;
  const auto it = PlaceOf(list, name);
  if (it == list.end() || it->first != name) return Code::kNoData;
  list.erase(it);
  return {};
}

std::string XattrNames(const Inode& inode, const Cred& cred) {
  std::string names;
  if (inode.extra == nullptr) return names;
  for (const auto& [name, value] : inode.extra->xattrs) {
    if (cred.uid != 0 && name.starts_with(kTrusted)) continue;
    names.append(name).push_back('\0');
  }
  return names;
}

}  // namespace mayfly
