#!/bin/bash
# ctest: TIMEOUT 400 PROCESSORS 2 LABELS threads
# Many threads of one program against servers of several threads: what the thread sanitizer sees of the real doors.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_threads mpirun mayflyd mayfly
e2e_start 2 --shards 2 --memory 256M
timeout 300 e2e_threads || e2e_fail "e2e_threads ended with status $?"
e2e_stop
! grep -A 30 'WARNING: ThreadSanitizer' "$work/servers.log" || e2e_fail "the servers race"
echo "all as expected"
