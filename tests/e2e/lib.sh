# Sourced by the scripts here: a scratch folder, and clusters on this machine, one at a time.
#   . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#   e2e_start 4 --memory 256M     # four servers; sets MAYFLY_SESSION; what follows are options of mayflyd
#   my_program
#   e2e_stop                      # ends them and checks how they ended and that nothing is left
# Whatever happens, nothing that was started here outlives the script. $work is the scratch folder.
# `e2e_as USER` before e2e_start lets everything run as that user (a number); it takes root.
set -uo pipefail
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
unset MAYFLY_SESSION SLURM_JOB_ID PBS_JOBID

work=$(mktemp -d "${TMPDIR:-/tmp}/mayfly-e2e.XXXXXX") || exit 1
shm=$(mktemp -d /dev/shm/mayfly-e2e.XXXXXX) || exit 1
export MAYFLY_RUNTIME_DIR=$shm/runtime
# mpirun's folder: each script's own, as of two that begin at a time one may fail
# with "File exists". The file is there as it takes an empty folder away.
mkdir -m 1777 "$work/mpi" && touch "$work/mpi/not-empty" && export OMPI_MCA_orte_tmpdir_base=$work/mpi
e2e_launcher='' e2e_user=() e2e_mpirun=() # e2e_mpirun: further options of mpirun

e2e_fail() {
  echo "FAILED: $*" >&2
  [[ ! -s $work/servers.log ]] || { echo "--- the servers said:"; tail -n 60 "$work/servers.log"; } >&2
  exit 1
}
e2e_skip() { echo "skipped: $*"; exit 77; }
e2e_have() { # PROGRAM...
  local program
  for program; do command -v "$program" >/dev/null || e2e_skip "$program was not built or installed"; done
}
# Until COMMAND succeeds; fails after SECONDS.
e2e_within() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    read -r -t 0.05 <> <(:) || true
  done
}
e2e_ended() { ! kill -0 "$e2e_launcher" 2>/dev/null; }
e2e_run() { "${e2e_user[@]}" "$@"; }

e2e_as() { # UID
  [[ $(id -u) == 0 ]] || e2e_skip "not root: cannot become uid $1"
  command -v setpriv >/dev/null || e2e_skip "setpriv is not installed"
  e2e_user=(setpriv --reuid "$1" --regid "$1" --clear-groups env HOME="$work")
  chown "$1" "$work" "$shm"
  [[ ! -d $MAYFLY_RUNTIME_DIR ]] || chown "$1" "$MAYFLY_RUNTIME_DIR" # of an earlier cluster
}

e2e_start() { # SERVERS [OPTION...]
  local servers=$1
  shift
  e2e_have mpirun mayflyd mayfly
  export MAYFLY_SESSION=$work/session.json
  # Not by e2e_run: $! must be the launcher, not a shell around it that a signal would end alone.
  "${e2e_user[@]}" mpirun -n "$servers" "${e2e_mpirun[@]}" --oversubscribe mayflyd --member-per rank \
    --session "$MAYFLY_SESSION" "$@" \
    </dev/null >"$work/servers.log" 2>&1 &
  e2e_launcher=$!
  e2e_run timeout 60 mayfly wait >"$work/wait.log" 2>&1 || e2e_fail "the servers did not start: $(cat "$work/wait.log")"
}

# What the servers say of themselves: one number or word a server, and the sum over all.
e2e_figures() { # NAME
  e2e_run timeout 60 mayfly status --json | sed -n "s/^ *\"$1\": *\([^,]*\),\{0,1\}$/\1/p"
}
e2e_figure() { e2e_figures "$1" | awk '{ s += $1 } END { print s + 0 }'; } # NAME
# `pids`: the servers' processes. `others`: the places there of those that are not the root's.
e2e_servers() { # COUNT
  local roots i
  mapfile -t pids < <(e2e_figures pid)
  mapfile -t roots < <(e2e_figures root)
  ((${#pids[@]} == $1 && ${#roots[@]} == $1)) || e2e_fail "the servers' pids: ${pids[*]}, roots: ${roots[*]}"
  others=()
  for ((i = 0; i < $1; ++i)); do [[ ${roots[i]} == true ]] || others+=("$i"); done
}

e2e_stop() {
  e2e_run timeout 60 mayfly stop --no-flush >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
  e2e_within 20 e2e_ended || e2e_fail "the servers do not end"
  local status=0
  wait "$e2e_launcher" || status=$?
  e2e_launcher=''
  ((status == 0)) || e2e_fail "the servers ended with status $status"
  local left
  left=$(find "$shm" -mindepth 1 -type f)
  [[ -z $left ]] || e2e_fail "left behind: $left"
}

e2e_end() {
  trap - EXIT INT TERM HUP
  if [[ -n $e2e_launcher ]] && ! e2e_ended; then
    kill -TERM "$e2e_launcher" 2>/dev/null
    e2e_within 10 e2e_ended || kill -KILL "$e2e_launcher" 2>/dev/null
  fi
  rm -rf --one-file-system "$work" "$shm"
}
trap e2e_end EXIT
trap 'exit 1' INT TERM HUP
