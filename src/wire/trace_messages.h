// What travels of a trace of requests (rpc/trace.h): the switch, the stages that a client noted, what a shard
// collected.
#pragma once

#include <string_view>
#include <vector>

#include "wire/types.h"

namespace mayfly {

enum class Method : uint16_t;  // messages.h

// Where the time of a request goes. A client and a shard each measure theirs by their own clock; what lies between,
// both ways together, is what the client saw less what the shard says it had the request for.
enum class TraceStage : uint8_t {
  kCall = 1,         // client: all of the C interface's call that began with this request
  kClientQueue = 2,  // client: from that call's beginning, or where the request was made, until the transport got it
  kCopy = 3,         // client: bytes copied into or out of a mapped arena
  kWire = 4,         // client: transports and network, there and back; and kHold
  kServerQueue = 5,  // shard: from its arrival until the handler starts
  kWork = 6,         // shard: from there until the reply is made
  kPull = 7,   // shard, of kWork: the payload is brought in, copied from where it arrived or pulled from the client
  kWait = 8,   // shard, of kWork: from where the handler waited first (kPull, other shards, the disk, a lock)
  kHold = 9,   // shard: the reply waits for the disk (level `node`)
  kWake = 10,  // client: from the reply's arrival, with its payload, until its operation goes on
};
constexpr TraceStage kTraceStages[] = {
    TraceStage::kCall, TraceStage::kClientQueue, TraceStage::kCopy, TraceStage::kWire, TraceStage::kServerQueue,
    TraceStage::kWork, TraceStage::kPull,        TraceStage::kWait, TraceStage::kHold, TraceStage::kWake};
constexpr bool IsKnown(TraceStage s) { return s >= TraceStage::kCall && s <= TraceStage::kWake; }
constexpr bool IsOfClient(TraceStage s) {
  return (s >= TraceStage::kCall && s <= TraceStage::kWire) || s == TraceStage::kWake;
}
// "server_queue".
std::string_view NameOf(TraceStage stage);

// To each shard. kBusy: another one traces.
struct TraceRequest {
  uint64_t trace = 0;   // whose: a random number, not 0
  uint32_t for_ms = 0;  // from now on, kForMsMax at most: say it again in time; 0: no longer
  bool report = false;  // reply payload: what was collected so far (a list of TraceLine)
  static constexpr uint32_t kForMsMax = 10'000;
  template <class Io>
  void Fields(Io& io) {
    io(trace, for_ms, report);
  }
};

// One stage of one method: the counts of the buckets of a base/histogram.h, those that are not 0.
struct TraceBucket {
  uint16_t bucket = 0;
  uint64_t count = 0;
  template <class Io>
  void Fields(Io& io) {
    io(bucket, count);
  }
};
struct TraceLine {
  Method method{1};
  TraceStage stage = TraceStage::kCall;
  uint64_t sum = 0, max = 0;  // ns
  std::vector<TraceBucket> buckets;
  template <class Io>
  void Fields(Io& io) {
    io(method, stage, sum, max, buckets);
  }
};

// What a client measured; a message of kind kTrace has these one after the other behind its prefix.
struct TraceNote {
  Method method{1};
  TraceStage stage = TraceStage::kCall;
  Nanos took = 0;
  static constexpr size_t kBytes = 11;
  template <class Io>
  void Fields(Io& io) {
    io(method, stage, took);
  }
};

}  // namespace mayfly
