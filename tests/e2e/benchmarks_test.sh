#!/bin/bash
# ctest: TIMEOUT 400 PROCESSORS 2 LABELS plain
# benchmarks/run, small: each section runs to its end, on a directory named as people name one, and has its rows. What
# they say is not looked at: machines are noisy.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly python3 ucx_perftest
[[ -x $MAYFLY_BUILD_DIR/benchmarks/mayfly_operations ]] || e2e_skip "the benchmarks were not built"
cd "$work" || exit 1
timeout 300 "$MAYFLY_SOURCE_DIR/benchmarks/run" --quick --build "$MAYFLY_BUILD_DIR" --dir . --json figures.json >table 2>log ||
  e2e_fail "benchmarks/run ended with $?: $(tail -n 5 log)"
rows=(stat create unlink 'at level process' 'time added' 'empty file' 'idle servers' '8 clients: creates' 'read 47008 B, XXH3' 'wraps')
if command -v fio >/dev/null; then rows+=('recovery of' 'larger than memory' 'durable creates'); else echo "    without fio: no recovery, no disk"; fi
for row in "${rows[@]}"; do grep -q "$row" table || e2e_fail "no row like '$row': $(cat table)"; done
python3 -c 'import json; figures = json.load(open("figures.json")); assert len(figures) >= 30 and all(row["value"] >= 0 for row in figures)' || e2e_fail "the figures in JSON"
grep -E 'journal and checkpoints.* 0 MB' table && e2e_fail "the servers' files were elsewhere"
[[ -z $(find . -name 'mayfly-*') ]] || e2e_fail "left behind: $(find . -name 'mayfly-*')"
echo "    $(wc -l <table) lines"
