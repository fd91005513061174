"""Every option, where it comes from, and what it may be.

Arguments are stronger than environment variables, those stronger than the file named by `TELEMETRY_CONFIG`, that
stronger than the defaults here.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Optional, Union

from .errors import ConfigurationError
from .milestones import MILESTONES
from .names import nearest
from .privacy import HashKey, PrivacyPolicy
from .yaml_subset import YamlError, parse

#: Changes an event (a dict as it would be sent) or returns None to drop it.
BeforeSend = Callable[[dict[str, Any]], Optional[dict[str, Any]]]


@dataclass(frozen=True)
class Lost:
    """An event that will not arrive, as `on_drop` is told. Holds no data of the event but its ids and name."""

    #: A key of `Stats.dropped_by`, or `rejected` when the gateway refused it.
    reason: str
    event_id: Optional[str] = None
    event_name: Optional[str] = None
    #: The gateway's or the validation's words, where there are any.
    code: Optional[str] = None
    path: Optional[str] = None
    message: Optional[str] = None
    hint: Optional[str] = None


@dataclass(frozen=True)
class Options:
    """What a client is made with. Times are in seconds, sizes in bytes."""

    #: Where the gateway is; `kafka://host:9092` goes straight to Kafka (extra `kafka`).
    url: str = "http://localhost:8080"
    #: Key with the scope `ingest`.
    api_key: Optional[str] = None
    #: False: nothing is made, nothing is sent.
    enabled: bool = True
    #: Raise into the application what is otherwise counted, logged and told to `on_drop`.
    strict: bool = False
    #: Print every event as it would be sent to standard error.
    debug: bool = False
    #: Part of every event's context: `release`, `segments`, …
    context: Mapping[str, Any] = field(default_factory=dict)
    #: Names of milestones of your own journeys.
    milestones: Sequence[str] = ()

    #: Events held in memory at most, sent or not.
    max_queue_events: int = 10_000
    #: Bytes of events held in memory at most.
    max_queue_bytes: int = 16 * 1024 * 1024
    #: Full: `drop` the newest, or `block` the caller for at most `block_timeout` and drop then.
    when_full: Literal["drop", "block"] = "drop"
    block_timeout: float = 1.0

    #: A request is made when so many events …
    batch_events: int = 500
    #: … or so many bytes wait …
    batch_bytes: int = 512 * 1024
    #: … or the oldest has waited so long.
    flush_interval: float = 1.0
    #: One request, from connecting to the end of the answer.
    timeout: float = 10.0
    #: Longest pause between attempts of our own making.
    max_backoff: float = 60.0
    #: Longest that the end of the process is held up for what is not sent.
    exit_timeout: float = 5.0
    gzip: bool = True
    ssl_context: Optional[ssl.SSLContext] = None

    #: Folder for events that outlive a crash or an outage; `None`: memory only.
    spool: Optional[Union[str, Path]] = None
    max_spool_bytes: int = 256 * 1024 * 1024
    #: `background`: on disk within `spool_interval`; `call`: on disk before the call returns.
    spool_writes: Literal["background", "call"] = "background"
    spool_interval: float = 0.05

    #: What is done with personal data before anything leaves the process.
    privacy: PrivacyPolicy = field(default_factory=PrivacyPolicy)
    before_send: Optional[BeforeSend] = None
    #: Put `str(exception)` into error events.
    error_messages: bool = False
    #: Told about every event that will not arrive. Called on the thread it happens on; must be quick.
    on_drop: Optional[Callable[[Lost], None]] = None
    #: Send what is left when SIGTERM comes and nobody else handles it.
    handle_sigterm: bool = True


def load(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Options:
    """Puts the options together and checks them. Raises `ConfigurationError`, which names the option."""
    known = {option.name for option in fields(Options)}
    for name in given:
        if name not in known:
            near = nearest(name, known)
            raise ConfigurationError(f"`{name}` is no option" + (f"; did you mean `{near}`?" if near else ""))
    values: dict[str, Any] = {}
    path = environment.get("TELEMETRY_CONFIG")
    if path:
        values.update(from_file(Path(path), environment))
    values.update(_from_environment(environment))
    values.update({name: value for name, value in given.items() if value is not None})
    options = replace(Options(), **values)
    _check(options)
    return options


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    texts = {"TELEMETRY_URL": "url", "TELEMETRY_API_KEY": "api_key", "TELEMETRY_SPOOL": "spool"}
    for name, option in texts.items():
        if environment.get(name):
            values[option] = environment[name]
    if is_set(environment, "TELEMETRY_DISABLED"):
        values["enabled"] = False
    for name, option in {"TELEMETRY_DEBUG": "debug", "TELEMETRY_STRICT": "strict"}.items():
        if is_set(environment, name):
            values[option] = True
    return values


def is_set(environment: Mapping[str, str], name: str) -> bool:
    """True unless the variable is absent, empty, `0`, `false`, `no` or `off`."""
    return environment.get(name, "").strip().lower() not in ("", "0", "false", "no", "off")


#: Options that a file may set: what can be written down in YAML.
_IN_FILE = {
    "url": str, "api_key": str, "enabled": bool, "strict": bool, "debug": bool, "context": dict, "milestones": list,
    "max_queue_events": int, "max_queue_bytes": int, "when_full": str, "block_timeout": float, "batch_events": int,
    "batch_bytes": int, "flush_interval": float, "timeout": float, "max_backoff": float, "exit_timeout": float,
    "gzip": bool, "spool": str, "max_spool_bytes": int, "spool_writes": str, "spool_interval": float,
    "error_messages": bool, "handle_sigterm": bool,
}  # fmt: skip


def from_file(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The options in a YAML file: section `client` with options by name, `privacy` with the gateway's words,
    `journeys` for the names of milestones. Other sections are the server's and are not looked at."""
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"TELEMETRY_CONFIG: {path} cannot be read: {error.strerror}") from None
    except (YamlError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"TELEMETRY_CONFIG: {path}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"TELEMETRY_CONFIG: {path}: must be a map of sections")
    values: dict[str, Any] = {}
    client = dict(_section(document, "client"))
    tenant = str(client.pop("tenant", "default"))
    for name, written in client.items():
        wanted = _IN_FILE.get(name)
        if wanted is None:
            near = nearest(name, _IN_FILE)
            hint = f"; did you mean `{near}`?" if near else ""
            raise ConfigurationError(f"{path}: client.{name} is no option of a file{hint}")
        value: Any = _resolved(written, environment) if isinstance(written, str) else written
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = is_number if wanted is float else isinstance(value, wanted) and (wanted is bool or value is not True)
        if value is not None and (not fits or (wanted is int and not is_number)):
            raise ConfigurationError(f"{path}: client.{name} must be {_WORDS[wanted]}")
        if value is not None:
            values[name] = value
    names = _milestones(document.get("journeys"))
    if names:
        values["milestones"] = [*values.get("milestones", ()), *names]
    if "privacy" in document:
        values["privacy"] = _privacy(_section(document, "privacy"), tenant, environment)
    return values


_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", dict: "a map", list: "a list"}


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigurationError(f"{name}: must be a map")
    return section


def _privacy(section: dict[str, Any], tenant: str, environment: Mapping[str, str]) -> PrivacyPolicy:
    """The part of the gateway's section that can be done at the source; `seal` is left to the gateway."""

    def here(rules: object) -> dict[Any, Any]:
        return {name: act for name, act in rules.items() if act != "seal"} if isinstance(rules, dict) else {}

    lists = section.get("properties")
    lists = lists if isinstance(lists, dict) else {}
    own_keys = section.get("tenant_keys")
    keys = (own_keys.get(tenant) if isinstance(own_keys, dict) else None) or section.get("keys")
    found = []
    for key in keys if isinstance(keys, list) else ():
        if isinstance(key, dict) and isinstance(key.get("id"), str) and isinstance(key.get("secret"), str):
            found.append(HashKey(key["id"], _resolved(key["secret"], environment)))
    return PrivacyPolicy(
        fields=here(section.get("fields")),
        detectors=here(section.get("detectors")),
        allow=lists.get("allow"),
        deny=lists.get("deny") or (),
        keys=found,
        tenant=tenant,
    )


def _milestones(journeys: object) -> list[str]:
    names: list[str] = []
    for journey in journeys if isinstance(journeys, list) else ():
        listed = journey.get("milestones") if isinstance(journey, dict) else None
        for milestone in listed if isinstance(listed, list) else ():
            if isinstance(milestone, dict):
                events = milestone.get("events")
                names += [str(milestone.get("id")), *(map(str, events) if isinstance(events, list) else ())]
    return names


_REFERENCE = re.compile(r"\$\{(env|file):([^}:]+)(?::-([^}]*))?\}")


def _resolved(text: str, environment: Mapping[str, str]) -> str:
    """`${env:NAME}`, `${env:NAME:-default}` and `${file:/path}`, as in the server's configuration."""

    def value(match: re.Match[str]) -> str:
        kind, name, default = match.groups()
        if kind == "file":
            try:
                return Path(name).read_text(encoding="utf-8").rstrip("\n")
            except OSError as error:
                raise ConfigurationError(f"${{file:{name}}} cannot be read: {error.strerror}") from None
        found = environment.get(name, default)
        if found is None:
            raise ConfigurationError(f"${{env:{name}}} is not set")
        return found

    return _REFERENCE.sub(value, text)


def known_milestones(options: Options) -> frozenset[str]:
    """Names that `track_ttf_milestone` takes without a warning."""
    return frozenset((*MILESTONES, *options.milestones))


_LEAST = {
    "max_queue_events": 1, "max_queue_bytes": 1024, "block_timeout": 0, "batch_events": 1, "batch_bytes": 1024,
    "flush_interval": 0, "timeout": 0.001, "max_backoff": 0.001, "exit_timeout": 0, "max_spool_bytes": 1024 * 1024,
    "spool_interval": 0,
}  # fmt: skip
_GREATEST = {"batch_events": 2500, "batch_bytes": 4 * 1024 * 1024}
_CHOICES = {"when_full": ("drop", "block"), "spool_writes": ("background", "call")}


def _check(options: Options) -> None:
    for name, least in _LEAST.items():
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
            raise ConfigurationError(f"{name}: must be a number of at least {least}")
    for name, greatest in _GREATEST.items():
        if getattr(options, name) > greatest:
            raise ConfigurationError(f"{name}: must be at most {greatest}, which is what the gateway takes")
    for name, choices in _CHOICES.items():
        if getattr(options, name) not in choices:
            raise ConfigurationError(f"{name}: must be one of {', '.join(choices)}")
    if not isinstance(options.privacy, PrivacyPolicy):
        raise ConfigurationError("privacy: must be a PrivacyPolicy")
