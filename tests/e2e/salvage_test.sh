#!/bin/bash
# ctest: TIMEOUT 600 LABELS plain
# `mayfly salvage` and `mayfly fsck`: what the directories of killed servers hold is checked, and written out, whole, or with a line
# for each file that is not: all members, one missing, a member alone, damaged data and journals, no charter, level node with and without
# the node's memory, level process, and more data than memory.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
e2e_have python3 dd
ranks=3

# salvage STATUS DIR...: into $work/out, which is made anew; --json in $work/said.
salvage() {
  local expected=$1 status=0
  shift
  rm -rf "$work/out"
  timeout 120 mayfly salvage --json "$@" --to "$work/out" >"$work/said" 2>"$work/complained" </dev/null || status=$?
  ((status == expected)) || e2e_fail "mayfly salvage $*: status $status, not $expected: $(tail -n 20 "$work/complained" "$work/said")"
}
check() { # STATUS OPTION-OR-DIR...: fsck, its document in $work/said
  local expected=$1 status=0
  shift
  timeout 120 mayfly fsck --json "$@" >"$work/said" 2>"$work/complained" </dev/null || status=$?
  ((status == expected)) || e2e_fail "mayfly fsck $*: status $status, not $expected: $(tail -n 20 "$work/complained" "$work/said")"
}
complains() { grep -qE -- "$1" "$work/complained" || e2e_fail "it does not say '$1': $(cat "$work/complained")"; }
# json EXPRESSION: of `d`, the document in $work/said.
json() {
  python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$work/said" "$1" ||
    e2e_fail "not one JSON document with $1: $(head -c 300 "$work/said")"
}
is() { # EXPECTED EXPRESSION
  local found
  found=$(json "$2") || exit 1
  [[ $found == "$1" ]] || e2e_fail "$2 is $found, not $1: $(head -c 2000 "$work/said")"
}
# What there is to be told of a tree: types, modes, owners, sizes, times, links, content, attributes.
tree_of() { # DIRECTORY
  python3 - "$1" <<'PYTHON'
import hashlib, os, stat, sys
root = sys.argv[1]
links = {}
for directory, folders, files in os.walk(root):
    for name in sorted(folders + files) + ["."]:
        path = os.path.join(directory, name)
        s = os.lstat(path)
        what = [os.path.normpath(os.path.relpath(path, root)), oct(s.st_mode), s.st_uid, s.st_gid]
        what += [] if path.endswith("/.") and directory == root else [s.st_mtime_ns]
        if stat.S_ISREG(s.st_mode):
            links.setdefault(s.st_ino, []).append(what[0])
            what += [s.st_size, hashlib.sha1(open(path, "rb").read()).hexdigest()]
        if stat.S_ISLNK(s.st_mode):
            what += [os.readlink(path)]
        else:
            what += [sorted((n, os.getxattr(path, n)) for n in os.listxattr(path))]
        print(what)
print(sorted(sorted(names) for names in links.values() if len(names) > 1))
PYTHON
}
same() {
  [[ -s $work/tree ]] || tree_of "$work/in" | sort >"$work/tree" # of the source, as long as that stays as it is
  diff "$work/tree" <(tree_of "$work/out/in" | sort) >"$work/diff" || e2e_fail "not what was staged in: $(head -n 20 "$work/diff")"
}
# Each name of the source is there and equal, or has a line, or its directory has one; and no line is idle talk. What is partial has
# the bytes of the source where the line does not say otherwise.
accounted() {
  python3 - "$work/in" "$work/out" "$work/said" <<'PYTHON' || e2e_fail "something is missing that is not said: $(head -c 3000 "$work/said")"
import json, os, sys
source, out, said = sys.argv[1:]
d = json.load(open(said))
losses = {l["path"]: l for l in d["losses"]}
incomplete = {l["path"] for l in d["losses"] if l["kind"] == "incomplete"}
counts, bad = {"whole": 0, "partial": 0, "absent": 0, "unnamed": 0}, []
def under_incomplete(path):
    while path:
        path = os.path.dirname(path)
        if path in incomplete: return True
    return False
for directory, folders, files in os.walk(source):
    for name in folders + files:
        path = os.path.join(directory, name)
        inside = os.path.join("in", os.path.relpath(path, source))
        copy, loss = os.path.join(out, inside), losses.get(inside)
        if loss and loss["kind"] == "partial":
            counts["partial"] += 1
            assert not os.path.lexists(copy), copy
            have, want = open(os.path.join(out, loss["saved_as"]), "rb").read(), open(path, "rb").read()
            if len(have) != len(want) and not loss["perhaps_longer"]: bad.append((inside, "length"))
            end, at = min(len(have), len(want)), 0
            for gap in sorted(loss["gaps"], key=lambda gap: gap["from"]) + [{"from": end, "to": end}]:
                if have[at:min(gap["from"], end)] != want[at:min(gap["from"], end)]: bad.append((inside, "bytes"))
                at = max(at, gap["to"])
            if any(have[g["from"]:g["to"]].strip(b"\0") for g in loss["gaps"]): bad.append((inside, "a gap that is no hole"))
        elif loss and loss["kind"] == "absent":
            counts["absent"] += 1
            if os.path.lexists(copy): bad.append((inside, "absent and there"))
        elif os.path.islink(path):
            if os.path.islink(copy): assert os.readlink(copy) == os.readlink(path)
            elif not under_incomplete(inside): bad.append((inside, "a symbolic link"))
        elif os.path.isdir(path):
            if not os.path.isdir(copy) and not under_incomplete(inside): bad.append((inside, "a directory"))
        elif os.path.exists(copy):
            counts["whole"] += 1
            if open(copy, "rb").read() != open(path, "rb").read(): bad.append((inside, "content"))
        elif under_incomplete(inside): counts["unnamed"] += 1
        else: bad.append((inside, "nothing said"))
# What has no way from the root any more is some file of the source all the same.
contents, lost = set(), 0
for directory, folders, files in os.walk(source):
    for name in files:
        path = os.path.join(directory, name)
        if not os.path.islink(path): contents.add(open(path, "rb").read())
for directory, folders, files in os.walk(os.path.join(out, "lost+found")):
    for name in files:
        path = os.path.join(directory, name)
        if os.path.islink(path) or name.endswith(".partial"): continue
        lost += 1
        if open(path, "rb").read() not in contents: bad.append((path, "content"))
print("   ", counts, "in lost+found:", lost)
if lost and not d["lost"]: bad.append("lost+found without a word")
if counts["unnamed"] > 250 and not lost: bad.append("nothing is saved of what has no name")
if bad: sys.exit(str(bad[:20]))
PYTHON
}

