// UCX's own thread, and fork(). Where some transport takes connections at any time (tcp) UCX has one thread a process
// that waits for them, `async`. Two things of it are inherited by a forked child, although the thread is not:
//   * a lock that it takes for an instant whenever something happens. Held at the moment of the fork it is held for
//     ever, and the child's first worker waits for it without end;
//   * its event set, one for both processes: what the child's workers add to it wakes the parent's thread, which can do
//     nothing about it and tries again at once, as long as the child lives.
// So the thread stands in a callback of ours, which has no lock, while the process forks; and a child that makes
// workers gets an event set of its own, and a thread of ours that does for it what UCX's did: accepts the connections
// that servers make to it. (source: ucs/async/async.c and thread.c, 1.13 to 1.20)
#pragma once

namespace mayfly {

class AsyncThread {
 public:
  // Whoever has workers in a process that may fork keeps one, from before its first worker is made until its last is
  // gone. None is made or destroyed during a fork.
  class User {
   public:
    User();
    User(const User&) = delete;
    ~User();
  };

  // A fork in these three. The thread stands still in between, unless it did not come within 2 s.
  static void BeforeFork();
  static void AfterForkInParent();
  static void AfterForkInChild();
};

}  // namespace mayfly
