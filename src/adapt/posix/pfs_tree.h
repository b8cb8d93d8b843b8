// The PFS as this node's kernel mounts it. Every path is resolved from the root's descriptor by openat2 with
// RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS; where the kernel (before 5.6) or a container's filter has none, component by
// component with O_NOFOLLOW. Stateless but for the descriptors, so any thread may use it.
#pragma once

#include "os/pfs_tree.h"

namespace mayfly {

class PosixPfsTree final : public PfsTree {
 public:
  struct Options {
    bool openat2 = true;  // false: resolve component by component, as tests do
  };
  PosixPfsTree() = default;
  explicit PosixPfsTree(Options options) : options_(options) {}

  PfsStatus Open(const std::string& directory, bool create, std::shared_ptr<PfsRoot>* root, bool* created) override;

 private:
  Options options_;
};

}  // namespace mayfly
