// A list of keys that is taken from the least on, one at a time: to sort all at once would take too long for who does
// it beside others' work. Plain functions.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

namespace mayfly {

template <class T>
void MakeHeap(std::vector<T>* all) {
  std::make_heap(all->begin(), all->end(), std::greater<>());
}
// Of a heap that is not empty.
template <class T>
T TakeLeast(std::vector<T>* heap) {
  std::pop_heap(heap->begin(), heap->end(), std::greater<>());
  const T least = heap->back();
  heap->pop_back();
  return least;
}

}  // namespace mayfly
