#include "wire/trace_messages.h"

namespace mayfly {

std::string_view NameOf(TraceStage stage) {
  switch (stage) {
    case TraceStage::kCall:
      return "call";
    case TraceStage::kClientQueue:
      return "client_queue";
    case TraceStage::kCopy:
      return "copy";
    case TraceStage::kWire:
      return "wire";
    case TraceStage::kServerQueue:
      return "server_queue";
    case TraceStage::kWork:
      return "work";
    case TraceStage::kPull:
      return "pull";
    case TraceStage::kWait:
      return "wait";
    case TraceStage::kHold:
      return "hold";
    case TraceStage::kWake:
      return "wake";
  }
  return "?";
}

}  // namespace mayfly
