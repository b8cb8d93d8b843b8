#include "inspect/disk_loop.h"

namespace mayfly {

void DiskLoop::Add(LocalDisk* disk) {
  if (disk == nullptr) return;
  disks_.push_back(disk);
  idle_.Add(disk);
}

void DiskLoop::Remove(LocalDisk* disk) {
  if (disk == nullptr) return;
  std::erase(disks_, disk);
  idle_.Remove(disk);
}

void DiskLoop::Turn() {
  bool worked = also_ && also_();
  for (LocalDisk* disk : disks_) worked |= disk->Poll();
  worked |= executor_.RunOnce();
  if (worked) {
    spinner_.Worked();
  } else {
    spinner_.Empty();
  }
}

}  // namespace mayfly
