#!/bin/bash
# ctest: TIMEOUT 180 RESOURCE_LOCK nodes LABELS plain
# The virtual cluster itself: three nodes, mpirun and Slurm across them, faults on a link, and nothing left behind.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cluster=$here/../cluster
export VC_NAME=selftest-$$ KILLWAIT=2
unset VC_DIR
. "$cluster/common.sh"
vc_require
work=$(mktemp -d)

finish() {
  "$cluster/slurm-ns" stop || true
  "$cluster/vcluster" down || true
  VC_NAME=$VC_NAME-b VC_DIR='' "$cluster/vcluster" down || true
  rm -rf "$work"
}
trap finish EXIT
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"' ERR
step() { echo "--- $*"; }
expect() { # WHAT EXPECTED ACTUAL
  [[ $2 == "$3" ]] || { printf 'FAILED: %s\nexpected: %s\nactual:   %s\n' "$1" "$2" "$3"; exit 1; }
}
on() { "$cluster/vcluster" exec "$@"; }

# ours: pids of living processes that carry this instance's name, this script and its subshells apart.
ours() {
  local entry
  for entry in /proc/[0-9]*; do
    grep -zqxF "VC_DIR=$VC_DIR" "$entry/environ" 2>/dev/null || continue
    [[ $(ps -o pgid= -p "${entry#/proc/}" | tr -d ' ') == "$(ps -o pgid= -p $$ | tr -d ' ')" ]] || echo "${entry#/proc/}"
  done
}

step "three nodes"
"$cluster/vcluster" up 3
"$cluster/vcluster" up 3 >/dev/null 2>&1 && { echo "FAILED: a second up of the same instance"; exit 1; }
expect "host name" node2 "$(on node2 uname -n)"
on node1 touch /dev/shm/here /mnt/nvme/here
expect "private /dev/shm" "" "$(on node2 ls /dev/shm)"
expect "private /mnt" "" "$(on node2 ls /mnt/nvme)"
expect "exit status passes through" 7 "$(on node1 sh -c 'exit 7' || echo $?)"

step "a second instance with the same addresses"
(
  export VC_NAME=$VC_NAME-b VC_DIR=
  "$cluster/vcluster" up 1
  [[ $("$cluster/vcluster" exec node1 sh -c 'ls /dev/shm; uname -n') == node1 ]]
  "$cluster/vcluster" down
)

step "mpirun"
expect "hosts of mpirun" "node1 node2 node3" "$("$cluster/ns-mpirun" uname -n | sort | xargs)"
expect "HOSTS" "node2 node3" "$(HOSTS=node2,node3 "$cluster/ns-mpirun" uname -n | sort | xargs)"
cat >"$work/ranks.c" <<'END'
#include <mpi.h>
#include <stdio.h>
int main(int argc, char** argv) {
  int ranks = 0, per_node = 0;
  MPI_Comm node;
  MPI_Init(&argc, &argv);
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm_size(node, &per_node);
  printf("%d/%d\n", ranks, per_node);
  MPI_Finalize();
}
END
mpicc -o "$work/ranks" "$work/ranks.c"
expect "one rank a node" "3/1 3/1 3/1" "$("$cluster/ns-mpirun" "$work/ranks" | xargs)"
expect "two ranks a node" "4/2 4/2 4/2 4/2" "$(HOSTS=node1,node2 PPR=2 "$cluster/ns-mpirun" "$work/ranks" | xargs)"

step "cut, heal, and a slow link"
cat >"$work/echo.py" <<'END'
import socket, sys, time
if sys.argv[1] == "serve":
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 4242))
    open(sys.argv[2], "w").close()
    while True:
        data, peer = s.recvfrom(100)
        s.sendto(data, peer)
else:  # ask SECONDS: the round trip in ms, or "lost"
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(0.2)
    end = time.monotonic() + float(sys.argv[2])
    number = 0
    while time.monotonic() < end:
        number += 1
        start = time.monotonic()
        try:
            s.sendto(b"%d" % number, ("node2", 4242))
            while s.recvfrom(100)[0] != b"%d" % number:
                pass
        except OSError:
            continue
        print(int((time.monotonic() - start) * 1000))
        sys.exit()
    print("lost")
END
on node2 python3 "$work/echo.py" serve "$work/serving" >/dev/null 2>&1 &
vc_poll 10 test -e "$work/serving"
[[ $(on node1 python3 "$work/echo.py" ask 5) != lost ]]
"$cluster/vcluster" cut node2
expect "cut" lost "$(on node1 python3 "$work/echo.py" ask 0.5)"
"$cluster/vcluster" heal node2
[[ $(on node1 python3 "$work/echo.py" ask 10) != lost ]]
if [[ -c /dev/net/tun ]]; then
  "$cluster/vclink" node2 on
  [[ $(on node1 python3 "$work/echo.py" ask 10) != lost ]]
  "$cluster/vclink" node2 set delay_us=40000
  # The settings are read within 20 ms; ask until they show.
  slow() { local ms; ms=$(on node1 python3 "$work/echo.py" ask 5); [[ $ms != lost ]] && ((ms >= 80)); }
  vc_poll 5 slow || { echo "FAILED: no delay on the link"; exit 1; }
  "$cluster/vclink" node2 set delay_us=0 cut=out
  deaf() { [[ $(on node1 python3 "$work/echo.py" ask 0.3) == lost ]]; }
  vc_poll 5 deaf || { echo "FAILED: a link that is cut one way answers"; exit 1; }
  "$cluster/vclink" node2 off
  [[ $(on node1 python3 "$work/echo.py" ask 10) != lost ]]
else
  echo "no /dev/net/tun: the wire was not tried"
fi

step "a node crashes, the others stay"
"$cluster/vcluster" crash node3
on node3 true 2>/dev/null && { echo "FAILED: a crashed node runs a command"; exit 1; }
expect "others" node1 "$(on node1 uname -n)"

if (vc_require_slurm) >/dev/null; then
  step "Slurm"
  "$cluster/vcluster" down
  "$cluster/vcluster" up 3
  "$cluster/slurm-ns" start
  expect "hosts of srun" "node1 node2 node3" "$("$cluster/slurm-ns" exec srun -N3 uname -n | sort | xargs)"
  expect "PMIx" "3/1 3/1 3/1" "$("$cluster/slurm-ns" exec srun -N3 "$work/ranks" | xargs)"
  # A job that is still running, with a process that ignores TERM, must not survive the end.
  "$cluster/slurm-ns" exec srun -N3 sh -c 'trap "" TERM; touch "$0.$SLURM_NODEID"; while :; do sleep 1; done' \
    "$work/running" >/dev/null 2>&1 &
  running() { [[ -e $work/running.0 && -e $work/running.1 && -e $work/running.2 ]]; }
  vc_poll 20 running
  "$cluster/slurm-ns" stop
else
  (vc_require_slurm) || true
fi

step "nothing left"
"$cluster/vcluster" down
wait
expect "processes" "" "$(ours)"
expect "state folder" no "$([[ -e $VC_DIR ]] && echo yes || echo no)"
expect "mounts" "" "$(grep -F "$VC_DIR" /proc/self/mounts || true)"
"$cluster/vcluster" down
echo "all as expected"
