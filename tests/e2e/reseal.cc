// For bad_storage_test.sh, which changes bytes of a journal's superblocks by hand: makes the checksum of both right
// again, so that what is looked at behind it is what was changed.
//   e2e_reseal FILE
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "base/checksum.h"

int main(int argc, char** argv) {
  constexpr size_t kBlock = 4096, kBlocks = 2, kSum = sizeof(uint64_t);  // share/doc/format/journal.md
  std::FILE* file = argc == 2 ? std::fopen(argv[1], "r+b") : nullptr;
  std::array<uint8_t, kBlock * kBlocks> both{};
  if (file == nullptr || std::fread(both.data(), both.size(), 1, file) != 1) {
    std::fprintf(stderr, "e2e_reseal: cannot read the superblocks of %s\n", argc == 2 ? argv[1] : "FILE");
    return 1;
  }
  for (size_t at = 0; at < both.size(); at += kBlock) {
    const uint64_t sum = mayfly::Checksum(mayfly::Bytes(both).subspan(at + kSum, kBlock - kSum));
    std::memcpy(both.data() + at, &sum, kSum);
  }
  const bool written = std::fseek(file, 0, SEEK_SET) == 0 && std::fwrite(both.data(), both.size(), 1, file) == 1;
  if (std::fclose(file) == 0 && written) return 0;
  std::fprintf(stderr, "e2e_reseal: cannot write %s\n", argv[1]);
  return 1;
}
