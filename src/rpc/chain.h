// A list whose links lie in its members: nothing is allocated, and a member leaves in one step wherever it stands.
// A type is a member of several chains by deriving from ChainNode of several tags; of each chain once at a time.
// While a chain is walked, any member may leave it, but not the one that Next is asked about.
#pragma once

#include <cstddef>

#include "base/check.h"

namespace mayfly {

template <class Tag>
struct ChainNode {
  ChainNode* prev = nullptr;
  ChainNode* next = nullptr;
};

template <class T, class Tag>
class Chain {
 public:
  using Node = ChainNode<Tag>;
  Chain() = default;
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  bool empty() const { return first_ == nullptr; }
  size_t size() const { return size_; }
  T* first() const { return static_cast<T*>(first_); }
  T* last() const { return static_cast<T*>(last_); }
  static T* Next(T* item) { return static_cast<T*>(static_cast<Node*>(item)->next); }
  static T* Prev(T* item) { return static_cast<T*>(static_cast<Node*>(item)->prev); }

  void PushBack(T* item) {
    Node* node = item;
    node->prev = last_;
    node->next = nullptr;
    (last_ != nullptr ? last_->next : first_) = node;
    last_ = node;
    ++size_;
  }
  void PushFront(T* item) {
    Node* node = item;
    node->prev = nullptr;
    node->next = first_;
    (first_ != nullptr ? first_->prev : last_) = node;
    first_ = node;
    ++size_;
  }
  void Remove(T* item) {
    Node* node = item;
    MAYFLY_CHECK(size_ > 0);
    (node->prev != nullptr ? node->prev->next : first_) = node->next;
    (node->next != nullptr ? node->next->prev : last_) = node->prev;
    node->prev = node->next = nullptr;
    --size_;
  }
  T* PopFront() {
    T* item = first();
    if (item != nullptr) Remove(item);
    return item;
  }

 private:
  Node* first_ = nullptr;
  Node* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace mayfly
