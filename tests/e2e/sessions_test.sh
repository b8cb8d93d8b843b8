#!/bin/bash
# ctest: TIMEOUT 400
# One process in several sessions at once: see sessions.cc. The second cluster is a script of its own, as lib.sh has one at
# a time; it has the same runtime directory, and ends in the middle.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_sessions mpirun mayflyd mayfly
mkfifo "$work/go" "$work/gone"

bash -c '. "$0"; MAYFLY_RUNTIME_DIR=$2; e2e_start 2 --memory 128M; echo "$MAYFLY_SESSION" >"$1/other.new"; mv "$1/other.new" "$1/other"
  read -r _ <"$1/go"; e2e_stop; echo gone >"$1/ended"' "$(dirname "${BASH_SOURCE[0]}")/lib.sh" "$work" "$MAYFLY_RUNTIME_DIR" >"$work/other.log" 2>&1 &
other=$!
trap 'kill $other 2>/dev/null; wait $other 2>/dev/null; e2e_end' EXIT
e2e_start 2 --shards 2 --memory 256M
has() { [[ -e $1 ]] || ! kill -0 $other 2>/dev/null; }
e2e_within 100 has "$work/other"
[[ -e $work/other ]] || e2e_fail "the other cluster: $(cat "$work/other.log")"

exec 5<>"$work/gone" 6<>"$work/go"
timeout 300 e2e_sessions "$MAYFLY_SESSION" "$(cat "$work/other")" <"$work/gone" >"$work/said" 2>&1 &
sessions=$!
may_go() { grep -qs "may go" "$work/said" || ! kill -0 $sessions 2>/dev/null; }
e2e_within 300 may_go
echo go >&6
e2e_within 100 has "$work/ended"
[[ -e $work/ended ]] || e2e_fail "the other cluster: $(cat "$work/other.log")"
echo gone >&5
wait $sessions || e2e_fail "e2e_sessions ended with status $?: $(cat "$work/said")"
e2e_stop
echo "all as expected"
