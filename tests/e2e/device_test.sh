#!/bin/bash
# ctest: TIMEOUT 600
# A raw device (a loop device, where root may make one) and a file in the place of one as --dir, shared by three servers:
# what is acknowledged survives a kill of all and a loss of the node's memory, the tools read it, other things on a
# device are not overwritten, and at the end nothing is left.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Mounted where nobody else sees it: another script's namespace that began meanwhile would keep it mounted.
if [[ -z ${DEVICE_TEST_INSIDE:-} && $(id -u) == 0 ]] && unshare -m true 2>/dev/null; then
  DEVICE_TEST_INSIDE=yes exec unshare -m bash "$0"
fi
. "$here/lib.sh"
. "$here/survive_common.sh"
e2e_mpirun=(--enable-recovery)
loop=''
release() {
  kill -KILL "${servers[@]}" 2>/dev/null
  [[ -z $loop ]] || umount "$loop" 2>/dev/null
  [[ -z $loop ]] || losetup -d "$loop"
}
trap 'release; end_all' EXIT
device='' options=()
use() { # DEVICE
  device=$1
  options=(--memory 64M --journal-bytes 8M --dir "$device")
}
blank() { [[ $(cmp "$device" /dev/zero 2>&1) == *EOF* ]] || e2e_fail "something is left: $(cmp "$device" /dev/zero 2>&1)"; }
refused() { # WORDS OPTION...
  local words=$1
  shift
  launch "$@"
  e2e_within 60 e2e_ended || e2e_fail "a start that cannot be: $words"
  grep -q "$words" "$work/servers.log" || e2e_fail "it is not said ($words): $(cat "$work/servers.log")"
  e2e_launcher=''
}
memory_is_gone() { rm -rf "${MAYFLY_RUNTIME_DIR:?}"/* "${segments[@]}"; }
same() {
  rm -rf "$work/copy"
  timeout 120 mayfly stage-out /in "$work/copy" >"$work/copy.log" 2>&1 || e2e_fail "stage-out: $(cat "$work/copy.log")"
  diff -r "$work/in" "$work/copy" || e2e_fail "what was staged in is not there"
}
stop_all() {
  timeout 60 mayfly stop --no-flush >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  e2e_within 20 gone "${rejoined[@]}" || e2e_fail "a server that came back does not end"
  e2e_launcher='' rejoined=()
}
mkdir -p "$work/in/many"
head -c 80000000 /dev/urandom >"$work/in/large"
for i in {1..40}; do head -c $((i * 9973)) /dev/urandom >"$work/in/many/$i"; done

loses_power() {
  step "a loss of power"
  start --durability node "${options[@]}"
  timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  mayfly status >"$work/status" || e2e_fail "mayfly status"
  grep -q "^data on the disk:" "$work/status" || e2e_fail "mayfly status: $(cat "$work/status")"
  [[ -z $loop || $device != "$loop" ]] || ! mkfs.ext4 -qF "$device" 2>/dev/null || e2e_fail "mkfs has a device that servers use"
  kill_all
  memory_is_gone
  timeout 60 mayfly journal verify "$device" >"$work/verify" 2>&1 || e2e_fail "journal verify: $(cat "$work/verify")"
  timeout 60 mayfly fsck "$device" >"$work/fsck" 2>&1 || e2e_fail "fsck: $(cat "$work/fsck")"
  rm -rf "$work/salvaged"
  timeout 120 mayfly salvage "$device" --to "$work/salvaged" >"$work/salvage" 2>&1 || e2e_fail "salvage: $(cat "$work/salvage")"
  diff -r "$work/in" "$work/salvaged/in" || e2e_fail "salvage has other bytes"
  MAYFLY_SESSION=$work/other.json refused "cannot keep data in $device: mayfly-.* is there; bring that session back" --durability node "${options[@]}"
  start --recover --dir "$device"
  same
}
comes_back_alone() {
  step "a member alone"
  e2e_servers 3
  kill -KILL "${pids[${others[0]}]}"
  e2e_within 20 gone "${pids[${others[0]}]}" || e2e_fail "a killed server lives"
  rejoin_begin "${others[0]}" --dir "$device"
  rejoin_end "${others[0]}"
  same
}
is_given_up() {
  step "a kill, and nobody who wants it back"
  start --durability process --capacity 200M "${options[@]}"
  mayfly cp "$work/in/large" :/large || e2e_fail "mayfly cp"
  kill_all
  timeout 60 mayfly clean >"$work/clean" 2>&1 || e2e_fail "mayfly clean: $(cat "$work/clean")"
  grep -q "removed $device/mayfly-" "$work/clean" || e2e_fail "mayfly clean does not name it: $(cat "$work/clean")"
  blank
  step "given up by name"
  start --durability node "${options[@]}"
  kill_all
  memory_is_gone
  timeout 60 mayfly journal clear -y --force "$device" >"$work/clear" 2>&1 || e2e_fail "journal clear: $(cat "$work/clear")"
  blank
}

echo "== a file"
truncate -s 1G "$work/file"
chmod 600 "$work/file"
use "$work/file"
refused "has room for .* a member; give no more, or leave it out" --durability node --capacity 900M "${options[@]}"
blank
loses_power
stop_all
blank
echo "a letter" | dd of="$device" bs=1 seek=5000 conv=notrunc status=none
refused "$device: it is a file with something else in it" --durability node "${options[@]}"
grep -q "a letter" "$device" || e2e_fail "a file was overwritten"
rm "$device"
use /dev/mayfly-no-such-device
refused "/dev/mayfly-no-such-device: there is no such device" --durability node "${options[@]}"

echo "== a device"
if [[ $(id -u) == 0 ]] && type losetup mkfs.ext4 wipefs &>/dev/null; then
  truncate -s 1G "$work/image"
  loop=$(losetup -f --show "$work/image" 2>/dev/null) || loop=''
fi
if [[ -z $loop ]]; then
  echo "    left out: neither root nor loop devices here"
else
  use "$loop"
  step "what is on a device is not overwritten"
  mkfs.ext4 -qF "$device" || e2e_fail "mkfs.ext4"
  refused "$device: it carries an ext2, ext3 or ext4 file system; if that may be lost, run wipefs -a $device" --durability node "${options[@]}"
  mkdir "$work/mounted"
  if mount "$device" "$work/mounted" 2>/dev/null; then
    refused "$device: it is in use (mounted" --durability node "${options[@]}"
    umount "$work/mounted"
  fi
  wipefs -qa "$device"
  launch --durability node "${options[@]}"
  wait_ready
  stop_all
  dd if=/dev/zero of="$device" bs=1M count=1024 status=none # what mkfs left
  loses_power
  comes_back_alone
  stop_all
  blank
  is_given_up
fi
echo "all as expected"
