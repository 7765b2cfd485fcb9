#!/usr/bin/env bash
# Install what `make bench` sets beside Assay (dependency group `bench`), into the same environment. If that fails, the
# bench runs all the same and tells which sides are missing. The lock is made by:
#   uv pip compile --group bench -c requirements.lock --override infra/bench/overrides.txt \
#     --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -o infra/bench/requirements.lock
set -euo pipefail
venv=$1
PATH="$PWD/$venv-uv/bin:$PATH"
export VIRTUAL_ENV="$PWD/$venv"
uv pip install --quiet --require-hashes --no-deps -r infra/bench/requirements.lock ||
  echo "bench: the baselines' libraries cannot be installed; the table will say which sides are missing" >&2
