"""Stands in for a cluster: enough of the API for `kubectl get`, `describe`, `logs` and `events` as they are, by the labels of
the manifests, with the processes of a test as its pods. Ports are forwarded, and commands run, by this file.

    cluster.py port-forward STATE TARGET PORT:PORT      until it is ended
"""

import asyncio
import http.server
import json
import sys
import threading
import urllib.parse
from datetime import datetime, timezone
from pathlib import Path

#: What kubectl asks for before it asks for anything.
RESOURCES = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
             "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}
        ],
    },
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"], "shortNames": ["po"]},
            {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]},
            {"name": "events", "singularName": "event", "namespaced": True, "kind": "Event", "verbs": ["get", "list"]},
        ],
    },
    "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": []},
}  # fmt: skip


def table(pods: list[dict]) -> dict:
    """Pods as `kubectl get` shows them: columns are the server's business."""
    columns = [{"name": name, "type": "string", "priority": 0} for name in ("Name", "Ready", "Status", "Restarts", "Node")]
    rows = []
    for pod in pods:
        status = pod["status"]
        [container] = status["containerStatuses"]
        shown = "Running" if container["ready"] else "Error"
        cells = [pod["metadata"]["name"], f"{int(container['ready'])}/1", shown, "0", "<none>"]
        rows.append({"cells": cells, "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": pod["metadata"]}})
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows}


class Cluster:
    """The API of a cluster whose pods are processes."""

    def __init__(self, templates: dict[str, dict]):
        """`templates` are the pods of the manifests, by component."""
        self.templates = templates
        #: Name of a pod -> its process.
        self.pods: dict[str, object] = {}
        cluster = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                found = cluster.answer(url.path.rstrip("/"), dict(urllib.parse.parse_qsl(url.query)))
                if "as=Table" in (self.headers["Accept"] or "") and isinstance(found, dict) and found["kind"] == "PodList":
                    found = table(found["items"])
                status, body = (404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}) if found is None else (200, found)
                text = body if isinstance(body, str) else json.dumps(body)
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def pod(self, name: str) -> dict:
        process = self.pods[name]
        template = self.templates[process.role]
        runs = process.server.process.poll() is None
        container = template["spec"]["containers"][0]["name"]
        state = {"running": {}} if runs else {"terminated": {"exitCode": process.server.process.returncode}}
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "telemetry", "labels": template["metadata"]["labels"],
                         "creationTimestamp": datetime.now(timezone.utc).strftime("%FT%TZ")},
            "spec": template["spec"],
            "status": {"phase": "Running" if runs else "Failed",
                       "containerStatuses": [{"name": container, "ready": runs, "restartCount": 0, "state": state, "image": "ttf", "imageID": ""}]},
        }  # fmt: skip

    def answer(self, path: str, query: dict[str, str]) -> dict | str | None:
        if path in RESOURCES:
            return RESOURCES[path]
        match path.removeprefix("/api/v1/namespaces/telemetry/").split("/"):
            case ["pods"]:
                wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
                pods = [self.pod(name) for name in sorted(self.pods)]
                chosen = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
                return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": chosen}
            case ["pods", name] if name in self.pods:
                return self.pod(name)
            case ["pods", name, "log"] if name in self.pods:
                lines = self.pods[name].log.splitlines(keepends=True)
                return "".join(lines[-int(query.get("tailLines", len(lines) or 1)) :])
            case ["events"]:
                return {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": []}
        return None


async def forward(listen: int, target: int):
    async def pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def accept(reader, writer):
        try:
            there = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            return writer.close()
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(accept, "127.0.0.1", listen)
    await server.serve_forever()


def port_forward(state: str, target: str, ports: str):
    """`state` says which port of this machine stands for which of a workload or Service."""
    listen, wanted = ports.split(":")
    asyncio.run(forward(int(listen), json.loads(Path(state).read_text())[f"{target}:{wanted}"]))


if __name__ == "__main__":
    {"port-forward": port_forward}[sys.argv[1]](*sys.argv[2:])
