#!/bin/bash
# ctest: TIMEOUT 900
# More data than memory: what memory has no room for lies in --dir and comes back when it is read, also after a kill, and
# at the end the flush has all of it. One file is larger than all memory together. A full disk is ENOSPC, and what is
# removed can be written again.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
e2e_have python3
evicted() { e2e_figure evicted; }

mkdir -p "$work/in/many"
head -c 260000000 /dev/urandom >"$work/in/large" # all servers together have 192 MiB
for i in {1..60}; do head -c $((i * 40961)) /dev/urandom >"$work/in/many/$i"; done
same() { # PATH
  rm -rf "$work/copy"
  timeout 300 mayfly stage-out "$1" "$work/copy" >"$work/cp.log" 2>&1 || e2e_fail "mayfly stage-out: $(cat "$work/cp.log")"
  diff -r "$work/in" "$work/copy" || e2e_fail "what was staged in is not there"
  rm -rf "$work/copy"
}
# An interpreter cannot load a library with sanitizers. (Not by a pipe: grep ends at the first match, and ldd by SIGPIPE.)
sanitized() { grep -qE 'lib(a|t)san' <<<"$(ldd "$MAYFLY_BUILD_DIR/libmayfly.so")"; }
end_without_flush() {
  mayfly stop --no-flush >"$work/stop.log" 2>&1 || e2e_fail "mayfly stop: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher"
  e2e_launcher=''
}
# Small reads here and there bring little back: not the large pieces in which the file lies on the disk.
here_and_there() {
  local before bytes
  if sanitized; then
    echo "    small reads: left out, as an interpreter cannot load a library with sanitizers"
    return
  fi
  before=$(e2e_figure read_back_bytes)
  timeout 300 python3 - "$work/in/large" <<'PY' || e2e_fail "reading here and there"
import ctypes, os, random, sys
lib = ctypes.CDLL(os.environ["MAYFLY_BUILD_DIR"] + "/libmayfly.so")
lib.mayfly_error.restype = ctypes.c_char_p
lib.mayfly_pread.restype = ctypes.c_ssize_t
lib.mayfly_pread.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long]
fs = ctypes.c_void_p()
if lib.mayfly_connect(None, None, ctypes.byref(fs)) != 0: sys.exit(lib.mayfly_error())
fd = lib.mayfly_open(fs, b"/in/large", os.O_RDONLY)
chance = random.Random(1)
size = os.path.getsize(sys.argv[1])
with open(sys.argv[1], "rb") as real:
    for i in range(400):
        count = chance.choice([1, 4096, 4096, 30000])
        at = chance.randrange(size - count)
        found = ctypes.create_string_buffer(count)
        if lib.mayfly_pread(fd, found, count, at) != count: sys.exit(lib.mayfly_error())
        real.seek(at)
        if found.raw != real.read(count): sys.exit(f"{count} bytes at {at} are not what was written")
lib.mayfly_close(fd)
lib.mayfly_disconnect(fs)
PY
  bytes=$(($(e2e_figure read_back_bytes) - before))
  echo "    400 small reads brought $((bytes >> 20)) MiB back"
  ((bytes > 0 && bytes < 400 * 150000)) || e2e_fail "400 reads of some kilobytes read $bytes bytes from the disk"
}

# What goes between memory and disk is the arena's, which the disk knows.
goes_registered() {
  local all
  all=$(e2e_figure transfers)
  if grep -q 'cannot be registered' "$work/servers.log"; then
    echo "    registered memory: less than all is allowed here"
  elif grep -q 'registered' "$work/status"; then
    (($(e2e_figure transfers_registered) * 10 > all * 9)) ||
      e2e_fail "of $all transfers only $(e2e_figure transfers_registered) are in registered memory"
  else
    grep -q '(io_uring' "$work/status" && e2e_fail "nothing is registered: $(cat "$work/status")"
    echo "    registered memory: none here"
  fi
}

