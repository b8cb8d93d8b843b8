#!/bin/bash
# ctest: TIMEOUT 300 RESOURCE_LOCK nodes LABELS plain
# The job scripts and share/mayfly-env.sh, with stand-ins for mayfly and mayflyd: what is tested is how the launchers
# start, signal and end the servers, under mpirun and, where it can be had, under Slurm on virtual nodes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
share=$here/../../share
export VC_NAME=jobs-$$ KILLWAIT=2
unset VC_DIR
. "$here/../cluster/common.sh"
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"' ERR
command -v mpirun >/dev/null || vc_skip "mpirun is not installed (share/install-packages)"
work=$(mktemp -d)
finish() {
  "$here/../cluster/slurm-ns" stop || true
  "$here/../cluster/vcluster" down || true
  rm -rf "$work"
}
trap finish EXIT
step() { echo "--- $*"; }

# --- the stand-ins: servers that note what happens to them in $STUB, one folder a session ------------------------------
mkdir -p "$work"/install/{bin,share/mayfly}
cp -r "$share/mayfly-env.sh" "$share/slurm" "$share/pbs" "$work/install/share/mayfly/"
cat >"$work/install/bin/mayflyd" <<'END'
#!/bin/bash
[[ " $* " != *" --fail "* ]] || { echo "mayflyd: cause and remedy"; exit 3; }
me=$STUB/server.$(uname -n).$$
trap 'echo "USR1" >>"$me"; exit 0' USR1
echo "args $*" >"$me"
while [[ ! -e $STUB/stop ]]; do read -r -t 0.05 <> <(:) || true; done
echo "stopped" >>"$me"
END
cat >"$work/install/bin/mayfly" <<'END'
#!/bin/bash
echo "$* session=${MAYFLY_SESSION##*/}" >>"$STUB/calls"
case $1 in
  wait)
    [[ ! -e $STUB/wait_fails ]] || exit 4
    for try in $(seq 600); do
      [[ $(ls "$STUB" | grep -c '^server\.') != "$SERVERS" ]] || exit 0
      read -r -t 0.05 <> <(:) || true
    done
    exit 1
    ;;
  stop) [[ ! -e $STUB/stop_fails ]] || exit 5; touch "$STUB/stop" ;;
esac
END
cat >"$work/install/bin/my_program" <<'END'
#!/bin/bash
echo "my_program $* session=${MAYFLY_SESSION##*/}" >>"$STUB/calls"
[[ ${1:-} != late ]] || { while ! cat "$STUB"/server.* | grep -q USR1; do sleep 0.2; done; sleep 1; echo "outlived" >>"$STUB/calls"; }
[[ ${1:-} != fail ]] || exit 9
END
chmod +x "$work"/install/bin/*
export PATH=$work/install/bin:$PATH OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset SLURM_JOB_ID PBS_JOBID PBS_NODEFILE MAYFLY_SESSION

fresh() { # NAME SERVERS: a folder for the next case
  export STUB=$work/$1 SERVERS=$2
  mkdir "$STUB"
  : >"$STUB/calls"
}
servers() { cat "$STUB"/server.* | sort | uniq -c | sed 's/^ *//'; }
expect() { # WHAT EXPECTED ACTUAL
  [[ $2 == "$3" ]] || { printf 'FAILED: %s\nexpected: %s\nactual:   %s\n' "$1" "$2" "$3"; exit 1; }
}
script() { # the rest of a job script on stdin; its output to $STUB/output
  { echo '. "$(dirname "$(command -v mayfly)")/../share/mayfly/mayfly-env.sh"'; cat; } >"$STUB/job"
  (cd "$STUB" && timeout 100 bash -eu job >output 2>&1)
}
status_of() { local status=0; "$@" || status=$?; echo "$status"; }

# Slurm sends the warning before a time limit up to half a minute early, after 20 s at the soonest: that job goes on
# beside all that follows.
batch() { "$here/../cluster/slurm-ns" exec sbatch --parsable "$@"; } # OPTION... SCRIPT: its number
ended_well() { "$here/../cluster/slurm-ns" wait "$1" || { cat output; exit 1; }; } # NUMBER
without_slurm=''
missing=$( (vc_require && vc_require_slurm) 2>&1) || without_slurm=${missing:-it cannot be had}
if [[ -z $without_slurm ]]; then
  "$here/../cluster/vcluster" up 3
  "$here/../cluster/slurm-ns" start
  fresh warning 2
  sed -e 's|\./my_program|my_program late|' -e 's|USR1@120|USR1@70|' "$share/slurm/job.sbatch" >"$STUB/job.sbatch"
  warned=$(cd "$STUB" && batch --nodes=2 --time=2 --output=output job.sbatch)
