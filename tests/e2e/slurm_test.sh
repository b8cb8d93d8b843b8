#!/bin/bash
# ctest: TIMEOUT 600 RESOURCE_LOCK nodes LABELS plain
# The job script that users copy, with the real programs, in a real Slurm on virtual nodes with a network and a host name
# each: one member a node, remote endpoints, stage-in, a program, stage-out, the end; the same by `mayfly run`; and, of
# both, the time-limit warning.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
share=$here/../../share
export VC_NAME=slurm-$$ KILLWAIT=10
unset VC_DIR
. "$here/../cluster/common.sh"
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"; tail -n 40 "$work"/*/output "$work"/*/slurm.out 2>/dev/null || true' ERR
for program in mayfly mayflyd mpirun; do
  command -v "$program" >/dev/null || vc_skip "$program is not built or not installed"
done
reason=$( (vc_require && vc_require_slurm) 2>&1) || vc_skip "$reason"
work=$(mktemp -d)
finish() {
  "$here/../cluster/slurm-ns" stop || true
  "$here/../cluster/vcluster" down || true
  rm -rf "$work"
}
trap finish EXIT
step() { echo "--- $*"; }

# An installation as the job script expects it: bin/ beside share/mayfly/.
mkdir -p "$work"/install/{bin,share/mayfly}
ln -s "$(command -v mayfly)" "$(command -v mayflyd)" "$work/install/bin/"
cp "$share/mayfly-env.sh" "$work/install/share/mayfly/"
unset SLURM_JOB_ID PBS_JOBID PBS_NODEFILE MAYFLY_SESSION OMPI_COMM_WORLD_RANK

"$here/../cluster/vcluster" up 3
"$here/../cluster/slurm-ns" start
slurm() { "$here/../cluster/slurm-ns" exec env PATH="$work/install/bin:$PATH" "$@"; }
job() { # NAME OPTIONS...: the rest of a job script on stdin; waits for its end, prints its status
  local name=$1
  shift
  { echo '#!/bin/bash'; printf '#SBATCH %s\n' --nodes=3 --no-kill "--output=$work/$name/slurm.out" "$@"; cat; } >"$work/$name/job"
  local number status=0
  number=$(cd "$work/$name" && slurm sbatch --parsable job)
  "$here/../cluster/slurm-ns" wait "$number" || status=$?
  echo "$status"
}

# Two jobs that go on beside the others, on the same nodes, until their time limit comes. Slurm sends the warning up to
# half a minute early: after 20 s at the soonest.
mkdir "$work/limit" "$work/warned"
job limit --time=2 --signal=USR1@70 >"$work/limit.status" <<'END' &
. "$(dirname "$(command -v mayfly)")/../share/mayfly/mayfly-env.sh"
mayfly_start --memory 128M --flush-to "$SLURM_SUBMIT_DIR/out"
mayfly_wait || exit 3
head -c 3000000 /dev/urandom > made
mayfly cp made :/checkpoint || exit 4
mayfly_exec sh -c 'while sleep 1; do :; done' &   # would run for ever
wait "${_mayfly_servers:?}"                         # the warning ends the servers
mayfly_stop
code=$?
exit $code
END
limit=$!
job warned --time=2 --signal=USR1@70 >"$work/warned.status" <<'END' &
cd "$SLURM_SUBMIT_DIR"
head -c 3000000 /dev/urandom > made
mayfly run --server-option=--memory=128M --stage-out /results:results -- \
  srun -n 1 -N 1 sh -c 'mayfly mkdir /results && mayfly cp made :/results/ && while sleep 1; do :; done'
END
warned=$!

