// Little-endian encoding into a caller's buffer, and decoding from bytes that nobody vouches for.
// Invariants  C1  an Encoder never writes past its buffer: it remembers that it overflowed instead.
//             C2  a Decoder never reads past its bytes: the first failure sticks, later reads give zeros.
//             C3  text and byte fields decode to views into the input: no allocation by an unchecked length.
// Messages list their fields once, in `template <class Io> void Fields(Io& io) { io(a, b, c); }`; both classes visit
// it.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"

namespace mayfly {

static_assert(std::endian::native == std::endian::little, "the coders copy integers as they lie");

class Encoder {
 public:
  explicit Encoder(MutableBytes out) : out_(out) {}

  template <class... T>
  void operator()(const T&... fields) {
    (Put(fields), ...);
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void Put(T v) { Raw(&v, sizeof v); }
  template <class T>
  requires std::is_enum_v<T>
  void Put(T v) { Put(static_cast<std::underlying_type_t<T>>(v)); }
  template <class Tag, class V>
  void Put(Id<Tag, V> id) {
    Put(id.value);
  }
  void Put(InodeId id) { Put(id.value); }
  // Length as u32, then the bytes.
  void Put(std::string_view s) {
    Put(static_cast<uint32_t>(s.size()));
    Raw(s.data(), s.size());
  }
  void Put(const std::string& s) { Put(std::string_view(s)); }
  void Put(Bytes b) { Put(AsText(b)); }
  // Nested messages, and vectors of them: count as u32, then each.
  template <class T>
  requires requires(T& t, Encoder& e) { t.Fields(e); }
  void Put(const T& message) {
    const_cast<T&>(message).Fields(*this);  // Fields is written once for both directions
  }
  template <class V>
  requires requires(V& v) {
    typename V::value_type;
    v.emplace_back();
    v.begin();
  } &&(!std::convertible_to<V, std::string_view>)void Put(const V& list) {
    Put(static_cast<uint32_t>(list.size()));
    for (const auto& item : list) Put(item);
  }
  void Raw(const void* data, size_t n) {
    if (n > out_.size() - at_) {
      overflow_ = true;  // C1
      return;
    }
    if (!__builtin_constant_p(n)) asm("" : "+r"(n));  // g++ copies what it knows to be short by `rep movsq`, 20 ns late
    if (n != 0) std::memcpy(out_.data() + at_, data, n);
    at_ += n;
  }
  bool ok() const { return !overflow_; }
  size_t size() const { return at_; }
  size_t room() const { return out_.size() - at_; }

 private:
  MutableBytes out_;
  size_t at_ = 0;
  bool overflow_ = false;
};

class Decoder {
 public:
  explicit Decoder(Bytes in) : in_(in) {}

  template <class... T>
  void operator()(T&... fields) {
    (Get(fields), ...);
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void Get(T& v) {
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t raw = 0;
      Raw(&raw, 1);
      if (raw > 1) bad_ = true;
      v = raw == 1;
    } else {
      v = T{};
      Raw(&v, sizeof v);
    }
  }
  // Enums that travel define `bool IsKnown(E)`, found by argument-dependent look-up.
  template <class T>
  requires std::is_enum_v<T>
  void Get(T& v) {
    std::underlying_type_t<T> raw{};
    Get(raw);
    v = static_cast<T>(raw);
    if (!IsKnown(v)) bad_ = true;
  }
  template <class Tag, class V>
  void Get(Id<Tag, V>& id) {
    Get(id.value);
  }
  void Get(InodeId& id) { Get(id.value); }
  void Get(std::string_view& s) {  // C3: a view into the input
    uint32_t n = 0;
    Get(n);
    if (n > in_.size() - at_) bad_ = true;
    if (bad_) {
      s = {};
      return;
    }
    s = AsText(in_.subspan(at_, n));
    at_ += n;
  }
  void Get(Bytes& b) {
    std::string_view s;
    Get(s);
    b = AsBytes(s);
  }
  void Get(std::string& s) {
    std::string_view view;
    Get(view);
    s.assign(view);
  }
  template <class T>
  requires requires(T& t, Decoder& d) { t.Fields(d); }
  void Get(T& message) { message.Fields(*this); }
  // Each element takes at least one byte, so a count above the bytes left is refused before anything is allocated.
  template <class V>
  requires requires(V& v) {
    typename V::value_type;
    v.emplace_back();
    v.begin();
  } &&(!std::convertible_to<V, std::string_view>)void Get(V& list) {
    uint32_t n = 0;
    Get(n);
    if (n > in_.size() - at_) bad_ = true;
    list.clear();
    for (uint32_t i = 0; i < n && !bad_; ++i) Get(list.emplace_back());
  }
  void Raw(void* data, size_t n) {
    if (bad_ || n > in_.size() - at_) {
      bad_ = true;  // C2
      return;
    }
    if (n != 0) std::memcpy(data, in_.data() + at_, n);
    at_ += n;
  }
  void Skip(size_t n) {
    if (bad_ || n > in_.size() - at_) {
      bad_ = true;
      return;
    }
    at_ += n;
  }
  bool ok() const { return !bad_; }
  // kCorrupt unless every read succeeded and every byte was used.
  Status Finish() const { return !bad_ && at_ == in_.size() ? Status() : Status(Code::kCorrupt); }
  size_t left() const { return in_.size() - at_; }
  Bytes rest() const { return in_.subspan(at_); }

 private:
  Bytes in_;
  size_t at_ = 0;
  bool bad_ = false;
};

inline bool IsKnown(Code code) { return IsKnownCode(static_cast<uint8_t>(code)); }

}  // namespace mayfly
