# Sourced by bootstrap_*_test.sh: starts sessions of mayflyd, waits with a bound, and looks for what they leave.
# Set before: $work (a folder of the test). Everything that is started carries MAYFLY_BOOTSTRAP_TEST=$work/.
export MAYFLY_BOOTSTRAP_TEST=$work/ MAYFLY_RUNTIME_DIR=${MAYFLY_RUNTIME_DIR:-/dev/shm/mayfly-bootstrap.$$}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
# mpirun's folder: each case's own, as of two that begin at a time one may fail with "File exists". The file is there as
# it takes an empty folder away.
own_mpi_folder() { mkdir -m 1777 "$work/mpi" && touch "$work/mpi/not-empty" && export OMPI_MCA_orte_tmpdir_base=$work/mpi; }
own_mpi_folder
unset MAYFLY_SESSION SLURM_JOB_ID PBS_JOBID
session=$work/s.json output=$work/output launcher=''

skip() { echo "skipped: $*"; exit 77; }
step() { echo "--- $*"; }
fail() {
  echo "FAILED: $*"
  echo "--- output of the servers:"
  cat "$output" 2>/dev/null
  exit 1
}
now_us() { echo "${EPOCHREALTIME/./}"; }
within() { # SECONDS COMMAND...: until COMMAND succeeds
  local end=$(($(now_us) + $1 * 1000000))
  shift
  until "$@"; do
    (($(now_us) < end)) || return 1
    read -r -t 0.05 <> <(:) || true # a pause without a process
  done
}

# Pids of the living servers of this test, one a line.
servers() {
  local pid
  for pid in $(pgrep -x mayflyd); do
    # As a prefix: a test's own servers include those of its cases aside, theirs those of nobody else.
    grep -zq "^MAYFLY_BOOTSTRAP_TEST=$work/" "/proc/$pid/environ" 2>/dev/null || continue
    [[ $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) == [ZX]* ]] || echo "$pid"
  done
}
no_servers() { [[ -z $(servers) ]]; }
no_jobs() { [[ -z $(jobs -pr) ]]; }
end_everything() { # for an EXIT trap
  local pids
  [[ -z $launcher ]] || kill -KILL "$launcher" 2>/dev/null || true
  # shellcheck disable=SC2046  # a list: what runs aside
  kill -TERM $(jobs -p) 2>/dev/null || true
  pids=$(servers)
  # shellcheck disable=SC2086  # a list
  [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
  within 5 no_servers || true
  within 10 no_jobs || true
  rm -rf "$MAYFLY_RUNTIME_DIR" "$MAYFLY_RUNTIME_DIR".[0-9]* # those of cases aside too, should one have been killed
}

# launch COMMAND...: in the background, its output to $output.
launch() {
  : >"$output"
  "$@" >>"$output" 2>&1 </dev/null &
  launcher=$!
}
launched() { kill -0 "$launcher" 2>/dev/null; }
says() { grep -q "\"state\": *\"$1\"" "$session" 2>/dev/null; }
ready_or_over() { says ready || ! launched; }
wait_ready() { # SECONDS; $segments becomes what MPI has in /dev/shm for the servers
  within "$1" ready_or_over || fail "not ready within $1 s"
  says ready || fail "the servers ended instead of becoming ready"
  segments=$(for pid in $(servers); do grep -o '/dev/shm/vader_segment[^ ]*' "/proc/$pid/maps" 2>/dev/null || true; done | sort -u)
}
field() { sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\).*/\1/p" "$session"; }
# The launcher's exit status, which must come within SECONDS.
status=0
ended() { ! launched; }
wait_end() { # SECONDS
  status=0
  within "$1" ended || fail "the launcher did not end within $1 s"
  wait "$launcher" || status=$?
  launcher=''
}
# $verdict: the word for a job script after a warning (SIGUSR1, SIGUSR2), if there is to be one.
left_behind() {
  servers
  ls -A "$MAYFLY_RUNTIME_DIR" 2>/dev/null
  find "$session" "$session".* 2>/dev/null | grep -vxF "$verdict"
  # shellcheck disable=SC2086  # a list
  [[ -z ${segments:-} ]] || ls $segments 2>/dev/null
  true
}
nothing_left() { [[ -z $(left_behind) ]]; }
expect_nothing_left() {
  within 20 nothing_left || fail "left behind: $(left_behind | xargs)"
  [[ -z $verdict ]] || rm -f "$verdict"
  verdict=''
}
# A scheduler's warning, to all: the word of how the session ended may stay.
verdict=''
warn_servers() {
  kill -USR1 "$launcher"
  verdict=$session.verdict
}

# expect_failure SECONDS CODE PATTERN COMMAND...: ends in time with a status that is not 0, says exactly one sentence
# with the host, and that matches PATTERN (extended regular expression), and leaves nothing. CODE is mayflyd's own exit
# code as mpirun repeats it.
expect_failure() {
  local seconds=$1 code=$2 pattern=$3 started
  shift 3
  started=$(now_us)
  launch "$@"
  wait_end "$seconds"
  ((status == code)) || fail "status $status instead of $code from: $*"
  expect_sentence "$pattern"
  expect_nothing_left
  echo "    $(grep '^mayflyd: ' "$output" | cut -c 1-150)"
  echo "    after $((($(now_us) - started) / 1000)) ms"
}
expect_sentence() { # PATTERN: it is the only one, and names this host
  local lines
  lines=$(grep -c '^mayflyd: ' "$output") || true
  ((lines == 1)) || fail "$lines sentences instead of one"
  grep -qE "^mayflyd: ${host:-$(uname -n)}: .*($1)" "$output" || fail "no sentence like: $1"
}

# `( aside; CASE ) &` runs CASE beside others, in a folder, a session and a runtime directory of its own; `together` waits
# for all of them and shows what they said, in the order of their start. Most of a case's time is the launcher's waits.
aside() {
  work=$work/aside.$BASHPID
  mkdir "$work"
  own_mpi_folder
  exec >"$work/said" 2>&1
  cd "$work" || exit
  session=$work/s.json output=$work/output segments=''
  export MAYFLY_BOOTSTRAP_TEST=$work/ MAYFLY_RUNTIME_DIR=$MAYFLY_RUNTIME_DIR.$BASHPID
  mkdir -m 0700 "$MAYFLY_RUNTIME_DIR"
  trap end_everything EXIT
  trap 'exit 1' TERM # without it, bash runs the EXIT trap within its signal handler, where waiting for a process may hang
}
together() {
  local pids pid failed=0
  # The shell's list is without those that have ended, whose folders are there; it still knows how each of them ended.
  pids=$(jobs -p)$'\n'$(find "$work" -maxdepth 1 -name 'aside.*' | sed 's/.*\.//')
  for pid in $(sort -nu <<<"$pids"); do
    wait "$pid" || failed=1
    cat "$work/aside.$pid/said"
    rm -r "$work/aside.$pid"
  done
  ((failed == 0)) || exit 1
}

# CPU time that all threads of all servers have used, in nanoseconds.
cpu_ns() {
  local pid
  for pid in $(servers); do cat "/proc/$pid/task/"*/schedstat 2>/dev/null; done | awk '{ s += $1 } END { printf "%.0f", s }'
}