life() { # OPTION...
  start --memory 64M --capacity 256M --journal-bytes 8M --dir "$work/disk/%h" --flush-to "$work/out" "$@"
  timeout 300 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  (($(evicted) > 0)) || e2e_fail "nothing was evicted: this test tries nothing"
  mayfly status >"$work/status" || e2e_fail "mayfly status"
  grep -q '^data on the disk: .* of 768.0 MiB; .* left memory' "$work/status" || e2e_fail "mayfly status: $(cat "$work/status")"
  same /in
  same /in # once more: what was read back had to go again
  goes_registered
  here_and_there
  kill_all
  start --recover --dir "$work/disk/%h"
  same /in
  # Nothing more fits at some time, and removing makes room.
  local full=0
  for i in {1..20}; do
    mayfly cp "$work/in/large" ":/more-$i" >"$work/full.log" 2>&1 || {
      full=1
      break
    }
  done
  ((full == 1)) || e2e_fail "a disk of 768 MiB is never full"
  grep -qi 'no space' "$work/full.log" || e2e_fail "it is not said that the session is full: $(cat "$work/full.log")"
  same /in
  for i in {1..20}; do mayfly rm -f "/more-$i" >/dev/null 2>&1; done
  mayfly cp "$work/in/large" :/again || e2e_fail "no room after all was removed"
  cmp <(mayfly cat /again) "$work/in/large" || e2e_fail "what was written into room that came back"
  stop "$work/disk"
  diff -r "$work/in" "$work/out/in" || e2e_fail "the flush of more than memory"
  cmp "$work/in/large" "$work/out/again" || e2e_fail "the flush of a file larger than memory"
  rm -rf "$work/out"
}
# What fallocate reserves takes of the disk and not of memory: more than all memory has is reserved, more than the disk
# has is refused at once, and then the disk is filled by others and all that was reserved is written.
reserved() { # the python program below: PHASE...
  timeout 300 python3 - "$@" <<'PY' || e2e_fail "reservations: $*"
import ctypes, errno, os, sys, time
lib = ctypes.CDLL(os.environ["MAYFLY_BUILD_DIR"] + "/libmayfly.so", use_errno=True)
lib.mayfly_error.restype = ctypes.c_char_p
for name in "mayfly_pread", "mayfly_pwrite":
    getattr(lib, name).restype = ctypes.c_ssize_t
    getattr(lib, name).argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long]
lib.mayfly_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
MIB = 1 << 20
SIZE = 768 * MIB  # all servers together have 192 MiB of memory, and 864 of disk
STEP = 3 * MIB + 4097
fs = ctypes.c_void_p()
def die(why): sys.exit(f"{why}: {lib.mayfly_error()}")
def file(path):
    fd = lib.mayfly_open(fs, path, os.O_RDWR | os.O_CREAT, 0o644)
    return fd if fd >= 0 else die(f"open {path}")
