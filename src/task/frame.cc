#include "task/frame.h"

#include <array>
#include <cstdint>
#include <new>
#include <utility>

namespace mayfly {
namespace {

constexpr size_t kClassBytes = 64;
constexpr size_t kClasses = 64;  // frames up to 4 KiB; larger ones go to the allocator

#ifndef MAYFLY_SANITIZED
struct Node {
  Node* next;
};
// Nothing to construct and nothing to destroy: each use is a plain access.
constinit thread_local std::array<Node*, kClasses> lists{};
enum class Lists : uint8_t { kNew, kOpen, kClosed };
constinit thread_local Lists state = Lists::kNew;

// Gives a thread's free frames back when it ends; what other thread-local objects free after that goes back at once.
struct Emptier {
  ~Emptier() {
    state = Lists::kClosed;
    for (Node*& head : lists) {
      while (head != nullptr) ::operator delete(std::exchange(head, head->next));
    }
  }
};
// False once the thread's lists are closed.
bool Open() {
  if (state == Lists::kNew) {
    state = Lists::kOpen;
    static thread_local Emptier emptier;
    (void)&emptier;
  }
  return state == Lists::kOpen;
}
#endif

}  // namespace

void* AllocateFrame(size_t bytes) {
#ifndef MAYFLY_SANITIZED
  size_t index = (bytes - 1) / kClassBytes;
  if (index < kClasses) {
    auto& head = lists[index];
    if (head != nullptr) return std::exchange(head, head->next);
    return ::operator new((index + 1) * kClassBytes);
  }
#endif
  return ::operator new(bytes);
}

void FreeFrame(void* frame, [[maybe_unused]] size_t bytes) {
#ifndef MAYFLY_SANITIZED
  size_t index = (bytes - 1) / kClassBytes;
  if (index < kClasses && (state == Lists::kOpen || Open())) {
    auto* node = static_cast<Node*>(frame);
    node->next = std::exchange(lists[index], node);
    return;
  }
#endif
  ::operator delete(frame);
}

}  // namespace mayfly
