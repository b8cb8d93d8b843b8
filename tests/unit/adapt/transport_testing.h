// What the transport tests share: a receiver that keeps everything, sends with their completions, and a loop that
// progresses until something holds or a deadline (real time, generous) has passed.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "os/transport.h"

namespace mayfly {

inline std::vector<uint8_t> Pattern(size_t bytes, uint64_t seed) {
  std::vector<uint8_t> data(bytes + 8);
  uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
  for (size_t at = 0; at < bytes; at += 8) {
    x = x * 6364136223846793005 + 1442695040888963407;
    const uint64_t word = x ^ (x >> 29);
    std::memcpy(data.data() + at, &word, 8);
  }
  data.resize(bytes);
  return data;
}

struct Waiting : Completion {
  Waiting() {
    fn = [](Completion* self, Status status) {
      auto* me = static_cast<Waiting*>(self);
      ++me->runs;
      me->status = status;
      if (me->then) me->then();
    };
  }
  int runs = 0;
  Status status = Code::kAgain;
  std::function<void()> then;
};

// A send with its bytes; what it promises is checked when it goes away.
struct Sending {
  Sending(std::string h, std::vector<uint8_t> p) : header(std::move(h)), payload(std::move(p)) {}
  void Start(Transport& transport, EndpointId to) {
    pending = transport.Send(to, AsBytes(header), payload, &done) == Transport::Sent::kPending;
    EXPECT_EQ(done.runs, 0) << "a completion ran inside Send";
  }
  bool finished() const { return !pending || done.runs != 0; }
  // kOk for a send that was done at once.
  Code code() const { return pending ? done.status.code() : Code::kOk; }
  ~Sending() { EXPECT_EQ(done.runs, pending ? 1 : 0) << "N3: a completion for each kPending, none for kDone"; }

  std::string header;
  std::vector<uint8_t> payload;
  Waiting done;
  bool pending = false;
};

struct Arrived {
  std::string header;
  Payload payload;
};

class Keeper final : public Receiver {
 public:
  void OnMessage(Bytes header, Payload payload) override {
    if (on_message && on_message(header, payload)) return;
    messages.push_back({std::string(AsText(header)), std::move(payload)});
  }
  void OnEndpointDown(EndpointId endpoint) override {
    down.push_back(endpoint);
    if (on_down) on_down(endpoint);
  }
  bool IsDown(EndpointId endpoint) const {
    for (EndpointId id : down) {
      if (id == endpoint) return true;
    }
    return false;
  }
  std::deque<Arrived> messages;
  std::vector<EndpointId> down;
  std::function<bool(Bytes, Payload&)> on_message;  // true: taken care of (the payload may have been moved from)
  std::function<void(EndpointId)> on_down;
};

// Progresses all of `transports` until `holds` does. False if it did not within `seconds`.
inline bool Pump(const std::vector<Transport*>& transports, const std::function<bool()>& holds, int seconds = 60) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!holds()) {
    bool worked = false;
    for (Transport* transport : transports) worked |= transport->Progress();
    if (!worked) sched_yield();
    if (std::chrono::steady_clock::now() > deadline) return holds();
  }
  return true;
}

}  // namespace mayfly
