#!/bin/bash
# ctest: TIMEOUT 900 LABELS plain
# `mayfly fsck --repair`: what was planted into the journals of a session that has ended is found, mended by one new checkpoint a
# journal, and not there any more; the servers start from it, and all files that had nothing wrong are as they were. At level
# node what killed servers had in memory alone is on the disk after that.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
plant=$MAYFLY_BUILD_DIR/tests/e2e_plant
failing_disk=$MAYFLY_BUILD_DIR/tests/libe2e_failing_disk.so
unsynced=$MAYFLY_BUILD_DIR/tests/e2e_unsynced
[[ -x $plant && -x $unsynced && -r $failing_disk ]] || e2e_skip "e2e_plant, e2e_unsynced or e2e_failing_disk was not built"
ranks=3

check() { # STATUS OPTION-OR-DIR...
  local expected=$1 status=0
  shift
  timeout 120 mayfly fsck "$@" >"$work/said" 2>"$work/complained" </dev/null || status=$?
  ((status == expected)) || e2e_fail "mayfly fsck $*: status $status, not $expected: $(cat "$work/said" "$work/complained")"
}
says() { grep -qE -- "$1" "$work/said" "$work/complained" || e2e_fail "it does not say '$1': $(cat "$work/said" "$work/complained")"; }
hashes() { find "$work/disk" "$shm" -type f -print0 | sort -z | xargs -0 cksum; }

mkdir -p "$work/in/folder/below" "$work/in/headless" "$work/whole/in"
for i in {1..60}; do echo "file $i" >"$work/in/name-$i"; done
for i in {1..3}; do head -c $((i * 3000000 + i)) /dev/urandom >"$work/in/large-$i"; done
for i in {1..20}; do echo "$i" >"$work/in/headless/$i"; done
head -c 5000000 /dev/urandom >"$work/in/leaked" # in several chunks
head -c 100000 /dev/urandom >"$work/in/nameless"
echo inside >"$work/in/folder/below/file"
echo one >"$work/in/links"
: >"$work/in/empty"
keep() {
  mayfly stop --keep >"$work/stop.log" 2>&1 || e2e_fail "stop --keep: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  e2e_launcher=''
}
base_of() { echo "$1"/mayfly-*; }

# life HOW LEVEL OPTION...: with servers that are stopped (keep) or killed.
life() {
  local how=$1 level=$2 base number
  shift 2
  step "level $level, $how"
  start --memory 96M --journal-bytes 4M --chunk 64K --durability "$level" --dir "$work/disk" --flush-to "$work/out" "$@"
  timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  base=$(base_of "$work/disk")
  check 2 --repair --yes "$base"
  says 'lives'
  if [[ $how == keep ]]; then
    keep
  else
    kill_all
  fi
  before=$(hashes)
  check 0 --repair "$base"
  says 'there is nothing to repair'
  [[ $(hashes) == "$before" ]] || e2e_fail "a repair of nothing changed something"
  for what in dangling links nameless empty folder headless leaked; do
    "$plant" "$what" "$base" || e2e_fail "$what cannot be planted"
  done
  before=$(hashes)
  check 1 "$base"
  says 'name "dangling" .*not there; --repair: the name is removed'
  says '5 links, and 1 name; --repair: the count is set'
  says '1 links, and 0 names; --repair: it gets a name in /lost.found'
  says 'a directory without a name; --repair'
  says '--repair: the directory is made again'
  says 'bytes of a file that is gone; --repair: their space is given back'
  check 1 --repair "$base"
  says 'without being asked, give --yes'
  check 2 --repair --yes "$base/member-0" "$base/member-2"
  says 'takes the directories of all members: member 1'
  [[ $(hashes) == "$before" ]] || e2e_fail "a look changed something"
  for file in "$base"/member-*/shard-*/chunks; do [[ ! -e $file ]] || cksum "$file"; done >"$work/chunks"
  echo "$base/member-1" >"$work/fails"
  LD_PRELOAD=$failing_disk MAYFLY_TEST_DISK_FAILS=$work/fails check 2 --repair --yes "$base"
  says 'shard 1 .*cannot keep data in .*member-1'
  check 1 "$base" # as it was
  check 0 --repair --yes "$base"
  says '^repaired'
  for file in "$base"/member-*/shard-*/chunks; do [[ ! -e $file ]] || cksum "$file"; done | cmp - "$work/chunks" || e2e_fail "data was touched"
  before=$(hashes)
  check 0 --data "$base"
  says ': 0 findings$'
  check 0 --repair --yes "$base"
  says 'there is nothing to repair'
  [[ $(hashes) == "$before" ]] || e2e_fail "a second repair changed something"

  start --recover --dir "$work/disk"
  [[ $(timeout 60 mayfly cat /in/links) == one ]] || e2e_fail "/in/links"
  mayfly mkdir /in/new || e2e_fail "mkdir in what was repaired"
  mayfly rm /in/links || e2e_fail "rm"
  stop "$work/disk"
  rm -rf "$work/expected"
  cp -a "$work/in" "$work/expected"
  rm -rf "$work/expected"/{links,nameless,empty,folder,leaked}
  mkdir "$work/expected/new"
  diff -r "$work/expected" "$work/out/in" || e2e_fail "not what there was"
  if [[ $how == killed ]]; then # a server's stage-in may not have told yet that it has closed the empty file: then that stays
    find "$work/out/lost+found" -maxdepth 1 -type f -empty -delete
  fi
  (($(find "$work/out/lost+found" -mindepth 1 -maxdepth 1 | wc -l) == 2)) || e2e_fail "lost+found: $(find "$work/out/lost+found")"
  number=$(find "$work/out/lost+found" -maxdepth 1 -type f)
  cmp "$work/in/nameless" "$number" || e2e_fail "the file that had lost its name"
  diff -r "$work/in/folder" "$(find "$work/out/lost+found" -mindepth 1 -maxdepth 1 -type d)" || e2e_fail "the directory that had lost its name"
  rm -rf "$work/out"
}
life keep process
life killed process
life keep node --capacity 128M
life killed node --capacity 128M

