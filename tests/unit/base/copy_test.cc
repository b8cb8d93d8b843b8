// Copies, and sums that are made on the way, beside memcpy and xxHash's own.
#include "base/copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "base/checksum.h"

namespace mayfly {
namespace {

using Vectors = Xxh3::Vectors;

std::vector<uint8_t> RandomBytes(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> out(bytes);
  std::generate(out.begin(), out.end(), [&] { return static_cast<uint8_t>(random()); });
  return out;
}

std::vector<uint64_t> SumsOf(Bytes data) {
  std::vector<uint64_t> sums;
  for (size_t at = 0; at < data.size(); at += kChecksumBlockBytes) {
    sums.push_back(Checksum(data.subspan(at, std::min<size_t>(kChecksumBlockBytes, data.size() - at))));
  }
  return sums;
}

// Lengths around everything that is done in steps, and some at random.
std::vector<size_t> Lengths() {
  std::vector<size_t> lengths;
  for (size_t n = 0; n <= 2500; ++n) lengths.push_back(n);
  for (size_t around : {4096, 16384, 65536, 131072, 262144}) {
    for (size_t n = around - 66; n <= around + 66; ++n) lengths.push_back(n);
  }
  return lengths;
}

// Memory with a margin that nothing may touch, at any distance from a line's begin.
class Target {
 public:
  explicit Target(size_t bytes, size_t shift) : memory_(bytes + 3 * kMargin, 0xA5), bytes_(bytes) {
    const auto at = reinterpret_cast<uintptr_t>(memory_.data());
    begin_ = kMargin + (-at % kMargin) + shift;
  }
  uint8_t* data() { return memory_.data() + begin_; }
  bool Holds(Bytes expected) {
    const auto is_margin = [](uint8_t byte) { return byte == 0xA5; };
    return std::equal(expected.begin(), expected.end(), data()) && std::all_of(memory_.data(), data(), is_margin) &&
           std::all_of(data() + bytes_, memory_.data() + memory_.size(), is_margin);
  }

 private:
  static constexpr size_t kMargin = kCacheLineBytes;
  std::vector<uint8_t> memory_;
  size_t bytes_, begin_ = 0;
};

class CopyTest : public testing::TestWithParam<Vectors> {
 protected:
  void SetUp() override {
    if (GetParam() > Xxh3::Available()) GTEST_SKIP() << "this processor has no such vectors";
    Xxh3::Use(GetParam());
  }
  void TearDown() override { Xxh3::Use(Xxh3::Available()); }
};

TEST_P(CopyTest, CopiesWhatIsAskedForAndNothingElse) {
  const std::vector<uint8_t> all = RandomBytes(300000, 1);
  for (size_t n : Lengths()) {
    const size_t from = n % 67, shift = n % 64;
    const Bytes data = Bytes(all).subspan(from, n);
    Target in(n, shift), out(n, shift);
    CopyIn(in.data(), data);
    CopyOut(out.data(), data);
    ASSERT_TRUE(in.Holds(data) && out.Holds(data)) << n;
  }
}

TEST_P(CopyTest, SumsAreTheLibrarys) {
  const std::vector<uint8_t> all = RandomBytes(300000, 2);
  for (size_t n : Lengths()) {
    const Bytes data = Bytes(all).subspan(n % 61, n);
    for (size_t shift : {size_t{0}, n % 64}) {
      Target in(n, shift);
      std::vector<uint64_t> sums(BlocksOf(n));
      CopyInAndChecksum(in.data(), data, sums.data());
      ASSERT_TRUE(in.Holds(data)) << n << " at " << shift;
      ASSERT_EQ(sums, SumsOf(data)) << n << " at " << shift;
      if (n > kChecksumBlockBytes) continue;
      Target out(n, shift);
      ASSERT_EQ(CopyOutAndChecksum(out.data(), data), Checksum(data)) << n << " at " << shift;
      ASSERT_TRUE(out.Holds(data)) << n << " at " << shift;
    }
  }
}

// Also when they are asked for in between, and when the pieces change sides of every size that matters.
TEST_P(CopyTest, RunningSumsAreThoseOfTheWhole) {
  std::mt19937_64 random(3);
  const std::vector<uint8_t> all = RandomBytes(400000, 4);
  RunningSums running;
  for (int round = 0; round < 300; ++round) {
    const size_t shift = round % 3 == 0 ? random() % 64 : 0, total = 1 + random() % 300000;
    Target target(total, shift);
    size_t size = 0;
    while (size < total) {
      const size_t most = size_t{1} << (random() % 18);
      const size_t n = std::min(total - size, 1 + random() % most);
      running.Append(target.data(), size, Bytes(all).subspan(size, n));
      size += n;
      if (random() % 8 != 0 && size != total) continue;
      std::vector<uint64_t> sums(BlocksOf(size));
      running.Give(target.data(), size, sums.data());
      ASSERT_EQ(sums, SumsOf(Bytes(all).first(size))) << round << ": " << size << " of " << total;
    }
    ASSERT_TRUE(target.Holds(Bytes(all).first(total))) << round;
    running.Reset();
  }
}

INSTANTIATE_TEST_SUITE_P(By, CopyTest, testing::Values(Vectors::kNone, Vectors::kAvx2, Vectors::kAvx512),
                         [](const auto& param) {
                           return param.param == Vectors::kNone   ? "Library"
                                  : param.param == Vectors::kAvx2 ? "Avx2"
                                                                  : "Avx512";
                         });

}  // namespace
}  // namespace mayfly