mkdir -p "$work/in/deep/er" "$work/in/sparse" "$work/in/empty"
for i in {1..300}; do echo "file $i" >"$work/in/deep/name-$i"; done
for i in {1..8}; do head -c $((i * 1000000 + i)) /dev/urandom >"$work/in/large-$i"; done
head -c 200000 /dev/urandom >"$work/in/deep/er/middle"
: >"$work/in/deep/er/empty"
truncate -s 50M "$work/in/sparse/hole"
printf end | dd of="$work/in/sparse/hole" bs=1 seek=30000000 conv=notrunc status=none
ln -s ../large-1 "$work/in/deep/symlink"
ln -s /nowhere/at/all "$work/in/dangling"
ln "$work/in/large-2" "$work/in/deep/hard-2"
ln "$work/in/deep/name-7" "$work/in/hard-7"
chmod 640 "$work/in/large-3"
chmod 1750 "$work/in/deep/er"
touch -d '2001-02-03 04:05:06.789' "$work/in/large-4" "$work/in/deep"
python3 - "$work/in" <<'PYTHON' || echo "    without extended attributes: this file system has none"
import os, sys
os.setxattr(sys.argv[1] + "/large-5", "user.colour", b"blue\0green")
os.setxattr(sys.argv[1] + "/deep", "user.of", b"a directory")
PYTHON
fill() {
  timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
}
session_of() { mayfly status --json | sed -n 's/^ *"session": *"\([^"]*\)".*/\1/p' | head -n 1; }
everything() { find "$@" -printf '%p %s %m %T@\n' | sort; }
overwrite() { dd if=/dev/urandom of="$1" bs=4096 seek="$2" count="$3" conv=notrunc status=none || e2e_fail "dd"; }

