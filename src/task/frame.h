// Coroutine frames come from free lists of 64-byte size classes, one set a thread (source: MEASURED.md; malloc for
// every request costs more than the request). The lists are off under a sanitizer, so that it sees each frame. A frame
// freed on another thread than its own joins that thread's lists: correct, only not balanced.
#pragma once

#include <cstddef>

namespace mayfly {

void* AllocateFrame(size_t bytes);
void FreeFrame(void* frame, size_t bytes);

}  // namespace mayfly
