#!/usr/bin/env bash
# Builds a control plane from its makers' Go modules, once: cluster-tools.sh FOLDER. Puts etcd, kube-apiserver and
# kube-controller-manager there. Takes 20 minutes on two cores, 3 GB for Go's caches, and Go.
set -euo pipefail
folder=$1
kubernetes=1.36.3 etcd=v3.6.8
if [ "$(cat "$folder/.done" 2>/dev/null)" = "$kubernetes $etcd" ]; then exit 0; fi
command -v go >/dev/null || { echo "ttf: the control plane is built with Go; please install it (apt-get install golang-go)" >&2; exit 1; }
mkdir -p "$folder/build/cluster" "$folder/build/etcd"

cd "$folder/build/cluster"
modules=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
{
  printf 'module cluster\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$kubernetes"
  # What lies in the same repository has no version of its own there.
  sed -nE "s/^\t(k8s\.io\/[a-z0-9-]+) v0\.0\.0$/\t\1 => \1 v0.${kubernetes#1.}/p" "$modules" | sort -u
  printf ')\n'
} >go.mod
cat >main.go <<'GO'
//go:build tools

package main

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
GO
go mod tidy -e
version=k8s.io/component-base/version
major=${kubernetes%%.*} rest=${kubernetes#*.}
go build -trimpath -ldflags "-s -w -X $version.gitVersion=v$kubernetes -X $version.gitMajor=$major -X $version.gitMinor=${rest%%.*}" \
  -o "$folder" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager

cd "$folder/build/etcd"
printf 'module etcd\n\nrequire go.etcd.io/etcd/server/v3 %s\n' "$etcd" >go.mod
cat >main.go <<'GO'
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
GO
go mod tidy
go build -trimpath -ldflags '-s -w' -o "$folder/etcd" .
rm -rf "$folder/build"
echo "$kubernetes $etcd" >"$folder/.done"
