// Clients that have the servers' arenas mapped, and what they write and read.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "sim/client.h"

namespace mayfly {

inline std::string Pattern(size_t bytes, uint32_t seed) {
  std::string text(bytes, '\0');
  uint32_t x = seed * 2654435761u + 1;
  for (char& c : text) {
    x = x * 1664525u + 1013904223u;
    c = static_cast<char>(x >> 24);
  }
  return text;
}
inline Bytes BytesOf(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

struct MappedTest : testing::Test {
  SimClusterOptions Options(uint32_t members) {
    SimClusterOptions options;
    options.members = members;
    options.chunk_bits = 20;
    return options;
  }
  static ClientOptions Direct() {
    ClientOptions options;
    options.write_behind_bytes = options.readahead_bytes = 0;
    return options;
  }
  static void Write(SimClient& client, FileRef file, uint64_t offset, const std::string& text) {
    auto wrote = client.Wait(client.lane().WriteAt(file, BytesOf(text), offset));
    ASSERT_TRUE(wrote.ok()) << TextOf(wrote.code()) << " at " << offset;
    ASSERT_EQ(*wrote, text.size());
  }
  static std::string Read(SimClient& client, FileRef file, uint64_t offset, size_t bytes) {
    std::string text(bytes, '?');
    auto read = client.Wait(
        client.lane().ReadAt(file, MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size()), offset));
    EXPECT_TRUE(read.ok());
    text.resize(read.ok() ? *read : 0);
    return text;
  }
  static constexpr uint32_t kNewFile = kOpenRead | kOpenWrite | kOpenCreate | kOpenUnshared;
};

}  // namespace mayfly
