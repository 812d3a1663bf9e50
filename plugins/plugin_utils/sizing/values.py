# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading single values: each function gives the value in its right type, or None and one line that says what to do."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})\Z")
_TRUE = ("yes", "true", "on", "1")
_FALSE = ("no", "false", "off", "0")
_SHOWN = 60


class _Missing:
    """The value of a key that is not there (None is what YAML gives for a key with nothing after it)."""


MISSING: Final = _Missing()


@dataclass(slots=True)
class Problems:
    """The problems of an input, one line each, in the order in which they were found."""

    found: dict[str, None] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        return list(self.found)

    def add(self, where: str, what: str) -> None:
        """One more problem, on one line whatever names were given; the same line twice is one problem."""
        self.found["".join(c if c.isprintable() else "?" for c in f"{where}: {what}")] = None


def say(value: Any) -> str:
    """The value as one short piece of text for a person, on one line whatever was given."""
    if value is None or isinstance(value, bool):
        return {None: "empty", True: "true", False: "false"}[value]
    if isinstance(value, str):
        text = "".join(c if c.isprintable() else "?" for c in value)
        return f"'{text[:_SHOWN]}...'" if len(text) > _SHOWN else f"'{text}'"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return f"a {type(value).__name__}"


def did_you_mean(name: Any, choices: Iterable[str]) -> str:
    """``did you mean 'web'?`` when one choice is close, else the list of all (cut when long)."""
    ordered = sorted(choices)
    close = difflib.get_close_matches(str(name).lower().replace(" ", "_"), ordered, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    if not ordered:
        return "there is none to choose from"
    shown = ", ".join(ordered[:12]) + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "")  # noqa: PLR2004
    return f"known are: {shown}"


def as_whole(  # noqa: PLR0913
    value: Any, where: str, problems: Problems, unit: str, *, least: int = 1, most: int | None = None, hint: str = ""
) -> int | None:
    """A whole number; a text of digits counts as one (extra variables are texts), true and 2.5 do not."""
    wanted = f"must be a whole number of {unit} >= {least}" + (f" and <= {most}" if most is not None else "")
    tail = f"{wanted}; {hint}" if hint else wanted
    if value is MISSING or value is None:
        problems.add(where, f"is {'missing' if value is MISSING else 'empty'}, {tail}")
        return None
    number: int | None = None
    if not isinstance(value, bool) and (
        isinstance(value, int)
        or (isinstance(value, float) and math.isfinite(value) and value == int(value))
        or (isinstance(value, str) and _WHOLE.match(value.strip()))
    ):
        number = int(value)
    if number is None or number < least or (most is not None and number > most):
        problems.add(where, f"is {say(value)}, {tail}")
        return None
    return number


def as_number(  # noqa: PLR0913
    value: Any,
    where: str,
    problems: Problems,
    unit: str = "",
    *,
    most: Fraction | None = None,
    zero: bool = False,
    hint: str = "",
) -> Fraction | None:
    """A number > 0 (or >= 0), exact: 0.4 is read as 2/5, not as the binary float beside it."""
    wanted = f"must be a number{' of ' + unit if unit else ''} {'>=' if zero else '>'} 0"
    wanted += f" and <= {say(float(most)).removesuffix('.0')}" if most is not None else ""
    tail = f"{wanted}; {hint}" if hint else wanted
    if value is MISSING or value is None:
        problems.add(where, f"is {'missing' if value is MISSING else 'empty'}, {tail}")
        return None
    number: Fraction | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = Fraction(int(value))
    elif isinstance(value, float) and math.isfinite(value):
        number = Fraction(repr(float(value)))
    elif isinstance(value, str) and _NUMBER.match(value.strip()):
        number = Fraction(value.strip())
    if number is None or number < 0 or (number == 0 and not zero) or (most is not None and number > most):
        problems.add(where, f"is {say(value)}, {tail}")
        return None
    return number


def as_flag(value: Any, where: str, problems: Problems) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE + _FALSE:
        return value.strip().lower() in _TRUE
    problems.add(where, f"is {say(value)}, must be true or false")
    return None


def as_choice(value: Any, choices: tuple[str, ...], where: str, problems: Problems) -> str | None:
    if isinstance(value, str) and value in choices:
        return str(value)
    problems.add(where, f"is {say(value)}, must be one of {', '.join(choices)}{_close(value, choices)}")
    return None


def _close(value: Any, choices: tuple[str, ...]) -> str:
    guess = did_you_mean(value, choices) if isinstance(value, str) else ""
    return f"; {guess}" if guess.startswith("did") else ""
