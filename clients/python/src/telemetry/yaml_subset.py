"""Reads the part of YAML that configuration files use, so that the package needs nothing installed.

Block and flow maps and lists, plain and quoted scalars, comments. Anchors, tags, block scalars (`|`, `>`), several
documents and multi-line plain scalars are refused with their line, never misread. Scalars are typed as in YAML 1.2:
`yes` and `on` are texts.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_CONSTANTS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#&*!|>'"%@`\[\]{},?-][^#]*?|[?-][^\s#][^#]*?)\s*:(?=\s|$)"""
)


class YamlError(ValueError):
    """A text that is no YAML, or YAML beyond the subset. `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line


class _Line:
    __slots__ = ("indent", "number", "text")

    def __init__(self, number: int, indent: int, text: str) -> None:
        self.number, self.indent, self.text = number, indent, text


def parse(text: str) -> Any:
    """The value of one document; `None` for an empty one. Raises `YamlError`."""
    lines: list[_Line] = []
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        stripped = raw.strip(" \r")
        if not stripped or stripped.startswith("#") or (stripped == "---" and not lines):
            continue
        if raw.lstrip(" ").startswith("\t"):
            raise YamlError(number, "indentation must be spaces")
        if stripped in ("---", "...") or stripped.startswith("%"):
            raise YamlError(number, "only one document is read")
        if stripped in ("?", ":") or stripped.startswith(("? ", ": ", "- ? ")):
            raise YamlError(number, "keys marked by `?` are not read")
        lines.append(_Line(number, len(raw) - len(raw.lstrip(" ")), stripped))
    reader = _Reader(lines)
    value = reader.block(0) if lines else None
    if reader.at < len(lines):
        reader.fail("indented less than what it belongs to")
    return value


class _Reader:
    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines
        self.at = 0

    def fail(self, problem: str) -> NoReturn:
        line = self.lines[min(self.at, len(self.lines) - 1)]
        raise YamlError(line.number, problem)

    def peek(self) -> _Line | None:
        return self.lines[self.at] if self.at < len(self.lines) else None

    def block(self, least: int) -> Any:
        """A map, a list or a scalar that is indented by `least` spaces or more."""
        line = self.peek()
        if line is None or line.indent < least:
            return None
        if line.text == "-" or line.text.startswith("- "):
            return self.items(line.indent)
        if _KEY.match(line.text):
            return self.entries(line.indent)
        return self.value(line.text)

    def items(self, indent: int) -> list[Any]:
        found = []
        while (line := self.peek()) and line.indent == indent and (line.text == "-" or line.text.startswith("- ")):
            rest = line.text[1:].lstrip(" ")
            if not rest or rest.startswith("#"):
                self.at += 1
                found.append(self.block(indent + 1))
                continue
            # What follows the dash is a block of its own, indented to where it starts.
            inner = indent + len(line.text) - len(rest)
            self.lines[self.at] = _Line(line.number, inner, rest)
            found.append(self.block(inner))
        self.ends(indent)
        return found

    def entries(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (line := self.peek()) and line.indent == indent and (match := _KEY.match(line.text)):
            key = match.group(1)
            name = self.quoted(key)[0] if key[0] in "\"'" else key
            if name in found:
                self.fail(f"the key `{name}` is given twice")
            rest = line.text[match.end() :].strip(" ")
            if rest and not rest.startswith("#"):
                found[name] = self.value(rest)
                continue
            self.at += 1
            after = self.peek()
            is_list = after is not None and (after.text == "-" or after.text.startswith("- "))
            found[name] = self.block(indent if is_list else indent + 1)
        self.ends(indent)
        return found

    def ends(self, indent: int) -> None:
        line = self.peek()
        if line is not None and line.indent >= indent:
            self.fail("is not read here: a key, a list item or less indentation was expected")

    def value(self, text: str) -> Any:
        """A flow collection or a scalar that starts at this line; moves past it."""
        if text[0] in "|>":
            self.fail("block scalars (| and >) are not read; write the text in quotes")
        if text[0] in "&*!":
            self.fail("anchors, aliases and tags are not read")
        if text[0] in "@`%":
            self.fail(f"a value cannot start with `{text[0]}`; write it in quotes")
        if text[0] in "[{":
            while True:
                try:
                    value, rest = self.flow(text)
                    break
                except _NotClosedError:
                    self.at += 1
                    line = self.peek()
                    if line is None:
                        self.fail("a bracket is not closed")
                    text = _without_comment(text) + " " + line.text
        elif text[0] in "\"'":
            value, rest = self.quoted(text)
        else:
            value, rest = _scalar(_without_comment(text)), ""
            if re.search(r":(\s|$)", _without_comment(text)):
                self.fail("a map cannot start here; write the text in quotes")
        if rest.strip(" ") and not rest.lstrip(" ").startswith("#"):
            self.fail("something follows the value")
        self.at += 1
        return value

    def quoted(self, text: str) -> tuple[str, str]:
        quote = text[0]
        pattern = r'"(?:[^"\\]|\\.)*"' if quote == '"' else r"'(?:[^']|'')*'"
        match = re.match(pattern, text)
        if not match:
            self.fail("a quotation is not closed on its line")
        inner = match.group()
        if quote == "'":
            return inner[1:-1].replace("''", "'"), text[match.end() :]
        try:
            return str(json.loads(inner)), text[match.end() :]
        except ValueError:
            self.fail("an escape in this quotation is not read")

    def flow(self, text: str) -> tuple[Any, str]:
        """A flow value and what follows it."""
        text = text.lstrip(" ")
        if not text:
            raise _NotClosedError
        if text[0] == "[":
            items, text = [], text[1:].lstrip(" ")
            while not text.startswith("]"):
                item, text = self.flow(text)
                items.append(item)
                text = self.comma(text, "]")
            return items, text[1:]
        if text[0] == "{":
            entries: dict[str, Any] = {}
            text = text[1:].lstrip(" ")
            while not text.startswith("}"):
                key, text = self.flow(text)
                text = text.lstrip(" ")
                if not text:
                    raise _NotClosedError
                value = None
                if text[0] == ":":
                    value, text = self.flow(text[1:])
                if str(key) in entries:
                    self.fail(f"the key `{key}` is given twice")
                entries[str(key)] = value
                text = self.comma(text, "}")
            return entries, text[1:]
        if text[0] in "\"'":
            return self.quoted(text)
        match = re.match(r"(?:[^,\[\]{}:#]|:(?=[^\s,\[\]{}])|(?<=\S)#)+", text)
        if not match:
            self.fail("is not a value")
        if match.group()[0] in "&*!|>@`%" or match.group().strip(" ") in "?-" or match.group().startswith(("? ", "- ")):
            self.fail("anchors, aliases, tags, block scalars and keys marked by `?` are not read")
        return _scalar(match.group().strip(" ")), text[match.end() :]

    def comma(self, text: str, closing: str) -> str:
        text = text.lstrip(" ")
        if text.startswith(","):
            text = text[1:].lstrip(" ")
        elif text and not text.startswith((closing, "#")):
            self.fail(f"`,` or `{closing}` was expected")
        if not text or text.startswith("#"):
            raise _NotClosedError
        return text


class _NotClosedError(Exception):
    """A flow collection goes on in the next line."""


def _without_comment(text: str) -> str:
    match = re.search(r"(^|\s)#", text)
    return (text[: match.start()] if match else text).strip(" ")


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text
