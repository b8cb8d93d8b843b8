#!/bin/bash
# ctest: TIMEOUT 600 PROCESSORS 2 LABELS plain
# Bytes end to end, every one verified: by way of the mapped arena (clients on the servers' node) and over tcp; with
# one server, and with several whose memory is smaller than one file. And memory that is full, of bytes and of names.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_data mpirun mayflyd mayfly

names='' # or `names`: once over each way to send
everything() { # NAME BYTES-OF-THE-LARGE-FILE [OPTION]
  local what
  for what in "large $2" "shared 5" sparse fork threads full $names; do
    echo "--- $1: $what"
    # shellcheck disable=SC2086  # a word and its number
    e2e_run timeout 240 e2e_data $what ${3:-} || e2e_fail "$1: $what"
  done
}

e2e_start 1 --memory 160M
everything "one server" 100000000
e2e_stop
e2e_start 4 --memory 64M
names=names everything "four servers, a file larger than any" 150000000
e2e_stop
e2e_start 2 --memory 80M --checksum none --chunk 256K
everything "small chunks, no checksums" 100000000
e2e_stop
e2e_start 3 --memory 64M
everything "three servers, sent through shared memory" 100000000 --send
e2e_stop
export UCX_TLS=tcp,self
e2e_start 2 --memory 80M
names=names everything "over tcp" 80000000 --send
e2e_stop
