#!/bin/bash
# ctest: TIMEOUT 300 LABELS plain
# benchmarks/scale/run, small: it measures, simulates and reports; its figures hang together; what is wrong is said.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly python3
bin=$MAYFLY_BUILD_DIR/benchmarks
[[ -x $bin/mayfly_scale_client && -x $bin/mayfly_scale_connections && -x $bin/mayfly_scale_simulation ]] || e2e_skip "the benchmarks were not built"
run=$MAYFLY_SOURCE_DIR/benchmarks/scale/run

timeout 250 "$run" --build "$MAYFLY_BUILD_DIR" --quick --members-max 16 --json "$work/s.json" --svg "$work/s.svg" >"$work/out" 2>"$work/err" ||
  e2e_fail "it ended with status $?: $(tail -n 5 "$work/out" "$work/err")"
python3 - "$work" <<'PY' || e2e_fail "the report does not add up: $(cat "$work/out")"
import json, sys, xml.dom.minidom
work = sys.argv[1]
r = json.load(open(work + "/s.json"))
text = open(work + "/out").read()
f = r["found"]
assert 0 < f["message"] < f["create"] < 1e6 and 0 < f["client"] < 1e6 and f["message"] < f["hello"], f
for name in ("growth", "growth_shared"):
    clients, more = zip(*f[name])
    assert clients == (16, 256, 4096, 65536) and more[0] == 0 and list(more) == sorted(more), f[name]
assert len(r["costs"]["create_spread"]) > 100 and abs(sum(r["costs"]["create_spread"])) < 200 * len(r["costs"]["create_spread"])
assert set(r["measured"]) == {"1", "2"}
for n, row in r["measured"].items():
    for name in ("own", "shared"):
        # A create is one message, closes come by the dozen, and there are leases.
        assert 1 < row[name]["requests"] < 1.2 and row[name]["rate"] > 0 and row[name]["connections"] >= 4 * int(n), row
    assert 1 <= row["mkdir"] < 1.2
    # A new directory, a look-up of it, its first file: the other of two shards joins it half of the time.
    least, most = (3, 3.2) if n == "1" else (3.2, 3.9)
    assert least <= row["tree"] < most, row["tree"]
assert len(r["checked"]) == 4 and all(c["simulated"] > 0 for c in r["checked"])
for name, runs in r["table"].items():
    assert set(runs) in ({"1", "2", "4", "8", "16"}, {"1", "16"}), runs
    assert all(0.3 < one["efficiency"] <= 1.05 and one["begun"] >= one["ended"] for one in runs.values()), (name, runs)
    assert "%.3f" % runs["16"]["efficiency"] in text
for runs in r["cold"].values():
    assert all(one["begun"] == one["ended"] == one["clients"] * 100 for one in runs.values())
assert [row["members"] for row in r["set_up"]] == [1, 2, 4, 8, 16]
assert len(xml.dom.minidom.parse(work + "/s.svg").getElementsByTagName("polyline")) == 4
PY

# An earlier run's service times, without any server: the same curve.
timeout 100 "$run" --build "$MAYFLY_BUILD_DIR" --quick --members-max 16 --costs "$work/s.json" --json "$work/again.json" >"$work/out" 2>&1 ||
  e2e_fail "from an earlier run's times: $(cat "$work/out")"
python3 -c 'import json, sys
a, b = (json.load(open(name)) for name in sys.argv[1:])
assert a["table"] == b["table"] and a["cold"] == b["cold"] and "measured" not in b' "$work/s.json" "$work/again.json" ||
  e2e_fail "the same times give another curve"

"$bin/mayfly_scale_simulation" --members 0 >"$work/out" 2>&1 && e2e_fail "a cluster without members was simulated"
grep -q "make no cluster" "$work/out" || e2e_fail "$(cat "$work/out")"
MAYFLY_SESSION=$work/none timeout 20 "$bin/mayfly_scale_client" create --count 1 --wait 1 >"$work/out" 2>&1 && e2e_fail "no session, but it went well"
[[ $(wc -l <"$work/out") == 1 ]] || e2e_fail "more than a sentence: $(cat "$work/out")"
[[ -z $(find "$shm" -mindepth 1 -type f) ]] || e2e_fail "left behind: $(find "$shm" -type f)"
echo "all as expected"
