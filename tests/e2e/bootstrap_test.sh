#!/bin/bash
# ctest: TIMEOUT 1500 LABELS plain
# The start and the end of the servers on one machine: from 1 to 64 members, several shards; every end leaves nothing;
# every failure is one sentence with host, cause and remedy, and a non-zero exit of all ranks within seconds.
set -Eeuo pipefail
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"' ERR
command -v mpirun >/dev/null || { echo "skipped: mpirun is not installed (share/install-packages)"; exit 77; }
command -v mayflyd >/dev/null || { echo "skipped: mayflyd is not in PATH (run by ctest, or add the build's mpi_launch)"; exit 77; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
. "$here/bootstrap_common.sh"
trap 'end_everything; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir -m 0700 "$MAYFLY_RUNTIME_DIR"
cd "$work"

expect() { # WHAT EXPECTED ACTUAL
  [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
}

# Files on all members of a session: what is staged in comes out again as it was.
use_files() { # NAMES BYTES: so many small files, and a large one
  command -v mayfly >/dev/null || return 0
  local i want=$work/want
  mkdir -p "$want/many"
  for ((i = 0; i < $1; ++i)); do echo "file $i" >"$want/many/name-$i"; done
  head -c "$2" /dev/urandom >"$want/large"
  (
    export MAYFLY_SESSION=$session
    timeout 90 mayfly stage-in "$want" /in 2>&1 && timeout 60 mayfly stage-out /in "$work/have" 2>&1
  ) >"$work/used" || fail "staging in and out: $(cat "$work/used")"
  diff -r "$want" "$work/have" || fail "the files are not what they were"
  expect "names in /in/many" "$1" "$(mayfly --session "$session" ls /in/many | sort -u | grep -c '^name-[0-9]*$')"
  local holding
  holding=$(mayfly --session "$session" status --json | grep -c '^ *"extents": *[1-9]') || true
  ((holding * 2 > $(field members))) || fail "only $holding members hold anything of the files"
  echo "    files on $holding members"
  rm -r "$want" "$work/have"
}

# run MEMBERS SHARDS HOW RANKS OPTIONS...: a whole life, with $files in it. HOW ends it: a signal to mpirun (USR1, TERM,
# INT), or to one server only (one:SIGNAL).
run() {
  local members=$1 shards=$2 how=$3 ranks=$4 started before pid
  shift 4
  started=$(now_us)
  launch mpirun -n "$ranks" mayflyd --session "$session" "$@"
  wait_ready 120
  local ready_ms=$((($(now_us) - started) / 1000))
  expect "members" "$members" "$(field members)"
  expect "shards" "$shards" "$(field shards)"
  expect "mode of the session file" 600 "$(stat -c %a "$session")"
  expect "mode of the map" 600 "$(stat -c %a "$session.map")"
  expect "servers" "$ranks" "$(servers | wc -l)"
  local node
  node=$MAYFLY_RUNTIME_DIR/$(field session)
  expect "marks" "$ranks" "$(find "$node" -name 'rank-*.pid' | wc -l)"
  within 20 grep -q '"ready"' "$node/session.json" || fail "the node's copy is not ready"
  local idle=''
  if ((members == 64)); then # what is measured is that nothing happens
    before=$(cpu_ns)
    read -r -t 2 <> <(:) || true
    idle=$(awk -v ns=$(($(cpu_ns) - before)) 'BEGIN { printf " idle %.2f%% of a core in all,", ns / 2e7 }')
  fi
  # shellcheck disable=SC2086  # two numbers
  [[ -z $files ]] || use_files $files
  started=$(now_us)
  if [[ $how == one:* ]]; then
    pid=$(servers | tail -n 1) # not the first: that is rank 0
    kill "-${how#one:}" "$pid"
  else
    kill "-$how" "$launcher"
  fi
  wait_end 90
  [[ $how != *USR? ]] || verdict=$session.verdict
  expect_nothing_left
  ! grep -E 'error: |does not take part' "$output" || fail "an end that was asked for is no failure"
  # mpirun that was told to end does not return 0, whatever the servers did.
  [[ $how == TERM || $how == INT ]] || expect "status after $how" 0 "$status"
  grep -q 'the session has ended' "$output" || [[ $how == TERM || $how == INT ]] || fail "no word about the end"
  echo "    $members members, $shards shards: ready after $ready_ms ms,$idle" \
    "ended by $how after $((($(now_us) - started) / 1000)) ms"
}

files='' # what use_files is given, if anything
step "one to seven members, ended by signals"
small="--member-per rank --memory 64M"
# shellcheck disable=SC2086  # several options
{
  (aside; run 1 1 USR1 1 $small) &
  (aside; run 2 2 one:TERM 2 $small) &
  (aside; run 4 4 TERM 4 $small) &
  (aside; run 4 4 one:USR2 4 $small) &
  (aside; files='400 37000000' run 7 7 INT 7 $small) &
}
(
  aside
  step "a signal takes storage away while its servers end, which is no failure of its device"
  # shellcheck disable=SC2086  # several options
  run 3 3 TERM 3 $small --durability node --dir "$work/disk"
  [[ -z $(ls "$work/disk") ]] || fail "left in --dir: $(ls "$work/disk")"
) &
together
step "several shards a member: threads of a rank, and further ranks of a node"
(aside; run 2 6 USR1 2 --member-per rank --shards 3 --memory 192M) &
(aside; run 1 3 one:INT 3 --memory 192M) &
(aside; run 1 4 one:HUP 2 --shards 2 --memory 256M) &
if command -v mayfly >/dev/null; then
  (
    aside
    step "a member of weight 2 gets two shares"
    # shellcheck disable=SC2086  # several options
    launch mpirun -n 1 mayflyd $small --session "$session" : -n 1 mayflyd $small --session "$session" --weight 2 : \
      -n 1 mayflyd $small --session "$session"
    wait_ready 120
    mayfly --session "$session" ring >"$work/ring"
    # The slot table shares out as exactly as whole slots can; the plain ring, which is only shown, about so.
    awk 'function about(is, shall, by) { return is > shall - by && is < shall + by }
      $1 ~ /^[0-2]$/ { shall = $1 == 1 ? 50 : 25; right += $4 == ($1 == 1 ? 2 : 1) && about($6, shall, 0.01) && about($7, shall, 10) }
      END { exit right != 3 }' "$work/ring" || fail "the shares: $(cat "$work/ring")"
    warn_servers
    wait_end 90
    expect "status" 0 "$status"
    expect_nothing_left
  ) &
fi
together

step "a flush target: made at the start, flushed to and verified whichever server gets the signal"
source=$work/source
mkdir "$source"
for size in 0 1 5000 70000 9000000; do head -c "$size" /dev/urandom >"$source/of $size"; done
ln -s "of 1" "$source/link"
fill() { # where the command is there to do it
  ! command -v mayfly >/dev/null || MAYFLY_SESSION=$session timeout 60 mayfly stage-in "$source" /in >/dev/null 2>&1 || fail "stage-in"
}
flushed() {
  grep -q "the session has ended; .* are in $work/pfs/out, verified" "$output" || fail "not flushed"
  ! command -v mayfly >/dev/null || diff -r --no-dereference "$source" pfs/out/in || fail "other content"
}
start_with_target() {
  launch mpirun -n 3 mayflyd --member-per rank --memory 128M --session "$session" --flush-to "$work/pfs/out" "$@"
  wait_ready 120
  [[ -d pfs/out ]] || fail "the target was not made"
  fill
}
a_flush() { # WHO is warned: a server or all
  start_with_target
  grep -q "flushed to $work/pfs/out" "$output" || fail "the target is not named"
  if [[ $1 == all ]]; then warn_servers; else kill -TERM "$(servers | sed -n "${1}p")"; fi
  wait_end 90
  expect "status" 0 "$status"
  # After a scheduler's warning the job script may still ask how it went; after a SIGTERM nothing is left at all.
  [[ $1 != all ]] || grep -q '"complete": true' "$session.verdict" || fail "no word for the job script"
  expect_nothing_left
  flushed
}
for who in 1 2 3 all; do (aside; a_flush "$who") & done
(
  aside
  start_with_target --no-flush
  warn_servers
  wait_end 90
  expect "status without a flush" 0 "$status"
  expect "files in the target without a flush" "" "$(ls pfs/out)"
  expect_nothing_left
) &
together

step "a flush that fails: one sentence, and all ranks end all the same"
a_failing_flush() { # WHO
  start_with_target
  rmdir pfs/out && touch pfs/out
  if [[ $1 == all ]]; then warn_servers; else kill -TERM "$(servers | sed -n "${1}p")"; fi
  wait_end 90
  expect "status" 1 "$status"
  expect_sentence "the flush to $work/pfs/out is not complete.*; .*Not a directory"
  expect_nothing_left
}
# A launcher sends SIGTERM to all when the first has ended with an error: to one that is on its way out, it says nothing.
signals_to_the_last() {
  start_with_target
  rmdir pfs/out && touch pfs/out
  local first last
  first=$(servers | sed -n 1p) last=$(servers | sed -n "\$p")
  kill -STOP "$last" # so that the signals below would be second ones
  kill -TERM "$first"
  sleep 1.2
  kill -CONT "$last"
  within 30 grep -q 'is not complete' "$output" || fail "no word of the flush"
  while kill -TERM "$first" 2>/dev/null; do :; done
  wait_end 90
  expect_sentence "the flush to $work/pfs/out is not complete.*; .*Not a directory"
  expect_nothing_left
}
for who in 1 2 3 all; do (aside; a_failing_flush "$who") & done
(aside; signals_to_the_last) &
together

if command -v mayfly >/dev/null; then
  step "mayfly stop, and mayfly stop --no-flush"
  start_with_target
  MAYFLY_SESSION=$session timeout 60 mayfly stop >stop.log 2>&1 || fail "mayfly stop: $(cat stop.log)"
  wait_end 90
  expect "status after mayfly stop" 0 "$status"
  expect_nothing_left
  flushed
  rm -r pfs
  start_with_target
  MAYFLY_SESSION=$session timeout 60 mayfly stop --no-flush >stop.log 2>&1 || fail "mayfly stop --no-flush: $(cat stop.log)"
  wait_end 90
  expect "status after mayfly stop --no-flush" 0 "$status"
  expect "files in the target" "" "$(ls pfs/out)"
  expect_nothing_left
  rm -r pfs stop.log
fi

step "64 members"
# shellcheck disable=SC2086  # several options
files='40 4500000' run 64 64 USR1 64 $small --chunk 64K # so that many have some of the file

(
  aside
  step "a second signal: at once"
  launch mpirun -n 3 mayflyd $small --session "$session"
  wait_ready 120
  mapfile -t pids < <(servers)
  kill -STOP "${pids[2]}" # holds up an orderly end
  kill -TERM "${pids[0]}" "${pids[1]}"
  gone() { [[ ! -e $session ]]; }
  within 20 gone || fail "the session file was not removed at the signal"
  read -r -t 1.2 <> <(:) || true # a second signal counts only a second after the first
  kill -TERM "${pids[0]}" "${pids[1]}" 2>/dev/null || true
  over() { ! kill -0 "${pids[0]}" 2>/dev/null && ! kill -0 "${pids[1]}" 2>/dev/null; }
  within 20 over || fail "a second SIGTERM did not end the servers"
  kill -CONT "${pids[2]}" 2>/dev/null || true
  wait_end 90
  expect_nothing_left
) &
(
  aside
  step "a server dies: mpirun ends the others, which leave nothing, and take its traces away"
  launch mpirun -n 4 mayflyd $small --session "$session"
  wait_ready 120
  kill -KILL "$(servers | tail -n 1)"
  wait_end 30
  ((status != 0)) || fail "status 0 after a death"
  expect_nothing_left
) &
(
  aside
  step "a server dies and the others live on (mpirun --enable-recovery): they end, by themselves, in bounded time"
  launch mpirun --enable-recovery -n 3 mayflyd $small --session "$session"
  wait_ready 120
  kill -KILL "$(servers | tail -n 1)"
  two_left() { (($(servers | wc -l) == 2)); }
  within 20 two_left
  read -r -t 1 <> <(:) || true # long enough for mpirun to end them, if it did
  two_left || fail "the others did not survive"
  warn_servers
  wait_end 90
  expect_nothing_left
) &
(
  aside
  step "everything is killed: the next start takes the leftovers away"
  launch mpirun -n 2 mayflyd $small --session "$session"
  wait_ready 120
  # shellcheck disable=SC2046  # a list
  kill -KILL "$launcher" $(servers)
  wait_end 90
  within 20 no_servers
  [[ -e $session && -n $(ls "$MAYFLY_RUNTIME_DIR") ]] || fail "nothing was left: this tests nothing"
  dead=$segments
  launch mpirun -n 2 mayflyd $small --session "$session"
  within 120 grep -q ' ready: ' "$output" || fail "no start over the leftovers"
  wait_ready 120
  expect "sessions in the runtime directory" 1 "$(ls "$MAYFLY_RUNTIME_DIR" | wc -l)"
  # shellcheck disable=SC2086  # a list
  [[ -n $dead && -z $(ls $dead 2>/dev/null || true) ]] || fail "shared memory of the dead servers' MPI is left: $dead"
  warn_servers
  wait_end 90
  expect_nothing_left
) &
(
  aside
  step "ended while starting"
  launch mpirun -n 4 mayflyd $small --session "$session"
  joined() { [[ -n $(ls "$MAYFLY_RUNTIME_DIR") ]] || ! launched; }
  within 120 joined
  kill -TERM "$launcher"
  wait_end 90
  segments=''
  expect_nothing_left
) &
(
  aside
  step "failures: a member that cannot be reached"
  launch mpirun -n 1 env UCX_TLS=tcp mayflyd $small --session "$session" : \
    -n 1 env UCX_TLS=posix,cma,self mayflyd $small --session "$session"
  if command -v mayfly >/dev/null; then # the session is starting, and does not get further for a while
    starting() { says starting || ! launched; }
    within 90 starting || fail "no session that is starting"
    status=0
    mayfly --session "$session" wait --timeout 1 >"$work/waited" 2>&1 || status=$?
    expect "status of mayfly wait" 1 "$status"
    grep -q "^mayfly: .*session $session is not ready yet after 1\.[0-9] s" "$work/waited" || fail "mayfly wait: $(cat "$work/waited")"
  fi
  wait_end 30
  expect "status" 3 "$status"
  expect_sentence 'member [01]\) cannot be reached.*; see that the network'
  expect_nothing_left
) &
(
  aside
  step "failures: a rank that never comes"
  expect_failure 30 3 'did not end in time while waiting for the other ranks.*; a process' \
    mpirun -n 1 mayflyd $small --session "$session" --start-timeout 2 : -n 1 sleep 60
) &
(
  aside
  step "failures: another server"
  launch mpirun -n 2 mayflyd $small --session "$session"
  wait_ready 120
  first=$launcher first_output=$output first_id=$(field session)
  output=$work/second
  launch mpirun -n 2 mayflyd $small --session "$session"
  wait_end 30
  expect "status" 3 "$status"
  expect_sentence 'belongs to a session whose servers live .*; stop that one'
  expect "the first session" "$first_id" "$(field session)"
  # With another session file the two live side by side and do not meet.
  launch mpirun -n 2 mayflyd $small --session "$work/other.json"
  within 120 grep -q ' ready: ' "$output" || fail "no second session"
  expect "sessions in the runtime directory" 2 "$(ls "$MAYFLY_RUNTIME_DIR" | wc -l)"
  if command -v mayfly >/dev/null; then
    mayfly --session "$session" mkdir /only-in-the-first
    expect "names in the second session" "" "$(mayfly --session "$work/other.json" ls /)"
    mayfly ls / >"$work/which" 2>&1 && fail "one of two sessions was guessed"
    grep -q '2 sessions of yours are on this node' "$work/which" || fail "no word about two sessions: $(cat "$work/which")"
  fi
  warn_servers
  wait_end 90
  expect "status of the second" 0 "$status"
  [[ ! -e $work/other.json && ! -e $work/other.json.map ]] || fail "the second session's files are left"
  expect "servers of the first" 2 "$(servers | wc -l)"
  launcher=$first output=$first_output
  warn_servers
  wait_end 90
  expect "status of the first" 0 "$status"
  expect_nothing_left
) &
together

step "failures: options"
(aside; expect_failure 30 2 'wrong option .*--memroy.*--help' mpirun -n 3 mayflyd --memroy 1G) &
(aside; expect_failure 30 2 'wrong option .*1X is no size; write it like' mpirun -n 2 mayflyd --memory 1X) &
(aside; expect_failure 30 2 'wrong option .*1M is too small for a journal: give 2M' mpirun -n 2 mayflyd --journal-bytes 1M) &
for weight in 0 1.5 1048577; do
  (aside; expect_failure 30 2 "wrong option .*--weight: Value $weight not in range 1 to 1048576.*--help" mayflyd --weight $weight) &
done
(
  aside
  expect_failure 30 2 'rank 1 was started with other options.*--chunk 1048576 here.*same ones' \
    mpirun -n 1 mayflyd $small --session "$session" : -n 2 mayflyd $small --session "$session" --chunk 1M
) &
(aside; expect_failure 30 3 'no network: UCX .*UCX_TLS' mpirun -n 2 mayflyd $small --session "$session" --tls no_such_transport) &
together
grep -q 'Exit codes' <<<"$(mayflyd --help)" || fail "--help"
grep -q '^mayflyd [0-9]' <<<"$(mayflyd --version)" || fail "--version"

step "failures: directories"
(
  aside
  expect_failure 30 3 "directory $work/none of --session cannot be written: No such.*; create it" \
    mpirun -n 2 mayflyd $small --session "$work/none/s.json"
) &
(
  aside
  expect_failure 30 3 'cannot create /proc/none for --flush-to: .*; give a directory' \
    mpirun -n 2 mayflyd $small --session "$session" --flush-to /proc/none/out
  [[ ! -e /proc/none ]]
) &
(
  aside
  expect_failure 30 3 'cannot create runtime directory .*set MAYFLY_RUNTIME_DIR' \
    env MAYFLY_RUNTIME_DIR="$work/no/runtime" mpirun -n 2 mayflyd $small --session "$session"
) &
(
  aside
  echo "not a session" >"$session" && chmod 600 "$session"
  launch mpirun -n 2 mayflyd $small --session "$session"
  wait_end 30
  expect "status" 3 "$status"
  expect_sentence 'is damaged.*remove it'
  expect "a file that is no session file" "not a session" "$(cat "$session")"
  rm "$session"
) &
closed=$work/closed
mkdir -m 0500 "$closed"
if [[ $(id -u) != 0 ]]; then
  (
    aside
    expect_failure 30 3 'cannot be written: Permission denied; give a directory that you may write' \
      mpirun -n 2 mayflyd $small --session "$session" --flush-to "$closed"
  ) &
elif unshare -m true 2>/dev/null; then # root may write everywhere but there
  for option in "--flush-to $closed" "--session $closed/s.json"; do
    (
      aside
      expect_failure 30 3 'cannot be written: Read-only file system; give a directory that you may write' \
        unshare -m bash -c "mount -t tmpfs -o ro closed '$closed' && exec mpirun -n 2 mayflyd $small $option"
    ) &
  done
fi
together

step "failures: memory"
(
  aside
  expect_failure 30 3 'is too little for a server thread.*; give --memory 64M' \
    mpirun -n 2 mayflyd --member-per rank --memory 63M --session "$session"
) &
(
  aside
  expect_failure 30 3 'too little for 4 server threads.*; give --memory 256M' \
    mpirun -n 2 mayflyd --shards 2 --memory 128M --session "$session"
) &
(
  aside
  expect_failure 30 3 '2 members of 900 TiB each do not fit.*; give --memory [0-9]+M or less' \
    mpirun -n 2 mayflyd --member-per rank --memory 900T --session "$session"
  [[ -z $(ls "$MAYFLY_RUNTIME_DIR") ]]
) &
if unshare -m true 2>/dev/null; then
  for size in 40m 16k; do # of /dev/shm
    (
      aside
      expect_failure 30 3 '2 members of 64 MiB each do not fit into the .* free in /dev/shm; .*mayfly clean' \
        unshare -m bash -c "mount -t tmpfs -o size=$size,mode=1777 small /dev/shm
          MAYFLY_RUNTIME_DIR=/dev/shm/mayfly-full mpirun -n 2 mayflyd --member-per rank --session '$session'
          status=\$?
          [[ -z \$(find /dev/shm -mindepth 1) ]] || { find /dev/shm; exit 99; }
          exit \$status"
    ) &
  done
else
  echo "not tried: no mount namespaces"
fi
together

step "a low limit of locked memory only warns"
if command -v setpriv >/dev/null && setpriv --bounding-set -ipc_lock true 2>/dev/null; then
  launch setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock \
    bash -c "ulimit -l 64; exec mpirun -n 2 mayflyd $small --session '$session'"
  wait_ready 120
  expect "warnings" 1 "$(grep -c 'limit of locked memory is 64 KiB' "$output")"
  warn_servers
  wait_end 90
  expect "status" 0 "$status"
  expect_nothing_left
else
  echo "not tried: setpriv cannot take CAP_IPC_LOCK away"
fi
echo "all as expected"
