#!/bin/bash
# ctest: LABELS plain
# Four idle servers, an idle client with a file open for write-behind, and a connected child of it, sleep: over some
# seconds they wake up a few times a second at most, and use next to no CPU; also after a client was killed in the
# middle of a storm. What is asserted leaves a wide margin, as sanitizers and busy machines cost; a thread that polls or
# spins is far beyond it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
programs=$MAYFLY_BUILD_DIR/tests
[[ -x $programs/e2e_idle && -x $programs/e2e_failure ]] || e2e_skip "e2e_idle or e2e_failure was not built"
seconds=6
wakes_max=$((seconds * 250)) # in all; the servers' own beat and UCX's keepalive are a few dozen a second
cpu_ms_max=$((seconds * 100)) # a tenth of a core

e2e_start 4 --memory 64M
e2e_servers 4
processes=("${pids[@]}")
mkfifo "$work/end"
"$programs/e2e_idle" <"$work/end" >"$work/idle.log" 2>&1 &
client=$!
exec 5>"$work/end"
is_idle() { grep -q idle "$work/idle.log"; }
e2e_within 60 is_idle || e2e_fail "the client: $(cat "$work/idle.log")"
processes+=("$client" "$(sed -n 's/^idle //p' "$work/idle.log")")

wakes() { # voluntary context switches of all threads
  local pid
  for pid in "${processes[@]}"; do cat "/proc/$pid/task/"*/status; done | awk '/^voluntary/ { s += $2 } END { print s }'
}
cpu_ms() {
  local pid
  for pid in "${processes[@]}"; do cat "/proc/$pid/task/"*/schedstat; done | awk '{ s += $1 } END { printf "%.0f", s / 1e6 }'
}
expect_sleep() { # WHEN
  local w c
  w=$(wakes) c=$(cpu_ms)
  read -r -t $seconds <> <(:) || true # what is counted is that nothing happens
  w=$(($(wakes) - w)) c=$(($(cpu_ms) - c))
  echo "$1: $w wake-ups and $c ms of CPU in $seconds s, in all"
  ((w <= wakes_max && c <= cpu_ms_max)) || {
    for pid in "${processes[@]}"; do grep -H '^voluntary' "/proc/$pid/task/"*/status; done
    e2e_fail "$1 it is not idle"
  }
}
expect_sleep "at rest"

"$programs/e2e_failure" storm >"$work/storm.log" 2>&1 &
storm=$!
storms() { [[ $(grep -sc storms "$work/storm.log") -ge 4 ]]; } # not there at first
e2e_within 60 storms || e2e_fail "no storm: $(cat "$work/storm.log")"
kill -KILL $storm
wait $storm 2>/dev/null
expect_sleep "after a client was killed"

exec 5>&-
wait $client || e2e_fail "the client: $(cat "$work/idle.log")"
e2e_stop
echo "all as expected"