fi

step "mpirun: start, wait, run, stop"
fresh plain 2
MAYFLY_SERVERS_PER_NODE=2 script <<'END'
mayfly_start --memory 1G --session s.json
mayfly_wait 30
mayfly_exec -n 1 -- my_program one "two  words"
mayfly_stop --no-flush
END
expect "servers" "2 args --member-per rank --memory 1G --session s.json
2 stopped" "$(servers)"
expect "calls" "wait --timeout 30 session=s.json
my_program one two  words session=s.json
stop --no-flush session=s.json" "$(cat "$STUB/calls")"

step "a default session in the folder of submission"
fresh default 1
PBS_O_WORKDIR=/submit PBS_JOBID=17.host script <<'END'
mayfly_start; mayfly_wait; mayfly_stop
END
expect "servers" "1 args --session /submit/.mayfly-17.host.json
1 stopped" "$(servers)"

step "servers that cannot start: the script ends at once"
fresh dead 1
started=$SECONDS
expect "status" 1 "$(status_of script <<'END'
mayfly_start --fail
mayfly_wait 25
echo "not reached"
END
)"
grep -q "cause and remedy" "$STUB/output"
grep -q "ended before they were ready" "$STUB/output"
expect "what follows a failed wait" 0 "$(grep -c "not reached" "$STUB/output" || true)"
((SECONDS - started < 20))

step "servers that do not get ready: the status of mayfly wait, and they are ended"
fresh unready 1
touch "$STUB/wait_fails"
expect "status" 4 "$(status_of script <<'END'
mayfly_start --session s.json
mayfly_wait 1
echo "not reached"
END
)"
[[ $(awk '{ print $1 }' "$STUB/calls" | xargs) == "wait stop" ]]

step "a script that fails in the middle flushes all the same and keeps its status"
fresh middle 1
expect "status" 9 "$(status_of script <<'END'
mayfly_start --memory 1G --session=s.json
mayfly_wait
my_program fail
echo "not reached"
END
)"
expect "servers" "1 args --memory 1G --session=s.json
1 stopped" "$(servers)"

step "a stop that fails: the servers are told by signal, and the status is that of the stop"
fresh stop_fails 1
touch "$STUB/stop_fails"
expect "status" 5 "$(status_of script <<'END'
mayfly_start --session s.json
mayfly_wait
mayfly_stop
END
)"
expect "servers" "1 USR1
1 args --session s.json" "$(servers)"

step "PBS: the servers flush before the wall time is over"
fresh pbs 1
sed -e 's|MAYFLY_FLUSH_AFTER=58m|MAYFLY_FLUSH_AFTER=2|' -e 's|\./my_program|-n 1 -- my_program late|' \
  "$share/pbs/job.pbs" >"$STUB/job.pbs"
(cd "$STUB" && PBS_O_WORKDIR=$STUB PBS_JOBID=18 timeout 100 bash job.pbs >output 2>&1)
expect "servers" "1 USR1
1 args --session $STUB/.mayfly-18.json --memory 16G --flush-to $STUB/out" "$(servers)"
expect "calls" "wait stage-in my_program outlived stage-out stop" "$(awk '{ print $1 }' "$STUB/calls" | xargs)"

step "Slurm"
[[ -z $without_slurm ]] || { echo "not tried: $without_slurm"; exit 0; }
fresh slurm 3
sed 's|\./my_program|my_program normal|' "$share/slurm/job.sbatch" >"$STUB/job.sbatch"
cd "$STUB"
number=$(batch --nodes=3 --time=5 --output=output job.sbatch)
ended_well "$number"
expect "servers" "3 args --session $STUB/.mayfly-$number.json --memory 16G --flush-to $STUB/out
3 stopped" "$(servers)"
expect "one server a node" "node1 node2 node3" "$(printf '%s\n' server.* | cut -d. -f2 | sort | xargs)"
expect "calls" "wait stage-in my_program my_program my_program stage-out stop" "$(awk '{ print $1 }' calls | xargs)"

step "Slurm: the warning before the time limit reaches the servers and not the application"
STUB=$work/warning
cd "$STUB"
ended_well "$warned"
expect "servers" "2 USR1
2 args --session $STUB/.mayfly-$warned.json --memory 16G --flush-to $STUB/out" "$(servers)"
expect "calls" "wait stage-in my_program my_program outlived outlived stage-out stop" "$(awk '{ print $1 }' calls | xargs)"
cd /
echo "all as expected"
