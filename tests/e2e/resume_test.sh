#!/usr/bin/env bash
# ctest: TIMEOUT 900 PROCESSORS 2 LABELS plain
# Servers are killed in the middle of a stage-in, a stage-out and a stop, the one that leads it and another one, and come
# back by --supervise: the command that waits for it hears of its end, and everything is there, verified.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_tree
export OMPI_MCA_orte_abort_print_stack=0

step() { echo "--- $*"; }
source=$work/source
mkdir -p "$source"/{a,b,c/d}
for i in {1..700}; do
  for at in a b c/d; do echo "$at/$i" >"$source/$at/f$i"; done
done
head -c 90000000 /dev/urandom >"$source/large"
head -c 40000000 /dev/urandom >"$source/c/large"
ln -s large "$source/link" && ln "$source/a/f1" "$source/b/again"
find "$source" -exec touch -h -d "2020-01-02 03:04:05.123456789" {} +
e2e_tree dump posix "$source" >"$work/expected"
entries=$((3 * 700 + 4)) # files, symlinks and further names

begin() {
  e2e_start 2 --memory 512M --durability process --supervise --flush-to "$work/out"
  look_for_root
}
look_for_root() { # `root`, `other`: pids
  e2e_servers 2
  other=${pids[${others[0]}]}
  root=${pids[$((1 - others[0]))]}
}
nothing_of() { [[ -z $(e2e_figures pid | grep -x "$1") && $(e2e_figures pid | wc -l) == 2 ]]; } # PID
# kill_while ROLE CONDITION COMMAND...: the command's output in $work/said, its status in `status`.
kill_while() {
  local role=$1 condition=$2 command
  shift 2
  [[ $role == root ]] && victim=$root || victim=$other # for those who look whether it is back, too
  "$@" >"$work/report" 2>"$work/said" &
  command=$!
  e2e_within 60 $condition || e2e_fail "nothing comes of $*: $(cat "$work/said")"
  kill -KILL "$victim"
  kill -0 "$command" 2>/dev/null || e2e_fail "$* was over before the kill"
  status=0
  wait "$command" || status=$?
  ((status == 0)) || e2e_fail "$*, with the $role killed: status $status: $(cat "$work/said")"
}
number() { sed -n 's/^ *"'"$1"'": *\([0-9]*\),\{0,1\}$/\1/p' "$work/report" | head -1; }
of_flush() { grep -o "\"$1\":[0-9]*" "$work/report" | head -1 | cut -d: -f2; }

some_in() { (($(mayfly find /in 2>/dev/null | wc -l) > 100)); }
some_out() { (($(find "$work/out" -type f 2>/dev/null | wc -l) > 100)); }
same_inside() {
  e2e_tree dump mayfly /in >"$work/inside" || e2e_fail "looking at /in"
  cmp -s "$work/expected" "$work/inside" || e2e_fail "/in differs: $(diff "$work/expected" "$work/inside" | head -c 2000)"
}
same_outside() { # DIRECTORY
  local left
  left=$(find "$work/out" -name '.mayfly-*')
  [[ -z $left ]] || e2e_fail "temporaries are left: $left"
  e2e_tree dump posix "$1" >"$work/outside"
  cmp -s "$work/expected" "$work/outside" || e2e_fail "$1 differs: $(diff "$work/expected" "$work/outside" | head -c 2000)"
  (($(of_flush files) + $(of_flush skipped) == entries)) || e2e_fail "the report counts otherwise: $(head -c 600 "$work/report")"
  grep -q '"verified":true' "$work/report" || e2e_fail "not verified: $(head -c 600 "$work/report")"
}
ended() {
  e2e_within 30 e2e_ended || e2e_fail "the servers do not end"
  local status=0 left
  wait "$e2e_launcher" || status=$?
  e2e_launcher=''
  ((status == 0)) || e2e_fail "the servers ended with status $status"
  left=$(find "$shm" -mindepth 1 -type f)
  [[ -z $left ]] || e2e_fail "left behind: $left"
  [[ ! -e $MAYFLY_SESSION ]] || e2e_fail "the session file is left"
}

begin
step "stage-in, the root's server killed"
kill_while root some_in mayfly stage-in --json --stage-streams 2 "$source" /in
same_inside
(($(number restarts) >= 1)) || e2e_fail "the stage-in was not begun again: $(head -c 300 "$work/report")"
(($(number files) == entries && $(number failed) == 0)) || e2e_fail "the stage-in counts otherwise: $(head -c 300 "$work/report")"
look_for_root

for role in root other; do
  step "stage-out, the server of the $role killed"
  kill_while "$role" some_out mayfly stage-out --json /in "$work/out"
  same_outside "$work/out"
  rm -rf "$work/out"
  e2e_within 30 nothing_of "$victim" || e2e_fail "the $role does not come back"
  look_for_root
done

mayfly rm -r /in || e2e_fail "mayfly rm"
step "stage-in --here, the root's server killed"
kill_while root some_in mayfly stage-in --json --here --stage-streams 1 "$source" /in
same_inside
e2e_within 30 nothing_of "$root" || e2e_fail "the root does not come back"
look_for_root

step "stop, the root's server killed"
kill_while root some_out mayfly stop --json
same_outside "$work/out/in"
ended
rm -rf "$work/out"

step "stop, the other server killed"
begin
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
kill_while other some_out mayfly stop --json
same_outside "$work/out/in"
ended
rm -rf "$work/out"

# Nobody waits for it: the end of the session goes on by itself, and who asks afterwards is told.
step "a signal's stop, the root's server killed"
begin
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
kill -USR1 "$e2e_launcher"
e2e_within 60 some_out || e2e_fail "no flush after a signal"
kill -KILL "$root"
e2e_within 120 e2e_ended || e2e_fail "the servers do not end"
timeout 60 mayfly stop >"$work/report" 2>"$work/said" || e2e_fail "mayfly stop, afterwards: $(cat "$work/said")"
grep -q "verified" "$work/said" || e2e_fail "what it says: $(cat "$work/said")"
e2e_tree dump posix "$work/out/in" >"$work/outside"
cmp -s "$work/expected" "$work/outside" || e2e_fail "out differs: $(diff "$work/expected" "$work/outside" | head -c 2000)"
[[ -z $(find "$work/out" -name '.mayfly-*') ]] || e2e_fail "temporaries are left"
ended
echo "all as expected"
