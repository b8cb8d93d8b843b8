#!/bin/bash
# ctest: TIMEOUT 600 LABELS plain
# `mayfly journal` on the journals of killed servers, in memory and in --dir: whole, torn, damaged, cut; what it says as
# text and as JSON, that looking changes nothing, and what `clear` refuses and removes.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
e2e_have python3 dd
ranks=2

# verb STATUS WHAT...: `mayfly journal WHAT` ends with STATUS; its output is in $work/said and $work/complained.
verb() {
  local expected=$1 status=0
  shift
  timeout 60 mayfly journal "$@" >"$work/said" 2>"$work/complained" </dev/null || status=$?
  ((status == expected)) || e2e_fail "mayfly journal $*: status $status, not $expected: $(output)"
}
output() { tail -n 20 "$work/said" "$work/complained"; }
says() { grep -qE -- "$1" "$work/said" "$work/complained" || e2e_fail "it does not say '$1': $(output)"; }
# json EXPRESSION: of `d`, the document in $work/said.
json() {
  python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$work/said" "$1" ||
    e2e_fail "not one JSON document with $1: $(head -c 300 "$work/said")"
}
# is EXPECTED EXPRESSION
is() {
  local found
  found=$(json "$2") || exit 1
  [[ $found == "$1" ]] || e2e_fail "$2 is $found, not $1"
}
everything() { find "$@" -printf '%p %s %m %T@\n' | sort; }
fill() {
  timeout 120 mayfly stage-in "$work/in" /in >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
}
session_of() { mayfly status --json | sed -n 's/^ *"session": *"\([^"]*\)".*/\1/p' | head -n 1; }
# Answers a question on a terminal. terminal ANSWER WHAT...
terminal() {
  python3 - "$@" <<'PYTHON'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp("mayfly", ["mayfly", "journal", *sys.argv[2:]])
said = b""
while b"[y/N]" not in said:
    said += os.read(fd, 1000)
os.write(fd, sys.argv[1].encode() + b"\n")
try:
    while more := os.read(fd, 1000):
        said += more
except OSError:
    pass
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PYTHON
}

mkdir "$work/in"
for i in {1..600}; do echo "file $i" >"$work/in/name-$i"; done

step "no journals"
verb 2 verify "$work/in"
says "holds no journals"
verb 1 dump "$work/none"
says "is no directory"
verb 2 verify
verb 2

step "servers that live"
start --memory 128M --durability process
fill
uuid=$(session_of)
base=$MAYFLY_RUNTIME_DIR/$uuid
[[ -d $base/member-0/shard-0 ]] || e2e_fail "no storage in $base"
verb 2 verify "$base"
says "a server has the journal open"
verb 1 stat "$base"
verb 1 dump --json "$base"
is "unreadable True" 'd["shards"][1]["end"]["verdict"] + " " + str("has the journal open" in d["shards"][1]["end"]["problem"])'
verb 1 clear --yes --force "$base"
says "lives \(process"
files_are_there
# So that the last record does not begin in a block that the ring has: a torn tail is in memory alone.
for i in {1..8}; do mayfly mkdir "/more-$i" || e2e_fail "mkdir"; done

step "killed servers: whole"
kill_all
before=$(everything "$shm")
verb 0 verify "$base"
[[ $(grep -c '^whole: shard' "$work/said") == 2 ]] || e2e_fail "not two whole shards: $(cat "$work/said")"
for directory in "$MAYFLY_RUNTIME_DIR" "$base/member-1" "$base/member-1/shard-1"; do verb 0 verify "$directory"; done
[[ $(grep -c '^whole' "$work/said") == 1 ]] || e2e_fail "more than the one shard: $(cat "$work/said")"
verb 0 verify --json "$base"
is "whole ['whole', 'whole'] ['read', 'read']" \
  '" ".join(map(str, (d["verdict"], [s["verdict"] for s in d["shards"]], [s["tail_memory"] for s in d["shards"]])))'
