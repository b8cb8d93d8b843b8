#!/bin/bash
# ctest: TIMEOUT 900
# All servers are killed while clients work and started again by --recover: the clients go on, everything acknowledged is
# there, and a stop flushes it and leaves nothing. Journals in memory and in --dir; a kill in the middle of the recovery.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"

mkdir "$work/in" "$work/in/sub"
head -c 9000000 /dev/urandom >"$work/in/large" # more than two chunks
echo small >"$work/in/sub/small"
chmod 0640 "$work/in/sub/small"
touch -d '2001-02-03 04:05:06.789' "$work/in/sub/small"
ln "$work/in/large" "$work/in/sub/hard"
ln -s ../large "$work/in/sub/soft"

# life LEVEL DIRECTORY OPTION...: --dir is in DIRECTORY.
life() {
  local level=$1 dir=$2 round
  shift 2
  start --memory 128M --durability "$level" --flush-to "$work/out" "$@"
  timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  names=()
  work a
  work b
  all_go_on 200
  for round in 1 2; do
    kill_all
    if ((round == 2)); then # and in the middle of coming back
      launch --recover "$@"
      e2e_within 60 recovering || e2e_fail "no recovery to kill"
      kill_all
    fi
    start --recover "$@"
    all_go_on 200
    all_check
    files_are_there
  done
  end_workers
  kill_all # with nobody at work
  start --recover "$@"
  look
  files_are_there
  stop "$dir"
  diff -r --no-dereference "$work/in" "$work/out/in" || e2e_fail "the flush of what was staged in"
  [[ $(stat -c '%a %Y' "$work/out/in/sub/small") == $(stat -c '%a %Y' "$work/in/sub/small") ]] || e2e_fail "mode or time after the flush"
  rm -rf "$work/out"
}

step "journals in memory"
life process "$work/none"
step "journals in --dir"
life process "$work/disk" --dir "$work/disk/%h"
step "a --dir of each rank"
life process "$work/disk" --dir "$work/disk/rank-%r"
step "level node"
life node "$work/disk" --dir "$work/disk/%h"
step "what level process does not survive is no silent loss"
start --memory 64M --durability process --dir "$work/disk/%h" --no-flush
mayfly mkdir /d || e2e_fail "mkdir"
kill_all
rm -rf "${MAYFLY_RUNTIME_DIR:?}"/* "${segments[@]}" # as if the node had been started again
launch --recover --dir "$work/disk/%h"
e2e_within 60 e2e_ended || e2e_fail "servers go on without what their memory held"
grep -q 'was started again since.*--durability node' "$work/servers.log" || e2e_fail "it is not said: $(cat "$work/servers.log")"
e2e_launcher=''
echo "all as expected"