step "stage in, work on every node, stage out, stop"
mkdir -p "$work/whole/input/deep/er"
cp -r /usr/include/linux "$work/whole/input/linux"
: >"$work/whole/input/empty"
ln -s empty "$work/whole/input/link"
head -c 20000000 /dev/urandom >"$work/whole/input/large"
status=$(job whole --time=5 --signal=USR1@30 <<'END'
set -e
. "$(dirname "$(command -v mayfly)")/../share/mayfly/mayfly-env.sh"
mayfly_start --memory 128M --flush-to "$SLURM_SUBMIT_DIR/out"
mayfly_wait
mayfly ring
mayfly stage-in "$SLURM_SUBMIT_DIR/input" /input
mayfly_exec sh -c 'mayfly mkdir /results.$(uname -n) && mayfly cat /input/large | sha256sum > sum.$(uname -n) && mayfly cp sum.$(uname -n) :/results.$(uname -n)/sum'
mayfly stage-out /input "$SLURM_SUBMIT_DIR/staged"
mayfly_stop
END
)
[[ $status == 0 ]] || { echo "the job ended with status $status"; false; }
diff -r --no-dereference "$work/whole/input" "$work/whole/staged"
diff -r --no-dereference "$work/whole/input" "$work/whole/out/input"
want=$(sha256sum <"$work/whole/input/large")
for node in 1 2 3; do
  [[ $(cat "$work/whole/out/results.node$node/sum") == "$want" ]]
done
grep -q "3 members" "$work/whole/slurm.out"

step "servers are killed on all nodes, and come back by themselves"
mkdir "$work/killed"
cp -r "$work/whole/input" "$work/killed/input"
status=$(job killed --time=5 <<'END'
set -e
. "$(dirname "$(command -v mayfly)")/../share/mayfly/mayfly-env.sh"
mayfly_start --memory 128M --durability process --supervise --flush-to "$SLURM_SUBMIT_DIR/out"
mayfly_wait
mayfly stage-in "$SLURM_SUBMIT_DIR/input" /input
for round in 1 2; do
  mayfly_exec sh -c 'for parent in $(pgrep -x mayflyd); do pkill -KILL -x -P "$parent" mayflyd || true; done'
  sleep 3                                        # longer than Slurm takes to end a step whose process has died
  mayfly_wait
  mayfly stage-out /input "$SLURM_SUBMIT_DIR/staged$round"
done
mayfly_stop
END
)
[[ $status == 0 ]] || { echo "the job ended with status $status"; false; }
for copy in staged1 staged2 out/input; do diff -r --no-dereference "$work/killed/input" "$work/killed/$copy"; done
# (its servers' log is the job's output)
(($(grep -c 'killed by signal 9.*starting it again' "$work/killed/slurm.out") == 6))

step "mayfly run: the same in one command"
mkdir "$work/command"
cp -r "$work/whole/input" "$work/command/input"
status=$(job command --time=5 <<'END'
cd "$SLURM_SUBMIT_DIR"
mayfly run --server-option=--memory=128M --stage-in input:/in --stage-out /results:results -- \
  srun sh -c 'mayfly mkdir -p /results && mayfly cat /in/large | sha256sum > sum.$(uname -n) && mayfly cp sum.$(uname -n) :/results/; exit 5'
END
)
[[ $status == 5 ]] || { echo "the job ended with status $status, not the program's"; false; }
for node in 1 2 3; do
  [[ $(cat "$work/command/results/sum.node$node") == "$want" ]]
done
grep -q ' 3 members .* on 3 hosts' "$work/command/slurm.out"

step "the time limit came: servers flushed by themselves, or mayfly run staged out"
wait "$limit" "$warned"
status=$(cat "$work/warned.status")
# srun's status of a program that died of SIGUSR1
[[ $status == 138 ]] || { echo "the job of mayfly run ended with status $status"; false; }
cmp "$work/warned/made" "$work/warned/results/made"
status=$(cat "$work/limit.status")
cmp "$work/limit/made" "$work/limit/out/checkpoint"
[[ $status == 0 ]] || { echo "the job ended with status $status"; false; }

step "nothing is left on any node"
for node in 1 2 3; do
  left=$("$here/../cluster/vcluster" exec "node$node" sh -c 'ls -A /dev/shm; pgrep -a mayflyd' || true)
  [[ -z $left ]] || { echo "node$node: $left"; false; }
done
left=$(find "$work" -name '*.json*')
[[ -z $left ]] || { echo "left: $left"; false; }
echo "passed"
