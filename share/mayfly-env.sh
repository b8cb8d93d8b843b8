# shellcheck shell=bash
# Functions for job scripts in bash (4.3 or newer); they hide whether Slurm's srun or an mpirun starts programs:
#
#   . "$(dirname "$(command -v mayfly)")/../share/mayfly/mayfly-env.sh"
#   mayfly_start [options of mayflyd]     starts one server a node of this job in the background; exports MAYFLY_SESSION
#   mayfly_wait [SECONDS]                 until the servers are ready (default: at most 120 s), or says why they are not
#   mayfly_exec [launcher options --] PROGRAM [arguments]
#                                         the application, beside the servers; the time-limit warning does not reach it
#   mayfly_stop [options of mayfly stop]  flushes, verifies, ends the servers; status 0 only if every byte was verified
#
# A script that ends without mayfly_stop gets one at its exit, unless it has an EXIT trap of its own. Outside of a job
# the servers run on this machine.
#
# What may be set before:
#   MAYFLY_SESSION           the session file, on a filesystem that all nodes see (default: in the folder of submission)
#   MAYFLY_FLUSH_AFTER       for batch systems without a warning signal: so long after their start (58m, 3500s) the servers
#                            flush and end by themselves. With Slurm use #SBATCH --signal=USR1@SECONDS instead.
#   MAYFLY_LAUNCHER          srun or mpirun, where the guess is wrong
#   MAYFLY_LAUNCHER_FLAGS    further options of the launcher for the servers
#   MAYFLY_SERVERS_PER_NODE  with mpirun: several servers a node, to try things out on one machine (default 1)

_mayfly_say() { echo "mayfly: $*" >&2; }

_mayfly_launcher() {
  if [[ -n ${MAYFLY_LAUNCHER:-} ]]; then
    echo "$MAYFLY_LAUNCHER"
  elif [[ -n ${SLURM_JOB_ID:-} ]] && command -v srun >/dev/null; then
    echo srun
  elif command -v mpirun >/dev/null; then
    echo mpirun
  else
    _mayfly_say "neither srun (in a Slurm job) nor mpirun was found; load an MPI module or set MAYFLY_LAUNCHER"
    return 1
  fi
}

# Sets _mayfly_command to the launcher and its options for one server a node.
_mayfly_server_command() {
  local launcher nodes per_node=${MAYFLY_SERVERS_PER_NODE:-1}
  launcher=$(_mayfly_launcher) || return
  case $launcher in
    *srun)
      nodes=${SLURM_JOB_NUM_NODES:-${SLURM_NNODES:-1}}
      # All cores and all memory of the job, but none of them for itself: the application's step overlaps. The end of
      # one server must not be the end of the others.
      _mayfly_command=("$launcher" --overlap "--nodes=$nodes" "--ntasks=$nodes" --ntasks-per-node=1 --mem=0 --gres=none
        --cpu-bind=none --no-kill --kill-on-bad-exit=0)
      case $("$launcher" --mpi=list 2>&1) in *pmix*) _mayfly_command+=(--mpi=pmix) ;; esac
      ;;
    *)
      case $("$launcher" --version 2>&1) in
        *"Open MPI"* | *OpenRTE* | *PRRTE*)
          _mayfly_command=("$launcher" --map-by "ppr:$per_node:node" --bind-to none)
          ((per_node == 1)) || _mayfly_command+=(--oversubscribe)
          ;;
        *) # MPICH and its kin
          nodes=1
          [[ ! -s ${PBS_NODEFILE:-} ]] || nodes=$(sort -u "$PBS_NODEFILE" | wc -l)
          _mayfly_command=("$launcher" -n "$((nodes * per_node))" -ppn "$per_node" -bind-to none)
          ;;
      esac
      ;;
  esac
  # shellcheck disable=SC2206  # several options
  _mayfly_command+=(${MAYFLY_LAUNCHER_FLAGS:-})
  # The launchers hand USR1 on to the servers, which then flush and end; srun and mpirun turn TERM into a kill.
  [[ -z ${MAYFLY_FLUSH_AFTER:-} ]] || _mayfly_command=(timeout --foreground --signal=USR1 "$MAYFLY_FLUSH_AFTER" "${_mayfly_command[@]}")
  _mayfly_command+=(mayflyd)
  ((per_node == 1)) || _mayfly_command+=(--member-per rank)
}

