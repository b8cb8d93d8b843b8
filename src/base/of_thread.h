// What a thread has of its own, made at its first use. C++ destroys such objects before exit handlers and static
// destructors run, and these may still call us: the object is made anew then, and stays as it is.
#pragma once

#include <utility>

namespace mayfly {

// One T a thread and type.
template <class T>
class OfThread {
 public:
  static T& Get() {
    if (value_ == nullptr) Make();
    return *value_;
  }

 private:
  struct End {
    ~End() {
      ended_ = true;
      delete std::exchange(value_, nullptr);
    }
    void Register() {}
  };
  static void Make() {
    value_ = new T;
    if (ended_) return;
    static thread_local End end;
    end.Register();
  }
  // Both need no destructor, so they are there for as long as the thread.
  static inline thread_local T* value_ = nullptr;
  static inline thread_local bool ended_ = false;
};

}  // namespace mayfly
