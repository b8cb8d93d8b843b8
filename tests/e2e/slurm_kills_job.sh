#!/bin/bash
# The job of slurm_kills_test.sh, on the first of three nodes: what kills_test.sh does, with servers that srun starts, one
# a node. A node's server is killed on its node, and comes back by a step of its own.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
job=$SLURM_JOB_ID
. "$here/lib.sh"
export SLURM_JOB_ID=$job
. "$here/survive_common.sh"
. "$here/kills_common.sh"

steps=(srun --quiet --overlap --mem=0 --no-kill --kill-on-bad-exit=0)
everywhere=("${steps[@]}" --nodes="$ranks" --ntasks="$ranks" --ntasks-per-node=1)
on_member() { # MEMBER COMMAND...
  "${steps[@]}" --nodes=1 --ntasks=1 --nodelist="node$(($1 + 1))" "${@:2}" </dev/null
}
"${everywhere[@]}" mkdir -p "$shm" </dev/null 6>&- || e2e_fail "no scratch folder on the nodes"

# In the place of mpirun's (survive_common.sh).
launch() {
  : >"$work/servers.log"
  "${everywhere[@]}" --mpi=pmix mayflyd --log-level debug --session "$MAYFLY_SESSION" "$@" </dev/null 6>&- >>"$work/servers.log" 2>&1 &
  e2e_launcher=$!
}
wait_ready() {
  e2e_within 120 says_ready || e2e_fail "the servers are not ready in time"
  grep -q ' ready: ' "$work/servers.log" || e2e_fail "the servers did not start"
}
rejoin_begin() { # MEMBER OPTION...
  local member=$1
  shift
  : >"$work/rejoin-$member.log"
  {
    exec 6>&- >>"$work/rejoin-$member.log" 2>&1 # this shell must not keep the clients working
    on_member "$member" mayflyd --rejoin --session "$MAYFLY_SESSION" "$@"
  } &
  pids[member]=$!
  rejoined+=($!)
}
kill_on() { # MEMBER
  on_member "$1" timeout 20 sh -c 'pkill -KILL -x mayflyd; while pgrep -x mayflyd >/dev/null; do sleep 0.01; done'
}
kill_members() { # MEMBER...
  local member killers=()
  for member; do
    kill_on "$member" 6>&- &
    killers+=($!)
  done
  for member in "${killers[@]}"; do wait "$member" || e2e_fail "killed servers live"; done
  kills=$((kills + $#))
}
steps_ended() { e2e_ended && gone "${rejoined[@]}"; }
kill_all() {
  kill_members 0 1 2
  kills=$((kills - ranks)) # who calls counts
  e2e_within 20 steps_ended || e2e_fail "a step of servers that were killed does not end"
  wait "$e2e_launcher" "${rejoined[@]}" 2>/dev/null
  e2e_launcher='' rejoined=()
}
left_behind() { # DIRECTORY
  "${everywhere[@]}" find "$shm" -mindepth 1 </dev/null 6>&-
  find "$1" ! -type d 2>/dev/null
  find "$1" -name 'mayfly-*' 2>/dev/null
  find "$work" -maxdepth 1 -name 'session.json*'
}

# Two of the four of kills_test.sh, by the seed; those that MAYFLY_LEVEL names, if it does.
wanted() { [[ -n ${MAYFLY_LEVEL:-} ]] || ((first_seed % 2 == $1)); } # REMAINDER
dir_option=()
if wanted 1; then life "level process, journals in memory, under srun" --durability process; fi
dir_option=(--dir "$work/disk/%h")
if wanted 0; then life "level process, journals in --dir, under srun" --durability process; fi
if wanted 0; then life "level node, --fsync commit, under srun" --durability node; fi
if wanted 1; then life "level node, --fsync always, under srun" --durability node --fsync always; fi
"${everywhere[@]}" rm -rf "$shm" </dev/null 6>&-
echo "all as expected"
