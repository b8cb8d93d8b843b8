#include "wire/messages.h"

namespace mayfly {

const MethodInfo* InfoOf(Method method) {
  switch (method) {
#define MAYFLY_CASE(name, number, request, reply, once, who)  \
  case Method::k##name: {                                     \
    static constexpr MethodInfo kInfo{#name, once, Who::who}; \
    return &kInfo;                                            \
  }
    MAYFLY_METHODS(MAYFLY_CASE)
#undef MAYFLY_CASE
  }
  return nullptr;  // the number came from the wire
}

}  // namespace mayfly
