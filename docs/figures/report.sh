#!/usr/bin/env bash
# Make report.png, the picture in the README: docs/figures/report.sh emoref-demo/report.html
set -euo pipefail
page=$(realpath "${1:?name the report.html of a demo}")
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$profile" \
    --window-size=1000,1120 --virtual-time-budget=8000 \
    --screenshot="$(dirname "$(realpath "$0")")/report.png" "file://$page"
