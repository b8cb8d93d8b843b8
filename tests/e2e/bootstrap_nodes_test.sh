#!/bin/bash
# ctest: TIMEOUT 1500 RESOURCE_LOCK nodes LABELS plain
# The servers across three virtual nodes, each with its own network, host name and /dev/shm: one member a node by mpirun
# and by srun, further ranks of a node as shards; failures name the node they are about; every end leaves nothing on any.
set -Eeuo pipefail
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"' ERR
command -v mpirun >/dev/null || { echo "skipped: mpirun is not installed (share/install-packages)"; exit 77; }
command -v mayflyd >/dev/null || { echo "skipped: mayflyd is not in PATH (run by ctest, or add the build's mpi_launch)"; exit 77; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export VC_NAME=bootstrap-$$ KILLWAIT=5
unset VC_DIR
. "$here/../cluster/common.sh"
vc_require
work=$(mktemp -d)
. "$here/bootstrap_common.sh"
unset MAYFLY_RUNTIME_DIR # the default: /dev/shm/mayfly-UID, of each node
mayflyd=$(command -v mayflyd)
finish() {
  MAYFLY_RUNTIME_DIR=$work/none end_everything
  "$vc_here/slurm-ns" stop || true
  "$vc_here/vcluster" down || true
  rm -rf "$work"
}
trap finish EXIT
cd "$work"

on() { "$vc_here/vcluster" exec "$@"; }
across() { "$vc_here/ns-mpirun" -x MAYFLY_BOOTSTRAP_TEST -x PATH "$@"; }
expect() { # WHAT EXPECTED ACTUAL
  [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
}
# What is left on any node, or beside the session file.
left_behind() {
  local node
  servers
  for node in node1 node2 node3; do on "$node" ls -A /dev/shm; done
  find "$session" "$session".* 2>/dev/null | grep -vxF "$verdict" || true
}
server_on() { # NODE: its pid, as we see it
  local pid
  for pid in $(servers); do
    if [[ $(readlink "/proc/$pid/ns/uts") == "$(readlink "/proc/$(vc_pid "$(vc_number "$1")")/ns/uts")" ]]; then
      echo "$pid"
      return
    fi
  done
}

"$vc_here/vcluster" up 3

step "one member a node"
launch across "$mayflyd" --session "$session" --memory 64M --flush-to "$work/out"
wait_ready 120
expect "members" 3 "$(field members)"
expect "hosts" "node1 node2 node3" "$(grep -o '"node[0-9]"' "$session" | tr -d '"' | xargs)"
for node in node1 node2 node3; do
  expect "marks on $node" 1 "$(on "$node" sh -c 'ls /dev/shm/mayfly-*/*/' | grep -c '^rank-.*pid$')"
  on "$node" grep -q '"ready"' "/dev/shm/mayfly-$(id -u)/$(field session)/session.json" || fail "no ready copy on $node"
done
kill -TERM "$(server_on node3)"
wait_end 90
expect "status" 0 "$status"
segments='' # of the nodes' own /dev/shm
expect_nothing_left
rmdir out

step "two ranks a node: shards of its member"
PPR=2 launch across "$mayflyd" --session "$session" --memory 128M
wait_ready 120
expect "members" 3 "$(field members)"
expect "shards" 6 "$(field shards)"
verdict=$session.verdict
kill -USR1 "$(server_on node2)"
wait_end 90
expect "status" 0 "$status"
expect_nothing_left

step "failures name their node"
host=node1 expect_failure 90 3 'node[23] .*cannot be reached.*UCX_NET_DEVICES' \
  "$vc_here/ns-mpirun" -x MAYFLY_BOOTSTRAP_TEST -x UCX_NET_DEVICES=lo "$mayflyd" --session "$session" --memory 64M
on node2 sh -c 'dd if=/dev/zero of=/dev/shm/full bs=1M count=2000 2>/dev/null; true'
launch across "$mayflyd" --session "$session" --memory 64M
wait_end 90
expect "status" 3 "$status"
host=node2 expect_sentence '64 MiB of memory do not fit into the .* free in /dev/shm; .*remove files there'
on node2 rm /dev/shm/full
expect_nothing_left
host=node2 expect_failure 90 3 'directory /mnt/out of --flush-to cannot be written.*on a filesystem that all nodes see \(1 more' \
  "$vc_here/ns-mpirun" -x MAYFLY_BOOTSTRAP_TEST "$mayflyd" --session "$session" --memory 64M --flush-to /mnt/out
for node in node1 node2 node3; do expect "made on $node" "" "$(on "$node" sh -c 'ls /mnt | grep out || true')"; done

step "a session file of servers on other nodes"
HOSTS=node1,node2 launch across "$mayflyd" --session "$session" --memory 64M
wait_ready 120
first=$launcher first_output=$output first_id=$(field session)
output=$work/second
HOSTS=node3 launch across "$mayflyd" --session "$session" --memory 64M
wait_end 90
expect "status" 3 "$status"
host=node3 expect_sentence 'belongs to a session whose servers live .on node1'
expect "the first session" "$first_id" "$(field session)"
launcher=$first output=$first_output
# shellcheck disable=SC2046  # a list
kill -KILL $(servers)
wait_end 90
[[ -e $session ]] || fail "nothing was left: this tests nothing"
HOSTS=node3 launch across "$mayflyd" --session "$session" --memory 64M
new_session() { [[ $(field session) != "$first_id" ]] && says ready; }
within 120 new_session || fail "dead servers on other nodes are in the way"
verdict=$session.verdict
kill -USR1 "$(server_on node3)"
wait_end 90
expect "status" 0 "$status"
for node in node1 node2; do on "$node" sh -c 'rm -rf /dev/shm/*'; done
expect_nothing_left

step "brought back with the nodes in another order, each with a --dir of its own"
# Which node each rank is on, in the order of the ranks.
order() {
  local pid
  for pid in $(servers); do
    echo "$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p') $(nsenter -t "$pid" -u uname -n)"
  done | sort -n | cut -d ' ' -f 2 | xargs
}
ready_again() { grep -q ' ready: ' "$output" || ! launched; }
come_back() { # HOSTS OPTION...
  HOSTS=$1 launch across --enable-recovery "$mayflyd" --session "$session" --recover "${@:2}"
  within 120 ready_again || fail "not ready in time"
  grep -q ' ready: ' "$output" || fail "the servers ended instead of becoming ready"
}
die() { # mpirun --enable-recovery does not always end when all its processes have
  # shellcheck disable=SC2046  # a list
  kill -KILL $(servers)
  within 3 ended || pkill -TERM -P "$launcher"
  wait_end 90
}
mkdir -p source/sub
head -c 9000000 /dev/urandom >source/large # of several members
for i in {1..60}; do echo "file $i" >"source/sub/$i"; done
same() { # by a client on NODE
  rm -rf copy
  on "$1" timeout 120 mayfly --session "$session" stage-out /in copy >copy.log 2>&1 || fail "stage-out: $(cat copy.log)"
  diff -r source copy || fail "what was staged in is not there"
}
in_order() { # NODE,NODE,NODE SEEN-FROM: all are killed and come back on the nodes in that order
  die
  wait # for who was brought back by hand, too
  come_back "$1" --dir "$own"
  expect "nodes of the ranks" "${1//,/ }" "$(order)"
  same "$2"
}
own=/mnt/nvme/%r # and with %r a name of its own, which goes by the first start's order
launch across "$mayflyd" --session "$session" --memory 64M --durability node --dir "$own"
wait_ready 120
expect "nodes of the ranks" "node1 node2 node3" "$(order)"
on node2 timeout 120 mayfly --session "$session" stage-in source /in >in.log 2>&1 || fail "stage-in: $(cat in.log)"
in_order node3,node1,node2 node3
on node1 timeout 60 mayfly --session "$session" mkdir /later || fail "mkdir"
kill -KILL "$(server_on node2)"
on node2 "$mayflyd" --rejoin --log-level info --session "$session" --dir "$own" >rejoin.log 2>&1 </dev/null &
is_back() { grep -q 'is back on node2' rejoin.log; }
within 60 is_back || fail "the member on node2 does not come back: $(cat rejoin.log)"
same node2
in_order node2,node1,node3 node1
on node3 timeout 60 mayfly --session "$session" ls /later || fail "what came after the other order is gone"
kill -TERM "$(server_on node1)"
wait_end 90
expect "status" 0 "$status"
for node in node1 node2 node3; do expect "in --dir of $node" "" "$(on "$node" sh -c 'ls -A /mnt/nvme/*')"; done
expect_nothing_left

step "srun"
reason=$( (vc_require_slurm) 2>&1) || { echo "not tried: $reason"; exit 0; }
"$vc_here/slurm-ns" start
late_fence=$MAYFLY_BUILD_DIR/tests/libe2e_late_fence.so
by_srun() {
  "$vc_here/slurm-ns" exec srun --job-name=session --mpi=pmix -N 3 --ntasks-per-node=1 --mem=0 --kill-on-bad-exit=0 \
    --no-kill env "${preload[@]}" "$mayflyd" --session "$session" --memory 64M "$@"
}
preload=()
job() { "$vc_here/slurm-ns" exec squeue -h -o %A -n session; }
# Slurm's fence at the end of MPI_Init holds nobody; the servers' own does, however late a rank is in the middle of it.
for late in 1 2; do
  preload=(LD_PRELOAD="$late_fence" "MAYFLY_TEST_LATE_RANK=$late")
  launch by_srun
  wait_ready 120
  kill -TERM "$(server_on node3)"
  wait_end 90
  expect "status with rank $late late" 0 "$status"
  expect_nothing_left
done
preload=()
launch by_srun --flush-to "$work/out"
wait_ready 120
expect "members" 3 "$(field members)"
[[ -n $(field job) ]] || fail "the job is not in the session file"
verdict=$session.verdict
"$vc_here/slurm-ns" exec scancel --signal=USR1 "$(job).0" || true # it complains about node3
wait_end 90
expect "status" 0 "$status"
expect_nothing_left

step "scancel of the job, and a server that died before"
launch by_srun
wait_ready 120
"$vc_here/slurm-ns" exec scancel "$(job)"
wait_end 90
expect_nothing_left
launch by_srun
wait_ready 120
kill -KILL "$(server_on node3)"
two_left() { (($(servers | wc -l) == 2)); }
within 30 two_left || fail "the others did not survive"
verdict=$session.verdict
"$vc_here/slurm-ns" exec scancel --signal=USR1 "$(job).0" || true # it complains about node3
wait_end 90
on node3 sh -c 'rm -rf /dev/shm/*' # of the server that was killed
[[ ! -e $session ]] || fail "the session file is left"
expect_nothing_left
echo "all as expected"
