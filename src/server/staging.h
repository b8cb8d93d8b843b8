// Stage-in, as far as servers have a part in it: the root's shard keeps the board (stage_board.h) and invites one
// worker a member; a member's first shard passes the invitation to its process. Only on the root's shard, once there
// was a stage-in.
#pragma once

#include "server/shard.h"
#include "server/stage_board.h"

namespace mayfly {

struct Shard::StageDesk {
  explicit StageDesk(Executor& executor) : for_servers(executor), for_commands(executor), arrivals(executor) {}
  StageBoard board;
  WaitQueue for_servers, for_commands;  // workers that wait for something to do
  WaitQueue arrivals;                   // a worker came, or will not
};

}  // namespace mayfly
