#!/usr/bin/env bash
# What the tests need of the system: Chromium, for looking at the report. Installed if this is Debian and we are root.
set -euo pipefail
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
  echo "tests: chromium is missing; install Debian's package chromium, or the browser test fails" >&2
fi