step "level node, killed: what was neither synced nor closed, and lies in memory alone"
start --memory 96M --capacity 128M --journal-bytes 4M --durability node --dir "$work/disk"
timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
keep
base=$(base_of "$work/disk")
# Nothing of it in memory, the servers bear it. Its shard and the root's are mended: what the third has in memory counts as well.
"$plant" links "$base" || e2e_fail "links cannot be planted"
start --recover --dir "$work/disk"
head -c 40000000 /dev/urandom >"$work/newer"
head -c 3000 /dev/urandom >"$work/small"
"$unsynced" "$work/small" /in/small "$work/newer" /in/large-3 "$work/newer" /in/newer <"$work/go" 6>&- >"$work/unsynced.out" 2>&1 &
workers=($!)
written() { grep -qs written "$work/unsynced.out" || gone "${workers[0]}"; }
e2e_within 60 written || e2e_fail "nothing is written"
grep -q written "$work/unsynced.out" || e2e_fail "it cannot be written: $(cat "$work/unsynced.out")"
kill_all
kill -KILL "${workers[@]}"
wait "${workers[@]}" 2>/dev/null
workers=()
before=$(hashes)
check 1 --repair "$base"
says 'a new checkpoint of [12] journals? without being asked, give --yes'
[[ $(hashes) == "$before" ]] || e2e_fail "a look changed something"
check 0 --repair --yes "$base"
says '^repaired'
check 0 --data "$base"
says ': 0 findings$'
cp -a "$work/disk" "$work/disk.repaired"
unsynced_is_there() {
  rm -rf "$work/expected" "$work/copy"
  cp -a "$work/in" "$work/expected"
  cp "$work/small" "$work/expected/small"
  cp "$work/newer" "$work/expected/large-3"
  cp "$work/newer" "$work/expected/newer"
  timeout 120 mayfly stage-out /in "$work/copy" >"$work/cp.log" 2>&1 || e2e_fail "mayfly stage-out: $(cat "$work/cp.log")"
  diff -r "$work/expected" "$work/copy" || e2e_fail "not what was acknowledged"
}
start --recover --dir "$work/disk"
unsynced_is_there
kill_all
step "and after a loss of power behind the repair"
rm -rf "${MAYFLY_RUNTIME_DIR:?}"/* "$work/disk"
mv "$work/disk.repaired" "$work/disk"
check 0 --data "$base"
start --recover --dir "$work/disk"
unsynced_is_there
timeout 120 mayfly stop --no-flush >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
e2e_launcher=''

step "level node, and the memory is gone"
start --memory 96M --journal-bytes 4M --durability node --dir "$work/disk"
timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
kill_all
base=$(base_of "$work/disk")
rm -rf "${MAYFLY_RUNTIME_DIR:?}"/* # as after a start of the node
"$plant" headless "$base" || e2e_fail "headless cannot be planted"
check 1 "$base"
check 0 --repair --yes "$base"
check 0 "$base"
start --recover --dir "$work/disk"
files_are_there
keep
step "a shard's checkpoint is damaged: what it held is gone, and the rest starts again"
for i in 0 1; do # of the two files one counts
  dd if=/dev/urandom of="$base/member-1/shard-1/checkpoint.$i" bs=100 count=1 seek=5 conv=notrunc status=none
done
check 1 "$base"
says 'shard 1 .*whole once'
check 0 --repair --yes "$base"
check 0 "$base"
says ': 0 findings$'
start --recover --dir "$work/disk"
timeout 60 mayfly ls / >"$work/ls" || e2e_fail "ls"
for i in {1..60}; do # a name has its content or is gone
  found=$(timeout 60 mayfly cat "/in/name-$i" 2>"$work/err") || { grep -q 'No such file' "$work/err" || e2e_fail "name-$i: $(cat "$work/err")" && continue; }
  [[ $found == "file $i" ]] || e2e_fail "name-$i is $found"
done
timeout 120 mayfly stop --no-flush >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
e2e_launcher=''
echo "all as expected"
