#!/usr/bin/env bash
# A Python environment with what a file of requirements names: venv.sh FOLDER REQUIREMENTS
# Made when it is not there; other requirements make a new one. An environment that was left half made is made anew.
set -euo pipefail
venv=$1 requirements=$2
if cmp -s "$requirements" "$venv/.requirements"; then exit 0; fi
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
# Debian's interpreter first: a version manager's one may vanish.
if [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then python=/usr/bin/python3; else python=python3; fi
"$python" -m venv "$venv"
"$venv/bin/pip" -q install --disable-pip-version-check -r "$requirements"
cp "$requirements" "$venv/.requirements"
