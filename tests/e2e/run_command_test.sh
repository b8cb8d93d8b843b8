#!/bin/bash
# ctest: TIMEOUT 600 LABELS plain
# `mayfly run`: servers, stage-in, a program, stage-out and the end in one command, whatever happens in between; as root,
# where the test is, and as another user. Its way with Slurm is in slurm_test.sh.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun cmake
[[ -n ${MAYFLY_BUILD_DIR:-} ]] || e2e_skip "run by ctest"
step() { echo "--- $*"; }

# An installation that every user may read, in a place that every user can get to.
chmod 0711 "$shm"
mkdir -m 0755 "$shm/install"
cmake --install "$MAYFLY_BUILD_DIR" --prefix "$shm/install" >"$work/install.log" || e2e_fail "$(cat "$work/install.log")"
export PATH=$shm/install/bin:$PATH
cd "$shm" || exit 1 # the other user may not be let into where we were
unset MAYFLY_RUNTIME_DIR
as=()

# run_in FOLDER [OPTION...]: mayfly run in it, with a bound; $status, and its output in output and errors.
run_in() {
  folder=$1
  shift
  status=0
  (cd "$folder" && exec "${as[@]}" timeout 120 mayfly run --server-option=--memory=64M "$@") </dev/null \
    >"$folder/output" 2>"$folder/errors" || status=$?
}
fresh() { # NAME: $folder, with a runtime directory and a source of its own
  folder=$home/$1
  "${as[@]}" mkdir "$folder" "$folder/data" || e2e_fail "mkdir"
  export MAYFLY_RUNTIME_DIR=$folder/runtime MAYFLY_RUN_TEST=$folder
  "${as[@]}" sh -c 'head -c 300000 /dev/urandom >"$0/data/some"; : >"$0/data/none"; ln -s some "$0/data/link"' "$folder"
}
ours() { # what lives of this case
  local entry
  for entry in /proc/[0-9]*; do
    grep -zqxF "MAYFLY_RUN_TEST=$folder" "$entry/environ" 2>/dev/null || continue
    case $(cat "$entry/comm" 2>/dev/null) in mayfly* | mpirun | orted) echo "${entry#/proc/}" ;; esac
  done
}
none() { [[ -z $(ours) ]]; }
expect() { # WHAT EXPECTED ACTUAL
  [[ $2 == "$3" ]] || e2e_fail "$1: expected '$2', got '$3'; $(cat "$folder/errors")"
}
expect_says() { grep -q -e "$1" "$folder/errors" || e2e_fail "no word like '$1' in: $(cat "$folder/errors")"; }
expect_nothing_left() {
  e2e_within 30 none || e2e_fail "still running: $(ours | xargs)"
  local left
  left=$(find "$folder" -mindepth 1 -name '.mayfly-run-*'; find "$folder/runtime" -mindepth 1 2>/dev/null; ls -d "$home"/ompi.* 2>/dev/null)
  [[ -z $left ]] || e2e_fail "left behind: $left"
}

# A program: reads what was staged in, leaves a result, and ends as it is told.
cat >"$work/program" <<'END_OF_PROGRAM'
#!/bin/bash
echo ran >>"$MAYFLY_RUN_TEST/ran"
mayfly cat /in/some | cmp - "$MAYFLY_RUN_TEST/data/some" || exit 90
mayfly mkdir -p /out && mayfly cp "$MAYFLY_RUN_TEST/data/some" :/out/result || exit 91
echo "the program's output"
case $1 in
  fail) exit 7 ;;
  die) kill -KILL $$ ;;
  forever) trap 'exit 9' TERM; touch "$MAYFLY_RUN_TEST/works"; while :; do read -r -t 1 <> <(:); done ;;
esac
END_OF_PROGRAM
program=$shm/program
install -m 0755 "$work/program" "$program"

whole() { # as $as: what every user meets
  step "success, with an MPI program"
  fresh success
  run_in "$folder" --servers 2 --stage-in data:/in --stage-out /out:results --stage-out /in:again -- mpirun -n 1 "$program"
  expect "status" 0 "$status"
  expect "standard output" "the program's output" "$(cat "$folder/output")"
  cmp "$folder/data/some" "$folder/results/result" || e2e_fail "other content"
  diff -r --no-dereference "$folder/data" "$folder/again" || e2e_fail "other content"
  expect_nothing_left

  step "the program fails: its status, and its results are there all the same"
  for how in "fail 7" "die 137"; do
    fresh "${how% *}"
    run_in "$folder" --stage-in data:/in --stage-out /out:results -- "$program" "${how% *}"
    expect "status" "${how#* }" "$status"
    cmp "$folder/data/some" "$folder/results/result" || e2e_fail "not staged out"
    expect_nothing_left
  done

  step "a signal goes to the program, and its results are staged out"
  fresh signal
  (cd "$folder" && exec "${as[@]}" mayfly run --server-option=--memory=64M --stage-in data:/in --stage-out /out:results -- \
    "$program" forever) </dev/null >"$folder/output" 2>"$folder/errors" &
  e2e_launcher=$!
  e2e_within 60 test -e "$folder/works" || e2e_fail "the program does not run: $(cat "$folder/errors")"
  kill -TERM "$e2e_launcher"
  e2e_within 60 e2e_ended || e2e_fail "it does not end"
  status=0
  wait "$e2e_launcher" || status=$?
  e2e_launcher=
  expect "status" 9 "$status"
  cmp "$folder/data/some" "$folder/results/result" || e2e_fail "not staged out"
  expect_nothing_left
}