verb 0 stat "$base"
says "^  ring +8.0 MiB, .*% of it live"
says "0x8106 entry"
verb 0 stat --json "$base"
is True 'sum(f["fields"] for s in d["shards"] for f in s["fields"] if f["name"] == "file-range") >= 600'
is True 'all(s["live_bytes"] == s["head"] - s["tail"] and s["next_lsn"] % 4096 == 0 for s in d["shards"])'
records=$(json '[s["records"]["changes"]["records"] for s in d["shards"]]')
verb 0 dump --json "$base"
is "$records" '[sum(i["type"] == "changes" for i in s["items"]) for s in d["shards"]]'
is 600 'len({f["value"]["name"] for s in d["shards"] for i in s["items"] for f in i.get("fields", []) if f.get("name") == "entry" and f["value"]["name"].startswith("name-")})'
is True 'all(i["lsn"] + i["bytes"] == n["lsn"] for s in d["shards"] for i, n in zip(s["items"], s["items"][1:]))'
verb 0 dump "$base" --shard 1
says "^lsn=4096 type="
says "name=entry bytes=[0-9]+  directory=[01]:[0-9]+ name=name-[0-9]+ inode="
verb 1 dump "$base" --shard 7
[[ $(everything "$shm") == "$before" ]] || e2e_fail "looking changed something: $(diff <(echo "$before") <(everything "$shm"))"

step "damage in the middle"
# A record of some length that is in the ring, not in memory alone.
verb 0 dump --json "$base"
record='[i for i in d["shards"][0]["items"] if i["type"] == "changes" and i["payload_bytes"] > 64 and i["lsn"] + i["bytes"] < d["shards"][0]["end"]["tail_memory_from"]][20]'
lsn=$(json "${record}[\"lsn\"]") || exit 1
bytes=$(json "${record}[\"bytes\"]") || exit 1
ring=$(json 'd["shards"][0]["superblocks"][0]["ring_bytes"]') || exit 1
journal=$base/member-0/shard-0/journal
place=$((8192 + lsn % ring + 60))
overwrite() { dd if="$3" of="$1" bs=1 seek="$2" conv=notrunc status=none || e2e_fail "dd"; }
dd if="$journal" of="$work/good" bs=1 skip="$place" count=16 status=none
tr '\000-\377' '\001-\377\000' <"$work/good" >"$work/bad"
overwrite "$journal" "$place" "$work/bad"
verb 1 verify "$base"
says "^damaged: shard 0 "
says "^  damaged: LSN $lsn to $((lsn + bytes))$"
says "^whole: shard 1 "
verb 1 verify --json "$base"
is "damaged [{'from': $lsn, 'to': $((lsn + bytes)), 'bytes': $bytes}]" 'd["verdict"] + " " + str(d["shards"][0]["damage"])'
verb 0 dump "$base" --shard 0 --from "$lsn" --to $((lsn + 1))
says "^lsn=$lsn type=damage bytes=$bytes$"
verb 0 dump --json "$base"
is 1 'sum(i["type"] == "damage" for i in d["shards"][0]["items"])'
overwrite "$journal" "$place" "$work/good"
verb 0 verify "$base"

step "a torn tail"
verb 0 dump --json "$base"
last='[i for i in d["shards"][1]["items"] if i["type"] == "changes"][-1]'
lsn=$(json "${last}[\"lsn\"]") || exit 1
bytes=$(json "${last}[\"bytes\"]") || exit 1
# As a kill within its Append leaves it: not all of it is there, and the region does not count it yet.
kept=$base/kept-1.journal-tail
journal=$base/member-1/shard-1/journal
place=$((8192 + (lsn + 50) % ring))
dd if="$journal" of="$work/good" bs=1 skip="$place" count=1 status=none
tr '\000-\377' '\001-\377\000' <"$work/good" >"$work/bad"
overwrite "$journal" "$place" "$work/bad"
dd if="$kept" of="$work/low" bs=1 skip=72 count=8 status=none
python3 -c 'import sys; sys.stdout.buffer.write(int(sys.argv[1]).to_bytes(8, "little"))' "$lsn" >"$work/before"
overwrite "$kept" 72 "$work/before"
verb 0 verify "$base"
says "^torn tail: shard 1 .*LSN $lsn.* up to LSN $((lsn + bytes))"
verb 0 verify --json "$base"
is "torn tail {'from': $lsn, 'to': $((lsn + bytes)), 'bytes': $bytes} []" \
  '" ".join(map(str, (d["verdict"], d["shards"][1]["torn"], d["shards"][1]["damage"])))'
