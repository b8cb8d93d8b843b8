#!/bin/bash
# ctest: TIMEOUT 300 LABELS plain
# `mayfly stop --keep` ends the servers and closes the journals in order; --recover goes on from there without reading a
# record. A kill after that is a crash again. Journals in memory, in --dir, and at level node, which needs no memory. With
# another number of processes or server threads nothing starts, and the right one finds all.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
ranks=2
mkdir -p "$work/in/sub" "$work/disk"
head -c 9000000 /dev/urandom >"$work/in/large" # more than two chunks
for i in {1..200}; do echo "file $i" >"$work/in/sub/name-$i"; done
ln "$work/in/large" "$work/in/hard"
ln -s sub/name-1 "$work/in/soft"

keep() {
  timeout 120 mayfly stop --keep >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop --keep: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
  e2e_launcher=''
  [[ -e $MAYFLY_SESSION ]] || e2e_fail "the session file went with the servers"
}
# closed true|false COUNT: so many journals in the storage are closed in order, or not, as `mayfly journal stat` says.
closed() {
  local found
  found=$(timeout 60 mayfly journal stat --json "$base" | python3 -c 'import json, sys
print(*sorted(str(s["clean"]).lower() for s in json.load(sys.stdin)["shards"]))') || e2e_fail "mayfly journal stat"
  [[ $found == "$(for ((i = 0; i < $2; ++i)); do echo "$1"; done | xargs)" ]] || e2e_fail "closed in order: $found"
}
# came_up true|false: how the servers say that they found their journals.
came_up() {
  [[ $(e2e_figures closed_in_order | sort -u) == "$1" ]] || e2e_fail "closed in order: $(e2e_figures closed_in_order)"
}
find_base() { # DIRECTORY
  local bases
  mapfile -t bases < <(find "$1" -maxdepth 3 -name member-0 -printf '%h\n')
  ((${#bases[@]} == 1)) || e2e_fail "not one session's storage in $1: ${bases[*]}"
  base=${bases[0]}
}

# refused RANKS PATTERN OPTION...: a recovery by so many processes ends at once, with one sentence.
refused() {
  local right=$ranks pattern=$2 status=0
  ranks=$1
  shift 2
  launch --recover "$@"
  e2e_within 60 e2e_ended || e2e_fail "a recovery with $ranks processes, $*: it goes on"
  wait "$e2e_launcher" || status=$?
  e2e_launcher=''
  ((status == 3)) || e2e_fail "a recovery with $ranks processes, $*: status $status"
  (($(grep -c '^mayflyd: ' "$work/servers.log") == 1)) && grep -qE "^mayflyd: $(uname -n): .*--recover: .*$pattern" "$work/servers.log" ||
    e2e_fail "a recovery with $ranks processes, $*: what it says"
  [[ -e $MAYFLY_SESSION ]] || e2e_fail "a recovery with $ranks processes, $*: the session file is gone"
  ranks=$right
}
other_numbers() { # OPTION...
  refused 1 'holds 2 members of the session in .*, and 1 would be started there; start as many processes there' "$@"
  refused 3 'holds 2 members of the session in .*, and 3 would be started there; start as many processes there' "$@"
  refused 2 'member [01] on .* had 1 server thread and would have 2; give the same number of processes and --shards' --shards 2 "$@"
}

first=() # options of the first start alone
# life LEVEL STORAGE OPTION...
life() {
  local level=$1 storage=$2
  shift 2
  step "level $level, $*"
  start --memory 96M --durability "$level" --flush-to "$work/out" "${first[@]}" "$@"
  timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  local in_rings
  in_rings=$(e2e_figure live_bytes)
  keep
  [[ ! -e $work/out/in ]] || e2e_fail "--keep flushed"
  find_base "$storage"
  closed true 2
  if [[ $level == node ]]; then
    other_numbers "$@"
    closed true 2
  fi
  start --recover "$@"
  came_up true
  (($(e2e_figure records_read) == 0)) || e2e_fail "$(e2e_figure records_read) records were read behind the checkpoints"
  # What there is lies in the checkpoints, and not in the rings.
  (($(e2e_figure live_bytes) * 4 < in_rings)) || e2e_fail "live_bytes was $in_rings and is $(e2e_figure live_bytes)"
  (($(e2e_figure inodes_found) >= 200)) || e2e_fail "the checkpoints do not hold it: $(e2e_figure inodes_found)"
  mayfly status >"$work/status" || e2e_fail "mayfly status"
  grep -q 'recovery: 2 journals, 2 of them closed in order; 0 records' "$work/status" || e2e_fail "mayfly status: $(cat "$work/status")"
  files_are_there
  timeout 60 mayfly mkdir /later || e2e_fail "mkdir after the clean start"
  kill_all # dirty again
  closed false 2
  (($# > 0)) || other_numbers # in memory, and with journals that are not closed
  start --recover "$@"
  came_up false
  (($(e2e_figure records_read) > 0)) || e2e_fail "no records were read after a kill"
  files_are_there
  timeout 60 mayfly ls /later || e2e_fail "what came after the clean start is gone"
  keep
}

life process "$shm"
step "another session on the node leaves it alone, and so does mayfly clean"
kept=$(find "$base" ! -name 'rank-*' -printf '%p %s\n' | sort)
MAYFLY_SESSION=$work/other.json
start --memory 64M
timeout 60 mayfly stop --no-flush >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
e2e_launcher=''
MAYFLY_SESSION=$work/session.json
timeout 60 mayfly clean >"$work/said" 2>&1 || e2e_fail "mayfly clean: $(cat "$work/said")"
grep -q "was kept for mayflyd --recover and stays" "$work/said" || e2e_fail "mayfly clean: $(cat "$work/said")"
[[ $(find "$base" ! -name 'rank-*' -printf '%p %s\n' | sort) == "$kept" ]] || e2e_fail "what was kept is not as it was"
timeout 60 mayfly journal clear --yes "$base" >"$work/said" 2>&1 || e2e_fail "journal clear without --force: $(cat "$work/said")"
rm -f "$MAYFLY_SESSION"*

start --memory 64M --durability process
timeout 60 mayfly stop --keep >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop --keep: $(cat "$work/stop.log")"
e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
e2e_launcher=''
timeout 60 mayfly clean --kept >"$work/said" 2>&1 || e2e_fail "mayfly clean --kept: $(cat "$work/said")"
[[ -z $(find "$shm" -type f) ]] || e2e_fail "mayfly clean --kept left $(find "$shm" -type f)"

life process "$work/disk" --dir "$work/disk"
step "without the memory that level process needs"
rm -rf "${MAYFLY_RUNTIME_DIR:?}"/*/arena* # as if the node had been started again
launch --recover --dir "$work/disk"
e2e_within 60 e2e_ended || e2e_fail "servers go on without what their memory held"
grep -q 'was started again since.*--durability node' "$work/servers.log" || e2e_fail "it is not said"
e2e_launcher=''
timeout 60 mayfly journal clear --yes "$work/disk" >"$work/said" 2>&1 || e2e_fail "journal clear without --force: $(cat "$work/said")"
rm -rf "$MAYFLY_SESSION"* "${MAYFLY_RUNTIME_DIR:?}"/*

first=(--commit-interval 2ms)
life node "$work/disk" --dir "$work/disk"
[[ -z $(find "$shm" -name 'arena-*' -o -name 'kept-*') ]] || e2e_fail "memory is still taken: $(find "$shm" -type f)"
step "level node, on a node that was started again"
rm -rf "${MAYFLY_RUNTIME_DIR:?}"/*
start --recover --dir "$work/disk"
came_up true
[[ $(e2e_figures commit_interval_us | sort -u) == 2000 ]] || e2e_fail "the commit interval: $(e2e_figures commit_interval_us)"
files_are_there
stop "$work/disk"
diff -r --no-dereference "$work/in" "$work/out/in" || e2e_fail "the flush at the end"
rm -rf "$work/out"

step "with nothing to keep it in"
start --memory 64M
status=0
timeout 60 mayfly stop --keep >"$work/stop.log" 2>&1 || status=$?
((status == 1)) || e2e_fail "status $status"
grep -q 'durability none' "$work/stop.log" || e2e_fail "it is not said: $(cat "$work/stop.log")"
timeout 60 mayfly mkdir /goes-on || e2e_fail "the session does not go on"
timeout 60 mayfly stop --no-flush || e2e_fail "mayfly stop"
e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
e2e_launcher=''
echo "all as expected"
