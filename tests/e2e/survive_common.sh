# Sourced after lib.sh by the tests of servers that are killed and started again (recover_test.sh, rejoin_test.sh, kills_test.sh and
# others): sessions of three members ($ranks), and clients that work meanwhile (survivor.cc).
export OMPI_MCA_orte_abort_print_stack=0
survivor=$MAYFLY_BUILD_DIR/tests/e2e_survivor
[[ -x $survivor ]] || e2e_skip "e2e_survivor was not built"
e2e_have mpirun mayflyd mayfly
export MAYFLY_SESSION=$work/session.json
checks=0 # of each of the clients that work
workers=() names=() rejoined=() servers=() segments=()
survivor_place=work # elsewhere: as if on another node
ranks=3
step() { echo "--- $*"; }

end_all() {
  local pid
  exec 6>&-
  for pid in "${workers[@]}" "${rejoined[@]}" "${servers[@]}"; do kill -KILL "$pid"; done 2>/dev/null
  ((${#segments[@]} == 0)) || rm -f "${segments[@]}" # MPI's, of servers that were killed and did not come back
  e2e_end
}
trap end_all EXIT
mkfifo "$work/go"
exec 6<>"$work/go" # as long as it is open the clients work

# launch OPTION...: $ranks servers; their output in servers.log.
launch() {
  : >"$work/servers.log" # now: who looks next must not see what the last ones said
  mpirun -n "$ranks" "${e2e_mpirun[@]}" --oversubscribe mayflyd --member-per rank --log-level debug --session "$MAYFLY_SESSION" "$@" \
    </dev/null 6>&- >>"$work/servers.log" 2>&1 &
  e2e_launcher=$!
}
recovering() { grep -qs 'bringing the files back' "$work/servers.log" || e2e_ended; }
says_ready() { grep -qs ' ready: ' "$work/servers.log" || e2e_ended; }
wait_ready() {
  e2e_within 120 says_ready || e2e_fail "the servers are not ready in time"
  grep -q ' ready: ' "$work/servers.log" || {
    wait "$e2e_launcher"
    e2e_fail "the servers did not start, but the launcher ended with $?"
  }
  mapfile -t servers < <(pgrep -P "$e2e_launcher" -x mayflyd)
  ((${#servers[@]} == ranks)) || e2e_fail "not $ranks servers but ${#servers[@]}"
  note_segments
}
note_segments() { # what MPI has in /dev/shm for the servers
  local pid more
  for pid in "${servers[@]}"; do
    mapfile -t more < <(grep -o '/dev/shm/vader_segment[^ ]*' "/proc/$pid/maps" 2>/dev/null | sort -u)
    segments+=("${more[@]}")
  done
}
start() { # OPTION...
  launch "$@"
  wait_ready
}
gone() { # PID...
  local pid
  for pid; do [[ ! -e /proc/$pid || $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) == [ZX]* ]] || return 1; done
}
# Kills children of this shell, which forgets them: their ends are no news.
kill_children() { # PID...
  disown "$@" 2>/dev/null
  kill -KILL "$@"
  e2e_within 20 gone "$@" || e2e_fail "killed servers live"
}
kill_all() { # the launcher too
  mapfile -t servers < <(pgrep -P "$e2e_launcher" -x mayflyd)
  note_segments
  # The launcher last: when it dies, servers that were stopped (power_test.sh) are sent SIGHUP and SIGCONT.
  kill_children "${servers[@]}" "${rejoined[@]}" "$e2e_launcher"
  e2e_launcher=''
  rejoined=()
}

# Nothing is written to the file system any more, and what was not flushed is lost. Linux: EXT4_IOC_SHUTDOWN,
# XFS_IOC_GOINGDOWN: one number, and 2 is `without the log` of both.
cut_power() { # WHERE IT IS MOUNTED
  python3 - "$1" <<'EOF'
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
EOF
}

# A member that was killed, by --rejoin; `pids`, by member, and `rejoined` follow.
rejoin_begin() { # N OPTION...
  local member=$1
  shift
  : >"$work/rejoin-$member.log"
  mayflyd --rejoin --session "$MAYFLY_SESSION" "$@" 6>&- </dev/null >>"$work/rejoin-$member.log" 2>&1 &
  pids[member]=$!
  rejoined+=($!)
}
is_back() { grep -q 'is back' "$work/rejoin-$1.log" || gone "${pids[$1]}"; }
rejoin_end() { # N
  e2e_within 120 is_back "$1" || e2e_fail "member $1 does not come back: $(cat "$work/rejoin-$1.log")"
  grep -q "member $1 of the session is back" "$work/rejoin-$1.log" || {
      wait "${pids[$1]}"
      e2e_fail "member $1 is not back but ended with $?: $(cat "$work/rejoin-$1.log")"
    }
}
forget() { # the processes that were killed
  local pid living=()
  for pid in "${rejoined[@]}"; do gone "$pid" || living+=("$pid"); done
  rejoined=("${living[@]}")
}

# work NAME: a client that works in /NAME, and what it has had acknowledged.
work() {
  : >"$work/$1.out"
  "$survivor" "$survivor_place" "$1" <"$work/go" 6>&- >"$work/$1.out" 2>"$work/$1.err" &
  workers+=($!)
  names+=("$1")
}
acknowledged() { # NAME
  local count=0
  [[ ! -s $work/$1.out ]] || read -r count <"$work/$1.out"
  [[ $count =~ ^[0-9]+$ ]] || count=0
  echo $((10#$count))
}
goes_on() { # NAME COUNT
  (($(acknowledged "$1") > $2)) || [[ -s $work/$1.err ]]
}
# All clients get COUNT further operations done, each.
all_go_on() { # COUNT
  local name before
  for name in "${names[@]}"; do
    before=$(acknowledged "$name")
    e2e_within 120 goes_on "$name" $((before + $1)) || e2e_fail "the client $name does not go on after $before operations"
    [[ ! -s $work/$name.err ]] || e2e_fail "the client $name: $(cat "$work/$name.err")"
  done
}
checked() { # NAME COUNT
  local lines=()
  mapfile -t -n 2 lines <"$work/$1.out"
  ((10#0${lines[1]:-} > $2)) || [[ -s $work/$1.err ]]
}
# Each client compares all that is there with what was acknowledged to it, and works on.
all_check() {
  local i
  for i in "${workers[@]}"; do kill -USR1 "$i"; done
  for i in "${names[@]}"; do
    e2e_within 120 checked "$i" "$checks" || e2e_fail "the client $i does not end its check"
    [[ ! -s $work/$i.err ]] || e2e_fail "the client $i: $(cat "$work/$i.err")"
  done
  checks=$((checks + 1))
}
# The clients end their work and check it; then others look: $work/NAME.out is what must be there.
end_workers() {
  local i done_by
  done_by=$(for i in "${names[@]}"; do acknowledged "$i"; done)
  exec 6>&-
  for ((i = 0; i < ${#workers[@]}; ++i)); do
    wait "${workers[i]}" || e2e_fail "the client ${names[i]} ended with $?: $(cat "$work/${names[i]}.err")"
  done
  workers=() checks=0
  echo "    operations: $(xargs <<<"$done_by")"
  look
  exec 6<>"$work/go"
}
look() {
  local name
  for name in "${names[@]}"; do
    timeout 120 "$survivor" look "$name" >"$work/$name.found" 2>"$work/$name.err" || e2e_fail "looking at $name: $(cat "$work/$name.err")"
    diff "$work/$name.out" "$work/$name.found" >"$work/$name.diff" || e2e_fail "$name: not what was acknowledged: $(head -n 20 "$work/$name.diff")"
  done
}
files_are_there() { # as they were staged in from $work/in to /in
  rm -rf "$work/copy"
  timeout 120 mayfly stage-out /in "$work/copy" >"$work/cp.log" 2>&1 || e2e_fail "mayfly stage-out: $(cat "$work/cp.log")"
  diff -r --no-dereference "$work/in" "$work/copy" || e2e_fail "what was staged in is not there"
}
# `mayfly stop`, which flushes and verifies, and nothing is left on the node, nor in DIRECTORY.
stop() { # DIRECTORY
  local status=0 pid
  timeout 120 mayfly stop >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || status=$?
  e2e_launcher=''
  servers=()
  # A launcher that saw a server die says so.
  ((status == 0)) || ((${#rejoined[@]} > 0)) || e2e_fail "the servers ended with status $status"
  for pid in "${rejoined[@]}"; do
    e2e_within 60 gone "$pid" || e2e_fail "a server that was started again does not end"
    wait "$pid" || e2e_fail "a server that was started again ended with $?: $(cat "$work"/rejoin*.log)"
  done
  rejoined=()
  expect_nothing "$1"
}
left_behind() { # DIRECTORY
  find "$shm" -mindepth 1
  find "$1" ! -type d 2>/dev/null
  find "$1" -name 'mayfly-*' 2>/dev/null
  find "$work" -maxdepth 1 -name 'session.json*'
  # What MPI made for the servers.
  local segment
  for segment in "${segments[@]}"; do [[ ! -e $segment ]] || echo "$segment"; done
}
nothing_left() { [[ -z $(left_behind "$1" | grep -vxF "$MAYFLY_RUNTIME_DIR") ]]; }
expect_nothing() { # DIRECTORY
  e2e_within 20 nothing_left "$1" || e2e_fail "left behind: $(left_behind "$1")"
  segments=()
}
