#!/bin/bash
# ctest: TIMEOUT 800 PROCESSORS 2 LABELS plain
# Random operation sequences on Mayfly and on tmpfs, compared: first the comparison itself (it must find planted faults), then
# with one server, with four, and with two of two shards each, the same sequences each time, with several users where it runs
# as root. With DIFFERENTIAL_SEED, or DIFFERENTIAL_SECONDS, it searches instead: new sequences for so many seconds each
# (default 25).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_differential mpirun mayflyd mayfly
compare() { # NAME [OPTION...]
  local name=$1
  shift
  echo "--- $name"
  e2e_run e2e_differential --scratch "$shm" "$@" || e2e_fail "$name"
}

if [[ -n ${DIFFERENTIAL_SEED:-}${DIFFERENTIAL_SECONDS:-} ]]; then
  seconds=${DIFFERENTIAL_SECONDS:-25} seed=${DIFFERENTIAL_SEED:-$((RANDOM * 32768 + RANDOM))}
  minutes=$(awk "BEGIN { print $seconds / 60 }")
  for servers in 1 4 "2 --shards 2"; do
    # shellcheck disable=SC2086
    e2e_start $servers --memory 256M
    compare "$servers server(s)" --seed "$seed" --minutes "$minutes"
    e2e_stop
  done
  if [[ $(id -u) == 0 ]]; then
    e2e_as 65534
    e2e_start 2 --memory 256M
    compare "as uid 65534" --seed "$seed" --minutes "$minutes"
    e2e_stop
  fi
  exit 0
fi

# What once was different: seed, sequence, operations of it.
found=(
  "1001 14 42,54"          # create of a file that may not be written
  "2001 10 0,12,13,21,30"  # mtime of a write to another shard, after utimens
  "2002 1 6,27,28"         # preadv of no bytes of a directory
  "3001 24 24,25,30,34"    # rename onto a directory above, in one that may not be written
  "3002 80 12,20,24"       # exchange of a name with itself, likewise
  "3000 55 1,8,24,32,34,35,36,47"  # SEEK_DATA of a page that a cut left zeros of
  "3004 1 16,18,25,28,36,47"       # likewise, at a chunk's begin
  "25046264 952 5,6,13,16,17,23"     # SEEK_DATA of what was reserved, punched in part, and reserved again
  "142782656 343 8,10,15,16,19,23"    # likewise of what was reserved behind the end of a file that grew
  "421567855 1843 2,11,20,25,34,36,51,60"  # likewise, on several shards
  "3003 110 48,50,59,60"           # SEEK_DATA of what was reserved twice
  "3003 15 27,29"                  # suid and sgid after another's write to another shard
  "3000 79 13,17,21,23"            # a listing of a file with unsent bytes
  "3003 125 28,53,54"              # SEEK_END of a directory
  "3000 123 10,11,12"              # link of a directory, in one that may not be written
  "3003 196 4,19,22,32"            # link of what may not be linked, likewise
  "3004 18 14,26,36,43,54"         # rename out of a sticky directory onto a directory
  "3000 247 13,17,18,35,39,43,56"  # suid and sgid after another's O_TRUNC
  "3003 264 20,21,43,46,51,54,60"  # times of a directory that is gone and open
  "36489782 1545 37,49,50,52"      # O_CREAT and O_NOFOLLOW where a symlink of another is, in a sticky directory
  "3004 121 24,39,46"              # times after a truncation to the same size of a file with space
)
compare "the comparison finds faults" --self-test --seed 1 --minutes 3
for servers in 1 4 "2 --shards 2"; do
  # shellcheck disable=SC2086
  e2e_start $servers --memory 256M
  for seed in 1 2 3 4 5 6; do
    compare "$servers server(s), seed $seed" --seed "$seed" --sequences 2 --minutes 2
  done
  compare "$servers server(s), many" --seed 4711 --sequences 700 --minutes 4
  for one in "${found[@]}"; do
    read -r seed sequence operations <<<"$one"
    compare "$servers server(s), $one" --seed "$seed" --first "$sequence" --sequences 1 --only "$operations" --minutes 2
  done
  e2e_stop
done
