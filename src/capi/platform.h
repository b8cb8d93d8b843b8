// What a session stands on: where its shards are, who this process is, and the doors of each engine. The real one is
// PosixPlatform (posix_platform.h); tests make one of the simulated doors.
#pragma once

#include <memory>
#include <string>

#include "os/arena_view.h"
#include "os/clock.h"
#include "os/cores.h"
#include "os/idle.h"
#include "os/random.h"
#include "os/transport.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "ring/ring.h"
#include "rpc/caller.h"

namespace mayfly {

// The doors of one engine; used by one thread at a time.
class Ground {
 public:
  virtual ~Ground() = default;
  virtual Clock& clock() = 0;
  virtual Idle& idle() = 0;  // sleeps until the transport has something
  virtual Random& random() = 0;
  virtual Transport& transport() = 0;
  // In a forked child: the parent's doors are left alone. Nothing else is called afterwards, not even the destructor.
  virtual void Abandon() = 0;
};

// Any thread.
class Platform {
 public:
  virtual ~Platform() = default;
  // Null with a sentence in `why`.
  virtual std::unique_ptr<Ground> NewGround(std::string* why) = 0;
  virtual const AddressBook& book() const = 0;
  virtual const Layout& layout() const = 0;
  virtual const Placement& placement() const = 0;
  virtual RingOptions ring() const = 0;
  // Without `client` and `process`: these are made where they are needed.
  virtual Identity identity() const = 0;
  // The arenas of servers on this node; null if none can be mapped.
  virtual ArenaViews* arena_views() { return nullptr; }
  virtual Cores* cores() { return nullptr; }
  // The session has left no trace on this node.
  virtual bool SessionIsGone() = 0;
  // None of its servers lives on this node.
  virtual bool ServersHaveLeft() { return SessionIsGone(); }
  // A server that was killed is started again with what it held.
  virtual bool servers_come_back() const { return false; }
  // What was synced or closed is to survive a loss of power.
  virtual bool syncs() const { return false; }
  // Whether a thread may run the helper. Without one nothing is buffered or read ahead.
  virtual bool MayStartThreads() const { return true; }
};

}  // namespace mayfly
