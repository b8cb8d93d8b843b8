#!/usr/bin/env bash
# ctest: TIMEOUT 300
# What goes to the parallel filesystem: patterns, no flush, a target that is full, a budget, symlinks that would lead out
# of the target; and what progress looks like on a terminal and in a log.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

source=$work/source
mkdir -p "$source/a/b" "$source/c"
echo one >"$source/a/1.h5" && echo two >"$source/a/b/2.h5" && echo three >"$source/c/3.txt"

# ---- a pattern, then all ----
e2e_start 2 --memory 256M --flush-to "$work/pfs/out"
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
mayfly stage-out --pattern '*.h5' /in "$work/some" 2>"$work/said" || e2e_fail "a pattern: $(cat "$work/said")"
[[ $(cd "$work/some" && find . -type f | sort | xargs) == "./a/1.h5 ./a/b/2.h5" ]] ||
  e2e_fail "a pattern: $(find "$work/some")"

# ---- symlinks in the target do not lead out of it ----
mkdir "$work/outside" "$work/led"
ln -s "$work/outside" "$work/led/a"
ln -s "$work/outside/file" "$work/led/c"
if mayfly stage-out /in "$work/led" 2>"$work/said"; then e2e_fail "a symlink was taken for a directory"; fi
grep -q "a/.*nothing in it was copied" "$work/said" || e2e_fail "what it says: $(cat "$work/said")"
[[ -z $(ls -A "$work/outside") ]] || e2e_fail "a symlink led out of the target"
# A symlink of the session is written as one, and one in the place of a file is replaced.
mayfly ln -s "$work/outside/file" /in/leads || e2e_fail "ln"
mkdir "$work/links" && ln -s "$work/outside/file" "$work/links/plain"
mayfly cp "$source/c/3.txt" :/in/plain || e2e_fail "cp"
mayfly stage-out /in "$work/links" 2>"$work/said" || e2e_fail "links: $(cat "$work/said")"
[[ -L $work/links/leads && ! -L $work/links/plain && $(cat "$work/links/plain") == three ]] || e2e_fail "links"
[[ -z $(ls -A "$work/outside") ]] || e2e_fail "a symlink led out of the target"

# ---- errors name what, why and what to do ----
expect_failure() { # WORDS COMMAND...
  local words=$1
  shift
  if "$@" >"$work/said" 2>&1; then e2e_fail "no failure: $*"; fi
  grep -q -- "$words" "$work/said" || e2e_fail "$* says: $(cat "$work/said")"
}
expect_failure "No such file or directory; name a file or directory that this node can read" \
  mayfly stage-in "$work/nowhere" /x
expect_failure "File exists\|Not a directory" mayfly stage-out /in "$work/source/c/3.txt"
expect_failure "/nowhere" mayfly stage-out /nowhere "$work/x"

# ---- a budget says what did not make it, and the session goes on ----
head -c 200000000 /dev/zero | tr '\0' x >"$work/big"
mayfly stage-in "$work/big" /big 2>"$work/said" || e2e_fail "stage-in of a file: $(cat "$work/said")"
expect_failure "missing: " mayfly stage-out --budget 0.001 / "$work/late"
mayfly stage-out / "$work/late" 2>"$work/said" || e2e_fail "after a budget: $(cat "$work/said")"
cmp -s "$work/big" "$work/late/big" || e2e_fail "after a budget: bytes"

# ---- stop with a pattern ----
mayfly stop --flush-only 'in/c/*' >"$work/said" 2>&1 || e2e_fail "stop --flush-only: $(cat "$work/said")"
e2e_within 20 e2e_ended || e2e_fail "the servers do not end"
wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
e2e_launcher=
[[ $(cd "$work/pfs/out" && find . -type f) == ./in/c/3.txt ]] || e2e_fail "--flush-only: $(find "$work/pfs")"
rm -rf "$work/pfs"

# ---- stop without a flush; progress ----
e2e_start 2 --memory 512M --flush-to "$work/pfs/out"
if command -v script >/dev/null; then
  mkdir "$work/many"
  for i in {1..3000}; do echo "$i" >"$work/many/$i"; done
  cp "$work/big" "$work/many/big"
  : >"$work/terminal"
  # A slow pace of its own, so that there is something to see: one stream, here.
  script -qec "mayfly stage-in --here --stage-streams 1 $work/many /many" "$work/terminal" >/dev/null </dev/null ||
    e2e_fail "stage-in on a terminal: $(cat "$work/terminal")"
  grep -q "stage-in: 3001 files, .* in .*/s)" "$work/terminal" || e2e_fail "the last line: $(cat "$work/terminal")"
fi
e2e_stop
[[ -z $(find "$work/pfs" -type f) ]] || e2e_fail "--no-flush wrote something: $(find "$work/pfs")"

# ---- a target that is full ----
[[ $(id -u) == 0 ]] || exit 0
mkdir "$work/small"
mount -t tmpfs -o size=8m mayfly-e2e "$work/small" 2>/dev/null || exit 0
trap 'umount "$work/small"; e2e_end' EXIT
e2e_start 2 --memory 256M --flush-to "$work/small/out"
mayfly stage-in "$source" /in 2>"$work/said" || e2e_fail "stage-in: $(cat "$work/said")"
head -c 12000000 /dev/urandom >"$work/twelve"
mayfly cp "$work/twelve" :/in/twelve || e2e_fail "cp"
expect_failure "twelve.*No space left\|No space left.*twelve\|twelve: .*space" mayfly stop
[[ ! -e $work/small/out/in/twelve ]] || e2e_fail "half a file stands under its name"
[[ -z $(find "$work/small" -name '.mayfly*' -o -name '*.tmp*') ]] || e2e_fail "a temporary was left: $(find "$work/small")"
mayfly ls /in >/dev/null || e2e_fail "the session does not go on after a flush that failed"
mount -o remount,size=64m "$work/small" || e2e_fail "remount"
mayfly stop >"$work/said" 2>&1 || e2e_fail "stop again: $(cat "$work/said")"
e2e_within 20 e2e_ended || e2e_fail "the servers do not end"
wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
e2e_launcher=
cmp -s "$work/twelve" "$work/small/out/in/twelve" || e2e_fail "bytes after the second stop"
cmp -s "$source/a/b/2.h5" "$work/small/out/in/a/b/2.h5" || e2e_fail "bytes after the second stop"
