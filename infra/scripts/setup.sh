#!/usr/bin/env bash
# Make the virtual environment: uv (fetched by pip if it is not there), the locked packages, and Assay itself, editable.
set -euo pipefail
python=$1 venv=$2
if ! command -v uv >/dev/null; then
  # uv lives in a small environment of its own, so that an externally managed Python is left alone.
  [ -x "$venv-uv/bin/uv" ] || { "$python" -m venv "$venv-uv" && "$venv-uv/bin/pip" install --quiet "uv>=0.9"; }
  PATH="$PWD/$venv-uv/bin:$PATH"
fi
[ -x "$venv/bin/python" ] || uv venv --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" "$venv"
export VIRTUAL_ENV="$PWD/$venv"
echo "setup: installing the locked packages (about 6.7 GB unpacked; CUDA builds run on CPU and GPU alike)"
uv pip install --quiet --require-hashes -r requirements.lock
uv pip install --quiet --no-deps -e .
# Compiled once, here. Each of a job's ten Python processes would compile what it imports, again with every job where
# PYTHONDONTWRITEBYTECODE is set, as images of containers like to: half the CPU time until the first committed image.
# uv's own flag does nothing where all is installed. Some packages carry templates that are no Python: they do not count.
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" platform jobs serving tuning registry || true
