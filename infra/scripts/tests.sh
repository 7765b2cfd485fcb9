#!/usr/bin/env bash
# All tests but the long ones, in two lanes at once, each about as long as the other: those that need Ray wait for
# clusters most of their time, and leave a core to the others. Platform and tuning are a process of their own: what runs
# without Ray need not have it beside it.
set -euo pipefail
bin=$1
told=$(mktemp)

"$bin/python" -m pytest -m "not nightly and not cluster" --ignore tests/platform --ignore tests/tuning >"$told" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null || true; cat "$told"; rm -f "$told"' EXIT
code=0
"$bin/python" -m pytest -m "cluster and not nightly" --ignore tests/platform --ignore tests/tuning || code=1
"$bin/python" -m pytest -m "not nightly" tests/platform tests/tuning || code=1
wait "$other" || code=1
exit $code