step "what cannot be salvaged"
salvage 1 "$work/in"
complains "holds no journals"
salvage 1 "$work/none"
complains "is no directory"
salvage 2
check 2 "$work/in"
check 2

step "level node: servers that live"
start --memory 256M --capacity 256M --chunk 1M --durability node --dir "$work/disk/%h"
fill
base=$work/disk/$(hostname)/mayfly-$(session_of)
salvage 1 "$base"
complains "lives"
[[ ! -e $work/out ]] || e2e_fail "a target was made for nothing"
check 2 "$base"
complains "lives"

step "level node: all members"
kill_all
before=$(everything "$shm" "$work/disk")
salvage 0 "$work/disk/$(hostname)"
same
check 0 --data "$base"
is "True True 313 2 6 True" '" ".join(map(str, (d["consistent"], d["complete"], d["files"] + 2, d["symlinks"], d["directories"], d["bytes_checked"] > 36e6)))'
salvage 0 "$work/disk/$(hostname)"
is "True 0 []" '" ".join(map(str, (d["whole"], d["partial"] + d["absent"] + d["lost"] + d["incomplete_directories"], d["problems"])))'
[[ $(everything "$shm" "$work/disk") == "$before" ]] || e2e_fail "it changed something: $(diff <(echo "$before") <(everything "$shm" "$work/disk"))"
timeout 60 mayfly salvage "$base" --to "$work/out" 2>"$work/complained" && e2e_fail "it wrote into a directory that is not empty"
complains "is not empty"
salvage 0 "$base/member-0" "$base/member-1" "$base/member-2" "$base/member-1/shard-1"
same

# Every name has its line: in the document, and in words.
listed() { # what is there: "KIND SIZE PATH" of each file and symbolic link under $work/out
  (cd "$work/out" && find . -type f -printf 'file %s %P\n' -o -type l -printf 'symlink %s %P\n') | sort
}
salvage 0 --list "$base"
same
json '"\n".join(" ".join((n["is"], str(n["size"]), n["path"])) for n in d["names"])' | sort >"$work/listed"
diff <(listed) "$work/listed" >"$work/diff" || e2e_fail "--list --json says otherwise: $(head -n 20 "$work/diff")"
is "True False {'whole'}" '" ".join(map(str, (d["files"] + d["symlinks"] == len(d["names"]), "losses" in d, {n["kind"] for n in d["names"]})))'
rm -rf "$work/out"
timeout 120 mayfly salvage --list "$base" --to "$work/out" >"$work/said" 2>"$work/complained" || e2e_fail "--list: $(cat "$work/complained")"
diff <(listed | sed -E 's/^file ([0-9]+) (.*)/whole: \2: \1 bytes/; s/^symlink [0-9]+ (.*)/whole: \1: symbolic link/; s/: 1 bytes$/: 1 byte/' | sort) <(sort "$work/said") \
  >"$work/diff" || e2e_fail "--list says otherwise: $(head -n 20 "$work/diff")"

step "level node: without the memory of the node"
mv "$MAYFLY_RUNTIME_DIR" "$work/memory"
salvage 0 "$base"
same
is 3 'len(d["notes"])'

step "level node: a member is missing"
for missing in 0 1 2; do
  others=()
  for i in 0 1 2; do ((i == missing)) || others+=("$base/member-$i"); done
  salvage 4 --list "${others[@]}"
  is "True" 'sum(n["kind"] == "whole" for n in d["names"]) == d["files"] + d["symlinks"] and d["partial"] == sum(n["kind"] == "partial" for n in d["names"])'
  salvage 4 "${others[@]}"
  complains "member $missing .*not among those that were given"
  is True 'd["partial"] > 0 and d["files"] > 0'
  accounted
  check 4 "${others[@]}"
  is "True False []" '" ".join(map(str, (d["consistent"], d["complete"], d["findings"])))'
