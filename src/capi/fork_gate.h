// What keeps fork() and the network library apart. A child in which another thread was inside UCX at the moment of the
// fork inherits whatever lock that thread held, for ever: its own first call would hang. So a thread that uses an
// engine says when it is inside, and a fork waits until nobody is. Any thread.
//
// Invariants  K1  between Before and After of a fork no thread is inside, unless one did not come out within kWaitMost.
//             K2  a thread that is inside looks at `pending` each turn of its engine and stays outside while it sleeps,
//                 so a fork waits for a turn, not for an operation.
//             K3  entering is a plain store, as it stands in every call of the library: the fork's side makes every
//                 thread's stores visible before it looks (membarrier, else each entry is a locked store).
#pragma once

#include <atomic>
#include <mutex>

#include "base/ids.h"
#include "os/idle.h"

namespace mayfly {

class ForkGate {
 public:
  static constexpr Nanos kWaitMost = 2 * kSecond;

  // Who uses one engine: one thread at a time, the others wait.
  class Inside {
   public:
    Inside();
    Inside(const Inside&) = delete;
    ~Inside();
    // From the beginning of a call to its end, asleep or not.
    void Occupy() {
      if (occupied_.exchange(true, std::memory_order_acquire)) WaitFree();
    }
    void Vacate() { occupied_.store(false, std::memory_order_release); }
    void Enter() {
      while (true) {
        if (forks_fence_) {
          inside_.store(true, std::memory_order_relaxed);
          std::atomic_signal_fence(std::memory_order_seq_cst);  // K3
        } else {
          inside_.store(true, std::memory_order_seq_cst);
        }
        if (!pending_.load(std::memory_order_seq_cst)) return;
        WaitOutside();
      }
    }
    void Leave() { inside_.store(false, std::memory_order_release); }
    // K2
    void Look() {
      if (!pending_.load(std::memory_order_relaxed)) return;
      WaitOutside();
      Enter();
    }

   private:
    friend class ForkGate;
    void WaitFree();
    void WaitOutside();
    std::atomic<bool> occupied_{false};
    std::atomic<bool> inside_{false};
    Inside* next_ = nullptr;
    Inside* previous_ = nullptr;
  };
  // For a stretch of code.
  class Scope {
   public:
    explicit Scope(Inside& inside) : inside_(&inside), outer_(current_) {
      if (outer_ != inside_) {  // a callback of ours may call us
        inside_->Occupy();
        inside_->Enter();
      }
      current_ = inside_;
    }
    Scope(const Scope&) = delete;
    ~Scope() {
      if (outer_ != inside_) {
        inside_->Leave();
        inside_->Vacate();
      }
      current_ = outer_;
    }

   private:
    Inside* inside_;
    Inside* outer_;
  };
  // For a turn of an engine that nobody uses, by a thread that is inside its own: it waits neither for that nor for a
  // fork.
  class Visit {
   public:
    explicit Visit(Inside& inside);
    Visit(const Visit&) = delete;
    ~Visit();
    explicit operator bool() const { return inside_ != nullptr; }

   private:
    Inside* inside_ = nullptr;
  };
  // Engines are made and destroyed one at a time, and not during a fork.
  static std::mutex& making();

  // What else stands still for a fork: called when nobody is inside (any more), and afterwards. To be said before the
  // first engine is made.
  struct Others {
    void (*before)();
    void (*in_parent)();
    void (*in_child)();
  };
  static void SetOthers(const Others& what);

  static void Before();  // in this order with other locks: first
  static void AfterInParent();
  static void AfterInChild();  // what others were doing ends here
  // After a check failed under a Scope and the stack was left.
  static void Forget();

 private:
  static void End();
  static const bool forks_fence_;  // the kernel can fence all threads of the process
  static std::atomic<bool> pending_;
  static thread_local Inside* current_;  // of this thread: it may fork in a callback
};

// Sleep is outside (K2).
class OutsideIdle final : public Idle {
 public:
  OutsideIdle(Idle& idle, ForkGate::Inside& inside) : idle_(idle), inside_(inside) {}
  void Sleep(Nanos until) override;
  void Yield() override { idle_.Yield(); }
  void Wake() override { idle_.Wake(); }

 private:
  Idle& idle_;
  ForkGate::Inside& inside_;
};

}  // namespace mayfly
