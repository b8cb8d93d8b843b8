#!/bin/bash
# ctest: TIMEOUT 900 PROCESSORS 2
# Two thousand clients that come and go, one after another and then, beside busy programs, 64 at a time, some of them
# killed: each is served, and nothing of the servers grows with their number: connections, open files, inodes, places in
# the arena, threads; of their memory no more than the answers that a lane may still ask for (they are kept for ten
# minutes).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
crowd=$MAYFLY_BUILD_DIR/tests/e2e_crowd
[[ -x $crowd ]] || e2e_skip "e2e_crowd was not built"
clients=1000 at_once=64
[[ -z $MAYFLY_SANITIZE ]] || clients=100
kib_a_client=1 # source: rpc/history.h, a lane's answers; an endpoint that stays would be tens of KiB

e2e_start 3 --memory 128M
e2e_servers 3
kib() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status"; }
open_files() { find "/proc/$1/fd" -mindepth 1 | wc -l; }
threads() { find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l; }

# As many at once as there will be, so that what is kept for the next is there.
timeout 300 "$crowd" $((3 * at_once)) $at_once || e2e_fail "the first clients"
# The command that asks is a client too: one connection.
settled() { (($(e2e_figure connections) <= ${#pids[@]} * ${#pids[@]} && $(e2e_figure staged) == 0 && $(e2e_figure pins) == 0)); }
e2e_within 60 settled || e2e_fail "of the first clients $(e2e_figure connections) connections are left"
connections=$(e2e_figure connections) inodes=$(e2e_figure inodes) files=$(e2e_figure files) used=$(e2e_figure arena_used)
for pid in "${pids[@]}"; do memory[pid]=$(kib "$pid") fds[pid]=$(open_files "$pid") tasks[pid]=$(threads "$pid"); done

timeout 600 "$crowd" $clients 1 || e2e_fail "clients were not served one after another"
busy=()
for ((i = 0; i < $(nproc); ++i)); do
  (while kill -0 $$; do :; done) & # ends with this script, however that ends
  busy+=($!)
done
timeout 600 "$crowd" $clients $at_once || e2e_fail "clients were not served $at_once at a time"
kill "${busy[@]}"
as_before() {
  (($(e2e_figure connections) <= connections && $(e2e_figure staged) == 0 && $(e2e_figure pins) == 0 &&
    $(e2e_figure inodes) <= inodes && $(e2e_figure files) <= files && $(e2e_figure arena_used) <= used)) || return
  for pid in "${pids[@]}"; do
    (($(open_files "$pid") <= fds[pid] && $(threads "$pid") <= tasks[pid])) || return
  done
}
e2e_within 60 as_before || {
  for pid in "${pids[@]}"; do ls -l "/proc/$pid/fd"; done >&2
  e2e_fail "something is left: connections $(e2e_figure connections) ($connections before), inodes $(e2e_figure inodes) ($inodes)," \
    "files $(e2e_figure files) ($files), bytes $(e2e_figure arena_used) ($used), staged $(e2e_figure staged), pins $(e2e_figure pins)," \
    "open files before: ${fds[*]}, threads before: ${tasks[*]}"
}
for pid in "${pids[@]}"; do
  grown=$(($(kib "$pid") - memory[pid]))
  echo "a server: $grown KiB more after $((2 * clients)) clients, ${memory[pid]} before"
  [[ -n $MAYFLY_SANITIZE ]] || # it keeps what was freed
    ((grown <= 2 * clients * kib_a_client + 1024)) || e2e_fail "a server's memory grows with each client"
done
e2e_stop
echo "all as expected"
