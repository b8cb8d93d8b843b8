// Messages that travel as payloads, from and to text.
#pragma once

#include <string>

#include "base/check.h"
#include "base/coding.h"

namespace mayfly {

// Empty if it takes more than `bytes_max`; a message itself never is.
template <class T>
std::string EncodedPayload(const T& message, size_t bytes_max) {
  std::string bytes(bytes_max, '\0');
  Encoder e(MutableBytes(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()));
  e.Put(message);
  bytes.resize(e.ok() ? e.size() : 0);
  return bytes;
}

template <class T>
Status DecodePayload(std::string_view bytes, T* message) {
  Decoder d(AsBytes(bytes));
  d.Get(*message);
  return d.Finish();
}

}  // namespace mayfly
