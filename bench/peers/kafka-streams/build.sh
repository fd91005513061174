#!/usr/bin/env bash
# Builds the peer into a folder outside the checkout: build.sh FOLDER. Does nothing when nothing has changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
to=$1
schema=$here/../../../schemas/avro/event.avsc
sum=$(cd "$here" && find pom.xml src "$schema" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
if [ -e "$to/.built" ] && [ "$(cat "$to/.built")" = "$sum" ]; then exit 0; fi
rm -rf "$to"
mkdir -p "$to"
cp -r "$here/pom.xml" "$here/src" "$to/"
# What events are written with, for Avro to resolve against.
mkdir "$to/src/main/resources"
cp "$schema" "$to/src/main/resources/"
(cd "$to" && mvn -q -B compile dependency:copy-dependencies -DoutputDirectory="$to/libs")
ln -s target/classes "$to/classes"
echo "$sum" >"$to/.built"
