#!/usr/bin/env bash
# Install what `make bench` sets beside Assay (dependency group `bench`), into the same environment. If that fails, the
# bench runs all the same and tells which sides are missing. The lock is made as the root's is, by `uv pip compile` with
# hashes and without addresses: --group bench -c requirements.lock --override infra/bench/overrides.txt
set -euo pipefail
venv=$1
PATH="$PWD/$venv-uv/bin:$PATH"
export VIRTUAL_ENV="$PWD/$venv"
uv pip install --quiet --require-hashes --no-deps -r infra/bench/requirements.lock ||
  echo "bench: the baselines' libraries cannot be installed; the table will say which sides are missing" >&2
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || true  # as setup.sh does: no side is to compile amid a lap
