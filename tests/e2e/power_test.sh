#!/bin/bash
# ctest: TIMEOUT 900
# Level `node`: the disk of all servers loses its power (a file system on a loop image) while clients work, and with it
# goes all that lay in memory. What was acknowledged is there after --recover: with --fsync always all of it, with commit
# what was closed. So is it when one server alone loses its disk and its memory, and comes back to the others (--rejoin).
# The file system: POWER_TEST_DISK, ext4 or xfs (power_xfs_test.sh).
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Mounted where nobody else sees it: another script's namespace that began meanwhile would keep it mounted.
if [[ -z ${POWER_TEST_INSIDE:-} && $(id -u) == 0 ]] && unshare -m true 2>/dev/null; then
  POWER_TEST_INSIDE=yes exec unshare -m bash "$0"
fi
. "$here/lib.sh"
. "$here/survive_common.sh"
[[ $(id -u) == 0 ]] || e2e_skip "not root: cannot mount a loop image"
disk=${POWER_TEST_DISK:-ext4}
e2e_have "mkfs.$disk" python3
grep -qw "$disk" /proc/filesystems || e2e_skip "this kernel has no $disk"
truncate -s 2G "$work/image"
"mkfs.$disk" -q "$work/image" || e2e_skip "mkfs.$disk does not work here"
mkdir "$work/disk"
mount -o loop "$work/image" "$work/disk" 2>/dev/null || e2e_skip "this kernel or container does not mount loop images"
unmount() {
  exec 6>&-
  kill -KILL "${workers[@]}" "${servers[@]}" 2>/dev/null
  e2e_within 20 umount "$work/disk" 2>/dev/null || umount -l "$work/disk"
}
trap 'unmount; end_all' EXIT