home=$shm/home
mkdir "$home"
export TMPDIR=$home OMPI_MCA_orte_tmpdir_base=$home
whole

step "a program that is not there"
fresh missing
run_in "$folder" --stage-in data:/in -- ./no-such-program
expect "status" 127 "$status"
expect_says 'no-such-program cannot be started: No such file'
expect_nothing_left

step "servers that do not start: at once, and the program is not run"
fresh unready
run_in "$folder" --wait 600 --server-option=--memory=900T -- "$program"
expect "status" 1 "$status"
expect_says 'mayflyd: .*900 TiB.*do not fit'
expect_says 'the servers ended before they were ready'
[[ ! -e $folder/ran ]] || e2e_fail "the program ran"
expect_nothing_left

step "no launcher"
fresh launcher
MAYFLY_LAUNCHER=/no/such/mpirun run_in "$folder" -- "$program"
expect "status" 1 "$status"
expect_says '/no/such/mpirun cannot be started: No such file'
expect_nothing_left

step "what cannot be staged in: the program is not run"
fresh source
run_in "$folder" --stage-in nowhere:/in --stage-out /out:results -- "$program"
expect "status" 1 "$status"
expect_says 'nowhere: No such file'
[[ ! -e $folder/ran && ! -e $folder/results ]] || e2e_fail "the program ran"
expect_nothing_left
run_in "$folder" --stage-in nowhere -- "$program"
expect "status" 2 "$status"
expect_says 'not of the form SOURCE:TARGET'

step "what cannot be staged out: said, and kept when asked to"
fresh target
touch "$folder/results"
run_in "$folder" --stage-in data:/in --stage-out /out:results --stage-out /out:others -- "$program"
expect "status" 1 "$status"
expect_says 'what was not staged out is lost'
cmp "$folder/data/some" "$folder/others/result" || e2e_fail "the second stage-out was not tried"
expect_nothing_left
run_in "$folder" --keep-on-failure --stage-in data:/in --stage-out /out:results -- "$program"
expect "status" 1 "$status"
expect_says 'the servers go on running'
session=$(sed -n 's/.*mayfly --session \(.*\) stop.*/\1/p' "$folder/errors")
mayfly --session "$session" stage-out /out "$folder/saved" >"$folder/output" 2>&1 || e2e_fail "$(cat "$folder/output")"
cmp "$folder/data/some" "$folder/saved/result" || e2e_fail "other content"
mayfly --session "$session" stop --no-flush || e2e_fail "stop"
expect_nothing_left

step "a flush of everything at the end, and a session file of one's own"
fresh flush
(cd "$folder" && mayfly --session mine.json run --server-option=--memory=64M --server-option=--flush-to=all --stage-in data:/in \
  -- sh -c 'test -e mine.json') >"$folder/output" 2>"$folder/errors" || e2e_fail "status $?: $(cat "$folder/errors")"
diff -r --no-dereference "$folder/data" "$folder/all/in" || e2e_fail "other content"
[[ ! -e $folder/mine.json ]] || e2e_fail "the session file is left"
expect_nothing_left

step "mayfly run is killed: its servers end and leave nothing"
fresh killed
(cd "$folder" && exec mayfly run --server-option=--memory=64M --stage-in data:/in -- "$program" forever) </dev/null \
  >"$folder/output" 2>"$folder/errors" &
e2e_launcher=$!
e2e_within 60 test -e "$folder/works" || e2e_fail "the program does not run: $(cat "$folder/errors")"
mapfile -t children < <(pgrep -P "$e2e_launcher" -f "$program")
kill -KILL "$e2e_launcher"
kill -KILL "${children[@]}"
wait "$e2e_launcher" 2>/dev/null
e2e_launcher=
expect_nothing_left

# A sanitizer's files may be where the other user does not get to.
if [[ $(id -u) == 0 && -z ${MAYFLY_SANITIZE:-} ]] && command -v setpriv >/dev/null; then
  as=(setpriv --reuid 12345 --regid 12345 --clear-groups env HOME="$shm/other" TMPDIR="$shm/other" \
    OMPI_MCA_orte_tmpdir_base="$shm/other")
  home=$shm/other
  install -d -o 12345 -g 12345 "$home"
  step "as a user who is not root"
  whole
fi
echo "all as expected"
