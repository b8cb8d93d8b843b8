#!/bin/bash
# ctest: TIMEOUT 900 LABELS plain
# Servers are killed at moments that a seed chooses, under clients that work: one, two or all of three, sometimes again while
# they come back; at each level that survives it. The clients go on, and everything acknowledged is there.
# By hand:  MAYFLY_KILLS=200 MAYFLY_SEED=7 tests/run --quick -R e2e/kills_test   (kills_common.sh)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
. "$here/kills_common.sh"
e2e_mpirun=(--enable-recovery)

kill_members() { # MEMBER...
  local member victims=()
  for member; do victims+=("${pids[member]}"); done
  kill_children "${victims[@]}"
  kills=$((kills + $#))
}
dir_option=()
life "level process, journals in memory" --durability process
dir_option=(--dir "$work/disk/%h")
life "level process, journals in --dir" --durability process
life "level node, --fsync commit" --durability node
life "level node, --fsync always" --durability node --fsync always
echo "all as expected"
