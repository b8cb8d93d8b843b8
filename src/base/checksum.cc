#include "base/checksum.h"

#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // from here on XXH3_64bits is the widest that this processor has: AVX2, AVX-512
#endif

#include <algorithm>
#include <cstring>

#include "base/copy.h"

namespace mayfly {

uint64_t Checksum(Bytes data) { return XXH3_64bits(data.data(), data.size()); }

void CopyInAndChecksum(uint8_t* to, Bytes from, uint64_t* sums) {
  RunningSums running;
  running.Append(to, 0, from);
  running.Give(to, from.size(), sums);
}

uint64_t CopyOutAndChecksum(uint8_t* to, Bytes from) {
  size_t done = 0;
  Xxh3 hash;
  const bool on_the_way = Xxh3::IsFast() && from.size() > Xxh3::kShort;
  if (on_the_way) {
    hash.Add(from.data(), Xxh3::StripesOf(from.size()), to, Xxh3::Copy::kPlain);
    done = hash.stripes() * Xxh3::kStripeBytes;
  }
  std::memcpy(to + done, from.data() + done, from.size() - done);
  return on_the_way ? hash.Digest(to + from.size(), from.size()) : Checksum({to, from.size()});
}

void RunningSums::Append(uint8_t* begin, size_t size, Bytes from) {
  const bool fence = from.size() >= kPastCachesMin;
  while (!from.empty()) {
    const size_t at = size % kChecksumBlockBytes;
    const Bytes piece = from.first(std::min(kChecksumBlockBytes - at, from.size()));
    AppendToBlock(begin + (size - at), at, piece);
    size += piece.size();
    from = from.subspan(piece.size());
  }
  if (fence) FenceCopies();
}

void RunningSums::AppendToBlock(uint8_t* block, size_t at, Bytes from) {
  constexpr size_t kStripe = Xxh3::kStripeBytes;
  const size_t end = at + from.size();
  size_t done = 0;
  if (Xxh3::IsFast() && from.size() >= kPastCachesMin) {
    done = -at % kStripe;
    std::memcpy(block + at, from.data(), done);
    const size_t here = (at + done) / kStripe;
    hash_.Add(block + hash_.stripes() * kStripe, here - hash_.stripes());  // what small pieces brought
    const bool aligned = reinterpret_cast<uintptr_t>(block) % kStripe == 0;
    hash_.Add(from.data() + done, Xxh3::StripesOf(end) - here, block + at + done,
              aligned ? Xxh3::Copy::kPastCaches : Xxh3::Copy::kPlain);
    done = hash_.stripes() * kStripe - at;
    // To be hashed without waiting for what was stored past the caches.
    std::memcpy(last_.data(), from.data() + from.size() - kStripe, kStripe);
    last_end_ = end;
  }
  std::memcpy(block + at + done, from.data() + done, from.size() - done);
  if (end == kChecksumBlockBytes) {
    whole_.push_back(SumOf(block, end));
    hash_.Reset();
    last_end_ = 0;
  }
}

uint64_t RunningSums::SumOf(const uint8_t* block, size_t bytes) const {
  if (!Xxh3::IsFast() || bytes <= Xxh3::kShort) return Checksum({block, bytes});
  Xxh3 hash = hash_;
  hash.Add(block + hash.stripes() * Xxh3::kStripeBytes, Xxh3::StripesOf(bytes) - hash.stripes());
  return hash.Digest(last_end_ == bytes ? last_.data() + last_.size() : block + bytes, bytes);
}

void RunningSums::Give(const uint8_t* begin, size_t size, uint64_t* sums) const {
  sums = std::copy(whole_.begin(), whole_.end(), sums);
  const size_t rest = size % kChecksumBlockBytes;
  if (rest != 0) *sums = SumOf(begin + (size - rest), rest);
}

void RunningSums::Reset() {
  whole_.clear();
  hash_.Reset();
  last_end_ = 0;
}

uint64_t Hash64(Bytes data, uint64_t seed) { return XXH64(data.data(), data.size(), seed); }

}  // namespace mayfly