lose_power() {
  mapfile -t servers < <(pgrep -P "$e2e_launcher" -x mayflyd)
  kill -STOP "${servers[@]}" # what they have asked the disk for goes on
  cut_power "$work/disk" || e2e_fail "the power cannot be cut"
  kill_all
  rm -rf "${MAYFLY_RUNTIME_DIR:?}"/* "${segments[@]}" # the node's memory
  e2e_within 20 umount "$work/disk" 2>/dev/null || e2e_fail "the image is in use"
  mount -o loop "$work/image" "$work/disk" || e2e_fail "the image cannot be mounted again"
}
options=(--memory 96M --capacity 96M --journal-bytes 8M --durability node)
dir_option=(--dir "$work/disk/%h")

survivor_place=elsewhere # nobody on the node survives a loss of its power
step "every operation, with clients that go on"
start "${options[@]}" "${dir_option[@]}" --fsync always --flush-to "$work/out"
work a
work b
all_go_on 60
for _ in 1 2 3; do
  lose_power
  start --recover "${dir_option[@]}"
  all_go_on 60
  all_check
done
end_workers
lose_power # with nobody at work
start --recover "${dir_option[@]}"
look
stop "$work/disk"

head -c 3000000 /dev/urandom >"$work/large"
copied() { # until the servers are stopped
  local i
  for ((i = 0; ; ++i)); do
    head -c $((i * 131 % 20000)) /dev/urandom >"$work/in-$i"
    ((i % 10 != 0)) || cp "$work/large" "$work/in-$i"
    timeout 20 mayfly cp "$work/in-$i" ":/d/$i" >/dev/null 2>&1 || return
    echo "$i" >>"$work/closed"
  done
}
enough() { [[ -s $work/closed ]] && (($(wc -l <"$work/closed") >= $1)); }
copying() {
  mayfly mkdir /d || e2e_fail "mkdir"
  : >"$work/closed"
  copied &
  workers+=($!)
  e2e_within 60 enough 40 || e2e_fail "nothing is copied"
}
closed_are_there() {
  local i
  while read -r i; do
    mayfly cp ":/d/$i" "$work/back" >/dev/null 2>&1 || e2e_fail "the file $i, which was closed, is not there"
    cmp "$work/in-$i" "$work/back" || e2e_fail "the file $i is not as it was closed"
  done < <(head -n "$closed_by_then" "$work/closed")
  echo "    files that were closed: $closed_by_then"
}

# Member 1 has the image, the others live where nothing happens.
mkdir -p "$work/each"
ln -s "$work/disk" "$work/each/1"
e2e_mpirun=(--enable-recovery)
dir_option=(--dir "$work/each/%r")
lose_power_of_one() {
  kill -STOP "${pids[1]}"
  cut_power "$work/disk" || e2e_fail "the power cannot be cut"
  kill -KILL "${pids[1]}"
  wait "${pids[1]}" 2>/dev/null
  e2e_within 20 gone "${pids[1]}" || e2e_fail "a killed server lives"
  rm -f "${MAYFLY_RUNTIME_DIR:?}"/*/arena-1.* "$MAYFLY_RUNTIME_DIR"/*/kept-1.*
  e2e_within 20 umount "$work/disk" 2>/dev/null || e2e_fail "the image is in use"
  mount -o loop "$work/image" "$work/disk" || e2e_fail "the image cannot be mounted again"
  rejoin_begin 1 --member 1 "${dir_option[@]}"
  rejoin_end 1
  forget
}
one_loses_power() { # OPTION...
  step "the power of one server alone, $*"
  start "${options[@]}" "${dir_option[@]}" --flush-to "$work/out" "$@"
  e2e_servers 3
}
stop_each() {
  stop "$work/disk"
  expect_nothing "$work/each/0"
  expect_nothing "$work/each/2"
  rm -rf "$work/out"
}
names=()
one_loses_power --fsync always
work c
work d
all_go_on 60
for _ in 1 2; do
  lose_power_of_one
  all_go_on 60
  all_check
done
end_workers
stop_each
one_loses_power --fsync commit
copying
closed_by_then=$(wc -l <"$work/closed")
lose_power_of_one
e2e_within 60 enough $((closed_by_then + 5)) || e2e_fail "the client does not go on"
kill -KILL "${workers[@]}"
wait "${workers[@]}" 2>/dev/null
workers=()
closed_by_then=$(wc -l <"$work/closed")
closed_are_there
stop_each
e2e_mpirun=()
dir_option=(--dir "$work/disk/%h")

step "what was closed"
start "${options[@]}" "${dir_option[@]}" --flush-to "$work/out"
copying
closed_by_then=$(wc -l <"$work/closed")
lose_power
kill -KILL "${workers[@]}" 2>/dev/null
wait "${workers[@]}" 2>/dev/null
workers=()
start --recover "${dir_option[@]}"
closed_are_there
step "damage is named, and is no wrong byte"
names=()
file=$(find "$work/disk" -name chunks | head -n 1)
kill_all
rm -rf "${MAYFLY_RUNTIME_DIR:?}"/*
dd if=/dev/urandom of="$file" bs=4096 seek=1 count=2000 conv=notrunc status=none
start --recover "${dir_option[@]}"
intact=() refused=()
while read -r i; do
  if mayfly cp ":/d/$i" "$work/back" >/dev/null 2>&1; then
    cmp "$work/in-$i" "$work/back" || e2e_fail "the file $i has wrong bytes"
    intact+=("$i")
  else
    refused+=("$i")
  fi
done < <(head -n "$closed_by_then" "$work/closed")
(($(e2e_figure corrupt_blocks) > 0)) || e2e_fail "the damage is not counted"
((${#refused[@]} > 0 && ${#intact[@]} > 0)) || e2e_fail "${#intact[@]} files intact, ${#refused[@]} refused"
# So it is by the flush, whose status says that not all is there.
status=0
timeout 120 mayfly flush >"$work/flush.log" 2>&1 || status=$?
((status == 1)) || e2e_fail "status $status from a flush that meets damage: $(cat "$work/flush.log")"
for i in "${refused[@]}"; do
  grep -qE "(^|[ /])d/$i: its bytes, from [0-9]+ on, do not match their checksum" "$work/flush.log" || e2e_fail "the flush does not name /d/$i: $(cat "$work/flush.log")"
  [[ ! -e $work/out/d/$i ]] || e2e_fail "the flush writes /d/$i, which is damaged"
done
for i in "${intact[@]}"; do
  cmp "$work/in-$i" "$work/out/d/$i" || e2e_fail "the flush of /d/$i beside what is damaged"
  ! grep -qE "(^|[ /])d/$i: .*do not match their checksum" "$work/flush.log" || e2e_fail "the flush complains of /d/$i: $(cat "$work/flush.log")"
done
echo "    ${#intact[@]} files flushed, ${#refused[@]} named and not written"
kill_all
rm -f "$file"
launch --recover "${dir_option[@]}"
e2e_within 60 e2e_ended || e2e_fail "a chunk file that is missing is no reason not to start"
grep -q 'the chunk file .*/chunks is not there' "$work/servers.log" || e2e_fail "it is not named: $(cat "$work/servers.log")"
e2e_launcher=''
echo "all as expected"
