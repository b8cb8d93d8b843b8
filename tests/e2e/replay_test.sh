#!/bin/bash
# ctest: TIMEOUT 300 LABELS plain
# --replay dry-run says what a recovery would bring back, what is damaged, missing and in doubt, by its exit status too,
# and leaves every byte as it was; and what the journals' options refuse.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
ranks=3
mkdir -p "$work/in/sub" "$work/disk"
head -c 9000000 /dev/urandom >"$work/in/large"
for i in {1..300}; do echo "file $i" >"$work/in/sub/name-$i"; done

hashes() { find "$work/disk" "$shm" -type f -print0 | sort -z | xargs -0 cksum; }
# dry STATUS PATTERN OPTION...: what a dry run says and how it ends; nothing changed.
dry() {
  local status=0 expected=$1 pattern=$2
  shift 2
  timeout 120 mpirun -n "$ranks" "${e2e_mpirun[@]}" --oversubscribe mayflyd --member-per rank --session "$MAYFLY_SESSION" \
    --recover --replay dry-run "$@" </dev/null 6>&- >"$work/said" 2>"$work/complained" || status=$?
  ((status == expected)) || e2e_fail "status $status, not $expected, of a dry run: $(cat "$work/said" "$work/complained")"
  grep -qE -- "$pattern" "$work/said" || e2e_fail "it does not say '$pattern': $(cat "$work/said" "$work/complained")"
  [[ $(hashes) == "$before" ]] || e2e_fail "a dry run changed something: $(diff <(echo "$before") <(hashes))"
}

small=(--journal-bytes 4M) # of the first start alone; all of it is hashed again and again
# life LEVEL OPTION...
life() {
  local level=$1
  shift
  step "level $level, $*"
  start --memory 96M --durability "$level" --flush-to "$work/out" "${small[@]}" "$@"
  timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  kill_all
  before=$(hashes)
  dry 0 'dry run: nothing was written; --recover would bring back all of it' "$@"
  grep -qE '^shard 2: [0-9]+ records of .* brought back [0-9]+ files' "$work/said" || e2e_fail "not what each shard holds: $(cat "$work/said")"
  dry 0 'would bring back all of it' "$@" # and again
  start --recover --replay on "$@" # by name; without it below
  files_are_there # after the dry runs
}
life process
stop "$work/disk"
small+=(--capacity 64M)
life node --dir "$work/disk"
kill_all

step "a damaged journal"
journal=$(echo "$work"/disk/mayfly-*/member-1/shard-1/journal)
cp -a --sparse=always "$journal" "$work/kept"
before=$(hashes)
timeout 60 mayfly journal dump --json "$work/disk" >"$work/dump"
lsn=$(python3 -c 'import json, sys
s = [s for s in json.load(open(sys.argv[1]))["shards"] if s["shard"] == 1][0]
print([i["lsn"] for i in s["items"] if i["type"] == "changes"][2])' "$work/dump") || e2e_fail "no record to damage"
printf 'damage' | dd of="$journal" bs=1 seek=$((8192 + lsn % (4 << 20) + 80)) conv=notrunc status=none
before=$(hashes)
dry 1 "^damaged: shard 1: the journal is damaged from LSN $lsn to [0-9]+" --dir "$work/disk"
grep -q 'would bring back what is not damaged' "$work/said" || e2e_fail "not its verdict: $(cat "$work/said")"

step "no journal, and no member"
rm "$journal"
before=$(hashes)
dry 3 '^lost: shard 1 cannot be brought back.*no journal' --dir "$work/disk"
mv "$work"/disk/mayfly-*/member-1 "$work/member-1"
ranks=2
before=$(hashes)
dry 3 "^missing: member 1 on $(uname -n): .*member-1" --dir "$work/disk"
grep -q -- '--recover would refuse' "$work/said" || e2e_fail "not its verdict: $(cat "$work/said")"
mv "$work/member-1" "$(echo "$work"/disk/mayfly-*)/member-1"
cp -a --sparse=always "$work/kept" "$journal"
ranks=3
start --recover --dir "$work/disk"
stop "$work/disk"
diff -r "$work/in" "$work/out/in" || e2e_fail "the flush at the end"

step "options that cannot be"
refused() { # PATTERN OPTION...
  local status=0 pattern=$1
  shift
  # Without mpirun's waits for a process that has ended.
  OMPI_MCA_odls_base_sigkill_timeout=0 timeout 60 mpirun -n 1 "${e2e_mpirun[@]}" mayflyd --session "$MAYFLY_SESSION" "$@" </dev/null 6>&- >"$work/said" 2>&1 || status=$?
  ((status == 2)) || e2e_fail "status $status from mayflyd $*: $(cat "$work/said")"
  grep -qE -- "$pattern" "$work/said" || e2e_fail "mayflyd $* does not say '$pattern': $(cat "$work/said")"
}
refused '--replay: needs --recover' --replay dry-run
refused '--replay: needs --recover' --replay on
refused '--replay: off not in' --recover --replay off
refused 'drop-oldest: with --durability none there is no journal' --journal-full drop-oldest
refused 'drop-oldest: would lose operations' --journal-full drop-oldest --durability process
refused '--commit-interval: is for --durability node' --commit-interval 2ms --durability process
refused '--journal-bytes: a journal has 256 KiB to 1024 GiB, not [0-9]+ bytes' --journal-bytes 1.5T --durability process
refused '--journal-bytes: a journal.s size is a multiple of 64 KiB, which 4195328 bytes is not' --journal-bytes 4097K --durability process
refused '--journal-bytes: 1P is no size' --journal-bytes 1P --durability process
refused 'soon is no time' --commit-interval soon --durability node --dir "$work/disk"
refused 'foo not in' --recover foo
echo "all as expected"
