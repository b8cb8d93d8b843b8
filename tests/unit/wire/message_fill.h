// Values for the fields of any message, through its one list of fields: by chance, or as large as the limits allow.
#pragma once

#include <deque>
#include <string>

#include "fake/sim_random.h"
#include "wire/header.h"

namespace mayfly {

class Filler {
 public:
  enum class How : uint8_t { kByChance, kLargest };
  Filler(uint64_t seed, How how) : chance_(seed), how_(how) {}

  // What the views of filled messages look at lives as long as this object.
  template <class... T>
  void operator()(T&... fields) {
    (Fill(fields), ...);
  }
  void Raw(void* data, size_t n) { chance_.Fill({static_cast<uint8_t*>(data), n}); }

 private:
  template <class T>
  requires std::is_arithmetic_v<T>
  void Fill(T& v) {
    if constexpr (std::is_same_v<T, bool>) {
      v = chance_.PerMille(500);
    } else {
      Raw(&v, sizeof v);
      if (chance_.PerMille(200)) v = static_cast<T>(chance_.PerMille(500) ? 0 : ~T{0});
    }
  }
  template <class T>
  requires std::is_enum_v<T>
  void Fill(T& v) {
    do {
      v = static_cast<T>(chance_.Below(256));
    } while (!IsKnown(v));
  }
  template <class Tag, class V>
  void Fill(Id<Tag, V>& id) {
    Fill(id.value);
  }
  void Fill(InodeId& id) { Fill(id.value); }
  void Fill(std::string& s) {
    s.resize(how_ == How::kLargest ? kNameBytesMax : chance_.Below(kNameBytesMax + 1));
    Raw(s.data(), s.size());
  }
  void Fill(std::string_view& s) { s = AsText(NewBytes(kNameBytesMax)); }
  void Fill(Bytes& b) { b = NewBytes(Hello::kAddressBytesMax); }
  template <class T>
  requires requires(T& t, Filler& f) { t.Fields(f); }
  void Fill(T& message) { message.Fields(*this); }
  // The lists in headers, each with its own limit: sums of a transfer, closes, parts, groups. Others are in payloads.
  template <class T>
  static constexpr size_t Most(const T*) {
    return 8;
  }
  static constexpr size_t Most(const uint64_t*) { return kTransferBytesMax / (64 * 1024); }
  static constexpr size_t Most(const InodeId*) { return CloseRequest::kClosesMax; }
  static constexpr size_t Most(const Part*) { return kPartsMax; }
  static constexpr size_t Most(const uint32_t*) { return kGroupsMax; }
  template <class V>
  requires requires(V& v) {
    typename V::value_type;
    v.emplace_back();
    v.begin();
  } &&(!std::convertible_to<V, std::string_view>)void Fill(V& list) {
    const size_t most = Most(static_cast<const typename V::value_type*>(nullptr));
    list.resize(how_ == How::kLargest ? most : chance_.Below(most + 1));
    for (auto& item : list) Fill(item);
  }
  Bytes NewBytes(size_t most) {
    auto& kept = kept_.emplace_back(how_ == How::kLargest ? most : chance_.Below(most + 1));
    Raw(kept.data(), kept.size());
    return kept;
  }

  SimRandom chance_;
  How how_;
  std::deque<std::vector<uint8_t>> kept_;
};

template <class T>
std::vector<uint8_t> Encoded(const T& message) {
  std::vector<uint8_t> bytes(64 * 1024);
  Encoder e{MutableBytes(bytes)};
  e.Put(message);
  MAYFLY_CHECK(e.ok());
  bytes.resize(e.size());
  return bytes;
}

template <class T>
Status DecodeInto(Bytes bytes, T* message) {
  Decoder d(bytes);
  d.Get(*message);
  return d.Finish();
}

}  // namespace mayfly
