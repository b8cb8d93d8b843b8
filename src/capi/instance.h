// An instance is one mayfly_connect: the mount, the engines of the threads that use it, and the helper's thread.
// Invariants  I1  each thread uses one engine of an instance at a time; when it ends, the engine goes to the free ones.
//             I2  an instance is in the registry from its connect to its disconnect; what a thread keeps about one is
//                 named by its serial, which is never used again.
//             I3  a forked child makes no call on the parent's engines: they are abandoned and never freed.
// Locks, in this order: the fork gate's, the registry's, the file table's, the mount's, the instance's.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "capi/engine.h"
#include "capi/helper_thread.h"
#include "capi/platform.h"
#include "client/mount.h"

namespace mayfly {

class Instance {
 public:
  Instance(std::unique_ptr<Platform> platform, const ClientOptions& options);
  Instance(const Instance&) = delete;
  ~Instance();

  Mount& mount() { return mount_; }
  Platform& platform() { return *platform_; }
  uint64_t serial() const { return serial_; }
  uint64_t device() const { return device_; }  // st_dev
  // What the permissions of new files are without: at first what the process had when it connected.
  mode_t umask() const { return umask_.load(std::memory_order_relaxed); }
  mode_t SetUmask(mode_t mask) { return umask_.exchange(mask & 0777); }
  // Once there is an engine.
  ClientId process() {
    std::lock_guard lock(mutex_);
    return process_;
  }

  // The calling thread's engine. Null with a sentence in `why`.
  Engine* ThreadEngine(std::string* why);
  // A further one, not tied to a thread.
  std::unique_ptr<Engine> NewEngine(std::string* why);

  // A turn of each engine that nobody uses and that has closes under way: its thread may compute for long.
  void DriveIdle();
  // Sends what the files of this process hold. The first error.
  Status FlushFiles(Engine& engine);
  // Besides, at level `node`: until the servers' disks have all that was done in the session. The first error.
  Status Sync(Engine& engine);
  // The end of a session in this process: closes its files, sends what waits, ends helper and engines.
  Status Close();
  // At exit(): sends what is buffered and stops the helper.
  void AtExit();

  static Instance& Of(Mount& mount) { return *static_cast<OwnMount&>(mount).instance; }

 private:
  friend class ThreadEngines;
  friend class Registry;
  struct OwnMount final : Mount {
    using Mount::Mount;
    Instance* instance = nullptr;
  };
  void GiveBack(Engine* engine);
  void RenewInChild();

  const std::unique_ptr<Platform> platform_;
  const uint64_t serial_;
  uint64_t device_ = 0;
  std::atomic<mode_t> umask_;
  OwnMount mount_;
  std::mutex mutex_;  // of what follows
  ClientId process_;  // none yet: made with the first engine
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<Engine*> free_;
  std::vector<std::unique_ptr<Engine>> left_behind_;  // I3
  std::unique_ptr<HelperThread> helper_;
};

// All instances of the process, and its descriptors. Never destroyed: threads may outlive main.
class Registry {
 public:
  static Registry& Get();
  FileTable& files() { return files_; }
  void Add(Instance* instance);
  void Remove(Instance* instance);

 private:
  friend class ThreadEngines;
  Registry();
  static void BeforeFork();
  void UnlockAll();
  static void AfterForkInParent();
  static void AfterForkInChild();
  static void AtExit();

  std::mutex mutex_;
  std::vector<Instance*> instances_;
  FileTable files_;
};

}  // namespace mayfly
