#!/usr/bin/env bash
# Plants mistakes in a copy of the tree, one at a time, and fails unless a gate turns red for each.
#
#   mutate_gates.sh [--full|--all]  disables the code of 10 or of all requirements instead of 2
#
# The copy and its builds lie below cargo's target folder; the copy is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 -B ci/mutations/main.py "$@"
