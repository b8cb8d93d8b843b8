#!/bin/bash
# ctest: TIMEOUT 200 LABELS plain
# mayfly bench: the phases by one and by three ranks, small, with its reports; it leaves nothing, and says what is wrong.
# What it reads and finds is compared: one wrong byte, or a file that is older than the beginning, ends it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly python3
program=$MAYFLY_BUILD_DIR/benchmarks/mayfly-bench
untrue=$MAYFLY_BUILD_DIR/tests/libe2e_untrue.so
[[ -x $program && -e $untrue ]] || e2e_skip "mayfly-bench was not built"
launcher="mpirun --oversubscribe"

# The line that says what the figures depend on.
conditions() { # RANKS DURABILITY CACHE CHUNK
  local transport
  transport=$(e2e_figures transport | head -n 1)
  grep -qxF "mayfly $(mayfly --version | grep -o '[0-9.]*$'): $1 ranks, 2 members, 2 shards; transport: ${transport//\"/}; durability: $2; cache: $3; chunk: $4 KiB; checksums: XXH3" \
    "$work/bench.log" || e2e_fail "the conditions are not $*, ${transport}: $(cat "$work/bench.log")"
}
for ranks in 1 3; do
  durability=none chunk=(128 --chunk-bytes 131072)
  ((ranks == 1)) || { durability=process chunk=(1024); }
  e2e_start 2 --memory 256M --durability $durability --chunk 1M
  timeout 90 mayfly bench --ranks "$ranks" --launcher "$launcher" -- "${chunk[@]:1}" --stonewall 0.2 --files-max 500 --json "$work/b.json" --svg "$work/b.svg" \
    >"$work/bench.log" 2>&1 || e2e_fail "$ranks ranks: $(cat "$work/bench.log")"
  python3 - "$work" "$ranks" <<'PY' || e2e_fail "$ranks ranks: the reports do not add up: $(cat "$work/bench.log")"
import json, math, sys, xml.dom.minidom
work, ranks = sys.argv[1], int(sys.argv[2])
run = json.load(open(work + "/b.json"))
text = open(work + "/bench.log").read()
assert run["durability"] == ("process" if ranks == 3 else "none"), run
assert run["cache"] == "server memory" and run["chunk_bytes"] == (1 << 20 if ranks == 3 else 1 << 17) and run["transport"], run
assert run["ranks"] == ranks and run["members"] == 2 and len(run["phases"]) == 12, run
for unit, score in (("GiB/s", "bandwidth"), ("kIOPS", "rate")):
    values = [p["score"] for p in run["phases"] if p["unit"] == unit]
    assert len(values) == (4 if unit == "GiB/s" else 8) and min(values) > 0, values
    assert math.isclose(math.exp(sum(map(math.log, values)) / len(values)), run["score"][score], rel_tol=1e-9)
assert math.isclose(math.sqrt(run["score"]["bandwidth"] * run["score"]["rate"]), run["score"]["total"], rel_tol=1e-9)
by = {p["name"]: p for p in run["phases"]}
for a, b in (("ior-easy-write", "ior-easy-read"), ("ior-hard-write", "ior-hard-read"), ("mdtest-hard-write", "mdtest-hard-read")):
    assert by[a]["bytes"] == by[b]["bytes"] > 0
assert by["mdtest-easy-write"]["operations"] == by["mdtest-easy-stat"]["operations"] == by["mdtest-easy-delete"]["operations"]
picture = xml.dom.minidom.parse(work + "/b.svg")
assert len(picture.getElementsByTagName("rect")) == 13
for p in run["phases"]:
    assert p["name"] in text and p["name"] in picture.toxml()
PY
  [[ -z $(mayfly ls /) ]] || e2e_fail "it left $(mayfly ls /)"
  conditions "$ranks" $durability "server memory" "${chunk[0]}"
  grep "^score" "$work/bench.log"
  e2e_stop
done

e2e_start 2 --memory 64M --durability node --dir "$work/disk"
small=(--stonewall 20 --files-max 102) # all that there is room for; of each rank's files, 101 is looked for
timeout 90 mayfly bench --ranks 2 --launcher "$launcher" -- "${small[@]}" >"$work/bench.log" 2>&1 || e2e_fail "at level node: $(cat "$work/bench.log")"
conditions 2 node "server memory, behind it the disks of --dir" 4096

ends() { # HOW SENTENCE: what a preloaded library makes of one call
  timeout 90 mayfly bench --ranks 2 --launcher "$launcher -x LD_PRELOAD=$untrue -x MAYFLY_TEST_UNTRUE=$1" -- "${small[@]}" >"$work/bench.log" 2>&1 &&
    e2e_fail "$1 was not noticed: $(cat "$work/bench.log")"
  grep -qE "^mayfly-bench: $2$" "$work/bench.log" || e2e_fail "$1: $(cat "$work/bench.log")"
  grep -q '^score' "$work/bench.log" && e2e_fail "$1 has a score: $(cat "$work/bench.log")"
  timeout 60 mayfly rm -r /mayfly-bench || e2e_fail "what a run that ended left"
}
ends byte "rank 1 read other bytes than were written at [0-9]+"
ends short "read: .*"
for how in older larger other; do ends $how "find saw [0-9]+ entries and 1 matches instead of [0-9]+ and 2"; done
ends missing "find saw ([0-9]+) entries and 1 matches instead of [0-9]+ and 2"

mayfly mkdir /mayfly-bench
timeout 60 mayfly bench --launcher "$launcher" -- --stonewall 0.1 >"$work/bench.log" 2>&1 && e2e_fail "it went into a folder that is there"
grep -q "mkdir /mayfly-bench: .*File exists" "$work/bench.log" || e2e_fail "$(cat "$work/bench.log")"
mayfly bench --launcher /no/launcher >"$work/bench.log" 2>&1 && e2e_fail "no launcher, but it went well"
grep -q "cannot start /no/launcher: No such file or directory; name your MPI's launcher with --launcher" "$work/bench.log" || e2e_fail "$(cat "$work/bench.log")"
e2e_stop
mayfly --connect-timeout 1 bench --launcher "$launcher" >"$work/bench.log" 2>&1 && e2e_fail "no session, but it went well"
[[ $(wc -l <"$work/bench.log") == 1 ]] || e2e_fail "more than a sentence: $(cat "$work/bench.log")"
echo "all as expected"
