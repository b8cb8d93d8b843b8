#!/bin/bash
# ctest: TIMEOUT 600 PROCESSORS 2
# Processes that are killed while they make files, which is when they do not wait for the servers (client/own_parts.h):
# all that they had closed is there (e2e_killed), and nothing else of them is left.
#   MAYFLY_ROUNDS  how many are killed (default 6), on one server and on three
#   MAYFLY_SEED    of the moments (default 1)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
killed=$MAYFLY_BUILD_DIR/tests/e2e_killed
[[ -x $killed ]] || e2e_skip "e2e_killed was not built"
rounds=${MAYFLY_ROUNDS:-6} seed=${MAYFLY_SEED:-1}
[[ -z $MAYFLY_SANITIZE ]] || rounds=2

nothing_held() { (($(e2e_figure staged) == 0 && $(e2e_figure pins) == 0 && $(e2e_figure soles) == 0)); }
for servers in 1 3; do
  e2e_start $servers --memory 1G
  e2e_servers $servers
  timeout 300 "$killed" "$rounds" "$seed" || e2e_fail "on $servers servers"
  e2e_within 30 nothing_held || e2e_fail "left: staged $(e2e_figure staged), pins $(e2e_figure pins), soles $(e2e_figure soles)"
  # Who leaves in order gives up all at once: whoever comes next does not wait until the process counts as dead.
  "$killed" leave || e2e_fail "a process that leaves, on $servers servers"
  (($(e2e_figure soles) == 0)) || e2e_fail "$(e2e_figure soles) files or parts are still a process's that has left"
  e2e_stop
done
echo "all as expected"
