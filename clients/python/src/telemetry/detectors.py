"""Finds personal data in texts by its form: secrets, e-mail addresses, cards, national ids, IP addresses, phones.

The rules are those of `schemas/testdata/privacy/README.md`; its vectors hold this module and the gateway's together.
Every pattern is linear: none repeats inside a repetition.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple, Optional

#: The classes, in the order they are looked for: what overlaps an earlier find is no find.
CLASSES = ("secret", "email", "card", "national_id", "ip", "phone")


class Find(NamedTuple):
    """A place in a text: `text[start:end]` is of the class."""

    start: int
    end: int
    kind: str


def find(text: str, classes: tuple[str, ...] = CLASSES) -> list[Find]:
    """What is found in `text`, by place. `classes` must be in the order of `CLASSES`."""
    if len(text) < 5 or _ANYTHING(text) is None:
        return []
    finds: list[Find] = []
    for kind in classes:
        for start, end in _FINDERS[kind](text):
            if all(end <= found.start or start >= found.end for found in finds):
                finds.append(Find(start, end, kind))
    finds.sort()
    return finds


# Every find holds one of these; most texts hold none and cost one pass.
_ANYTHING = re.compile(r"[0-9@:=-]|_[A-Za-z0-9_-]{16}|AIza|SG\.|eyJ|Bearer |[A-Z]{4}").search

_Places = Iterator[tuple[int, int]]

_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|github_pat_[A-Za-z0-9_]{22,}"
    r"|glpat-[A-Za-z0-9_-]{20,}"
    r"|npm_[A-Za-z0-9]{36,}"
    r"|pypi-[A-Za-z0-9_-]{40,}"
    r"|AIza[A-Za-z0-9_-]{35,}"
    r"|whsec_[A-Za-z0-9_-]{16,}"
    r"|xox[abprs]-[A-Za-z0-9_-]{10,}"
    r"|sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r")"
)
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]*?PRIVATE KEY-----(?:(?s:.*?)-----END [A-Z0-9 ]*-----|(?s:.*))")
_BEARER = re.compile(r"Bearer ([A-Za-z0-9._~+/=-]{16,})")
_URL_PASSWORD = re.compile(r"://[^\s:/@]*:([^\s/@]+)@")
_ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9])(?:password|passwd|pwd|secret|token|api_key|apikey|access_key)=([^\s&\"'<,;]{4,})"
)


def _secrets(text: str) -> _Places:
    places = [match.span() for match in _SECRET.finditer(text)]
    places += [match.span() for match in _KEY_BLOCK.finditer(text)]
    for pattern in (_BEARER, _URL_PASSWORD, _ASSIGNED):
        places += [match.span(1) for match in pattern.finditer(text)]
    # Of two that overlap, the one that starts first.
    end = -1
    for place in sorted(places):
        if place[0] >= end:
            yield place
            end = place[1]


_AT = re.compile(r"@|%40")
_NOT_MAIL = frozenset(("png", "jpg", "jpeg", "gif", "svg", "webp"))


def _is_local(char: str) -> bool:
    return char.isalnum() or char in "._%+'-"


def _emails(text: str) -> _Places:
    earliest = 0
    for at in _AT.finditer(text):
        start = at.start()
        floor = max(earliest, start - 65)
        while start > floor and _is_local(text[start - 1]):
            start -= 1
        # An encoded quote or equals sign in front is no part of the address.
        while start < at.start() and not text[start].isalnum():
            start += 1
        local = text[start : at.start()]
        if not 1 <= len(local) <= 64 or local.endswith("."):
            continue
        end = _domain_end(text, at.end())
        if end is not None:
            yield start, end
            earliest = end


def _domain_end(text: str, start: int) -> Optional[int]:
    """Where the host name that starts here ends; `None` when there is none with a top-level domain."""
    best: Optional[int] = None
    first = True
    while True:
        end = start
        while end < len(text) and (text[end].isalnum() or text[end] == "-"):
            end += 1
        label = text[start:end]
        if not label or label.startswith("-"):
            return best
        if not first:
            letters = next((at for at, char in enumerate(label) if not char.isalpha()), len(label))
            goes_on = label[letters : letters + 1].isalnum()
            if not goes_on and 2 <= letters <= 24:
                best = None if label[:letters].lower() in _NOT_MAIL else start + letters
        if label.endswith("-") or text[end : end + 1] != ".":
            return best
        start, first = end + 1, False


_CARD = re.compile(
    r"(?<![A-Za-z0-9_.-])"
    r"(?:[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{3,4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5}|[0-9]{13,19})"
    r"(?![A-Za-z0-9_]|[-.][0-9])"
)


def _cards(text: str) -> _Places:
    for match in _CARD.finditer(text):
        if is_card(digits(match.group())):
            yield match.span()


def digits(text: str) -> str:
    """The ASCII digits of a text."""
    return "".join(char for char in text if "0" <= char <= "9")


def is_card(number: str) -> bool:
    """True for a number that an issuer could have given out: known start and length, Luhn's check."""
    return _is_issued(number) and _luhn(number)


