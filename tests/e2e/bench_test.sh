#!/bin/bash
# ctest: TIMEOUT 200 LABELS plain
# mayfly bench: the phases by one and by three ranks, small, with its reports; it leaves nothing, and says what is wrong.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly python3
program=$MAYFLY_BUILD_DIR/benchmarks/mayfly-bench
[[ -x $program ]] || e2e_skip "mayfly-bench was not built"
launcher="mpirun --oversubscribe"

for ranks in 1 3; do
  durability=none
  ((ranks == 1)) || durability=process
  e2e_start 2 --memory 256M --durability $durability
  timeout 90 mayfly bench --ranks "$ranks" --launcher "$launcher" -- --stonewall 0.2 --files-max 500 --json "$work/b.json" --svg "$work/b.svg" \
    >"$work/bench.log" 2>&1 || e2e_fail "$ranks ranks: $(cat "$work/bench.log")"
  python3 - "$work" "$ranks" <<'PY' || e2e_fail "$ranks ranks: the reports do not add up: $(cat "$work/bench.log")"
import json, math, sys, xml.dom.minidom
work, ranks = sys.argv[1], int(sys.argv[2])
run = json.load(open(work + "/b.json"))
text = open(work + "/bench.log").read()
assert run["durability"] == ("process" if ranks == 3 else "none"), run
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
  grep "^score" "$work/bench.log"
  e2e_stop
done
e2e_start 2 --memory 256M

mayfly mkdir /mayfly-bench
timeout 60 mayfly bench --launcher "$launcher" -- --stonewall 0.1 >"$work/bench.log" 2>&1 && e2e_fail "it went into a folder that is there"
grep -q "mkdir /mayfly-bench: .*File exists" "$work/bench.log" || e2e_fail "$(cat "$work/bench.log")"
mayfly bench --launcher /no/launcher >"$work/bench.log" 2>&1 && e2e_fail "no launcher, but it went well"
grep -q "cannot start /no/launcher: No such file or directory; name your MPI's launcher with --launcher" "$work/bench.log" || e2e_fail "$(cat "$work/bench.log")"
e2e_stop
mayfly --connect-timeout 1 bench --launcher "$launcher" >"$work/bench.log" 2>&1 && e2e_fail "no session, but it went well"
[[ $(wc -l <"$work/bench.log") == 1 ]] || e2e_fail "more than a sentence: $(cat "$work/bench.log")"
echo "all as expected"