done
step "level node: a member alone"
salvage 4 "$base/member-1"
accounted

step "level node: data is damaged"
salvage 0 "$base"
cp -a "$base/member-0/shard-0/chunks" "$work/chunks"
overwrite "$base/member-0/shard-0/chunks" 20 200
salvage 4 "$base"
accounted
is True 'all(g["is"] == "corrupt" for l in d["losses"] for g in l.get("gaps", [])) and d["partial"] + d["absent"] > 0 and d["files"] > 200'
check 0 "$base"
check 1 --data "$base"
is True 'd["counts"]["bytes"] > 0 and sum(d["counts"].values()) == d["counts"]["bytes"]'
cp "$work/chunks" "$base/member-0/shard-0/chunks"
truncate -s 8M "$base/member-0/shard-0/chunks"
salvage 4 "$base"
complains "the chunk file .* is shorter than it was made"
accounted
cp "$work/chunks" "$base/member-0/shard-0/chunks"
salvage 0 "$base"

step "level node: a journal is damaged"
cp -a "$base/member-2/shard-2/journal" "$work/journal"
dd if=/dev/zero of="$base/member-2/shard-2/journal" bs=4096 count=2 conv=notrunc status=none
salvage 4 "$base"
complains "shard 2 .*its superblocks are zeros"
accounted
check 1 "$base"
complains "shard 2 .*its superblocks are zeros"
cp "$work/journal" "$base/member-2/shard-2/journal"

step "level node: no charter can be read"
sed -i 's/"version": 1/"version": 7/' "$base/member-2/charter"
salvage 0 "$base" # there are others
same
rm "$base/member-0/charter"
echo '{' >"$base/member-1/charter"
salvage 1 "$base" # what a newer Mayfly made may be otherwise altogether
complains "how the session was made is not known: .*newer Mayfly"
truncate -s 100 "$base/member-2/charter"
check 2 "$base"
complains "how the session was made is not known.*mayfly salvage"
before=$(everything "$work/disk")
# That the level was node is not known either, so what the node's memory held may have been acknowledged.
salvage 4 "$base"
same
complains 'guessed: the session had 3 shards of 3 members'
complains 'guessed: all members had the same weight; [0-9]+ names and chunks'
complains 'went with the memory of the node: .*unless the session was at --durability node'
is "0 3" '" ".join(map(str, (d["partial"] + d["absent"] + d["lost"] + d["incomplete_directories"], len(d["problems"]))))'
[[ $(everything "$work/disk") == "$before" ]] || e2e_fail "it changed something"
for missing in 0 1 2; do
  others=()
  for i in 0 1 2; do ((i == missing)) || others+=("$base/member-$i"); done
  salvage 4 "${others[@]}"
  complains "member $missing \\(host not known\\): its directory is not among those"
  accounted
done
cp -a "$base/member-1" "$work/a copy" # whose name says nothing
salvage 4 "$work/a copy"
accounted
rm -rf "$work/a copy"
mv "$work/memory" "$MAYFLY_RUNTIME_DIR"
salvage 0 "$base"
same
complains "no charter can be read: .* is taken from .*/map"
rm -rf "$work/disk"
mayfly clean >/dev/null

