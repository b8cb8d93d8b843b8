#!/usr/bin/env bash
# ctest: TIMEOUT 600
# The time for a flush is over before everything is copied: that is a failure, each file is there and whole or is named
# as missing, and none is both. By stage-out, by stop (the session goes on, and the next stop takes up the rest), and by
# a scheduler's warning (the session ends; the launcher's output and `mayfly stop` name what is missing).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

source=$work/tree/in
mkdir -p "$source/a/b" "$source/c"
for i in {1..300}; do
  echo "a $i" >"$source/a/$i" && echo "b $i" >"$source/a/b/$i"
done
head -c 60000000 /dev/urandom >"$source/c/large"
(cd "$source" && find . -type f -printf '%P\n' | sort) >"$work/all"

# The files below /in that the lines "missing: WHAT" of a command stand for. PREFIX: "in/" if all was to be flushed.
missing() { # FILE PREFIX
  local what root=$work/tree
  [[ -n $2 ]] || root=$source
  sed -n 's|^.*missing: ||p' "$1" | (
    cd "$root" || exit
    while read -r what; do
      case $what in
        *"/ and all below") find "./${what%/ and all below}" -type f ;;
        *"/ (its mode, owner and times)") ;;
        */) find "./$what" -maxdepth 1 -type f ;;
        *) echo "$what" ;;
      esac
    done
  ) | sed "s|/\{1,\}|/|g; s|^\./||; s|^$2||" | sort
}
# What was said about a copy of /in agrees with what is there; prints how many files are there, and are missing. What an
# earlier flush put there may be called missing when this one did not come to it: it could have been changed since.
: >"$work/before"
agrees() { # FILE PREFIX TARGET
  local both path
  missing "$1" "$2" >"$work/missing"
  (cd "$3" 2>/dev/null && find . -type f -printf '%P\n' | sort) >"$work/there"
  both=$(comm -12 "$work/missing" "$work/there" | comm -23 - "$work/before")
  [[ -z $both ]] || e2e_fail "these are there and said to be missing: $both"
  sort -u "$work/missing" "$work/there" | cmp -s - "$work/all" ||
    e2e_fail "neither there nor named: $(sort -u "$work/missing" "$work/there" | diff - "$work/all" | head -n 20); said: $(head -n 20 "$1")"
  [[ -z $(uniq -d "$work/missing") ]] || e2e_fail "named twice: $(uniq -d "$work/missing" | head -n 20)"
  while read -r path; do
    cmp -s "$source/$path" "$3/$path" || e2e_fail "$path is there with other bytes"
  done <"$work/there"
  echo "$(wc -l <"$work/there") there, $(wc -l <"$work/missing") missing"
}
some_of_both() { [[ -s $work/there && -s $work/missing ]]; }

# ---- stage-out: also a budget that ends in the middle, which has to be searched for ----
e2e_start 4 --memory 256M --flush-to "$work/pfs/out"
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
budget=0.01 least=0.001 most=''
for ((try = 0; try < 30; ++try)); do
  status=0
  mayfly stage-out --budget "$budget" /in "$work/late" 2>"$work/said" || status=$?
  said=$(agrees "$work/said" "" "$work/late") || exit 1
  echo "stage-out, $budget s: status $status, $said"
  if [[ -s $work/missing ]]; then
    ((status == 1)) || e2e_fail "files are missing, and the status is $status: $(cat "$work/said")"
    grep -q "are there and verified, .* are missing" "$work/said" || e2e_fail "the last word: $(tail -n 1 "$work/said")"
  else
    ((status == 0)) || e2e_fail "nothing is missing, and the status is $status: $(cat "$work/said")"
  fi
  rm -rf "$work/late"
  some_of_both && break
  if ((status == 0)); then most=$budget; else least=$budget; fi
  budget=$(awk -v a="$least" -v b="${most:-0}" 'BEGIN { print b == 0 ? 2 * a : (a + b) / 2 }')
done
some_of_both || e2e_fail "no budget ends in the middle"

# ---- stop: the session goes on, and what was copied need not be copied again ----
for time in 0.001 "$budget" "$budget"; do
  status=0
  (cd "$work/pfs/out/in" 2>/dev/null && find . -type f -printf '%P\n' | sort) >"$work/before"
  mayfly stop --budget "$time" 2>"$work/said" || status=$?
  said=$(agrees "$work/said" in/ "$work/pfs/out/in") || exit 1
  echo "stop, $time s: status $status, $said"
  [[ -s $work/missing ]] || break
  ((status == 1)) || e2e_fail "files are missing, and the status of stop is $status"
  mayfly ls /in >/dev/null || e2e_fail "the session does not go on"
done
[[ $time != 0.001 ]] || e2e_fail "everything was flushed in a millisecond"
if [[ -s $work/missing ]]; then mayfly stop 2>"$work/said" || e2e_fail "the last stop: $(cat "$work/said")"; fi
(agrees "$work/said" in/ "$work/pfs/out/in") >/dev/null && [[ ! -s $work/missing ]] || e2e_fail "after the last stop"
: >"$work/before"
e2e_ended_well() {
  e2e_within 20 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
  e2e_launcher=''
}
e2e_ended_well
rm -rf "$work/pfs"

# ---- mayflyd --flush-by: what stop does when it is told nothing else ----
e2e_start 4 --memory 256M --flush-to "$work/pfs/out" --flush-by 0.001
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
mayfly stop 2>"$work/said" && e2e_fail "stop takes more than --flush-by"
said=$(agrees "$work/said" in/ "$work/pfs/out/in") || exit 1
echo "stop, --flush-by 0.001: $said"
mayfly stop --budget 1000 2>"$work/said" || e2e_fail "stop with another budget: $(cat "$work/said")"
e2e_ended_well
rm -rf "$work/pfs"

# ---- a scheduler's warning: the last chance, so the word is final ----
for ((try = 0; try < 8; ++try)); do
  e2e_start 4 --memory 256M --flush-to "$work/pfs/out" --flush-by "$budget"
  mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
  e2e_servers 4
  kill -USR1 "${pids[@]}"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  status=0
  wait "$e2e_launcher" || status=$?
  e2e_launcher=''
  said=$(agrees "$work/servers.log" in/ "$work/pfs/out/in") || exit 1
  echo "a warning, $budget s: the launcher's status is $status, $said"
  told=0
  mayfly stop 2>"$work/said" || told=$?
  missing "$work/said" in/ | cmp -s - "$work/missing" || e2e_fail "mayfly stop names other files: $(head -n 20 "$work/said")"
  if [[ -s $work/missing ]]; then
    ((status != 0 && told == 1)) || e2e_fail "files are missing; status $status, mayfly stop $told"
    break
  fi
  ((status == 0 && told == 0)) || e2e_fail "nothing is missing; status $status, mayfly stop $told: $(cat "$work/said")"
  rm -rf "$work/pfs"
  budget=$(awk -v b="$budget" 'BEGIN { print b / 2 }')
done
[[ -s $work/missing ]] || e2e_fail "--flush-by leaves nothing out"
left=$(find "$shm" -mindepth 1 -type f)
[[ -z $left ]] || e2e_fail "left behind: $left"
echo "all as expected"
