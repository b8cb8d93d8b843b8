#!/bin/bash
# ctest: TIMEOUT 400 LABELS plain
# Random operation sequences on Mayfly and on tmpfs, compared: first the comparison itself, then with one server, with
# four, and with servers that are not root's. DIFFERENTIAL_SECONDS is the time for each (default 25), DIFFERENTIAL_SEED the
# seed (default: a new one each time, printed).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_differential mpirun mayflyd mayfly
seconds=${DIFFERENTIAL_SECONDS:-25} seed=${DIFFERENTIAL_SEED:-$((RANDOM * 32768 + RANDOM))}
minutes=$(awk "BEGIN { print $seconds / 60 }")
compare() { # NAME [OPTION...]
  local name=$1
  shift
  echo "--- $name"
  e2e_run e2e_differential --seed "$seed" --minutes "$minutes" --scratch "$shm" "$@" || e2e_fail "$name"
}

compare "the comparison finds faults" --self-test --minutes 2
for servers in 1 4; do
  e2e_start "$servers" --memory 256M
  compare "$servers server(s)"
  e2e_stop
done
if [[ $(id -u) == 0 ]]; then
  e2e_as 65534
  e2e_start 2 --memory 256M
  compare "as uid 65534"
  e2e_stop
fi
