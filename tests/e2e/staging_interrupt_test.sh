#!/usr/bin/env bash
# ctest: TIMEOUT 600
# A stage-in, stage-out or stop that was interrupted or killed leaves nothing that looks complete and is not, and the same
# command continues. A stop names the processes that did not send what they hold.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_tree e2e_unsynced
held='' # a process that is stopped
end() {
  [[ -z $held ]] || kill -CONT "$held" 2>/dev/null
  [[ -z ${client:-} ]] || kill -KILL "$client" 2>/dev/null
  e2e_end
}
trap end EXIT

source=$work/source
mkdir "$source" "$source/sub"
for i in {1..40}; do head -c 3000000 /dev/urandom >"$source/sub/f$i"; done
head -c 150000000 /dev/urandom >"$source/large"
find "$source" -exec touch -h -d "2020-01-02 03:04:05.123456789" {} +
e2e_tree dump posix "$source" >"$work/expected"

number() { sed -n 's/^  "'"$1"'": \([0-9]*\),\{0,1\}$/\1/p' "$work/report"; }
some_there() { [[ $(mayfly find "$1" 2>/dev/null | wc -l) -gt 3 ]]; }

# Whatever is in the session with the size and time of its source has its bytes; `whole` counts these files.
nothing_half() { # TARGET
  local path at
  whole=0
  while read -r path; do
    at=${path#"$1"}
    [[ $at == /large || $at == /sub/f* ]] || continue
    e2e_tree dump mayfly "$path" | cut -d' ' -f5,6 >"$work/is"
    e2e_tree dump posix "$source$at" | cut -d' ' -f5,6 >"$work/shall"
    cmp -s "$work/is" "$work/shall" || continue
    mayfly cat "$path" | cmp -s - "$source$at" || e2e_fail "$path has size and time of its source, and other bytes"
    whole=$((whole + 1))
  done < <(mayfly find "$1")
}

complete() { # TARGET
  mayfly stage-in --json "$source" "$1" >"$work/report" 2>"$work/said" || e2e_fail "the second run: $(cat "$work/said")"
  e2e_tree dump mayfly "$1" >"$work/inside"
  cmp -s "$work/expected" "$work/inside" || e2e_fail "$1 differs: $(diff "$work/expected" "$work/inside" | head -c 2000)"
}

# The first copies are there, and the command still runs: it is interrupted by SIGNAL.
interrupt() { # SIGNAL TARGET [OPTION...]
  local signal=$1 target=$2 command status=0
  shift 2
  mayfly stage-in "$@" "$source" "$target" >"$work/first" 2>&1 &
  command=$!
  e2e_within 30 some_there "$target" || e2e_fail "nothing comes: $(cat "$work/first")"
  kill "-$signal" "$command" 2>/dev/null
  wait "$command" 2>/dev/null || status=$?
  [[ $status != 0 || $signal == KILL ]] || echo "note: the stage-in was faster than the signal"
  if [[ $status == 1 ]]; then
    grep -q "interrupted; the same command continues where it stopped" "$work/first" ||
      e2e_fail "what it says: $(cat "$work/first")"
  fi
}

e2e_start 4 --memory 512M --flush-to "$work/pfs"
continued=0
for signal in INT TERM KILL; do
  for option in "" --here; do
    interrupt "$signal" "/in" --stage-streams 2 $option
    nothing_half /in
    complete /in
    (($(number skipped) >= whole)) || e2e_fail "$whole files were there, and $(number skipped) were not copied again"
    continued=$((continued + whole))
    mayfly rm -r /in
  done
done

((continued > 0)) || e2e_fail "no interrupted copy left a whole file: that it is continued was not tried"

# Out: killed, and run again. What is there under its name is whole, and no temporary is left in the end.
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
some_out() { [[ -n $(find "${1:-$work/out}" -type f 2>/dev/null | head -1) ]]; }
none_half() { # DIRECTORY: what is there under its name is whole
  local at
  while read -r at; do
    [[ ! -e $1/$at ]] || cmp -s "$1/$at" "$source/$at" || e2e_fail "half of $at is there under its name"
  done < <(cd "$source" && find . -type f -printf '%P\n')
}
for signal in INT KILL; do
  mayfly stage-out /in "$work/out" >"$work/first" 2>&1 &
  command=$!
  e2e_within 30 some_out || e2e_fail "nothing comes out: $(cat "$work/first")"
  kill "-$signal" "$command" 2>/dev/null
  wait "$command" 2>/dev/null
  none_half "$work/out"
  mayfly stage-out /in "$work/out" >"$work/second" 2>&1 || e2e_fail "stage-out again: $(cat "$work/second")"
  e2e_tree dump posix "$work/out" >"$work/outside"
  cmp -s "$work/expected" "$work/outside" || e2e_fail "out differs: $(diff "$work/expected" "$work/outside" | head -c 2000)"
  rm -rf "$work/out"
done

# A source that changed since is copied again, and what is in its way is replaced.
echo new >"$source/sub/f1"
rm "$source/sub/f2" && ln -s f1 "$source/sub/f2"
rm "$source/sub/f3" && mkdir "$source/sub/f3"
mayfly stage-in "$source" /in >/dev/null 2>"$work/said" && e2e_fail "a directory in the place of a file: no word"
grep -q "/in/sub/f3: something that is no directory is in the way" "$work/said" || e2e_fail "$(cat "$work/said")"
[[ $(mayfly cat /in/sub/f1) == new ]] || e2e_fail "a changed file was not copied"
mayfly rm /in/sub/f3
e2e_tree dump posix "$source" >"$work/expected"
complete /in

# The end, with more and more to flush, until a flush takes longer than the command takes to hear of the signal.
begin_stop() { # its pid is in `command`
  mayfly stop >"$work/first" 2>&1 &
  command=$!
  e2e_within 30 some_out "$work/pfs" || e2e_fail "nothing comes out: $(cat "$work/first")"
}
has_ended() { # the session
  e2e_within 20 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
  e2e_launcher=''
}
for more in 4 10; do
  if [[ -z $e2e_launcher ]]; then
    rm -rf "$work/pfs"
    e2e_start 4 --memory 512M --flush-to "$work/pfs"
    complete /in
  fi
  for ((i = 0; i < more; ++i)); do mayfly cp "$source/large" ":/more-$i" || e2e_fail "cp"; done
  begin_stop
  kill -INT "$command"
  status=0
  wait "$command" || status=$?
  ((status == 0)) || break
  echo "note: the stop was faster than the signal"
  has_ended
done
((status == 1)) && grep -q "^mayfly: stop failed: interrupted; [0-9]* files are there and verified, [0-9]* are missing" "$work/first" &&
  grep -q "^mayfly: missing: [im]" "$work/first" || e2e_fail "stop, interrupted: status $status: $(cat "$work/first")"
none_half "$work/pfs/in"
timeout 60 mayfly cp "$source/large" :/later || e2e_fail "the session does not go on"

# A process holds bytes back, and cannot be asked for them: it is named, and nothing ends before it has sent them.
mkfifo "$work/go"
head -c 200000 /dev/urandom >"$work/own"
e2e_unsynced --buffered "$work/own" /own <"$work/go" >"$work/client" 2>&1 &
client=$!
exec 6>"$work/go"
e2e_within 30 grep -q written "$work/client" || e2e_fail "the client: $(cat "$work/client")"
kill -STOP "$client"
status=0
mayfly stop >"$work/first" 2>&1 || status=$?
grep '^mayfly: ' "$work/first"
((status == 1)) && grep -q '^mayfly: stop failed: programs did not send what they hold' "$work/first" &&
  grep -q "^mayfly: not sent: inode [0-9]* may have unsent data in process $client on $(uname -n)$" "$work/first" ||
  e2e_fail "a stop without what a process holds: status $status: $(cat "$work/first")"
timeout 60 mayfly mkdir /goes-on || e2e_fail "the session does not go on"
kill -CONT "$client"

# The command is killed: the end goes on by itself, and the same command waits for that one.
rm -rf "$work/pfs/in"
e2e_servers 4
begin_stop
held=${pids[${others[0]}]} # so that it does not come to its end
kill -STOP "$held"
kill -KILL "$command"
wait "$command" 2>/dev/null
none_half "$work/pfs/in"
timeout 100 mayfly stop >"$work/second" 2>&1 &
command=$!
read -r -t 0.6 <> <(:) || true # it has found the session before that can end
kill -CONT "$held"
held=''
wait "$command" || e2e_fail "stop again: $(cat "$work/second")"
has_ended
e2e_tree dump posix "$work/pfs/in" >"$work/outside"
cmp -s "$work/expected" "$work/outside" || e2e_fail "pfs differs: $(diff "$work/expected" "$work/outside" | head -c 2000)"
cmp "$work/own" "$work/pfs/own" || e2e_fail "what a process held back until the end"
cmp "$source/large" "$work/pfs/later" || e2e_fail "what was written after the first stop"
[[ -d $work/pfs/goes-on && -z $(find "$work/pfs" -name '.mayfly-*') ]] || e2e_fail "something else is there: $(find "$work/pfs" -maxdepth 1)"
exec 6>&-
wait "$client"
client=''
left=$(find "$shm" -mindepth 1 -type f)
[[ -z $left ]] || e2e_fail "left behind: $left"
