"""Personal data is dealt with here, before anything leaves the process (or reaches the disk).

The words are the gateway's (`privacy` in its configuration), and so are the results: the vectors in
`schemas/testdata/privacy` hold both together. `seal` needs the tenant's key and is the gateway's alone.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Optional

from . import _schema as schema
from .detectors import CLASSES, canonical, find, is_card, is_secret_key
from .errors import ConfigurationError
from .names import nearest
from .plain import to_json

Action = Literal["allow", "drop", "mask", "hash", "truncate"]
DetectorName = Literal["email", "phone", "card", "national_id", "ip", "secret"]

MASK = "***"
_ACTIONS = ("allow", "drop", "mask", "hash", "truncate")
_IDS = ("user_id", "anonymous_id")
_HASH_FORM = re.compile(r"hash:[A-Za-z0-9_.-]+:[0-9a-f]{32}\Z")
_PSEUDONYM_FORM = re.compile(r"p_[0-9a-f]{32}\Z")
_CONTEXT_TEXTS = ("ip", "user_agent")
_CONTEXT_MAPS = ("segments", "experiments")


class HashKey(NamedTuple):
    """A key of keyed hashes. The same `id` and `secret` as the gateway's give the same hashes."""

    id: str
    secret: str


class Redaction(NamedTuple):
    """One value that was changed: where, as what, and how."""

    path: str
    kind: str
    action: str


@dataclass(frozen=True)
class PrivacyPolicy:
    """What is done with personal data at the source. The default changes nothing.

    Order: property lists, fields, detectors. A path with a rule of its own is not looked at by detectors.
    """

    #: Path (`properties.…`, `context.…`, lists are gone through; also `user_id`, `anonymous_id`, only `hash`) → action.
    fields: Mapping[str, Action] = field(default_factory=dict)
    #: Kind of personal data looked for in every text → action.
    detectors: Mapping[DetectorName, Action] = field(default_factory=dict)
    #: Names directly below `properties`: with a list, nothing else is kept.
    allow: Optional[Sequence[str]] = None
    #: Names directly below `properties` that are left out; stronger than `allow`.
    deny: Sequence[str] = ()
    #: Keys of `hash`: the first makes hashes, the last pseudonyms of users.
    keys: Sequence[HashKey] = ()
    #: Tenant that hashes are for; the gateway's for the API key in use.
    tenant: str = "default"

    def compile(self) -> Optional[CompiledPolicy]:
        """The policy ready to be applied; `None` when it changes nothing. Raises `ConfigurationError`."""
        _check(self)
        changes = [action for action in (*self.fields.values(), *self.detectors.values()) if action != "allow"]
        if not changes and self.allow is None and not self.deny:
            return None
        return CompiledPolicy(self)


def _check(policy: PrivacyPolicy) -> None:
    for path, action in policy.fields.items():
        _known_action(f"privacy.fields.{path}", action)
        root, _, rest = path.partition(".")
        if path in _IDS:
            if action not in ("hash", "allow"):
                raise ConfigurationError(f"privacy.fields.{path}: an id can only be hashed, an event needs one")
        elif root not in ("properties", "context") or not rest or "" in rest.split("."):
            raise ConfigurationError(f"privacy.fields.{path}: a path starts with `properties.` or `context.`")
    for name, action in policy.detectors.items():
        if name not in CLASSES:
            near = nearest(name, CLASSES)
            hint = f"did you mean `{near}`?" if near else f"one of {', '.join(CLASSES)}"
            raise ConfigurationError(f"privacy.detectors.{name} is no detector; {hint}")
        _known_action(f"privacy.detectors.{name}", action)
    if "hash" in (*policy.fields.values(), *policy.detectors.values()) and not policy.keys:
        raise ConfigurationError("privacy: `hash` needs a key in privacy.keys")


def _known_action(setting: str, action: str) -> None:
    if action == "seal":
        raise ConfigurationError(f"{setting}: `seal` is done by the gateway; use it there, or `hash` here")
    if action not in _ACTIONS:
        near = nearest(str(action), _ACTIONS)
        hint = f"did you mean `{near}`?" if near else f"one of {', '.join(_ACTIONS)}"
        raise ConfigurationError(f"{setting}: `{action}` is no action; {hint}")


