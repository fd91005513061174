#!/usr/bin/env bash
# Puts the schemas of operators' own objects (CustomResourceDefinitions) into a folder, once: operator-schemas.sh FOLDER.
# They are in the operators' Go modules; what is fetched is held against the sum that stands here. Strimzi publishes its
# classes by Maven, not its schemas.
set -euo pipefail
folder=$1
strimzi=$(dirname "$0")/../deploy/tests/strimzi/pom.xml
modules=(
  'github.com/prometheus-operator/prometheus-operator v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s='
  'github.com/kedacore/keda/v2 v2.20.2 h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA='
  'github.com/external-secrets/external-secrets v1.3.2 h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ='
)
files=(
  example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,prometheusrules}.yaml
  config/crd/bases/keda.sh_scaledobjects.yaml
  config/crds/bases/external-secrets.io_externalsecrets.yaml
)
wanted=$(printf '%s\n' "${modules[@]}" "${files[@]}"; cat "$strimzi")
if [ "$(cat "$folder/.done" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

command -v go >/dev/null || { echo "ttf: the schemas of operators are in Go modules; please install Go (apt-get install golang-go)" >&2; exit 1; }
command -v mvn >/dev/null || { echo "ttf: Strimzi's classes come by Maven; please install it (apt-get install maven)" >&2; exit 1; }
rm -rf "$folder"
mkdir -p "$folder"
for module in "${modules[@]}"; do
  read -r path version sum <<<"$module"
  told=$(go mod download -json "$path@$version")
  there=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$told")
  if ! grep -qF "\"Sum\": \"$sum\"" <<<"$told"; then
    echo "ttf: $path $version is not what it was" >&2
    exit 1
  fi
  for file in "${files[@]}"; do
    if [ -e "$there/$file" ]; then install -m 0644 "$there/$file" "$folder/"; fi
  done
done
for file in "${files[@]}"; do
  [ -e "$folder/$(basename "$file")" ] || { echo "ttf: none of the modules has $file" >&2; exit 1; }
done
mvn -q -B -f "$strimzi" dependency:copy-dependencies -DoutputDirectory="$folder/strimzi"
echo "$wanted" >"$folder/.done"
