#!/usr/bin/env bash
# Train the bundled encoder from nothing, then pin it in the starter release. Resumable: run it again.
# Needs npm (art, by package name) and Debian's unicode-cldr-core (keywords); about an hour on two cores.
set -euo pipefail
bin=$1
command -v npm >/dev/null || { echo "encoder: npm is missing; install Node.js, then run again" >&2; exit 2; }
if [ ! -d /usr/share/unicode/cldr/common/annotations ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends unicode-cldr-core >/dev/null
fi
nice -n 19 "$bin/python" -u -m assay.tuning.make_encoder
"$bin/python" -c "from assay.platform.release import build_starter; print('starter release:', build_starter().id)"
