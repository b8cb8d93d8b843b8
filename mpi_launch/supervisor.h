// mayflyd --supervise: the process that the launcher started stays behind as a small parent that does nothing but wait
// for the server, its child. A server that dies while the session runs is started again as `mayflyd --rejoin` does it.
// The child calls MPI_Init, with the environment that it inherited, and MPI_Finalize once the session is ready: to the
// launcher, whose own child lives on, the death of a server is nothing. One thread; nothing of a server is opened or
// started in the parent.
// Invariants  P1  a server does not outlive its parent (the kernel kills it), and the parent ends when there will be no
//                 server any more: with its exit code, or by the signal that killed it.
//             P2  a server that keeps dying is given up: five deaths within a minute.
#pragma once

#include <functional>
#include <string>

#include "base/ids.h"
#include "options.h"

namespace mayfly {

// What a server tells its parent; one without a parent tells nobody. A value.
class ParentLine {
 public:
  ParentLine() = default;
  explicit ParentLine(int fd) : fd_(fd) {}

  struct Mending {
    MemberId member;
    std::string session, runtime_path;
  };
  // The session is ready: a death from now on is mended so.
  void Serving(const Mending& how) const;
  // The session's end has reached this server: its death would be none to mend.
  void Ending() const;

 private:
  void Tell(std::string_view message) const;

  int fd_ = -1;
};

// Forks. In the child: what `serve` returns. In the parent: the exit code, once the server has ended for good.
int Supervise(CommandLine line, const std::function<int(CommandLine, ParentLine)>& serve);

}  // namespace mayfly
