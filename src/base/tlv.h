// Tagged fields, one after the other: {tag u16, bytes u32, value}. What journal records and checkpoints consist of, so
// that each part of the state describes its own changes and a reader skips what it does not know and need not.
// Invariants  T1  a tag with kMust set must be understood: a reader that does not know it refuses the whole record.
//             T2  a reader never looks behind its input; the first failure sticks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/coding.h"

namespace mayfly {

using Tag = uint16_t;
constexpr Tag kTagMust = 0x8000;  // T1
constexpr size_t kTlvHeaderBytes = 6;

class TlvWriter {
 public:
  // Appends one field. `bytes_max` bounds the encoded value.
  template <class T>
  void Put(Tag tag, const T& value, size_t bytes_max) {
    PutWith(tag, bytes_max, [&](Encoder& e) { e.Put(value); });
  }
  // Likewise, `fill` encodes the value.
  template <class Fn>
  void PutWith(Tag tag, size_t bytes_max, Fn&& fill) {
    if (buffer_.size() - used_ < kTlvHeaderBytes + bytes_max) Grow(kTlvHeaderBytes + bytes_max);
    uint8_t* at = buffer_.data() + used_;
    Encoder e(MutableBytes(at + kTlvHeaderBytes, bytes_max));
    fill(e);
    MAYFLY_CHECK(e.ok());
    const auto bytes = static_cast<uint32_t>(e.size());
    std::memcpy(at, &tag, sizeof tag);
    std::memcpy(at + sizeof tag, &bytes, sizeof bytes);
    used_ += kTlvHeaderBytes + bytes;
  }

  bool empty() const { return used_ == 0; }
  size_t size() const { return used_; }
  Bytes bytes() const { return {buffer_.data(), used_}; }
  // Keeps the memory.
  void Clear() {
    used_ = 0;
    ++clears_;
  }
  // A writer of after-images may remember where a field of its own begins, and write over it instead of a second time.
  // Such places are void once Clear was called again.
  uint64_t clears() const { return clears_; }
  // Forgets what was written from `at` on, which is the beginning of a field.
  void CutTo(size_t at) {
    MAYFLY_CHECK(at <= used_);
    used_ = at;
  }
  // What was written from `from` on, one field, takes the place of the earlier field at `at`, which is as long.
  void MoveLast(size_t from, size_t at) {
    MAYFLY_CHECK(at + (used_ - from) <= from && from <= used_);
    std::memcpy(buffer_.data() + at, buffer_.data() + from, used_ - from);
    used_ = from;
  }

 private:
  void Grow(size_t more) { buffer_.resize(std::max(buffer_.size() * 2, used_ + more)); }

  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(1024);
  size_t used_ = 0;
  uint64_t clears_ = 0;
};

class TlvReader {
 public:
  explicit TlvReader(Bytes in) : in_(in) {}

  // The next field; false at the end, or at the first failure.
  bool Next(Tag* tag, Bytes* value) {
    if (at_ == in_.size() || bad_) return false;
    Decoder d(in_.subspan(at_));
    uint32_t bytes = 0;
    d.Get(*tag);
    d.Get(bytes);
    if (!d.ok() || bytes > d.left()) {
      bad_ = true;  // T2
      return false;
    }
    *value = d.rest().first(bytes);
    at_ += kTlvHeaderBytes + bytes;
    return true;
  }
  // kCorrupt unless every byte belonged to a field.
  Status Finish() const { return !bad_ && at_ == in_.size() ? Status() : Status(Code::kCorrupt); }

 private:
  Bytes in_;
  size_t at_ = 0;
  bool bad_ = false;
};

}  // namespace mayfly
