#!/bin/bash
# ctest: TIMEOUT 900 LABELS plain
# power_test.sh on XFS.
POWER_TEST_DISK=xfs exec bash "$(dirname "${BASH_SOURCE[0]}")/power_test.sh"
