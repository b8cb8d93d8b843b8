// One function a target, Fuzz(data, size), driven in two ways: by libFuzzer (clang, MAYFLY_LIBFUZZER), and by a seeded
// generator in a gtest that every build runs. A run of the gtest is a function of its seed, which it names when it
// dies: MAYFLY_SEED=17 runs that one alone, MAYFLY_ROUNDS=1000000 runs longer. libFuzzer starts from what is in its
// corpus, and MAYFLY_CORPUS=DIRECTORY has the target put there first what it would not find by itself.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fake/sim_random.h"

namespace mayfly {

// Decisions taken from the input; zeros when it is used up, so that every input is a good one.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint32_t Below(uint32_t n) {  // n <= 65536
    const uint32_t v = Byte() | uint32_t{Byte()} << 8;
    return v % n;
  }
  uint64_t U64() {
    uint64_t v = 0;
    for (int i = 0; i < 8; ++i) v = v << 8 | Byte();
    return v;
  }
  std::vector<uint8_t> Some(size_t most) {
    std::vector<uint8_t> out(Below(static_cast<uint32_t>(most) + 1));
    for (uint8_t& b : out) b = Byte();
    return out;
  }
  // Changes 1 to 8 places of `bytes`: bits, bytes, values at the edge, lengths.
  void Mutate(std::vector<uint8_t>* bytes) {
    for (int n = 1 + Byte() % 8; n > 0 && !bytes->empty(); --n) {
      const size_t at = Below(static_cast<uint32_t>(bytes->size()));
      switch (Byte() % 6) {
        case 0:
          (*bytes)[at] ^= static_cast<uint8_t>(1 << Byte() % 8);
          break;
        case 1:
          (*bytes)[at] = Byte();
          break;
        case 2:
          for (size_t i = at; i < bytes->size() && i < at + 4; ++i) (*bytes)[i] = 0xff;
          break;
        case 3:
          for (size_t i = at; i < bytes->size() && i < at + 4; ++i) (*bytes)[i] = 0;
          break;
        case 4:
          bytes->erase(bytes->begin() + static_cast<ptrdiff_t>(at));
          break;
        case 5:
          if (bytes->size() < 2048) bytes->insert(bytes->begin() + static_cast<ptrdiff_t>(at), Byte());
          break;
      }
    }
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

using FuzzInput = std::vector<uint8_t>;

void Fuzz(const uint8_t* data, size_t size);
// Valid encodings, where the input is what is decoded. None where it is a list of choices: there any input gets deep.
std::vector<FuzzInput> Examples();

// An input by chance.
inline FuzzInput MadeUp(uint64_t seed) {
  SimRandom random(seed);
  FuzzInput input(random.Below(random.PerMille(200) ? 6000 : 600));
  random.Fill(input);
  // Few distinct bytes now and then: decisions repeat, counts are small.
  if (random.PerMille(300)) {
    for (uint8_t& b : input) b %= 8;
  }
  return input;
}

}  // namespace mayfly

// A property that must hold; stops the run at the input that breaks it.
#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

#ifdef MAYFLY_LIBFUZZER

#include <fstream>
#include <string>

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* corpus = std::getenv("MAYFLY_CORPUS");
  if (corpus == nullptr) return 0;
  std::vector<mayfly::FuzzInput> inputs = mayfly::Examples();
  for (uint64_t seed = 1; seed <= 60; ++seed) inputs.push_back(mayfly::MadeUp(seed));
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::ofstream file(std::string(corpus) + "/example" + std::to_string(i), std::ios::binary);
    file.write(reinterpret_cast<const char*>(inputs[i].data()), static_cast<std::streamsize>(inputs[i].size()));
    FUZZ_CHECK(file.flush().good());
  }
  return 0;
}
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mayfly::Fuzz(data, size);
  return 0;
}
#define FUZZ_TEST_MAIN(name, rounds)

#else

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace mayfly::fuzz_internal {

inline volatile uint64_t current_seed = 0;

inline void SayTheSeed() {
  char text[64];
  const int n =
      std::snprintf(text, sizeof text, "\nfuzz: MAYFLY_SEED=%llu\n", static_cast<unsigned long long>(current_seed));
  (void)!write(2, text, static_cast<size_t>(n));
}
inline void OnAbort(int) { SayTheSeed(); }

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

inline void Run(uint64_t rounds) {
  std::signal(SIGABRT, &OnAbort);
  if (&__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(&SayTheSeed);
  const char* only = std::getenv("MAYFLY_SEED");
  const char* more = std::getenv("MAYFLY_ROUNDS");
  uint64_t first = 1;
  if (more != nullptr) rounds = std::strtoull(more, nullptr, 10);
  if (only != nullptr) {
    first = std::strtoull(only, nullptr, 10);
    rounds = 1;
  }
  for (const FuzzInput& input : Examples()) Fuzz(input.data(), input.size());
  std::printf("fuzz: seeds %llu to %llu\n", static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(first + rounds - 1));
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    current_seed = seed;
    const FuzzInput input = MadeUp(seed);
    Fuzz(input.data(), input.size());
    if (testing::Test::HasFailure()) {
      SayTheSeed();
      return;
    }
  }
  std::signal(SIGABRT, SIG_DFL);
}

}  // namespace mayfly::fuzz_internal

#define FUZZ_TEST_MAIN(name, rounds) \
  TEST(Fuzz, name) { ::mayfly::fuzz_internal::Run(rounds); }

#endif