step "level process: what a process had written down for servers that were killed with it"
start --memory 256M --durability process
base=$MAYFLY_RUNTIME_DIR/$(session_of)
mkdir "$work/held"
"$MAYFLY_BUILD_DIR/tests/e2e_killed" stop 207 "$work/held" >"$work/maker.log" 2>&1 &
maker=$!
stopped() { [[ $(sed 's/.*) //' "/proc/$maker/stat" 2>/dev/null) == T* ]]; }
e2e_within 60 stopped || e2e_fail "it does not make its files: $(cat "$work/maker.log")"
kill_all
kill -KILL "$maker"
wait "$maker" 2>/dev/null
before=$(everything "$shm")
check 0 --data "$base"
is "True True" '" ".join(map(str, (d["consistent"], d["complete"])))'
salvage 0 "$base"
diff -r "$work/held" "$work/out/held" >"$work/diff" || e2e_fail "not what it had closed and removed: $(head -n 20 "$work/diff")"
is True 'd["written_down"]["done"] > 0 and d["written_down"]["left_out"] + d["written_down"]["not_read"] == 0'
[[ $(everything "$shm") == "$before" ]] || e2e_fail "it changed something"
rm "$base"/arena-*.[0-9]*
salvage 4 "$base"
complains "the outboxes of a process of its node.* are in memory that is not there"
is True 'd["written_down"]["not_read"] > 0 and not d["whole"]'
mayfly clean >/dev/null

step "level process: the bytes are in memory"
start --memory 256M --chunk 1M --durability process
fill
base=$MAYFLY_RUNTIME_DIR/$(session_of)
kill_all
before=$(everything "$shm")
salvage 0 "$base"
same
[[ $(everything "$shm") == "$before" ]] || e2e_fail "it changed something"
mv "$base"/arena-1.[0-9]* "$work/"
salvage 4 "$base"
accounted
is True 'd["partial"] > 0 and d["absent"] > 0 and not d["incomplete_directories"]'
mayfly clean >/dev/null

step "level process: the memory is gone"
start --memory 256M --durability process --dir "$work/disk/%h"
fill
kill_all
rm -rf "${MAYFLY_RUNTIME_DIR:?}"/*
salvage 4 "$work/disk/$(hostname)"
complains "the last part of its journal went with the memory of the node: .* may have been acknowledged"
is True 'sum("the last part of its journal" in p for p in d["problems"]) == 3 and not d["whole"]'
check 1 "$work/disk/$(hostname)"

for level in process node; do
  step "level $level: more data than memory"
  rm -rf "${MAYFLY_RUNTIME_DIR:?}" "$work/disk"
  [[ -e $work/in/huge ]] || head -c 175000000 /dev/urandom >"$work/in/huge"
  rm -f "$work/tree"
  start --memory 64M --capacity 256M --journal-bytes 8M --durability "$level" --dir "$work/disk/%h"
  fill
  (($(e2e_figure evicted) > 0)) || e2e_fail "nothing was evicted: this test tries nothing"
  kill_all
  before=$(everything "$shm" "$work/disk")
  salvage 0 "$work/disk/$(hostname)"
  same
  check 0 --data "$work/disk/$(hostname)"
  is "True True True" '" ".join(map(str, (d["consistent"], d["complete"], d["bytes_checked"] > 192 << 20)))'
  [[ $(everything "$shm" "$work/disk") == "$before" ]] || e2e_fail "it changed something"
  find "$work/disk" -name charter -delete
  salvage 0 "$work/disk/$(hostname)"
  same
  # What was not evicted lay in memory alone, or at level node on the disk as well.
  rm -rf "${MAYFLY_RUNTIME_DIR:?}"
  salvage 4 "$work/disk/$(hostname)"
  if [[ $level == node ]]; then
    same
  else
    is "3 True" '" ".join(map(str, (sum("the last part of its journal" in p for p in d["problems"]), d["files"] > 0)))'
    # Each journal ends at a moment of its own: what is there is of the source, and nothing is of anything else.
    python3 - "$work/in" "$work/out/in" <<'PYTHON' || e2e_fail "something that was never in the source"
import os, sys
source, out = sys.argv[1:]
block = 4096
for directory, folders, files in os.walk(out):
    for name in files:
        path = os.path.join(directory, name)
        if os.path.islink(path): continue
        inside = os.path.relpath(path, out).removesuffix(".partial")
        have, want = open(path, "rb").read(), open(os.path.join(source, inside), "rb").read()
        assert len(have) <= len(want), path
        for at in range(0, len(have), block):
            piece = have[at:at + block]
            assert piece == want[at:at + len(piece)] or not piece.strip(b"\0"), (path, at)
PYTHON
  fi
done
echo "all as expected"
