#!/usr/bin/env bash
# ctest: TIMEOUT 600
# Staging in and out with four servers: every kind of name, file and attribute comes through, as root and as another
# user; all servers copy; one large file is read and written by all of them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_tree

# Compares a tree with what it was made from.
same() { # WHAT EXPECTED GOT
  diff "$2" "$3" >"$work/difference" || e2e_fail "$1 differs: $(head -c 3000 "$work/difference")"
}
# A number of a report.
field() { sed -n 's/^  "'"$1"'": \([0-9]*\),\{0,1\}$/\1/p' "$work/report"; }

# A server that is slow to begin may find a small tree copied: so again, until each has been seen to take part.
all_take_part() {
  local run seen=
  for ((run = 0; run < 40; ++run)); do
    e2e_run mayfly stage-in --json "$work/source/many" "/many/$run" >"$work/report" 2>"$work/said" ||
      e2e_fail "stage-in: $(cat "$work/said")"
    seen+=$(grep -o '(member [0-9]*)' "$work/report")$'\n'
    [[ $(sort -u <<<"$seen" | grep -c member) == 4 ]] && return
    e2e_run mayfly rm -r "/many/$run" || e2e_fail "rm"
  done
  e2e_fail "only these servers took part: $(sort <<<"$seen" | uniq -c)"
}

# In the flush of one large file every member writes the chunks that it holds, and nobody else's.
all_flush_one_file() {
  local size=$((4 * 5 * 4194304)) written_before written
  e2e_run head -c "$size" /dev/urandom >"$work/large"
  e2e_run mayfly cp "$work/large" :/large || e2e_fail "cp"
  mapfile -t written_before < <(e2e_figures written_bytes)
  e2e_run mayfly stage-out /large "$work/large-out" 2>"$work/said" || e2e_fail "stage-out: $(cat "$work/said")"
  mapfile -t written < <(e2e_figures written_bytes)
  ((${#written[@]} == 4)) || e2e_fail "what each server wrote: ${written[*]}"
  local i
  for i in 0 1 2 3; do
    ((written[i] - written_before[i] == size / 4)) ||
      e2e_fail "server $i wrote $((written[i] - written_before[i])) of $size bytes; before: ${written_before[*]}, after: ${written[*]}"
  done
  cmp -s "$work/large" "$work/large-out/large" || e2e_fail "what was flushed differs"
  e2e_run mayfly rm /large
  rm -r "$work/large" "$work/large-out"
}

round_trip() {
  local source=$work/source out=$work/out
  e2e_run e2e_tree make "$source" || e2e_fail "the tree cannot be made"
  e2e_run e2e_tree dump posix "$source" >"$work/expected" || e2e_fail "the tree cannot be read"
  e2e_start 4 --memory 256M

  e2e_run mayfly stage-in --json "$source" /in >"$work/report" 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
  grep -q "servers\{0,1\} took part" "$work/said" || e2e_fail "no server took part: $(cat "$work/said" "$work/report")"
  local shares
  shares=$(sed -n 's/^      "files": \([0-9]*\),$/\1/p' "$work/report" | paste -sd+)
  [[ $((shares)) == $(field files) ]] || e2e_fail "the shares do not add up: $(cat "$work/report")"
  [[ $(field skipped) == 0 && $(field failed) == 0 ]] || e2e_fail "the report: $(cat "$work/report")"
  e2e_run e2e_tree dump mayfly /in >"$work/inside" || e2e_fail "the namespace cannot be read"
  same "what is in the session" "$work/expected" "$work/inside"

  all_take_part
  all_flush_one_file

  # Again: nothing is copied, and nothing changes.
  e2e_run mayfly stage-in --json "$source" /in >"$work/report" 2>"$work/said" || e2e_fail "again: $(cat "$work/said")"
  [[ $(field skipped) == $(field files) ]] || e2e_fail "again: $(cat "$work/report")"
  e2e_run e2e_tree dump mayfly /in >"$work/inside" || e2e_fail "the namespace cannot be read"
  same "what is in the session the second time" "$work/expected" "$work/inside"

  e2e_run mayfly stage-out /in "$out" 2>"$work/said" || e2e_fail "stage-out: $(cat "$work/said")"
  e2e_run e2e_tree dump posix "$out" >"$work/outside" || e2e_fail "what was staged out cannot be read"
  same "what was staged out" "$work/expected" "$work/outside"
  e2e_run mayfly stage-out /in "$out" 2>"$work/said" || e2e_fail "stage-out again: $(cat "$work/said")"
  grep -q "were there already" "$work/said" || e2e_fail "stage-out again: $(cat "$work/said")"
  e2e_run e2e_tree dump posix "$out" >"$work/outside" || e2e_fail "what was staged out cannot be read"
  same "what was staged out the second time" "$work/expected" "$work/outside"
  e2e_stop
  chmod -R u+rwx "$source" "$out" && rm -rf "$source" "$out"
}

round_trip
if [[ $(id -u) == 0 ]] && command -v setpriv >/dev/null; then
  e2e_as 4242
  export MAYFLY_RUNTIME_DIR=$shm/of-another
  round_trip
fi
