#!/bin/bash
# ctest: TIMEOUT 300
# The IOR and mdtest backend against real servers, by a driver that plays IOR's part for both of its interfaces (4.x and
# 3.3): alone and with several tasks, with each option, with calls that move
# less than was asked, and with options that are wrong. With a real IOR: share/doc/IOR.md.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly ior_driver_4 ior_driver_3 mdtest_driver_4 mdtest_driver_3 md_workbench_driver_4 ior_watched_4 ior_watched_3
play() { # TASKS DRIVER [OPTION...]
  timeout 120 mpirun -n "$1" --oversubscribe "${@:2}" >"$work/play.log" 2>&1 || e2e_fail "$*: status $?: $(cat "$work/play.log")"
  [[ $(tail -n 1 "$work/play.log") == ok ]] || e2e_fail "$*: $(cat "$work/play.log")"
  echo "$*: ok"
}

e2e_start 2 --memory 256M
for driver in ior_driver_4 ior_driver_3 mdtest_driver_4 mdtest_driver_3; do
  play 1 "$driver"
  play 3 "$driver" --mayfly.chunk_bytes=65536
done
play 2 md_workbench_driver_4
play 3 ior_driver_4 --mayfly.consistency=strict --mayfly.no_checksum

# A session that is named is used, whatever MAYFLY_SESSION says; which is used otherwise.
real=$MAYFLY_SESSION
(umask 077 && echo "not a session" >"$work/damaged.json")
MAYFLY_SESSION=$work/damaged.json play 2 ior_driver_4 "--mayfly.session=$real"
MAYFLY_SESSION=$work/damaged.json play 1 mdtest_driver_3 "--mayfly.session=$real"
refused() { # SENTENCE COMMAND...
  timeout 60 mpirun -n 1 --oversubscribe "${@:2}" >"$work/play.log" 2>&1 && e2e_fail "${*:2} went well"
  grep -qF -- "$1" "$work/play.log" || e2e_fail "${*:2}: no '$1' in $(cat "$work/play.log")"
}
refused "MAYFLY backend: connecting to the session failed: " env "MAYFLY_SESSION=$work/damaged.json" ior_driver_4
refused "MAYFLY backend: connecting to $work/damaged.json failed: " ior_driver_4 "--mayfly.session=$work/damaged.json"

# Calls that move less than was asked go on until all is moved; what is not moved at all is said.
export MAYFLY_TEST_WATCH=$work/watch
for interface in 4 3; do
  MAYFLY_TEST_MOVES=3000 play 2 ior_watched_$interface
  MAYFLY_TEST_MOVES=0 refused "MAYFLY backend: writing at 0: nothing was written" ior_watched_$interface
  mayfly rm -r /easy.00000000 || e2e_fail "the file of a test that ended"
done

# The options do what they are there for. How it is opened, and of each connection what was buffered and read ahead:
watched() { # INTERFACE [OPTION...]
  : >"$work/watch"
  play 1 "ior_watched_$1" "${@:2}"
  read -r buffered ahead < <(awk '$1 == "client" { b += $3; a += $5 } END { print b, a }' "$work/watch")
}
opened() { # FLAGS: of /flags.0, each time
  [[ $(sed -n 's:^open /flags.0 ::p' "$work/watch" | paste -sd ,) == "$1" ]] || e2e_fail "opened otherwise than $1: $(grep flags "$work/watch")"
}
for interface in 4 3; do
  watched $interface -k
  ((buffered > 100 && ahead > 100)) || e2e_fail "interface $interface: only $buffered writes were buffered, $ahead reads read ahead"
  writing=wronly
  ((interface == 4)) || writing=rdwr # what 3.3 writes it may check through the same file
  opened "rdwr creat excl,rdwr creat excl,$writing append,rdwr direct,rdonly,$writing append creat direct"
  usual=$(mayfly stat /relative.0 | grep -o 'Chunk: [0-9]*')
  mayfly rm /relative.0
  watched $interface -k --mayfly.chunk_bytes=131072 --mayfly.consistency=strict
  ((buffered == 0 && ahead == 0)) || e2e_fail "interface $interface, strict: $buffered writes were buffered, $ahead reads read ahead"
  grep -q direct <(grep -v flags "$work/watch") && e2e_fail "strict opened with O_DIRECT: $(cat "$work/watch")"
  chunk=$(mayfly stat /relative.0 | grep -o 'Chunk: [0-9]*')
  [[ $chunk == "Chunk: 131072" && $usual == "Chunk: 4194304" ]] || e2e_fail "chunks: $chunk asked for, $usual"
  mayfly rm /relative.0
  watched $interface --mayfly.direct
  ((buffered == 0 && ahead == 0)) || e2e_fail "interface $interface, direct: $buffered writes were buffered, $ahead reads read ahead"
  [[ $(grep -c '^open' "$work/watch") == $(grep -c '^open.* direct$' "$work/watch") ]] || e2e_fail "not all were opened with O_DIRECT: $(cat "$work/watch")"
done
unset MAYFLY_TEST_WATCH

wrong() { # SENTENCE OPTION
  timeout 60 mpirun -n 1 --oversubscribe ior_driver_4 "$2" >"$work/play.log" 2>&1
  [[ $? == 3 ]] || e2e_fail "$2 was not refused: $(cat "$work/play.log")"
  grep -qF -- "$1" "$work/play.log" || e2e_fail "$2: $(cat "$work/play.log")"
}
wrong "--mayfly.consistency=loose is unknown: give posix or strict" --mayfly.consistency=loose
wrong "--mayfly.chunk_bytes=100000 is no chunk size: give a power of two from 64k to 64m" --mayfly.chunk_bytes=100000
[[ $(mayfly ls /) == "" ]] || e2e_fail "the drivers left files: $(mayfly ls /)"
e2e_stop
echo "all as expected"
