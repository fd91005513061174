"""What an answer means for each event of a request. Pure: no I/O, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Optional

from .retry import retry_after


class Next(Enum):
    """What to do with the events that have no fate yet."""

    #: Nothing is left.
    DONE = "done"
    #: The gateway or the way to it is in trouble: the same again, later.
    LATER = "later"
    #: The gateway failed on this request: again, and in parts when it goes on, since one event may be to blame.
    SUSPECT = "suspect"
    #: The request as a whole is refused: one event may be to blame, so in parts.
    SPLIT = "split"
    #: The request is too large: in parts, and smaller ones from now on.
    SMALLER = "smaller"
    #: Nothing can be sent until somebody changes something (a key, the URL): kept, tried again seldom.
    MISCONFIGURED = "misconfigured"


Fate = Literal["accepted", "duplicate", "rejected"]


@dataclass(frozen=True)
class Refusal:
    """Why an event was refused, in the gateway's words."""

    code: str
    path: str = ""
    message: str = ""
    hint: Optional[str] = None


@dataclass(frozen=True)
class Verdict:
    """What became of a request's events, by their place in it. Those in no map have no fate yet."""

    next: Next
    #: Place → fate.
    fates: Mapping[int, Fate] = field(default_factory=dict)
    #: Place → why it was refused.
    refusals: Mapping[int, Refusal] = field(default_factory=dict)
    #: Seconds the gateway asks to be left alone.
    retry_after: Optional[float] = None
    #: What went wrong, without anybody's data; `None` when nothing did.
    problem: Optional[str] = None


def unreachable(problem: str) -> Verdict:
    """No answer, or not all of one. The events may have been taken: the same ids will tell."""
    return Verdict(Next.LATER, problem=problem)


def judge(status: int, headers: Mapping[str, str], body: bytes, count: int) -> Verdict:
    """Reads an answer about `count` events. `headers` have lower-case names."""
    answer = _answer(body)
    asked = retry_after(headers)
    problem = _problem(status, answer)
    if status in (200, 202, 207, 422):
        if answer is None or not isinstance(answer.get("accepted"), int):
            # A login page of a captive portal is no acknowledgement.
            return Verdict(Next.LATER, retry_after=asked, problem=f"{status}: the answer is not the gateway's")
        return _by_event(status, answer, asked, count)
    if status == 413:
        return Verdict(Next.SMALLER, problem=problem, refusals={0: _refusal(answer, "too_large")})
    if status == 400 and answer is not None:
        return Verdict(Next.SPLIT, problem=problem, refusals={0: _refusal(answer, "refused")})
    if status in (408, 425, 429) or status >= 500:
        is_suspect = status == 500 or (status == 501 and answer is not None)
        return Verdict(Next.SUSPECT if is_suspect else Next.LATER, retry_after=asked, problem=problem)
    return Verdict(Next.MISCONFIGURED, retry_after=asked, problem=problem)


def _answer(body: bytes) -> Optional[dict[str, Any]]:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and isinstance(answer.get("code"), str) else None


def _problem(status: int, answer: Optional[dict[str, Any]]) -> str:
    if answer is None:
        return str(status)
    hint = answer.get("hint")
    text = f"{status} {answer['code']}: {str(answer.get('message', ''))[:200]}"
    return f"{text} ({hint[:200]})" if isinstance(hint, str) else text


def _refusal(answer: Optional[Mapping[str, Any]], code: str) -> Refusal:
    if answer is None:
        return Refusal(code)
    hint = answer.get("hint")
    texts = {key: str(answer.get(key, ""))[:500] for key in ("path", "message")}
    return Refusal(str(answer.get("code", code))[:100], **texts, hint=str(hint)[:500] if hint else None)


def _by_event(status: int, answer: dict[str, Any], asked: Optional[float], count: int) -> Verdict:
    """Events that are not listed were taken; in a 422 none was."""
    fates: dict[int, Fate] = dict.fromkeys(range(count), "rejected" if status == 422 else "accepted")
    refusals: dict[int, Refusal] = {}
    results = answer.get("results")
    later: Optional[str] = None
    for result in results if isinstance(results, list) else ():
        index = result.get("index") if isinstance(result, dict) else None
        if not isinstance(index, int) or index not in fates:
            continue
        outcome = result.get("status")
        if outcome == "accepted":
            fates[index] = "accepted"
        elif outcome == "duplicate":
            fates[index] = "duplicate"
        elif outcome == "rejected":
            fates[index] = "rejected"
            refusals[index] = _refusal(result, "rejected")
        else:
            # `limited`, `retry`, or a word of a later gateway: sending again is always safe.
            del fates[index]
            later = str(result.get("code") or outcome)
    for index, fate in fates.items():
        if fate == "rejected" and index not in refusals:
            refusals[index] = _refusal(answer, "rejected")
    if len(fates) == count:
        return Verdict(Next.DONE, fates, refusals)
    return Verdict(Next.LATER, fates, refusals, asked, f"{status} {later}: some events are to be sent again")
