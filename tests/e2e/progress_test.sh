#!/usr/bin/env bash
# ctest: TIMEOUT 300 LABELS plain
# What stage-in, stage-out and stop show while they work: on a terminal one line with rate and time left that rewrites
# itself and never wraps, in a log a line every few seconds, and nothing of it on standard output. A server that is held
# up for a moment makes them take long enough; whether they survive that is not asked here.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have script stty
columns=30

mkdir "$work/source"
for i in {1..200}; do head -c 20000 /dev/urandom >"$work/source/$i"; done
# Three servers, and `held`, one of them that is not the root's.
held=''
start() {
  e2e_start 3 --memory 64M --flush-to "$work/pfs/out"
  e2e_servers 3
  held=${pids[${others[0]}]}
}
trap '[[ -z $held ]] || kill -CONT "$held" 2>/dev/null; e2e_end' EXIT

# Waits for progress in FILE while the command whose pid is given runs and the server is held.
comes() { # FILE PID
  shown() { grep -q ' left' "$1" || ! kill -0 "$2" 2>/dev/null; }
  e2e_within 60 shown "$1" "$2" || e2e_fail "there is no progress: $(cat "$1")"
  kill -CONT "$held"
  status=0
  wait "$2" || status=$?
}
on_terminal() { # WHAT COMMAND...
  local what=$1 line
  shift
  : >"$work/terminal"
  script -qfec "stty cols $columns; exec $*" "$work/terminal" >/dev/null </dev/null &
  comes "$work/terminal" $!
  # All that was written over: what stands between a return and the next.
  tr '\r' '\n' <"$work/terminal" | sed -n 's/^\x1b\[K\(.* left\)$/\1/p' >"$work/lines"
  while read -r line; do
    ((${#line} < columns)) || e2e_fail "$what: '$line' wraps on a terminal of $columns columns"
    [[ $line =~ /s,\ .*left ]] || e2e_fail "$what: '$line' has no rate and time left"
  done <"$work/lines"
  head -n 1 "$work/lines"
  [[ -s $work/lines ]]
}
in_a_log() { # WHAT COMMAND...
  local what=$1 line
  shift
  "$@" >"$work/out" 2>"$work/log" </dev/null &
  comes "$work/log" $!
  ! grep -q $'\r' "$work/log" || e2e_fail "$what moves the cursor in a log: $(cat -v "$work/log")"
  [[ ! -s $work/out ]] || e2e_fail "$what writes to standard output: $(cat "$work/out")"
  line=$(grep -m 1 ' left$' "$work/log") || return
  [[ $line =~ ^$what:\ [0-9]+\ of\ [0-9]+\ files,\ .*\ of\ .*/s,\ .*\ left$ ]] || e2e_fail "$what: '$line'"
  echo "$line"
}
# Somebody who measures on this machine may have let the server go on: then once more.
expect() { # PLACE WHAT COMMAND...: a @ in the command is another number each time
  local try words
  for ((try = 0; try < 8; ++try)); do
    [[ -n $e2e_launcher ]] || start
    words=("${@//@/$try}")
    kill -STOP "$held"
    "${words[@]}" && break
    gone_after_stop "$@"
  done
  ((try < 8)) || e2e_fail "$* shows no progress"
  gone_after_stop "$@"
}
gone_after_stop() {
  [[ $* == *"mayfly stop" ]] || return 0
  if ((status != 0)); then # the session goes on
    e2e_stop
    return
  fi
  e2e_within 20 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
  e2e_launcher=''
}

for place in on_terminal in_a_log; do
  expect $place stage-in mayfly stage-in "$work/source" /in-$place-@
  mayfly stage-in "$work/source" /in >/dev/null 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
  expect $place stage-out mayfly stage-out /in "$work/out-$place-@"
  expect $place flush mayfly stop
done
echo "all as expected"
