#!/bin/bash
# ctest: TIMEOUT 600 LABELS plain
# Bad days of local storage. A start or a recovery that cannot be says so in one sentence with host, cause and remedy,
# ends on all ranks within seconds, and leaves what is there as it was; what is mended is recovered. A journal whose
# device fails under a server makes it read-only: it says so, what it holds can be read, and a stop flushes it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# File systems to fill and to break are mounted where nobody else sees them; they go with the script.
if [[ -z ${BAD_STORAGE_MOUNTS:-} ]]; then
  export BAD_STORAGE_MOUNTS=no
  if [[ $(id -u) == 0 ]] && unshare -m mount -t tmpfs none /mnt 2>/dev/null; then
    BAD_STORAGE_MOUNTS=yes exec unshare -m bash "$0"
  fi
fi
. "$here/lib.sh"
. "$here/survive_common.sh"
reseal=$MAYFLY_BUILD_DIR/tests/e2e_reseal
failing_disk=$MAYFLY_BUILD_DIR/tests/libe2e_failing_disk.so
[[ -x $reseal && -r $failing_disk ]] || e2e_skip "e2e_reseal or e2e_failing_disk was not built"
ranks=2
small=(--memory 64M --journal-bytes 4M --durability process)
host=$(uname -n)
mounted=()
with_mounts() {
  [[ $BAD_STORAGE_MOUNTS == yes ]] && return
  echo "    left out: it takes root, and mounts"
  return 1
}
mount_at() { # DIRECTORY ARGUMENTS...: of mount
  mkdir -p "$1"
  mount "${@:2}" "$1" || e2e_fail "mount ${*:2} $1"
  mounted+=("$1")
}
unmount_all() {
  local i
  for ((i = ${#mounted[@]} - 1; i >= 0; --i)); do umount -l "${mounted[i]}"; done
  mounted=()
}
finish() {
  unmount_all 2>/dev/null
  end_all
}
trap finish EXIT

# refused PATTERN OPTION...: the servers do not start.
refused() {
  local pattern=$1 status=0 begun=$SECONDS
  shift
  # All have cleaned up when the first ends: mpirun need not give the others a second, and another, before it kills them.
  OMPI_MCA_odls_base_sigkill_timeout=0 timeout 60 mpirun -n "$ranks" "${e2e_mpirun[@]}" --oversubscribe mayflyd --member-per rank --session "$MAYFLY_SESSION" "$@" \
    </dev/null 6>&- >"$work/servers.log" 2>&1 || status=$?
  ((status == 3)) || e2e_fail "status $status instead of 3 from mayflyd $*"
  [[ $(grep -c '^mayflyd: ' "$work/servers.log") == 1 ]] || e2e_fail "not one sentence from mayflyd $*"
  grep -qE "^mayflyd: $host: .*($pattern)" "$work/servers.log" || e2e_fail "no sentence like '$pattern'"
  ((SECONDS - begun <= 20)) || e2e_fail "that took $((SECONDS - begun)) s"
  echo "    $(grep '^mayflyd: ' "$work/servers.log" | cut -c 1-300)"
}
# What the servers that were killed left. The first member is sound: its journal is open again before the other's refusal
# ends the recovery, as if that had been killed, so of what a start writes only the names count.
remains() {
  local all
  mapfile -t all < <(find "$work/disk" "$shm" -type f ! -name 'rank-*' | sort)
  printf '%s\n' "${all[@]}"
  printf '%s\n' "${all[@]}" | grep -vE '/(member-0/shard-0/(journal|chunks)|kept-0.*|map|session.json)$' | xargs -d '\n' cksum
}

mkdir -p "$work/in/sub" "$work/disk"
head -c 6000000 /dev/urandom >"$work/in/large"
for i in {1..40}; do echo "$i" >"$work/in/sub/$i"; done
ln "$work/in/sub/1" "$work/in/hard"
ln -s sub/2 "$work/in/soft"
fill() { timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"; }

step "a start on a full, a read-only and no file system"
if with_mounts; then
  mount_at "$work/full" -t tmpfs -o size=64k none
  head -c 100000 /dev/zero >"$work/full/fill" 2>/dev/null
  refused 'No space left on device; make room' "${small[@]}" --dir "$work/full"
  truncate -s 40k "$work/full/fill" # for the charter, not for the journal
  refused 'the journal of shard [0-9]+ cannot be made in .*/full/.*no space left; make room' "${small[@]}" --dir "$work/full"
  [[ $(ls "$work/full") == fill ]] || e2e_fail "left behind: $(ls "$work/full")"
  unmount_all
  mount_at "$work/closed" -t tmpfs -o ro none
  refused 'Read-only file system; give a --dir that you may write' "${small[@]}" --dir "$work/closed"
fi
echo "no directory" >"$work/file"
refused 'file: it is not a directory; name one with --dir' "${small[@]}" --dir "$work/file/disk"
step "a --dir that means nothing here"
unset NO_SUCH_VARIABLE
# shellcheck disable=SC2016  # mayflyd expands them
for pattern in '$NO_SUCH_VARIABLE/disk' '${NO_SUCH_VARIABLE}/disk'; do
  refused 'disk: the variable NO_SUCH_VARIABLE is not set on .*; set it, or give a plain path' "${small[@]}" --dir "$pattern"
done
refused '%q means nothing; %h is the host, %r the rank' "${small[@]}" --dir "$work/%q/disk"
[[ ! -e $MAYFLY_SESSION ]] || e2e_fail "a session file is left"
expect_nothing "$work/disk"

step "another session's directory"
runtime=$MAYFLY_RUNTIME_DIR
MAYFLY_SESSION=$work/other.json MAYFLY_RUNTIME_DIR=$shm/other # in ours the next start would clean up behind it
start "${small[@]}" --dir "$work/other"
kill_all
MAYFLY_SESSION=$work/session.json MAYFLY_RUNTIME_DIR=$runtime
start "${small[@]}" --capacity 16M --dir "$work/disk" --flush-to "$work/out"
fill
kill_all
mine=$(basename "$work"/disk/mayfly-*) other=$(basename "$work"/other/mayfly-*)
before=$(remains)
untouched() { [[ $(remains) == "$before" ]] || e2e_fail "not as it was: $(diff <(echo "$before") <(remains))"; }
refused "holds 0 members of the session in .*/other/$mine, .*--dir" --recover --dir "$work/other"
mv "$work/other/$other" "$work/other/$mine"
refused "other/$mine/.* another session.*--dir" --recover --dir "$work/other"
untouched
rm -rf "$work/other"
MAYFLY_RUNTIME_DIR=$shm/other mayfly clean >"$work/clean.log" || e2e_fail "mayfly clean: $(cat "$work/clean.log")"
before=$(remains)

# broken WHAT PATTERN FILE COMMAND...: COMMAND, which is given the file, breaks it; the recovery is refused, and all is as
# it was found.
journal=$work/disk/$mine/member-1/shard-1/journal
broken() {
  local what=$1 pattern=$2 file=$3 kept
  shift 3
  step "$what"
  cp -a --sparse=always "$file" "$work/kept"
  kept=$before
  "$@" "$file"
  before=$(remains)
  refused "$pattern" --recover --dir "$work/disk"
  untouched
  cp -a --sparse=always "$work/kept" "$file"
  before=$kept
  untouched
}
bytes_at() { # OFFSET BYTES(printf) FILE
  # shellcheck disable=SC2059  # they are escapes
  printf "$2" | dd of="$3" bs=1 seek="$1" conv=notrunc status=none
}
newer() { bytes_at 16 '\x02' "$1" && bytes_at $((4096 + 16)) '\x02' "$1" && "$reseal" "$1"; }
zeros() { dd if=/dev/zero of="$1" bs=4096 count=2 conv=notrunc status=none; }
torn() { bytes_at 1000 'torn' "$1" && bytes_at 5096 'torn' "$1"; }
half() { truncate -s $(($(stat -c %s "$1") / 2)) "$1"; }
foreign() { cp "$work/disk/$mine/member-0/shard-0/journal" "$1"; }
newer_charter() { sed -i 's/"version": 1/"version": 7/' "$1"; }
where="shard 1 .*$mine/member-1/shard-1: .*"
broken "a journal from the future" "${where}newer Mayfly.*version" "$journal" newer
broken "superblocks of zeros" "${where}zeros.*mayfly clean" "$journal" zeros
broken "both superblocks torn" "${where}both superblocks .*damaged.*mayfly clean" "$journal" torn
broken "a journal cut to half its size" "${where}shorter than it was made.*(copy|whole)" "$journal" half
broken "another shard's journal" "${where}another shard" "$journal" foreign
broken "no journal" "${where}no journal.*(--dir|mayfly clean)" "$journal" rm
broken "a charter from the future" "member-1/charter was written by a newer Mayfly.*load that version" \
  "$work/disk/$mine/member-1/charter" newer_charter
broken "a charter cut to half its size" "member-1/charter is damaged.*remove the directory" \
  "$work/disk/$mine/member-1/charter" half

chunks=$work/disk/$mine/member-1/shard-1/chunks
older_chunks() { bytes_at 16 '\x01' "$1"; }
broken "a chunk file of another version" "shard 1 cannot keep data: the chunk file .*member-1/shard-1/chunks was written by another version: use that one" \
  "$chunks" older_chunks

step "a recovery on a full, a read-only and no file system"
if with_mounts; then
  # The servers' files are found in another file system, which is mounted over them.
  mount_at "$work/disk" -t tmpfs none
  refused "holds 0 members of the session in $work/disk/$mine, .*--dir" --recover --dir "$work/disk"
  [[ -z $(ls "$work/disk") ]] || e2e_fail "left in what was empty: $(ls "$work/disk")"
  unmount_all
  untouched
  mount_at "$work/disk" --bind -o ro "$work/disk"
  refused "cannot keep data in .*$mine/member-0/shard-0: its file system is mounted read-only; .*--dir" --recover --dir "$work/disk"
  unmount_all
  untouched
  mount_at "$work/full" -t tmpfs -o size=24m none
  cp -a "$work/disk/$mine" "$work/full/"
  head -c 30000000 /dev/zero >"$work/full/fill" 2>/dev/null
  refused 'cannot keep data in .*/full/.*its file system is full' --recover --dir "$work/full"
  unmount_all
  untouched
fi

step "recovered after all that, with one superblock torn; and nobody else takes it then"
torn_one() { bytes_at 1000 'torn' "$1"; }
torn_one "$journal"
start --recover --dir "$work/disk"
files_are_there
first=$e2e_launcher
refused 'belongs to a session whose servers live' --recover --dir "$work/disk"
refused 'belongs to a session whose servers live' "${small[@]}" --dir "$work/disk"
cp "$MAYFLY_SESSION" "$work/copy.json"
MAYFLY_SESSION=$work/copy.json MAYFLY_RUNTIME_DIR=$shm/elsewhere refused "member 0 .*$mine/member-0.*in use.*; end it|mayfly stop" --recover --dir "$work/disk"
rm -rf "$shm/elsewhere" "$work/copy.json"
[[ $first == "$e2e_launcher" ]] && ! e2e_ended || e2e_fail "the first servers have ended"
files_are_there
stop "$work/disk"
diff -r --no-dereference "$work/in" "$work/out/in" || e2e_fail "the flush of what was recovered"
rm -rf "$work/out" "$work/disk"

# life NAME FILE WORD FAIL OPTION...: FAIL makes member 1's FILE fail, which the server says with WORD, while it serves.
life() {
  local name=$1 file=$2 word=$3 fail=$4 i made=0 refused=0 message
  shift 4
  step "$name"
  start --memory 64M --journal-bytes 4M --flush-to "$work/out" "$@"
  fill
  # Each server has names in the root directory then: to begin with that takes the directory's home, which may be the one that fails.
  : >"$work/acknowledged"
  for ((i = 0; i < 12; ++i)); do
    timeout 60 mayfly mkdir "/before$i" || e2e_fail "mkdir /before$i"
    echo "before$i" >>"$work/acknowledged"
  done
  "$fail"
  for ((i = 0; i < 400 && refused < 5; ++i)); do # each with more records than a block of the journal takes
    if message=$(timeout 60 mayfly stage-in "$work/in/sub" "/more$i" 2>&1) && message=$(timeout 60 mayfly mkdir "/d$i" 2>&1); then
      ((made += 1))
      echo "d$i" >>"$work/acknowledged"
    else
      ((refused += 1))
      # The first one may have been under way: its outcome is not known.
      [[ $message == *'Read-only file system'* || ($refused == 1 && $message == *'Input/output error'*) ]] || e2e_fail "what a read-only server answers: $message"
    fi
  done
  [[ $refused == 5 && ($made != 0 || $file != journal) ]] || e2e_fail "the journal does not fail: $made made, $refused refused"
  echo "    $made made, $refused refused"
  grep -qE "error: .*$file in .*member-1/shard-1 failed \\(a (write|flush|superblock's write): $word\\): this server takes no more changes" "$work/servers.log" ||
    e2e_fail "the server does not say that its $file failed: $(grep -E "error|warning" "$work/servers.log")"
  mayfly status >"$work/status" || e2e_fail "mayfly status: $(cat "$work/status")"
  grep -qE "WARNING: the ($file|journal) of shard 1 on $host has failed: .* changes nothing any more" "$work/status" ||
    e2e_fail "mayfly status does not say it: $(cat "$work/status")"
  for ((i = 1; i <= 40; ++i)); do
    [[ $(timeout 60 mayfly cat "/in/sub/$i" 2>&1) == "$i" ]] || e2e_fail "a file cannot be read: $(mayfly cat "/in/sub/$i" 2>&1)"
  done
  files_are_there
  # What the other server alone holds can still be changed.
  local since=$SECONDS
  for ((i = 0; i < 40; ++i)); do timeout 60 mayfly mkdir "/later$i" 2>/dev/null && echo "later$i"; done >"$work/later"
  [[ -s $work/later ]] || e2e_fail "the other server changes nothing either"
  ((SECONDS - since < 30)) || e2e_fail "40 changes took $((SECONDS - since)) s beside a server that refuses them"
  cat "$work/later" >>"$work/acknowledged"
  # What was acknowledged is in the flush, which verifies.
  timeout 120 mayfly stop >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
  e2e_launcher=''
  diff -r --no-dereference "$work/in" "$work/out/in" || e2e_fail "the flush"
  while read -r i; do [[ -d $work/out/$i ]] || e2e_fail "the flush is without $i, which was acknowledged"; done <"$work/acknowledged"
  rm -rf "$work/out"
}

e2e_mpirun=(-x "LD_PRELOAD=$failing_disk" -x "MAYFLY_TEST_DISK_FAILS=$work/fails")
fail_calls() { find "$work/disk" -name member-1 -printf '%p/\n' >"$work/fails"; }
life "the device of a journal fails under plain writes" journal 'input/output error' fail_calls --dir "$work/disk" --durability process
expect_nothing "$work/disk"
e2e_mpirun=()
remove() { find "$work/disk" -path "*/member-1/*" -name "$1" -delete; }
remove_journal() { remove journal; }
life "a journal is removed under its server" journal 'no such entry' remove_journal --dir "$work/disk" --durability process
expect_nothing "$work/disk"
remove_chunks() { remove chunks; }
life "a chunk file is removed under its server" 'chunk file' 'no such entry' remove_chunks --dir "$work/disk" --durability node
expect_nothing "$work/disk"
mount_image() { # on $work/rank-1
  rm -f "$work/image"
  truncate -s 160m "$work/image"
  mkfs.ext4 -qF "$work/image" || e2e_fail "mkfs.ext4"
  mount_at "$work/rank-1" -o loop "$work/image"
}
step "what takes a device that fails"
if with_mounts; then
  # A device whose blocks are to come out of a file system that is full by then.
  mount_at "$work/blocks" -t tmpfs -o size=32m none
  truncate -s 64m "$work/blocks/image"
  mkfs.ext4 -qF "$work/blocks/image" || e2e_fail "mkfs.ext4"
  mount_at "$work/rank-1" -o loop "$work/blocks/image"
  fail_device() { dd if=/dev/zero of="$work/blocks/full" bs=1M status=none 2>/dev/null; }
  life "the device of a journal fails under io_uring" journal '(input/output error|no space left)' fail_device --dir "$work/rank-%r" --durability process
  unmount_all
  expect_nothing "$work/rank-0"
  # All of a file system at once: none of its calls works any more.
  vanish() { cut_power "$work/rank-1" || e2e_fail "this kernel does not shut a file system down"; }
  mount_image
  life "the file system vanishes" '(journal|chunk file)' 'input/output error' vanish --dir "$work/rank-%r" --durability process \
    --capacity 32M
  unmount_all
  expect_nothing "$work/rank-0"
  mount_image
  life "the file system vanishes at level node" '(journal|chunk file)' 'input/output error' vanish --dir "$work/rank-%r" --durability node
  unmount_all
  expect_nothing "$work/rank-0"

  step "the file system is unmounted under its server, which has it for itself from then on"
  mount_image
  start "${small[@]}" --capacity 32M --flush-to "$work/out" --dir "$work/rank-%r"
  fill
  umount -l "$work/rank-1"
  mounted=()
  timeout 120 mayfly stage-in "$work/in" /again >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  files_are_there
  timeout 120 mayfly stop >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" || e2e_fail "the servers ended with status $?"
  e2e_launcher=''
  for i in in again; do diff -r --no-dereference "$work/in" "$work/out/$i" || e2e_fail "the flush of /$i"; done
  is_free() { [[ -z $(losetup -j "$work/image") ]]; }
  e2e_within 20 is_free || e2e_fail "somebody has the file system still: $(losetup -j "$work/image")"
  rm -rf "$work/out"
  expect_nothing "$work/rank-0"
fi
echo "all as expected"