def piece(at, count): return bytes([at // STEP % 251 + 1]) * count
if lib.mayfly_connect(None, None, ctypes.byref(fs)) != 0: die("connect")
big = -1 if sys.argv[1] == "df" else file(b"/reserved")
for phase in sys.argv[1:]:
    begin = time.monotonic()
    if phase == "reserve":
        if lib.mayfly_fallocate(big, 0, 0, SIZE) != 0: die("768 MiB are not reserved")
    elif phase == "refuse":
        more = file(b"/more")
        if lib.mayfly_fallocate(more, 0, 0, 200 * MIB) == 0: sys.exit("200 MiB more than there is were reserved")
        if ctypes.get_errno() != errno.ENOSPC: die("another error than ENOSPC")
        if time.monotonic() - begin > 20: sys.exit("ENOSPC does not come at once")
        lib.mayfly_close(more)
    elif phase == "fill":
        other, count = file(b"/filler"), 0
        data = b"f" * MIB
        while lib.mayfly_pwrite(other, data, MIB, count * MIB) == MIB: count += 1
        if count < 16: sys.exit(f"only {count} MiB beside what is reserved")
        lib.mayfly_close(other)
    elif phase == "write":
        for at in range(0, SIZE, STEP):
            count = min(STEP, SIZE - at)
            if lib.mayfly_pwrite(big, piece(at, count), count, at) != count: die(f"write at {at} of what is reserved")
    elif phase == "read":
        found = ctypes.create_string_buffer(STEP)
        for at in range(0, SIZE, STEP):
            count = min(STEP, SIZE - at)
            if lib.mayfly_pread(big, found, count, at) != count: die(f"read at {at}")
            if found.raw[:count] != piece(at, count): sys.exit(f"what is at {at} is not what was written")
    elif phase == "df":
        st = (ctypes.c_ulong * 64)()  # f_bsize, f_frsize, f_blocks, f_bfree, f_bavail
        if lib.mayfly_statvfs(fs, st) != 0: die("statvfs")
        print(st[1] * st[4])
        continue
    print(f"    {phase}: {time.monotonic() - begin:.1f} s")
lib.mayfly_close(big)
lib.mayfly_disconnect(fs)
PY
}
reservations() { # OPTION...
  sanitized && return
  start --memory 64M --capacity 288M --journal-bytes 8M --dir "$work/disk/%h" "$@"
  before=$(reserved df)
  reserved reserve refuse
  (($(e2e_figure evicted) == 0)) || e2e_fail "a reservation takes memory"
  mayfly rm /more || e2e_fail "mayfly rm"
  grep -q "Blocks: $((768 << 11)) " <<<"$(mayfly stat /reserved)" || e2e_fail "st_blocks: $(mayfly stat /reserved)"
  e2e_within 20 only_that_is_taken || e2e_fail "df: $before, then $(reserved df)"
  kill_all
  start --recover --dir "$work/disk/%h"
  reserved fill write read
  kill_all
  start --recover --dir "$work/disk/%h"
  reserved read
  mayfly rm -f /reserved /filler || e2e_fail "mayfly rm"
  e2e_within 20 all_is_free || e2e_fail "df: $before at first, $(reserved df) when all is removed"
  end_without_flush
}
# A file of three quarters of the disk is written over, a little here and a little there, more often than there is room
# for what that leaves behind: never ENOSPC, and each byte is the last that was written.
written_over() { # the python program below: write | check
  timeout 600 python3 - "$@" "$work/versions" <<'PY' || e2e_fail "writing over: $*"
import ctypes, os, pickle, random, sys
lib = ctypes.CDLL(os.environ["MAYFLY_BUILD_DIR"] + "/libmayfly.so", use_errno=True)
lib.mayfly_error.restype = ctypes.c_char_p
for name in "mayfly_pread", "mayfly_pwrite":
    getattr(lib, name).restype = ctypes.c_ssize_t
    getattr(lib, name).argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long]
fs = ctypes.c_void_p()
def die(why): sys.exit(f"{why}: {lib.mayfly_error()}")
if lib.mayfly_connect(None, None, ctypes.byref(fs)) != 0: die("connect")
fd = lib.mayfly_open(fs, b"/over", os.O_RDWR | os.O_CREAT, 0o644)
if fd < 0: die("open")
PIECE, COUNT, LARGE = 64 << 10, 360 << 4, 64  # 360 MiB of 480
def block(i, version): return (b"%8d %8d " % (i, version)) * (PIECE // 18) + b"." * (PIECE % 18)
if sys.argv[1] == "write":
    versions = [0] * COUNT
    for i in range(0, COUNT, LARGE):
        data = b"".join(block(k, 0) for k in range(i, i + LARGE))
        if lib.mayfly_pwrite(fd, data, len(data), i * PIECE) != len(data): die(f"write at {i * PIECE}")
    chance = random.Random(5)
    for turn in range(2 * COUNT):
        i = chance.randrange(COUNT)
        versions[i] += 1
        if lib.mayfly_pwrite(fd, block(i, versions[i]), PIECE, i * PIECE) != PIECE: die(f"write {turn} over what is there")
    pickle.dump(versions, open(sys.argv[2], "wb"))
versions = pickle.load(open(sys.argv[2], "rb"))
found = ctypes.create_string_buffer(PIECE)
for i in range(COUNT):
    if lib.mayfly_pread(fd, found, PIECE, i * PIECE) != PIECE: die(f"read at {i * PIECE}")
    if found.raw != block(i, versions[i]): sys.exit(f"piece {i} is {found.raw[:18]}, and version {versions[i]} was written")
lib.mayfly_close(fd)
lib.mayfly_disconnect(fs)
PY
}
overwrites() { # OPTION...
  sanitized && return
  start --memory 64M --capacity 160M --journal-bytes 8M --dir "$work/disk/%h" "$@"
  written_over write
  kill_all
  start --recover --dir "$work/disk/%h"
  written_over check
  mayfly rm /over || e2e_fail "mayfly rm"
  end_without_flush
}
only_that_is_taken() {
  local taken=$((before - $(reserved df)))
  ((taken >= 768 << 20 && taken < 784 << 20))
}
all_is_free() { (($(reserved df) >= before - (1 << 20))); }
step "reservations, level process"
reservations --durability process
step "reservations, level node"
reservations --durability node
step "written over, level process"
overwrites --durability process
step "written over, level node"
overwrites --durability node
step "level process"
life --durability process
step "level node, least often used first"
life --durability node --evict lfu
echo "all as expected"
