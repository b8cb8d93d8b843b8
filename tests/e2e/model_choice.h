// What a client of the model test does next in a cell of names: small paths, often the same ones, so that the clients
// meet; renames and exchanges of what others are walking along above all.
#pragma once

#include <random>

#include "model_record.h"

namespace model {

// kOpen, kOpenCreate and kCreate give a descriptor, to be used or closed.
struct Choice {
  Do what = Do::kStat;
  uint8_t path = 0, other = 0;
};

inline uint64_t Below(std::mt19937_64& random, uint64_t bound) { return random() % bound; }
inline bool Percent(std::mt19937_64& random, uint64_t share) { return Below(random, 100) < share; }

// The upper ones more often: there the others' ancestors move.
inline uint8_t AnyPath(std::mt19937_64& random) {
  if (Percent(random, 35)) return static_cast<uint8_t>(Below(random, 2));
  const bool second = Percent(random, 60);
  return static_cast<uint8_t>(second ? 2 + Below(random, 4) : 6 + Below(random, 8));
}

inline Choice AnyNamesOperation(std::mt19937_64& random) {
  static const std::pair<uint64_t, Do> kinds[] = {{22, Do::kStat},     {42, Do::kRename},     {45, Do::kNoReplace},
                                                  {52, Do::kExchange}, {62, Do::kMkdir},      {68, Do::kRmdir},
                                                  {73, Do::kCreate},   {78, Do::kOpenCreate}, {84, Do::kUnlink},
                                                  {88, Do::kLink},     {91, Do::kTruncate}};
  Choice choice{Do::kOpen};
  choice.path = AnyPath(random);
  choice.other = AnyPath(random);
  const uint64_t dice = Below(random, 100);
  for (const auto& [below, what] : kinds) {
    if (dice >= below) continue;
    choice.what = what;
    break;
  }
  return choice;
}

// What is in a cell before the clients meet: some directories and files.
inline std::vector<Choice> AnyTree(std::mt19937_64& random) {
  std::vector<Choice> tree;
  for (uint8_t path = 0; path < kPathCount; ++path) {
    const uint64_t dice = Below(random, 10);
    if (dice < 7) tree.push_back({dice < 5 ? Do::kMkdir : Do::kCreate, path});
  }
  return tree;
}

}  // namespace model
