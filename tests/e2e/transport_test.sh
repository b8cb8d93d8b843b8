#!/bin/bash
# Small and large transfers, verified, with the threshold of rendezvous at both ends of its range, in servers and
# client, over shared memory and over tcp.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
judge=$MAYFLY_BUILD_DIR/tests/e2e_failure
[[ -x $judge ]] || e2e_skip "e2e_failure was not built"
for tls in "" tcp,self; do
  [[ -z $tls ]] || export UCX_TLS=$tls
  for ends in "0 1" "16M 4294967295" "0 4294967295" "16M 1"; do
    read -r servers client <<<"$ends"
    e2e_start 2 --memory 256M --rendezvous "$servers"
    echo "sizes -1 ok" | timeout 200 "$judge" judge 30000 "$client" >"$work/judge.log" 2>&1 || e2e_fail "$(cat "$work/judge.log")"
    echo "${tls:-default transports}, servers $servers, client $client: $(grep ended "$work/judge.log")"
    e2e_stop
  done
done
echo "all as expected"
