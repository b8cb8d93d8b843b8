// The last failure of each thread: errno at once, the sentence only when somebody asks for it.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace mayfly {

// What was tried, for the sentence. Views live as long as the call.
struct Call {
  const char* name = "";
  std::string_view what;        // a path; empty if there is none
  std::string_view other = {};  // the second path of rename and link
};

// Sets errno; always -1.
int Fail(const Call& call, Code code);
int FailErrno(const Call& call, int error);
// With a sentence of its own.
int FailSaying(int error, std::string sentence);
const char* LastSentence();

}  // namespace mayfly
