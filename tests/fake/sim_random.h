// Chance by one seed (xoshiro256** filled from splitmix64): the same seed gives the same bytes on every machine.
// Helpers draw from the same stream, so a run is a function of the seed and the order of the calls.
#pragma once

#include "os/random.h"

namespace mayfly {

class SimRandom : public Random {
 public:
  explicit SimRandom(uint64_t seed) {
    for (uint64_t& word : state_) {  // splitmix64
      seed += 0x9e3779b97f4a7c15;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }
  void Fill(MutableBytes out) override {
    while (!out.empty()) {
      const uint64_t v = Next();
      const size_t n = out.size() < sizeof v ? out.size() : sizeof v;
      std::memcpy(out.data(), &v, n);
      out = out.subspan(n);
    }
  }
  // 0 .. n - 1 (n > 0); the bias of 2^-64 * n does not matter to a test.
  uint64_t Below(uint64_t n) { return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * n) >> 64); }
  bool PerMille(uint32_t chance) { return Below(1000) < chance; }

 private:
  static uint64_t Rotl(uint64_t v, int by) { return (v << by) | (v >> (64 - by)); }
  uint64_t Next() {
    const uint64_t result = Rotl(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = Rotl(state_[3], 45);
    return result;
  }
  uint64_t state_[4];
};

}  // namespace mayfly