mayfly_start() {
  local argument previous='' folder job
  if [[ -n ${_mayfly_servers:-} ]]; then
    _mayfly_say "mayfly_start: the servers of this script run already"
    return 1
  fi
  if ! command -v mayflyd >/dev/null; then
    _mayfly_say "mayflyd is not in PATH; add the bin folder of the installation"
    return 1
  fi
  local -a _mayfly_command
  _mayfly_server_command || return
  for argument in "$@"; do
    case $argument in --session=*) MAYFLY_SESSION=${argument#*=} ;; esac
    [[ $previous != --session ]] || MAYFLY_SESSION=$argument
    previous=$argument
  done
  if [[ -z ${MAYFLY_SESSION:-} ]]; then
    folder=${SLURM_SUBMIT_DIR:-${PBS_O_WORKDIR:-$PWD}}
    job=${SLURM_JOB_ID:-${PBS_JOBID:-$$}}
    MAYFLY_SESSION=$folder/.mayfly-$job.json
  fi
  export MAYFLY_SESSION
  case " $* " in
    *" --session "* | *" --session="*) ;;
    *) set -- --session "$MAYFLY_SESSION" "$@" ;;
  esac
  "${_mayfly_command[@]}" "$@" </dev/null &
  _mayfly_servers=$!
  [[ -n $(trap -p EXIT) ]] || trap '_mayfly_at_exit $?' EXIT
}

# The launcher still runs.
_mayfly_running() { [[ -n ${_mayfly_servers:-} ]] && kill -0 "$_mayfly_servers" 2>/dev/null; }

mayfly_wait() {
  local asker status=0
  if [[ -z ${_mayfly_servers:-} ]]; then
    _mayfly_say "mayfly_wait: call mayfly_start first"
    return 1
  fi
  mayfly wait --timeout "${1:-120}" &
  asker=$!
  # Servers that ended have said why; nobody needs to wait for the time-out. A trapped signal ends a wait early.
  while kill -0 "$asker" 2>/dev/null; do
    if ! _mayfly_running; then
      kill "$asker" 2>/dev/null || true
      wait "$asker" 2>/dev/null || true
      wait "$_mayfly_servers" || status=$?
      _mayfly_say "the servers ended before they were ready (launcher's status $status); their message is above"
      return 1
    fi
    wait -n "$asker" "$_mayfly_servers" 2>/dev/null || true
  done
  wait "$asker" || status=$?
  return "$status"
}

mayfly_exec() {
  local launcher
  local -a options=()
  launcher=$(_mayfly_launcher) || return
  if [[ ${1:-} == -* ]]; then
    while (($# > 0)) && [[ $1 != -- ]]; do
      options+=("$1")
      shift
    done
    if (($# == 0)); then
      _mayfly_say "mayfly_exec: write -- between the launcher's options and the program"
      return 2
    fi
    shift
  fi
  if [[ $launcher == *srun ]]; then
    # Slurm's warning goes to all steps, and a program that does not know USR1 dies of it.
    "$launcher" "${options[@]}" sh -c 'trap "" USR1; exec "$@"' sh "$@"
  else
    "$launcher" "${options[@]}" "$@"
  fi
}

mayfly_stop() {
  local status=0 launcher=0
  if [[ -z ${_mayfly_servers:-} ]]; then
    _mayfly_say "mayfly_stop: no servers were started by this script"
    return 1
  fi
  # The verdict is that of `mayfly stop`, also when the servers have ended by themselves; srun's and mpirun's status
  # does not tell of a lost server.
  mayfly stop "$@" || status=$?
  if ((status != 0)) && _mayfly_running; then
    _mayfly_say "mayfly stop ended with $status; telling the servers by signal to flush and end"
    kill -USR1 "$_mayfly_servers" 2>/dev/null || true
    if ! timeout 300 tail --pid="$_mayfly_servers" -f /dev/null; then
      _mayfly_say "the servers do not end; killing them. 'mayfly clean' on each node removes what they leave"
      kill -KILL "$_mayfly_servers" 2>/dev/null || true
    fi
  fi
  wait "$_mayfly_servers" 2>/dev/null || launcher=$?
  while _mayfly_running; do # a trapped signal ended the wait
    launcher=0
    wait "$_mayfly_servers" 2>/dev/null || launcher=$?
  done
  ((launcher == 0 || launcher == 124)) || _mayfly_say "the launcher of the servers ended with status $launcher"
  _mayfly_servers=
  return "$status"
}

_mayfly_at_exit() { # STATUS of the script
  local status=$1
  trap - EXIT
  if [[ -n ${_mayfly_servers:-} ]]; then
    _mayfly_say "the script ends without mayfly_stop; flushing and ending the servers"
    mayfly_stop || { ((status != 0)) || status=1; }
  fi
  exit "$status"
}
