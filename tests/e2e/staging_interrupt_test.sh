#!/usr/bin/env bash
# ctest: TIMEOUT 600
# A stage-in or stage-out that was interrupted or killed leaves nothing that looks complete and is not, and the same
# command continues.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_tree

source=$work/source
mkdir "$source" "$source/sub"
for i in {1..40}; do head -c 3000000 /dev/urandom >"$source/sub/f$i"; done
head -c 150000000 /dev/urandom >"$source/large"
find "$source" -exec touch -h -d "2020-01-02 03:04:05.123456789" {} +
e2e_tree dump posix "$source" >"$work/expected"

number() { sed -n 's/^  "'"$1"'": \([0-9]*\),\{0,1\}$/\1/p' "$work/report"; }
some_there() { [[ $(mayfly find "$1" 2>/dev/null | wc -l) -gt 3 ]]; }

# Whatever is in the session with the size and time of its source has its bytes.
nothing_half() { # TARGET
  local path at
  while read -r path; do
    at=${path#"$1"}
    [[ $at == /large || $at == /sub/f* ]] || continue
    e2e_tree dump mayfly "$path" | cut -d' ' -f5,6 >"$work/is"
    e2e_tree dump posix "$source$at" | cut -d' ' -f5,6 >"$work/shall"
    cmp -s "$work/is" "$work/shall" || continue
    mayfly cat "$path" | cmp -s - "$source$at" || e2e_fail "$path has size and time of its source, and other bytes"
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

e2e_start 4 --memory 512M
for signal in INT TERM KILL; do
  for option in "" --here; do
    interrupt "$signal" "/in" --stage-streams 2 $option
    nothing_half /in
    complete /in
    mayfly rm -r /in
  done
done

# Out: killed, and run again. What is there under its name is whole, and no temporary is left in the end.
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
some_out() { [[ -n $(find "$work/out" -type f 2>/dev/null | head -1) ]]; }
for signal in INT KILL; do
  mayfly stage-out /in "$work/out" >"$work/first" 2>&1 &
  command=$!
  e2e_within 30 some_out || e2e_fail "nothing comes out: $(cat "$work/first")"
  kill "-$signal" "$command" 2>/dev/null
  wait "$command" 2>/dev/null
  for at in large $(cd "$source" && echo sub/f*); do
    [[ ! -e $work/out/$at ]] || cmp -s "$work/out/$at" "$source/$at" || e2e_fail "half of $at is there under its name"
  done
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
e2e_stop
