#!/bin/bash
# ctest: TIMEOUT 300
# The IOR and mdtest backend against real servers, by a driver that plays IOR's part for both of its interfaces (4.x and
# 3.3): alone and with several tasks, with each option, and with options that are wrong. With a real IOR: share/doc/IOR.md.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly ior_driver_4 ior_driver_3 mdtest_driver_4 mdtest_driver_3 md_workbench_driver_4
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
play 1 ior_driver_4 --mayfly.direct "--mayfly.session=$MAYFLY_SESSION"

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