def _is_issued(number: str) -> bool:
    length, two, three, four = len(number), int(number[:2]), int(number[:3]), int(number[:4])
    return (
        (number[0] == "4" and length in (13, 16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)
        or (two in (34, 37) and length == 15)
        or ((300 <= three <= 305 or two in (36, 38, 39)) and length == 14)
        or ((four == 6011 or 644 <= three <= 649 or two in (62, 65)) and 16 <= length <= 19)
        or (3528 <= four <= 3589 and 16 <= length <= 19)
    )


def _luhn(number: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


_BEFORE_ID, _AFTER_ID = r"(?<![A-Za-z0-9_.-])", r"(?![A-Za-z0-9_]|[-.][0-9])"
_NATIONAL_IDS = re.compile(
    _BEFORE_ID
    + r"(?:(?P<ssn>[0-9]{3}-[0-9]{2}-[0-9]{4})"
    + r"|(?P<nino>[A-Z]{2}(?:[0-9]{6}| [0-9]{2} [0-9]{2} [0-9]{2} )[A-D])"
    + r"|(?P<ahv>756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2})"
    + r"|(?P<dni>[0-9]{8}[A-Z])"
    + r"|(?P<cf>[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-EHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z])"
    + r"|(?P<nir>[12] [0-9]{2} [0-9]{2} [0-9]{2} [0-9]{3} [0-9]{3} [0-9]{2}|[12][0-9]{14}))"
    + _AFTER_ID
)


def _national_ids(text: str) -> _Places:
    for match in _NATIONAL_IDS.finditer(text):
        kind = match.lastgroup or ""
        if _CHECKS[kind](match.group()):
            yield match.span()


def _is_ssn(text: str) -> bool:
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def _is_nino(text: str) -> bool:
    first, second = text[0], text[1]
    is_issued = first not in "DFIQUV" and second not in "DFIOQUV"
    return is_issued and text[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def _is_ahv(text: str) -> bool:
    number = digits(text)
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(number[:12]))
    return (10 - total % 10) % 10 == int(number[12])


def _is_dni(text: str) -> bool:
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(text[:8]) % 23] == text[8]


_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _is_codice_fiscale(text: str) -> bool:
    total = 0
    for place, char in enumerate(text[:15]):
        value = int(char) if char.isdigit() else ord(char) - ord("A")
        total += _ODD[value] if place % 2 == 0 else value
    return ord(text[15]) - ord("A") == total % 26


def _is_nir(text: str) -> bool:
    number = digits(text)
    return 97 - int(number[:13]) % 97 == int(number[13:])


_CHECKS = {
    "ssn": _is_ssn, "nino": _is_nino, "ahv": _is_ahv, "dni": _is_dni, "cf": _is_codice_fiscale, "nir": _is_nir,
}  # fmt: skip

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![A-Za-z0-9_.-])(?:(?<!/)|(?<=//))(?:{_OCTET}\.){{3}}{_OCTET}(?![A-Za-z0-9_-]|\.[0-9])")
_IPV6 = re.compile(r"(?<![A-Za-z0-9_])[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?![A-Za-z0-9_])")


def _addresses(text: str) -> _Places:
    if ":" in text:
        for match in _IPV6.finditer(text):
            run = match.group()
            # A sentence may end in a dot or a colon.
            whole = run.rstrip(".") if run.endswith(".") else run
            for candidate in (whole, whole[:-1] if whole.endswith(":") else whole):
                if _is_ipv6(candidate):
                    yield match.start(), match.start() + len(candidate)
                    break
    for match in _IPV4.finditer(text):
        if not match.group().startswith("127.") and match.group() != "0.0.0.0":  # noqa: S104
            yield match.span()


def _is_ipv6(text: str) -> bool:
    groups = sum(1 for group in text.split(":") if group)
    if groups < 3 and not (groups == 2 and "." in text):
        return False
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


_INTERNATIONAL = re.compile(r"(?<![A-Za-z0-9+])\+(?=[1-9])[0-9](?:[ \-.()/]{0,2}[0-9]){7,14}(?![ \-.()/]{0,2}[0-9])")
_AMERICAN = re.compile(
    r"(?<![A-Za-z0-9_.-])(?:\([2-9][0-9]{2}\)[-. ]?|[2-9][0-9]{2}[-. ])[2-9][0-9]{2}[-. ][0-9]{4}"
    r"(?![A-Za-z0-9_]|[-.][0-9])"
)


def _phones(text: str) -> _Places:
    places = [match.span() for match in _INTERNATIONAL.finditer(text)]
    for match in _AMERICAN.finditer(text):
        if all(match.end() <= start or match.start() >= end for start, end in places):
            places.append(match.span())
    yield from sorted(places)


_FINDERS = {
    "secret": _secrets, "email": _emails, "card": _cards,
    "national_id": _national_ids, "ip": _addresses, "phone": _phones,
}  # fmt: skip

_SECRET_KEYS = frozenset(
    (
        *("password", "passwd", "pwd", "secret", "clientsecret", "apikey", "apisecret", "accesskey", "secretkey"),
        *("accesstoken", "refreshtoken", "authtoken", "idtoken", "authorization", "privatekey", "passphrase"),
    )
)


def is_secret_key(key: str) -> bool:
    """True for a name that says of its value that it is a secret, such as `api_key`."""
    return key.replace("_", "").replace("-", "").lower() in _SECRET_KEYS


def canonical(kind: str, text: str) -> str:
    """One spelling of what was found, so that the same thing has the same hash."""
    if kind == "email":
        return text.lower().replace("%40", "@")
    if kind in ("phone", "card"):
        return digits(text)
    if kind == "national_id":
        return "".join(char for char in text if char.isascii() and char.isalnum()).upper()
    return text
