// Reads and writes that need no message: bytes that go into a buffer which has room for them, or come from a piece that
// was read ahead and is here. They use no lane, so the call costs a lock and a copy instead of entering an engine.
// Whatever is not as simple as that is the lane's (Lane::ReadAt, WriteAt), which finds everything as it was.
// Any thread. Invariants F1 to F4 of OpenFile hold here as there.
#pragma once

#include <optional>

#include "client/open_file.h"

namespace mayfly {

constexpr size_t kAheadReadMax = 512 * 1024;  // larger reads go straight into the caller's memory
constexpr uint32_t kAheadRun = 2;             // reads in a row before bytes are fetched ahead

// Whether a write of so many bytes, none of them 0, may be buffered at all.
bool IsSmallWrite(const Mount& mount, size_t bytes);
// How many bytes a buffer that begins at `start` can take: to the next multiple of its size, so that all but the first
// message are aligned; never past the chunk.
size_t BufferRoom(const OpenFile& file, uint64_t start);
// Whether a small write there belongs into the buffer. Under the file's lock.
bool MayBuffer(const OpenFile& file, uint64_t offset, size_t bytes);

// How many bytes were read, written: all of them; nothing if the lane has to do it. Without `offset` at the file's own,
// which moves.
std::optional<size_t> QuickRead(OpenFile& file, MutableBytes to, std::optional<uint64_t> offset);
std::optional<size_t> QuickWrite(OpenFile& file, Bytes data, std::optional<uint64_t> offset);

}  // namespace mayfly
