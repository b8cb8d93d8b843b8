#include "capi/error.h"

#include <errno.h>
#include <fmt/format.h>
#include <string.h>

#include <algorithm>

#include "base/of_thread.h"

namespace mayfly {
namespace {

struct Last {
  const char* call = "";
  Code code = Code::kOk;
  int error = 0;
  size_t what_bytes = 0, other_bytes = 0;
  char what[200], other[200];  // as much of a path as helps
  std::string sentence;
  bool made = true;
};

// What the user can do, where errno alone does not say it.
std::string_view AdviceOf(Code code) {
  switch (code) {
    case Code::kTimedOut:
      return ": no answer in time, so it may or may not have happened; 'mayfly status' shows which servers answer";
    case Code::kUnavailable:
      return ": the server that holds it cannot be reached; 'mayfly status' shows which";
    case Code::kShutdown:
      return ": the session is stopping and takes no new work";
    case Code::kDenied:
      return ": the server refused this process; it may belong to another user or another session";
    case Code::kCorrupt:
      return ": an answer could not be understood; client and servers may be of different versions";
    case Code::kNoSpace:
      return ": the servers' memory is full ('mayfly df'); start them with more --memory, or remove something";
    default:
      return "";
  }
}

void Copy(std::string_view from, char* to, size_t room, size_t* bytes) {
  *bytes = std::min(from.size(), room);
  if (*bytes != 0) memcpy(to, from.data(), *bytes);
}

int Keep(const Call& call, Code code, int error) {
  Last& last = OfThread<Last>::Get();
  last.call = call.name;
  last.code = code;
  last.error = error;
  Copy(call.what, last.what, sizeof last.what, &last.what_bytes);
  Copy(call.other, last.other, sizeof last.other, &last.other_bytes);
  last.made = false;
  errno = error;
  return -1;
}

}  // namespace

int Fail(const Call& call, Code code) { return Keep(call, code, ErrnoOf(code)); }

int FailErrno(const Call& call, int error) { return Keep(call, CodeOfErrno(error), error); }

int FailSaying(int error, std::string sentence) {
  Last& last = OfThread<Last>::Get();
  last.sentence = std::move(sentence);
  last.made = true;
  last.error = error;
  errno = error;
  return -1;
}

const char* LastSentence() {
  Last& last = OfThread<Last>::Get();
  if (!last.made) {
    const int saved = errno;
    char text[128];
    std::string sentence = last.call;
    if (last.what_bytes != 0) sentence += " '" + std::string(last.what, last.what_bytes) + "'";
    if (last.other_bytes != 0) sentence += " and '" + std::string(last.other, last.other_bytes) + "'";
    sentence += ": ";
    sentence += strerror_r(last.error, text, sizeof text);
    sentence += AdviceOf(last.code);
    last.sentence = std::move(sentence);
    last.made = true;
    errno = saved;
  }
  return last.sentence.c_str();
}

}  // namespace mayfly
