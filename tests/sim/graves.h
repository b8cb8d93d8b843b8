// Unfinished work of processes that were killed: never run again, never destroyed.
#pragma once

#include <utility>
#include <vector>

namespace mayfly {

template <class T>
void Bury(T thing) {
  static auto* graves = new std::vector<T>;
  graves->push_back(std::move(thing));
}

}  // namespace mayfly
