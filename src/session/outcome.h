// How this room fails: with a code for the program and one sentence for the user, who reads it on a terminal or in a
// job's log. The sentence names the file and says what to do; it has no newline and no full stop at its end.
// These calls happen once in the life of a process, so a failure may allocate (unlike Status).
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/status.h"

namespace mayfly {

struct Failure {
  Status status;  // never ok
  std::string sentence;
};

template <class... A>
Failure Fail(Code code, fmt::format_string<A...> format, A&&... args) {
  return {code, fmt::format(format, std::forward<A>(args)...)};
}

struct Done {};

// A value or the failure.
template <class T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : held_(std::in_place_index<0>, std::move(value)) {}            // NOLINT: a value is an outcome
  Outcome(Failure failure) : held_(std::in_place_index<1>, std::move(failure)) {}  // NOLINT
  bool ok() const { return held_.index() == 0; }
  T& value() {
    MAYFLY_CHECK(ok());
    return *std::get_if<0>(&held_);
  }
  const T& value() const { return const_cast<Outcome*>(this)->value(); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Failure& failure() const {
    MAYFLY_CHECK(!ok());
    return *std::get_if<1>(&held_);
  }

 private:
  std::variant<T, Failure> held_;
};

}  // namespace mayfly
