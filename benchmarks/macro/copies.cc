// Copies into an arena and out of it beside memcpy and a checksum in a pass of its own: 1 MiB at a time, into and out
// of 256 MiB. One line of JSON each, in bytes a second; what was copied is compared, and every sum with the library's.
//   mayfly_copies [ROUNDS]
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/copy.h"

namespace mayfly {
namespace {

constexpr size_t kPiece = 1u << 20, kArena = 256u << 20;

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "mayfly_copies: {}\n", why);
  std::exit(1);
}

struct Way {
  std::string name;
  bool out = false;
  std::function<void(uint8_t* to, Bytes from, uint64_t* sums)> copy;
  bool sums = false;
  std::vector<double> rates = {};
};

void SumApart(Bytes data, uint64_t* sums) {
  for (size_t at = 0; at < data.size(); at += kChecksumBlockBytes) {
    *sums++ = Checksum(data.subspan(at, kChecksumBlockBytes));
  }
}

void Measure(Way& way, MutableBytes arena, MutableBytes buffer) {
  std::vector<uint64_t> sums(BlocksOf(kPiece)), expected(sums.size());
  const auto began = std::chrono::steady_clock::now();
  for (size_t at = 0; at < kArena; at += kPiece) {
    uint8_t* const place = arena.data() + at;
    buffer[at / kPiece] += way.out ? 0 : 1;
    way.copy(way.out ? buffer.data() : place, way.out ? Bytes(place, kPiece) : Bytes(buffer), sums.data());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  way.rates.push_back(static_cast<double>(kArena) / took.count());
  SumApart(buffer, expected.data());
  if (std::memcmp(arena.data() + kArena - kPiece, buffer.data(), kPiece) != 0) Die(way.name + ": wrong bytes");
  if (way.sums && sums != expected) Die(way.name + ": wrong sums");
}

int Main(int rounds) {
  void* const at = mmap(nullptr, kArena, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) Die("no memory: it takes 256 MiB");
  MutableBytes arena(static_cast<uint8_t*>(at), kArena);
  std::memset(arena.data(), 1, arena.size());
  std::vector<uint8_t> buffer(kPiece);
  for (size_t i = 0; i < buffer.size(); ++i) buffer[i] = static_cast<uint8_t>(i * 31 + i / 251);

  const auto plain = [](uint8_t* to, Bytes from, uint64_t*) { std::memcpy(to, from.data(), from.size()); };
  std::vector<Way> ways;
  ways.push_back({"in: memcpy", false, plain});
  ways.push_back({"in: past the caches", false, [](uint8_t* to, Bytes from, uint64_t*) { CopyIn(to, from); }});
  ways.push_back({"in: memcpy, summed block by block", false,
                  [](uint8_t* to, Bytes from, uint64_t* sums) {
                    for (size_t i = 0; i < from.size(); i += kChecksumBlockBytes) {
                      std::memcpy(to + i, from.data() + i, kChecksumBlockBytes);
                      *sums++ = Checksum({to + i, kChecksumBlockBytes});
                    }
                  },
                  true});
  ways.push_back({"in: past the caches, summed on the way", false, CopyInAndChecksum, true});
  ways.push_back({"out: memcpy", true, plain});
  ways.push_back({"out: four streams", true, [](uint8_t* to, Bytes from, uint64_t*) { CopyOut(to, from); }});
  ways.push_back({"out: summed on the way", true,
                  [](uint8_t* to, Bytes from, uint64_t* sums) {
                    for (size_t i = 0; i < from.size(); i += kChecksumBlockBytes) {
                      *sums++ = CopyOutAndChecksum(to + i, from.subspan(i, kChecksumBlockBytes));
                    }
                  },
                  true});
  for (int round = 0; round < rounds; ++round) {
    for (Way& way : ways) Measure(way, arena, buffer);
  }
  for (Way& way : ways) {
    std::nth_element(way.rates.begin(), way.rates.begin() + rounds / 2, way.rates.end());
    fmt::print("{{\"name\":\"{}\",\"value\":{:.4g},\"unit\":\"B/s\"}}\n", way.name, way.rates[rounds / 2]);
  }
  return 0;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7;
  if (rounds < 1 || argc > 2) mayfly::Die("the only argument is a number of rounds");
  return mayfly::Main(rounds);
}
