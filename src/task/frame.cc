#include "task/frame.h"

#include <array>
#include <new>

namespace mayfly {
namespace {

constexpr size_t kClassBytes = 64;
constexpr size_t kClasses = 64;  // frames up to 4 KiB; larger ones go to the allocator

#ifndef MAYFLY_SANITIZED
struct Lists {
  struct Node {
    Node* next;
  };
  std::array<Node*, kClasses> head{};
  ~Lists() {
    for (Node* node : head) {
      while (node != nullptr) {
        Node* next = node->next;
        ::operator delete(node);
        node = next;
      }
    }
  }
};
thread_local Lists lists;
#endif

}  // namespace

void* AllocateFrame(size_t bytes) {
#ifndef MAYFLY_SANITIZED
  size_t index = (bytes - 1) / kClassBytes;
  if (index < kClasses) {
    if (Lists::Node* node = lists.head[index]) {
      lists.head[index] = node->next;
      return node;
    }
    return ::operator new((index + 1) * kClassBytes);
  }
#endif
  return ::operator new(bytes);
}

void FreeFrame(void* frame, [[maybe_unused]] size_t bytes) {
#ifndef MAYFLY_SANITIZED
  size_t index = (bytes - 1) / kClassBytes;
  if (index < kClasses) {
    auto* node = static_cast<Lists::Node*>(frame);
    node->next = lists.head[index];
    lists.head[index] = node;
    return;
  }
#endif
  ::operator delete(frame);
}

}  // namespace mayfly
