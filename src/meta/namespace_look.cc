#include "meta/namespace_look.h"

#include <algorithm>

#include "meta/namespace_impl.h"

namespace mayfly {

NamespaceLook::NamespaceLook(const Namespace& names) : impl_(*names.impl_) {}

std::vector<InodeId> NamespaceLook::Parts() const {
  std::vector<InodeId> parts = impl_.parts.Directories();
  std::sort(parts.begin(), parts.end());
  return parts;
}

void NamespaceLook::ForEachEntry(InodeId dir, const Visit& visit) const {
  const DirPart* part = impl_.parts.Find(dir);
  if (part == nullptr) return;
  part->order.ForEachAfter(0, [&](DentryRef ref) {
    const Dentry& dentry = impl_.store.Get(ref);
    visit(dentry.name(), dentry.inode, dentry.file_type());
    return true;
  });
}

size_t NamespaceLook::prepared() const { return impl_.recovered.size() + impl_.transactions.size(); }

}  // namespace mayfly