def _derived(key: HashKey, purpose: str, tenant: str) -> bytes:
    return hmac.new(key.secret.encode(), f"{purpose}\x1f{tenant}".encode(), hashlib.sha256).digest()


class _Gone:
    """Stands for a value that is left out."""


_GONE = _Gone()


class CompiledPolicy:
    """A policy that was checked, with its keys derived. Shared by all threads; holds no state of an event."""

    def __init__(self, policy: PrivacyPolicy) -> None:
        self._allow = None if policy.allow is None else frozenset(policy.allow)
        self._deny = frozenset(policy.deny)
        self._lists = self._allow is not None or bool(self._deny)
        self._fields = [(tuple(path.split(".")), action) for path, action in policy.fields.items()]
        self._ruled = {path for path, _ in self._fields}
        self._actions: dict[str, str] = {name: act for name, act in policy.detectors.items() if act != "allow"}
        # Those that are allowed still claim their finds: what is a card is no phone number.
        self._classes = tuple(name for name in CLASSES if name in policy.detectors)
        if policy.keys:
            first, last = policy.keys[0], policy.keys[-1]
            self._hash_id = first.id
            self._hash_key = _derived(first, "ttf hash v1", policy.tenant)
            self._pseudonym_key = _derived(last, "ttf pseudonym v1", policy.tenant)

    def apply(self, event: dict[str, Any], report: Optional[Callable[[Redaction], None]] = None) -> dict[str, Any]:
        """The event after the policy. What changes is copied; `event` and what it holds stay as they were."""
        tell = report or _ignore
        event = dict(event)
        if self._lists and isinstance(event.get("properties"), dict):
            event["properties"] = self._listed(event, tell)
        for path, action in self._fields:
            if action != "allow" and path[0] in event:
                self._field(event, path, action, tell)
        if self._actions:
            self._detect(event, tell)
        return event

    # -- property lists

    def _listed(self, event: dict[str, Any], tell: Callable[[Redaction], None]) -> dict[str, Any]:
        wanted = _named_by_schema(event)
        kept = {}
        for key, value in event["properties"].items():
            if key in wanted or (key not in self._deny and (self._allow is None or key in self._allow)):
                kept[key] = value
            else:
                tell(Redaction(f"properties.{key}", "property", "drop"))
        return kept

    # -- fields

    def _field(
        self, event: dict[str, Any], path: tuple[str, ...], action: str, tell: Callable[[Redaction], None]
    ) -> None:
        name = ".".join(path)
        if len(path) == 1:
            if isinstance(event[name], str) and not _PSEUDONYM_FORM.match(event[name]):
                event[name] = self.pseudonym(event[name], is_visitor=name == "anonymous_id")
                tell(Redaction(name, name, action))
            return
        event[path[0]] = self._follow(event[path[0]], path[1:], action, lambda: tell(Redaction(name, name, action)))

    def _follow(self, value: Any, path: tuple[str, ...], action: str, tell: Callable[[], None]) -> Any:
        """Follows the path through objects, and through every item of lists."""
        if isinstance(value, list):
            return [self._follow(item, path, action, tell) for item in value]
        if not isinstance(value, dict) or value.get(path[0]) is None:
            return value
        inner = value[path[0]]
        changed = self._follow(inner, path[1:], action, tell) if len(path) > 1 else self._changed(inner, action)
        if changed is inner:
            return value
        if len(path) == 1 and changed != inner:
            tell()
        rest = dict(value)
        if changed is _GONE:
            del rest[path[0]]
        else:
            rest[path[0]] = changed
        return rest

    def _changed(self, value: Any, action: str) -> Any:
        if action == "drop":
            return _GONE
        if action == "mask":
            return MASK
        if action == "truncate":
            network = _network(value) if isinstance(value, str) else None
            return _GONE if network is None else network
        if isinstance(value, str) and _HASH_FORM.match(value):
            return value
        return self.hash(value if isinstance(value, str) else to_json(value))

    # -- hashes

    def hash(self, text: str) -> str:
        """`hash:<key id>:<32 hex digits>`."""
        digest = hmac.new(self._hash_key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        return f"hash:{self._hash_id}:{digest[:32]}"

    def pseudonym(self, identifier: str, *, is_visitor: bool = False) -> str:
        """`p_<32 hex digits>`, the same after a new key is put in front."""
        text = f"a\x1f{identifier}" if is_visitor else identifier
        return "p_" + hmac.new(self._pseudonym_key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    # -- detectors

    def _detect(self, event: dict[str, Any], tell: Callable[[Redaction], None]) -> None:
        properties = event.get("properties")
        if isinstance(properties, dict):
            event["properties"] = self._object(properties, ("properties",), tell, _named_by_schema(event))
        context = event.get("context")
        if not isinstance(context, dict):
            return
        changed = dict(context)
        for key in (*_CONTEXT_TEXTS, *_CONTEXT_MAPS):
            path = ("context", key)
            if key not in context or path in self._ruled:
                continue
            if isinstance(context[key], dict):
                changed[key] = self._object(context[key], path, tell, frozenset())
                continue
            value = self._value(context[key], path, tell)
            if value is _GONE:
                del changed[key]
            else:
                changed[key] = value
        event["context"] = changed

    def _object(
        self,
        value: dict[str, Any],
        path: tuple[str, ...],
        tell: Callable[[Redaction], None],
        wanted: frozenset[str],
    ) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, item in value.items():
            inner = (*path, key)
            if inner in self._ruled:
                kept[key] = item
                continue
            name = self._text(key, path, tell, leaves=True)
            if "secret" in self._actions and item is not None and is_secret_key(key):
                changed = self._secret(item, inner, tell)
            else:
                changed = self._value(item, inner, tell)
            if changed is _GONE:
                if key not in wanted:
                    continue
                changed = MASK
            if name is not _GONE and (name == key or (name not in kept and name not in value)):
                kept[name] = changed
        return kept

    def _secret(self, item: Any, path: tuple[str, ...], tell: Callable[[Redaction], None]) -> Any:
        """The value under a name such as `password`, whatever it is."""
        action = self._actions["secret"]
        if item == MASK or (isinstance(item, str) and _HASH_FORM.match(item)):
            return item
        tell(Redaction(".".join(path), "secret", action))
        if action == "truncate":
            return MASK
        return self._changed(item, action)

    def _value(self, value: Any, path: tuple[str, ...], tell: Callable[[Redaction], None]) -> Any:
        if isinstance(value, str):
            return self._text(value, path, tell)
        if isinstance(value, dict):
            return self._object(value, path, tell, frozenset())
        if isinstance(value, list):
            items = [self._value(item, path, tell) for item in value]
            return [item for item in items if item is not _GONE]
        if isinstance(value, int) and not isinstance(value, bool) and "card" in self._actions:
            number = str(value)
            if 13 <= len(number) <= 19 and number.isdigit() and is_card(number):
                return self._text(number, path, tell)
        return value

    def _text(self, text: str, path: tuple[str, ...], tell: Callable[[Redaction], None], leaves: bool = False) -> Any:
        """The text with what was found in it changed. `leaves`: it is a name, which `drop` masks."""
        finds = find(text, self._classes)
        if not finds:
            return text
        pieces, at = [], 0
        for start, end, kind in finds:
            action = self._actions.get(kind)
            if action is None:
                continue
            found = text[start:end]
            tell(Redaction(".".join(path), kind, action))
            if action == "drop" and not leaves:
                return _GONE
            if action == "hash":
                new = self.hash(canonical(kind, found))
            elif action == "truncate" and kind == "ip":
                new = _network(found) or MASK
            else:
                new = MASK
            pieces += [text[at:start], new]
            at = end
        pieces.append(text[at:])
        return "".join(pieces)


def _ignore(_: Redaction) -> None:
    return


def _named_by_schema(event: dict[str, Any]) -> frozenset[str]:
    """Properties that the schema wants or knows for this type; lists and detectors leave them in place."""
    rules = schema.TYPED_PROPERTIES.get(str(event.get("event_type")))
    return frozenset(rules["properties"]) if rules else frozenset()


def _network(text: str) -> Optional[str]:
    """The network an address belongs to: /24 for IPv4, /48 for IPv6."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    prefix = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((str(address), prefix), strict=False).network_address)


#: Finds and masks what can be recognised by its form; no keys needed.
MASK_DETECTED = PrivacyPolicy(detectors=dict.fromkeys(CLASSES, "mask"))  # type: ignore[arg-type]
