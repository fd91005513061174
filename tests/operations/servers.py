"""Servers of a test's own, secured as in production: TLS everywhere, passwords, rights."""

import base64
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from pathlib import Path

from confluent_kafka.admin import AdminClient


def free_ports(count: int) -> list[int]:
    """Different ones: a port that was let go may be the next one that is given."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def eventually(what: str, seconds: float, condition, pause: float = 0.1):
    """Waits for a condition that returns something; errors of the network mean `not yet`."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, subprocess.CalledProcessError) as error:
            last = error
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {seconds} s ({last})")


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


class Server:
    """A process of a test, with its log."""

    def __init__(self, command: list[object], log: Path, **options):
        self.command, self.log, self.options = [str(part) for part in command], log, options
        self.process = None
        self.start()

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, **self.options)

    def stop(self, how=signal.SIGTERM, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


class Authority:
    """An authority nobody else knows, a server's certificate for 127.0.0.1, and a client's."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        self.ca = folder / "ca.crt"
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority",
                  "-keyout", "ca.key", "-out", "ca.crt")  # fmt: skip
        self.certificate, self.key = self.issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.client_certificate, self.client_key = self.issue("client", "extendedKeyUsage=clientAuth")

    def _run(self, *arguments: str):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def issue(self, name: str, extension: str) -> tuple[Path, Path]:
        (self.folder / f"{name}.ext").write_text(extension + "\n")
        self._run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                  "-extfile", f"{name}.ext", "-out", f"{name}.crt")  # fmt: skip
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


class Kafka:
    """A broker: SASL_SSL (PLAIN, SCRAM), SSL with a client's certificate, and a plain listener for the test itself."""

    def __init__(self, folder: Path, authority: Authority | None, users: dict[str, str]):
        self.folder, self.users = folder, users
        folder.mkdir(parents=True)
        self.plain, self.sasl, self.mtls, controller = free_ports(4)
        if authority:
            pem = folder / "server.pem"
            pem.write_text(authority.key.read_text() + authority.certificate.read_text())
        modules = "org.apache.kafka.common.security"
        plain = " ".join(f'user_{name}="{password}"' for name, password in users.items())
        listeners = [f"PLAINTEXT://127.0.0.1:{self.plain}"]
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "log.retention.check.interval.ms": "1000",
            "log.segment.delete.delay.ms": "0",
        }
        if authority:
            listeners += [f"SASL_SSL://127.0.0.1:{self.sasl}", f"SSL://127.0.0.1:{self.mtls}"]
            settings |= {
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required {plain};",
                "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(pem),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(authority.ca),
                "ssl.client.auth": "required",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS;User:operator;User:CN=client",
            }
        settings["advertised.listeners"] = ",".join(listeners)
        settings["listeners"] = ",".join([*listeners, f"CONTROLLER://127.0.0.1:{controller}"])
        (folder / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self.java = ["java", "-Xms64m", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                     f"-Dlog4j2.configurationFile={Path(__file__).parents[2]}/scripts/services/kafka/log4j2.xml",
                     "-cp", os.environ["TTF_TEST_KAFKA_LIBS"] + "/*"]  # fmt: skip
        self.format()
        self.server = Server([*self.java, "kafka.Kafka", folder / "server.properties"], folder / "log")
        self.ready()

    def format(self):
        scram = [
            part
            for name, password in self.users.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for part in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
        ]
        # A leading dash would be an option.
        cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        subprocess.run(
            [*self.java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.folder / "server.properties", *scram],
            check=True,
            capture_output=True,
        )

    def ready(self):
        eventually("Kafka", 60, lambda: answers(self.plain) and self.admin().list_topics(timeout=5).brokers)

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.plain}", "log_level": 0})

    def lose_everything(self):
        """As when the disk of the only broker is gone: a new, empty cluster at the same address."""
        self.server.stop(signal.SIGKILL)
        shutil.rmtree(self.folder / "data")
        self.format()
        self.server.start()
        self.ready()

    def stop(self):
        self.server.stop(signal.SIGKILL)


class Postgres:
    """A server with a password; with an authority, it takes connections with TLS alone."""

    def __init__(self, folder: Path, authority: Authority | None, password: str):
        self.folder, self.password, self.data = folder, password, folder / "data"
        folder.mkdir(parents=True)
        (self.port,) = free_ports(1)
        self.bin = Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
        # PostgreSQL refuses to run as root.
        self.user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        secret = folder / "password"
        secret.write_text(password)
        if self.user:
            for path in (folder, secret):
                shutil.chown(path, "postgres")
            # The folders of a test are its user's alone.
            for parent in folder.parents:
                if parent == Path("/tmp") or len(parent.parts) < 3:
                    break
                parent.chmod(0o755)
        self._run("initdb", "-D", self.data, "-U", "ttf", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync")
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        if authority:
            for source, name in ((authority.certificate, "server.crt"), (authority.key, "server.key")):
                shutil.copy(source, self.data / name)
                (self.data / name).chmod(0o600)
                if self.user:
                    shutil.chown(self.data / name, "postgres", "postgres")
            (self.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
            settings += ["-c", "ssl=on"]
        self.server = Server([*self.user, self.bin / "postgres", "-D", self.data, *settings], folder / "log", cwd="/")
        self.ready()
        self.psql("create database ttf", database="postgres")

    def _run(self, program: str, *arguments: object):
        subprocess.run([*self.user, self.bin / program, *map(str, arguments)], check=True, capture_output=True, cwd="/")

    def ready(self):
        eventually("PostgreSQL", 60, lambda: self.psql("select 1", database="postgres"))

    def psql(self, sql: str, database: str = "ttf") -> str:
        return subprocess.run(
            [self.bin / "psql", "-qAtX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "ttf", "-d", database, "-c", sql],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": self.password, "PGSSLMODE": "prefer"},
        ).stdout.strip()

    def url(self, query: str = "", password: str | None = None, database: str = "ttf") -> str:
        return f"postgres://ttf:{password or self.password}@127.0.0.1:{self.port}/{database}{query}"

    def stop(self):
        # The server itself, not the wrapper that changed the user.
        pid = self.data / "postmaster.pid"
        if pid.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.read_text().split()[0]), signal.SIGQUIT)
        self.server.stop()


