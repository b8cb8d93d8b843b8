// What an acknowledged operation survives: nothing, or a kill of any or all servers.
#pragma once

#include <cstdint>

namespace mayfly {

enum class Durability : uint8_t { kNone, kProcess };

}  // namespace mayfly
