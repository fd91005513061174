#!/usr/bin/env bash
# Applies deploy/ to a control plane of its own (etcd, API server, controllers; no nodes), and scales, updates and takes back
# with the commands of the documentation. The first run builds the control plane. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
venv=$cache/deploy-python tools=$cache/deploy-tools schemas=$cache/operator-schemas cluster=$cache/cluster

scripts/venv.sh "$venv" "$PWD/deploy/tests/requirements.txt"
scripts/operator-tools.sh "$tools" "$venv"
scripts/operator-schemas.sh "$schemas"
scripts/cluster-tools.sh "$cluster"
export TTF_CLUSTER=$cluster TTF_DEPLOY_TOOLS=$tools TTF_OPERATOR_SCHEMAS=$schemas PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -q --tb=short -p no:cacheprovider --rootdir deploy/cluster deploy/cluster "$@"
