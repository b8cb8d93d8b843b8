#!/bin/bash
# ctest: TIMEOUT 900 LABELS plain
# mayflyd --supervise under a plain launcher: servers are killed while clients work, and come back by themselves; the
# clients go on, nothing acknowledged is lost, and no process and no file is left at the end, whichever way it comes.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
e2e_mpirun=(-x "MAYFLY_SUPERVISE_TEST=$work") # marks all processes of this test

processes() { # all that are mayflyd here, parents and servers
  local pid
  for pid in $(pgrep -x mayflyd); do
    grep -zqxF "MAYFLY_SUPERVISE_TEST=$work" "/proc/$pid/environ" 2>/dev/null && ! gone "$pid" && echo "$pid"
  done
}
no_process() { [[ -z $(processes) ]]; }
finish() {
  local pids
  mapfile -t pids < <(processes)
  ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null
  end_all
}
trap finish EXIT

# `pids`: of the servers, by member; `parents` of these; `root`: the root's member.
look_at_servers() {
  local i
  e2e_servers "$ranks"
  parents=()
  for ((i = 0; i < ranks; ++i)); do
    parents+=("$(awk '{ print $4 }' "/proc/${pids[i]}/stat")")
    [[ " ${others[*]} " == *" $i "* ]] || root=$i
  done
  servers=("${pids[@]}")
  note_segments
}
start_supervised() { # OPTION...
  start --memory 128M --durability process --supervise --flush-to "$work/out" "$@"
  look_at_servers
  for ((i = 0; i < ranks; ++i)); do
    [[ $(cat "/proc/${parents[i]}/comm") == mayflyd ]] || e2e_fail "the parent of server $i is no mayflyd"
    [[ $(awk '/^Threads/ { print $2 }' "/proc/${parents[i]}/status") == 1 ]] || e2e_fail "the parent of server $i is not small"
  done
}
others_than() { # PID...: all members answer, and none of these is one
  local now pid
  mapfile -t now < <(e2e_figures pid)
  ((${#now[@]} == ranks)) || return 1
  for pid; do [[ " ${now[*]} " != *" $pid "* ]] || return 1; done
}
kill_servers() { # MEMBER...
  local member victims=()
  for member; do victims+=("${pids[member]}"); done
  kill -KILL "${victims[@]}"
  e2e_within 90 others_than "${victims[@]}" || e2e_fail "the members $* do not come back"
  ! e2e_ended || e2e_fail "the launcher has ended"
  local before=("${parents[@]}")
  look_at_servers
  [[ ${before[*]} == "${parents[*]}" ]] || e2e_fail "other parents than before"
}
ended_well() { # DIRECTORY
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || e2e_fail "the launcher ended with $?"
  e2e_launcher=''
  ! grep -q 'exiting improperly' "$work/servers.log" || e2e_fail "the launcher takes the end for a failure"
  no_process || e2e_fail "processes are left: $(processes)"
  expect_nothing "$1"
  [[ -n $(ls "$work/out/a") && -n $(ls "$work/out/b") ]] || e2e_fail "nothing was flushed"
  rm -rf "$work/out"
}

end_by() { # stop|USR1 DIRECTORY
  step "the end by $1"
  end_workers
  if [[ $1 == stop ]]; then
    timeout 120 mayfly stop >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
  else
    kill "-$1" "$e2e_launcher"
    e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
    # It was a scheduler's warning: who asks how it went is told.
    timeout 60 mayfly stop >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop, afterwards: $(cat "$work/stop.log")"
    grep -q 'verified' "$work/stop.log" || e2e_fail "mayfly stop does not know how it went: $(cat "$work/stop.log")"
  fi
  ended_well "$2"
}

# life DIRECTORY END OPTION...
life() {
  local dir=$1 end=$2 i child
  shift 2
  start_supervised "$@"
  names=()
  work a
  work b
  all_go_on 100
  step "one after the other"
  for ((i = 0; i < ranks; ++i)); do
    kill_servers "$i"
    all_go_on 100
  done
  step "two, and again while they come back"
  kill -KILL "${pids[${others[0]}]}" "${pids[$root]}"
  for i in "${others[0]}" "$root"; do
    restarted() { child=$(pgrep -P "${parents[i]}") && [[ $child != "${pids[i]}" ]]; }
    e2e_within 30 restarted || e2e_fail "member $i is not started again"
    pids[i]=$child
  done
  kill_servers "${others[0]}" "$root"
  all_go_on 100
  step "all at once"
  kill_servers 0 1 2
  all_go_on 100
  end_by "$end" "$dir"
}

step "what it needs"
refused() { # STATUS PATTERN OPTION...
  local want=$1 pattern=$2 status=0
  shift 2
  # All have cleaned up when the first ends: mpirun need not give the others a second before it kills them.
  OMPI_MCA_odls_base_sigkill_timeout=0 timeout 60 mpirun -n 2 "${e2e_mpirun[@]}" --oversubscribe mayflyd --supervise --session "$MAYFLY_SESSION" "$@" \
    </dev/null 6>&- >"$work/servers.log" 2>&1 || status=$?
  ((status == want)) || e2e_fail "status $status instead of $want from mayflyd --supervise $*"
  [[ $(grep -c '^mayflyd: ' "$work/servers.log") == 1 ]] && grep -qE "^mayflyd: .*($pattern)" "$work/servers.log" ||
    e2e_fail "no sentence like '$pattern'"
  no_process || e2e_fail "processes are left: $(processes)"
  expect_nothing "$work/none"
}
refused 2 '--supervise: needs --durability process' --member-per rank
refused 3 '--supervise: member 0 has several processes.*--member-per rank' --memory 128M --durability process
refused 3 'is no directory|Not a directory' --member-per rank --memory 64M --durability process --dir /dev/null/x

for victims in nobody others; do # of whom the root's server knows, which saw all of it
  step "a session in which $victims died"
  start_supervised
  names=()
  work a
  work b
  all_go_on 10
  [[ $victims == nobody ]] || kill_servers "${others[@]}"
  all_go_on 10
  end_by USR1 "$work/none"
done

step "journals in memory"
life "$work/none" stop
step "journals in --dir"
life "$work/disk" USR1 --dir "$work/disk/rank-%r"

# The launcher has ended: no process lives, and `mayfly clean` takes the rest.
clean_up() {
  e2e_within 10 no_process || e2e_fail "processes are left: $(processes)"
  wait "$e2e_launcher"
  e2e_launcher=''
  mayfly clean >"$work/clean.log" || e2e_fail "mayfly clean: $(cat "$work/clean.log")"
  rm -f "$MAYFLY_SESSION"*
  expect_nothing "$work/none"
}

step "a parent is killed: its server goes with it"
start_supervised
kill -KILL "${parents[${others[0]}]}"
e2e_within 10 gone "${pids[${others[0]}]}" || e2e_fail "a server outlives its parent"
e2e_within 30 e2e_ended || e2e_fail "the launcher does not end when its process is killed"
clean_up

step "one that dies again and again is given up"
start_supervised
for ((i = 0; i < 4; ++i)); do
  kill_servers "${others[0]}"
done
kill -KILL "${pids[${others[0]}]}"
e2e_within 30 e2e_ended || e2e_fail "a server that dies again and again is not given up"
grep -q "^mayflyd: the server of member ${others[0]} on .* killed by signal 9 .*, the 5th time within a minute.*--rejoin --member ${others[0]}" \
  "$work/servers.log" || e2e_fail "no sentence about the server that is given up"
clean_up
echo "all as expected"
