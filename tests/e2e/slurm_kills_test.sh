#!/bin/bash
# ctest: TIMEOUT 900 RESOURCE_LOCK nodes LABELS plain
# As kills_test.sh, inside a real Slurm on virtual nodes with a network and a host name each: one, two or all servers of a
# job's step are killed on their nodes, and come back by a step of their own (--rejoin) or as a new one (--recover).
# An odd MAYFLY_SEED has journals in memory and --fsync always, an even one journals in --dir and --fsync commit; with
# MAYFLY_LEVEL all that it names.
# By hand:  MAYFLY_KILLS=200 MAYFLY_SEED=7 tests/run --quick -R e2e/slurm_kills_test   (kills_common.sh)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export VC_NAME=kills-$$ KILLWAIT=10
unset VC_DIR
. "$here/../cluster/common.sh"
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
unset SLURM_JOB_ID PBS_JOBID PBS_NODEFILE MAYFLY_SESSION OMPI_COMM_WORLD_RANK

"$here/../cluster/vcluster" up 3
"$here/../cluster/slurm-ns" start
number=$("$here/../cluster/slurm-ns" exec env TMPDIR="$work" MAYFLY_KILLS="${MAYFLY_KILLS:-3}" \
  sbatch --parsable --nodes=3 --no-kill --time=60 "--output=$work/job.out" --wrap "bash $here/slurm_kills_job.sh")
status=0
timeout 3700 "$here/../cluster/slurm-ns" wait "$number" || status=$?
cat "$work/job.out"
((status == 0)) || { echo "the job ended with status $status"; exit 1; }
grep -q '^all as expected$' "$work/job.out"
# UCX makes its shared memory by a name that it removes at once: who is killed in between (one in 448 was) leaves it.
for node in 1 2 3; do
  "$here/../cluster/vcluster" exec "node$node" sh -c 'rm -f /dev/shm/ucx_shm_posix_*'
  left=$("$here/../cluster/vcluster" exec "node$node" sh -c 'ls -A /dev/shm; pgrep -a mayflyd' || true)
  [[ -z $left ]] || { echo "left on node$node: $left"; exit 1; }
done
