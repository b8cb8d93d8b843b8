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
python3 -B - "$work" "$run" <<'PY' || e2e_fail "the report does not add up: $(cat "$work/out")"
import importlib.machinery, importlib.util, json, sys, xml.dom.minidom
work, run = sys.argv[1:]
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

# Every point of the picture lies on it, where its axes say; also of curves that nobody expects.
def check(text, table):
    picture = xml.dom.minidom.parseString(text)
    def number(node, name):
        return float(node.getAttribute(name))
    lines = picture.getElementsByTagName("line")
    tenths = [float(l.nextSibling.firstChild.data) for l in lines]
    marks = sorted(number(l, "y1") for l in lines)
    scale = {t: number(l, "y1") for t, l in zip(tenths, lines)}
    members = {int(t.firstChild.data): number(t, "x") for t in picture.getElementsByTagName("text") if t.getAttribute("text-anchor") == "middle"}
    right = number(lines[0], "x2")
    assert number(picture.documentElement, "width") > right and number(picture.documentElement, "height") > marks[-1] and marks[0] > 0
    curves = picture.getElementsByTagName("polyline")
    assert len(curves) == 4
    for curve, name in zip(curves, ("own directories", "one directory", "8 in flight", "exponential")):
        points = [tuple(map(float, p.split(","))) for p in curve.getAttribute("points").split()]
        wanted = [(int(n), one["efficiency"]) for n, one in table[name].items() if int(n) != 1000]
        assert len(points) == len(wanted)
        for (x, y), (n, efficiency) in zip(points, wanted):
            assert members[1] <= x <= right + 0.1 and marks[0] - 0.1 <= y <= marks[-1] + 0.1, (name, n, x, y)
            assert n not in members or abs(members[n] - x) < 0.1
            low = max(t for t in tenths if t <= efficiency + 1e-9)
            step = (marks[-1] - marks[0]) / (len(marks) - 1)
            assert abs(scale[low] - (efficiency - low) * 10 * step - y) < 0.2, (name, n, efficiency, y, scale)
            assert 1.0 in scale
check(open(work + "/s.svg").read(), r["table"])
loader = importlib.machinery.SourceFileLoader("scale_run", run)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("scale_run", loader))
loader.exec_module(module)
for values in ((1.0, 0.97, 0.69, 0.3, 0.04), (1.0, 1.0, 1.0, 1.0, 1.0), (1.0, 1.31, 1.2, 0.5, 0.28)):
    table = {name: dict(zip((1, 2, 64, 1000, 4096), ({"efficiency": e} for e in values))) for name, _ in module.CASES}
    check(module.picture(table, 4096), table)
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
