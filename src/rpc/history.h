// What one lane was answered by this shard, for requests that execute once: one answer a place (wire/header.h,
// Sequence). Bounded by the places that the lane uses side by side, however long one of them takes.
// Invariants  Y1  a place holds its highest sequence that ever arrived; lower ones are strangers: their call has ended.
//             Y2  `working` is the request that executes the place's sequence, and it alone sets the answer.
#pragma once

#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/tlv.h"
#include "wire/header.h"

namespace mayfly {

class Request;

// The journal's image of an answer (share/doc/format/images.md).
constexpr Tag kTagAnswer = 0x0301;
struct AnswerImage {
  ClientId client;  // the lane
  uint64_t sequence = 0;
  Code code = Code::kOk;
  Bytes body, payload;
  static constexpr size_t kBytes = 8 + 8 + 1 + 4 + 4;  // beside body and payload
  template <class Io>
  void Fields(Io& io) {
    io(client, sequence, code, body, payload);
  }
};

class History {
 public:
  static constexpr size_t kBodyMax = 128;                   // the encoded reply of any method that executes once
  static constexpr size_t kPayloadMax = kTransferBytesMax;  // of such a reply: targets, sets of shards, reports

  struct Answer {
    enum class State : uint8_t {
      kOpen,
      kWorking,
      kAnswered
    };  // open: never executed, or given up before it had effect
    uint64_t sequence = 0;
    Request* working = nullptr;  // in kWorking, Y2
    State state = State::kOpen;
    Code code = Code::kOk;
    bool ahead = false;  // in kWorking: what it will be is known, and in the journal
    uint8_t body_bytes = 0;
    uint32_t payload_bytes = 0;
    std::unique_ptr<uint8_t[]> payload;
    uint8_t body[kBodyMax];
    Bytes body_view() const { return {body, body_bytes}; }
    Bytes payload_view() const { return {payload.get(), payload_bytes}; }
  };

  // The place of `sequence`. The table grows to it; answers move then, so keep no reference across a call.
  Answer& At(uint64_t sequence) {
    const uint32_t place = Sequence::PlaceOf(sequence);
    MAYFLY_CHECK(place < Sequence::kPlacesMax);
    if (place >= answers_.size()) {
      size_t size = answers_.empty() ? 1 : answers_.size();
      while (size <= place) size *= 2;
      answers_.resize(size);
    }
    return answers_[place];
  }
  // A new sequence takes its place over. What the place held is forgotten.
  static void Begin(Answer& answer, uint64_t sequence, Request* working) {
    MAYFLY_CHECK(sequence > answer.sequence || answer.state == Answer::State::kOpen);  // Y1
    answer.sequence = sequence;
    answer.working = working;
    answer.state = Answer::State::kWorking;
    answer.ahead = false;
    answer.payload.reset();
  }
  // The answer that a working one will have.
  static void Foresee(Answer& answer, Bytes body) {
    MAYFLY_CHECK(answer.state == Answer::State::kWorking && body.size() <= kBodyMax);
    answer.ahead = true;
    SetAnswer(answer, Code::kOk, body, {});
  }
  static void End(Answer& answer, Code code, Bytes body, Bytes payload) {
    MAYFLY_CHECK(answer.state == Answer::State::kWorking && body.size() <= kBodyMax && payload.size() <= kPayloadMax);
    answer.state = Answer::State::kAnswered;
    answer.working = nullptr;
    answer.ahead = false;
    SetAnswer(answer, code, body, payload);
  }
  // Whether the journal has to know of it: a failure changed nothing, and whoever asks again after a restart may well
  // get another answer.
  static bool IsKept(const Answer& answer) {
    return (answer.state == Answer::State::kAnswered || answer.ahead) && answer.code == Code::kOk;
  }
  size_t places() const { return answers_.size(); }
  const std::vector<Answer>& answers() const { return answers_; }

  // Of the lane. Requests that still run refer to this object: it is forgotten only when there is neither.
  uint32_t attempt = 0;  // of its newest hello: an older or equal one is a copy
  uint32_t connections = 0;
  uint32_t running = 0;
  Nanos idle_since = 0;

 private:
  static void SetAnswer(Answer& answer, Code code, Bytes body, Bytes payload) {
    answer.code = code;
    answer.body_bytes = static_cast<uint8_t>(body.size());
    answer.payload_bytes = static_cast<uint32_t>(payload.size());
    if (!body.empty()) std::memcpy(answer.body, body.data(), body.size());
    if (!payload.empty()) {
      answer.payload.reset(new uint8_t[payload.size()]);
      std::memcpy(answer.payload.get(), payload.data(), payload.size());
    }
  }

  std::vector<Answer> answers_;  // a power of two
};

}  // namespace mayfly
