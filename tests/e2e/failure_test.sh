#!/bin/bash
# ctest: TIMEOUT 900 PROCESSORS 2
# Servers that are stopped, go on, and are killed; clients that are killed in the middle; many clients at once and one
# after the other. Every call of e2e_failure is judged (see failure.cc): an errno by its deadline, nothing hangs, no
# wrong bytes, and what does not need the server concerned goes on. At --durability none, where what a dead server had is
# lost: it says so to who wants it back, and leaves nothing that stays.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
judge=$MAYFLY_BUILD_DIR/tests/e2e_failure
[[ -x $judge ]] || e2e_skip "e2e_failure was not built"
timeout_ms=4000
[[ -z $MAYFLY_SANITIZE ]] || timeout_ms=10000 # everything is slow there, also what must not fail

e2e_mpirun=(--enable-recovery)
e2e_start 4 --memory 256M --durability none

e2e_servers 4
hangs=${others[0]} dies=${others[1]}

mkfifo "$work/commands"
"$judge" judge $timeout_ms <"$work/commands" >"$work/judge.log" 2>"$work/judge.err" &
judge_pid=$!
exec 5>"$work/commands"
judge_said() { # PATTERN
  grep -q "^$1" "$work/judge.log" || ! kill -0 $judge_pid 2>/dev/null || grep -q WRONG "$work/judge.log"
}
judge_fail() {
  tail -n 20 "$work/judge.log" "$work/judge.err" >&2
  e2e_fail "$*"
}
# begin NAME SHARD WANT, then finish NAME: see failure.cc.
begin() {
  echo "$@" >&5
  e2e_within 120 judge_said "began $1" || judge_fail "phase $1 did not begin"
}
finish() {
  e2e_within 240 judge_said "ended $1" || judge_fail "phase $1 does not end"
  ! grep -q WRONG "$work/judge.log" || judge_fail "phase $1"
  grep "^ended $1" "$work/judge.log" || judge_fail "phase $1: the client has ended"
}
phase() { begin "$@" && finish "$1"; }

phase before -1 ok

# Clients that are killed in the middle of their writes, while others go on.
connections=$(($(e2e_figure connections) + 4)) # the judge's helper thread may come later
clean() { (($(e2e_figure staged) == 0 && $(e2e_figure pins) == 0 && $(e2e_figure connections) <= connections)); }
for round in 1 2 3 4 5; do
  begin "client-killed-$round" -1 ok
  "$judge" storm >"$work/storm.log" 2>&1 &
  storm=$!
  storms() { (($(grep -c storms "$work/storm.log") >= 4)); }
  e2e_within 60 storms || e2e_fail "no storm: $(cat "$work/storm.log")"
  kill -KILL $storm
  wait $storm 2>/dev/null
  finish "client-killed-$round"
done
e2e_within 60 clean ||
  e2e_fail "left of killed clients: $(e2e_figure staged) places, $(e2e_figure pins) pins, $(e2e_figure connections) connections instead of $connections"

# Many at once, then many after each other: nothing of them stays.
clients=()
for ((i = 0; i < 64; ++i)); do
  timeout 240 "$judge" churn 1 >"$work/crowd.$i" 2>&1 &
  clients+=($!)
done
for ((i = 0; i < 64; ++i)); do
  wait "${clients[i]}" || e2e_fail "of many clients at once: $(cat "$work/crowd.$i")"
done
e2e_within 60 clean || e2e_fail "left of many clients: $(e2e_figure connections) connections instead of $connections"
resident() { cut -d ' ' -f 2 "/proc/${pids[1]}/statm"; }
before=$(resident)
timeout 240 "$judge" churn 40 >"$work/churn.log" 2>&1 || e2e_fail "clients after each other: $(cat "$work/churn.log")"
e2e_within 60 clean || e2e_fail "left of clients after each other: $(e2e_figure connections) connections instead of $connections"
echo "40 clients after each other: the client $(cat "$work/churn.log"), a server $((($(resident) - before) * 4)) KiB"
phase crowds -1 ok

# A server that hangs: its calls time out. What it had in hand when it goes on is too late, and harms nobody.
begin stopped "$hangs" fails
kill -STOP "${pids[hangs]}"
finish stopped
begin continued "$hangs" recovers
kill -CONT "${pids[hangs]}"
finish continued
phase healed -1 ok

# A server dies; the others go on. Then all die.
begin killed "$dies" fails
kill -KILL "${pids[dies]}"
finish killed
unset "pids[dies]"
kill -0 "${pids[@]}" || e2e_fail "another server ended too"
phase without "$dies" fails
# never_back PATTERN COMMAND...: one sentence.
never_back() {
  local status=0
  timeout 60 "${@:2}" </dev/null >"$work/refused" 2>&1 || status=$?
  [[ $status == 3 && $(grep -c '^mayflyd: ' "$work/refused") == 1 ]] || e2e_fail "status $status, not one sentence: $(cat "$work/refused")"
  grep -qE "^mayflyd: .*$1" "$work/refused" || e2e_fail "no sentence like '$1': $(cat "$work/refused")"
}
never_back '--rejoin: .*durability none.*mayfly stop' mayflyd --rejoin --session "$MAYFLY_SESSION"
begin all-killed -2 fails
kill -KILL "${pids[@]}"
finish all-killed
phase alone -2 fails

exec 5>&-
judge_ended() { ! kill -0 $judge_pid 2>/dev/null; }
e2e_within 120 judge_ended || judge_fail "the client does not end"
wait $judge_pid || judge_fail "the client ended with status $?"
tail -n 1 "$work/judge.log"
all_gone() { e2e_ended && ! pgrep -P "$e2e_launcher" -x mayflyd >/dev/null; }
e2e_within 60 all_gone || kill -KILL "$e2e_launcher"
wait "$e2e_launcher" 2>/dev/null
e2e_launcher=''
[[ -n $(find "$shm" -type f) && -e $MAYFLY_SESSION ]] || e2e_fail "nothing is left of servers that were killed: this tests nothing"
for how in all degraded; do
  never_back '--recover: .*durability none.*start a new one' \
    mpirun -n 4 --oversubscribe mayflyd --member-per rank --session "$MAYFLY_SESSION" --recover "$how"
done
timeout 60 mayfly clean >"$work/clean.log" 2>&1 || e2e_fail "mayfly clean: $(cat "$work/clean.log")"
left=$(find "$shm" -type f; find "$work" -name 'session.json*')
[[ -z $left ]] || e2e_fail "left behind: $left"
echo "all as expected"
