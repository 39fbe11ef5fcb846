#!/usr/bin/env bash
# One command from nothing to a chat: makes .venv, starts zdns if none answers, and joins. See --help.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
for word in "$@"; do
    case $word in
        -h | --help) exec "${PYTHON:-python3}" "$root/scripts/lan.py" --help ;; # nothing is installed for that
    esac
done
"$root/scripts/setup"
exec "$root/.venv/bin/python" -P "$root/scripts/lan.py" "$@"