class Redis:
    """A server with a password; with an authority, TLS alone."""

    def __init__(self, folder: Path, authority: Authority | None, password: str):
        folder.mkdir(parents=True)
        (self.port,) = free_ports(1)
        self.password, self.authority = password, authority
        # In a file: arguments can be seen.
        (folder / "redis.conf").write_text(f"requirepass {password}\nsave \"\"\nappendonly no\nbind 127.0.0.1\ndir {folder}\n")
        listen = ["--port", str(self.port)]
        if authority:
            listen = ["--port", "0", "--tls-port", str(self.port), "--tls-cert-file", authority.certificate, "--tls-key-file",
                      authority.key, "--tls-ca-cert-file", authority.ca, "--tls-auth-clients", "no"]  # fmt: skip
        self.server = Server(["redis-server", folder / "redis.conf", *listen], folder / "log")
        eventually("Redis", 90, lambda: self.cli("ping") == "PONG")

    def cli(self, *command: str) -> str:
        tls = ["--tls", "--cacert", str(self.authority.ca)] if self.authority else []
        return subprocess.run(
            ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *tls, *command],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "REDISCLI_AUTH": self.password},
        ).stdout.strip()

    def url(self, password: str | None = None) -> str:
        return f"{'rediss' if self.authority else 'redis'}://:{password or self.password}@127.0.0.1:{self.port}"

    def stop(self):
        self.server.stop()


class Store:
    """An object store (S3) that takes nothing without TLS and a key."""

    BUCKET = "ttf-test"

    def __init__(self, folder: Path, authority: Authority, secret: str):
        folder.mkdir(parents=True)
        (folder / "data").mkdir()
        self.authority, self.secret = authority, secret
        ports = free_ports(8)
        rights = {"test": ["Admin", "Read", "Write", "List", "Tagging"], "looker": ["Read", "List"]}
        identities = [{"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": actions} for name, actions in rights.items()]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        self.endpoint = f"https://127.0.0.1:{ports[6]}"
        # The program comes with the Python the suites ask.
        weed = Path(os.environ["TTF_TEST_PYTHON"]).with_name("weed")
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
        settings = {
            "dir": folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": "64",
            "volume.max": "100",
            "filer": "true",
            "s3": "true",
            "iam": "false",
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "s3.config": folder / "s3.json",
            "s3.cert.file": authority.certificate,
            "s3.key.file": authority.key,
            **dict(zip(names, ports, strict=True)),
        }
        self.server = Server([weed, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in settings.items())], folder / "log", cwd=folder)
        eventually("the object store", 60, lambda: answers(ports[0]) and self.ask("PUT", "") is not None, pause=0.5)

    def ask(self, method: str, query: str) -> str:
        """What it answers about the bucket."""
        command = ["curl", "-sfS", "-X", method, "--cacert", str(self.authority.ca), "--user", f"test:{self.secret}", "--aws-sigv4", "aws:amz:us-east-1:s3"]
        return subprocess.run([*command, f"{self.endpoint}/{self.BUCKET}{query}"], check=True, capture_output=True, text=True).stdout

    def stop(self):
        self.server.stop()


class Registry:
    """A schema registry that keeps everything in memory: ended, all of it is gone."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        (self.port,) = free_ports(1)
        # The servers' folder has it beside the Python the suites ask.
        [jar] = Path(os.environ["TTF_TEST_PYTHON"]).parents[2].glob("registry/apicurio-registry-app-*-runner.jar")
        environment = {**os.environ, "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(self.port)}
        self.server = Server(["java", "-Xmx256m", "-jar", jar], folder / "log", cwd=folder, env=environment)
        self.url, self.admin = (f"http://127.0.0.1:{self.port}/apis/{path}" for path in ("ccompat/v7", "registry/v2/admin"))
        self.ready()

    def ready(self):
        eventually("the registry", 90, lambda: self.subjects() is not None)

    def subjects(self) -> list[str]:
        with urllib.request.urlopen(f"{self.url}/subjects", timeout=10) as answer:
            return json.loads(answer.read())

    def export(self) -> bytes:
        """All schemas with their ids, as the registry itself backs them up."""
        with urllib.request.urlopen(f"{self.admin}/export", timeout=30) as answer:
            return answer.read()

    def restore(self, backup: bytes):
        with urllib.request.urlopen(urllib.request.Request(f"{self.admin}/import", backup, {"Content-Type": "application/zip"}), timeout=30):
            pass

    def stop(self):
        self.server.stop(signal.SIGKILL)
