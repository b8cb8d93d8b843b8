#!/usr/bin/env bash
# ctest: TIMEOUT 600 LABELS plain
# share/quickstart with the programs of this build ends with PASS and leaves nothing; with one byte changed between the
# flush and the comparison it ends with FAIL, and leaves nothing either.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly diff
[[ -x $MAYFLY_BUILD_DIR/examples/hello_c ]] || e2e_skip "the examples were not built"
export TMPDIR=$work/tmp # what it makes is in there
mkdir "$TMPDIR"
pid='' # of a quickstart that runs
trap '[[ -z $pid ]] || { kill -TERM "$pid" && wait "$pid"; } 2>/dev/null; e2e_end' EXIT

quickstart() { # OPTION...: its status in `status`, what it says in $work/said
  local left
  status=0
  "$MAYFLY_SOURCE_DIR/share/quickstart" --no-install --no-build "$@" </dev/null >"$work/said" 2>&1 &
  pid=$!
  wait "$pid" || status=$?
  left=$(find "$TMPDIR" -mindepth 1 -maxdepth 2; find "/dev/shm/mayfly-quickstart.$pid" 2>/dev/null; pgrep -fa -- "mayflyd .*$TMPDIR")
  pid=''
  [[ -z $left ]] || e2e_fail "quickstart $* left $left"
}
said() { tail -n 12 "$work/said"; }

quickstart --build "$MAYFLY_BUILD_DIR" --large 16
[[ $status == 0 && $(tail -n 1 "$work/said") == "PASS: "* ]] || e2e_fail "quickstart: status $status: $(said)"
grep -q '^-- content: ' "$work/said" || e2e_fail "it compares nothing: $(said)"
tail -n 1 "$work/said"

# A command that damages what it has flushed; size and time stay.
mkdir "$work/build"
ln -s "$MAYFLY_BUILD_DIR/mpi_launch" "$MAYFLY_BUILD_DIR/examples" "$work/build"
cat >"$work/build/mayfly" <<EOF
#!/bin/bash
"$(command -v mayfly)" "\$@" || exit
[[ \$1 == stop ]] || exit 0
at=pfs/out/in/large.bin
touch -r "\$at" kept
head -c 64 /dev/zero | dd of="\$at" bs=64 seek=10000 conv=notrunc status=none
touch -r kept "\$at"
EOF
chmod +x "$work/build/mayfly"
quickstart --build "$work/build" --large 1
[[ $status == 1 && $(tail -n 1 "$work/said") == "FAIL: content ended with status 1" ]] || e2e_fail "quickstart, with a damaged file: status $status: $(said)"
grep -q 'large.bin.* differ' "$work/said" || e2e_fail "the file is not named: $(said)"
tail -n 1 "$work/said"
echo "all as expected"