# Had the region counted it, it would be damage.
overwrite "$kept" 72 "$work/low"
verb 1 verify "$base"
says "^  damaged: LSN $lsn to $((lsn + bytes))$"
overwrite "$journal" "$place" "$work/good"
verb 0 verify "$base"

step "journals that cannot be read"
other=$work/other/mayfly-$uuid
broken() { # STATE SENTENCE: the journal of the copy is
  verb 2 verify "$work/other"
  says "$2"
  verb 2 verify --json "$work/other"
  is "unreadable $1" 'd["verdict"] + " " + d["shards"][0]["state"]'
  verb 1 stat "$work/other"
  verb 1 stat --json "$work/other"
  is False 'd["shards"][0]["read"]'
  verb 1 dump --json "$work/other"
  is "2 unreadable" 'str(len(d["shards"][0]["superblocks"])) + " " + d["shards"][0]["end"]["verdict"]'
  rm -r "$work/other"
}
copy() {
  mkdir -p "$other"
  cp -a "$base/member-0" "$other/"
  journal=$other/member-0/shard-0/journal
}
copy
verb 0 verify "$work/other"
truncate -s $((ring / 2)) "$journal"
broken cut "shorter than it was made"
copy
dd if=/dev/zero of="$journal" bs=4096 count=2 conv=notrunc status=none
broken zeros "its superblocks are zeros"
copy
for block in 0 1; do overwrite "$journal" $((block * 4096 + 100)) "$work/bad"; done
for block in 0 1; do overwrite "$journal" $((block * 4096 + 101)) "$work/in/name-1"; done
broken torn "both superblocks of the journal are damaged"
copy
rm "$journal"
broken missing "there is no journal"
copy
rm -r "$other/member-0/shard-0"
verb 2 verify "$work/other"
says "shard 0 of member 0 .* is not there"
rm -r "$work/other"

step "brought back all the same"
start --memory 128M --durability process --recover
files_are_there
kill_all

step "clear"
before=$(everything "$shm")
verb 1 clear "$base"
says "[0-9]+ records and [0-9]+ bytes of a checkpoint, not closed in order"
says "nothing was removed: .*--force"
verb 1 clear --yes "$base"
verb 1 clear --force "$base"
says "give --yes"
terminal n clear --force "$base" >"$work/said" && e2e_fail "a no was taken for a yes: $(cat "$work/said")"
says "Remove 2 journals of 2 members"
[[ $(everything "$shm") == "$before" ]] || e2e_fail "something was removed without a yes"
terminal y clear --force "$base" >"$work/said" || e2e_fail "clear: $(cat "$work/said")"
says "removed $base/member-1"
expect_nothing "$work/none"
[[ $(mayfly clean) == "nothing is left" ]] || e2e_fail "clear left something"

step "journals in --dir"
start --memory 128M --durability process --dir "$work/disk/%h"
fill
uuid=$(session_of)
verb 1 clear --yes --force "$work/disk/$(hostname)"
files_are_there
kill_all
verb 0 verify "$work/disk/$(hostname)"
[[ $(grep -c '^whole: shard' "$work/said") == 2 ]] || e2e_fail "not two whole shards: $(cat "$work/said")"
# One member alone; the other, and what the session needs of the node, stay.
base=$work/disk/$(hostname)/mayfly-$uuid
verb 0 clear --yes --force "$base/member-0"
[[ ! -e $base/member-0 && -e $base/member-1/shard-1/journal ]] || e2e_fail "not that member alone: $(find "$base")"
verb 0 verify "$base"
says "^whole: shard 1 "
verb 0 clear --yes --force "$work/disk/$(hostname)"
expect_nothing "$work/disk"
echo "all as expected"
