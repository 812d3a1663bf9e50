# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What VMs are told at their first boot besides croft's own: read, merged over the defaults, held against cloud-init's
schema. The schema is cloud-init's, see cloud_init/README.md.

No line shows a text of the user data, since it may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import did_you_mean, say
from ansible_collections.croft.infra.plugins.plugin_utils.vm_inventory import entries_of

SCHEMA = Path(__file__).parent / "cloud_init/schema-cloud-config-v1.json"
# What an entry of a list is known by, so that a VM's own replaces a default: users by name, files by path.
_NAMED_BY = ("name", "path")
# crypt(5): an algorithm between two dollars, or an account that no password opens.
_HASHED = re.compile(r"\$[0-9a-z]{1,8}\$[^:\s]+|[!*]+.*")
_HASH_IT = "give what 'openssl passwd -6' prints as {key}, or SSH keys alone"
_TYPES = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
}
_JSON_TYPES = {
    "string": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


@dataclass
class Prepared:
    """VM entries without their user data; that of each VM that has any, merged, by name; what is wrong, in lines."""

    entries: list[Any] = field(default_factory=list)
    user_data: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def prepare(entries: Any, defaults: Any) -> Prepared:
    """Merge each VM's user data over the defaults. Both are a mapping, or the text of a #cloud-config.

    ``entries`` is a list of VMs or a mapping by name; what is wrong with it otherwise is for others to tell.
    """
    done = Prepared()
    common = _read(defaults, "virtual_machines_user_data", done.problems)
    told: dict[str, None] = {}
    for name, entry in _named(entries):
        if not isinstance(entry, Mapping):
            done.entries.append(entry)
            continue
        done.entries.append({key: value for key, value in entry.items() if key != "user_data"})
        where = f"{name}: user_data"
        before = len(done.problems)
        own = _read(entry.get("user_data"), where, done.problems)
        if len(done.problems) > before:
            continue
        config = merged(common, own)
        if config:
            done.user_data[name] = config
        # What is wrong with the defaults is told once, and not for each VM.
        told |= dict.fromkeys(_problems_of(common, "virtual_machines_user_data"))
        wrong = _problems_of(config, where) if own else []
        shared = {line.partition(".")[2] for line in told}
        told |= dict.fromkeys(line for line in wrong if line.partition(".")[2] not in shared)
    done.problems += told
    return done


def given(entries: Any) -> dict[str, Any]:
    """The user data of each entry that has its own, by name, as it was given."""
    return {
        name: entry["user_data"]
        for name, entry in _named(entries)
        if isinstance(entry, Mapping) and entry.get("user_data") is not None
    }


def _named(entries: Any) -> Iterator[tuple[str, Any]]:
    for index, entry in enumerate([] if entries is None else entries_of(entries)):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        yield str(name or f"virtual_machines[{index}]"), entry


def _read(given: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if given is None or given == "":
        return {}
    if isinstance(given, str):
        try:
            given = yaml.safe_load(given)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = "" if mark is None else f", line {mark.line + 1}"
            why = getattr(error, "problem", None) or "not readable"
            problems.append(f"{where}: is no YAML{line}: {why}; correct it there")
            return {}
    if not isinstance(given, Mapping):
        problems.append(f"{where}: is {_kind(given)}, must be a mapping, or the text of one, as #cloud-config has it")
        return {}
    return dict(given)


def merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` over ``defaults``. Mappings are merged key by key, lists are joined, the defaults first; an entry of a
    list that has the ``name`` or ``path`` of a default is merged into that. An own null takes the default away; any
    other value takes its place."""
    result = dict(defaults)
    for key, value in own.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _over(result.get(key), value)
    return result


def _over(default: Any, own: Any) -> Any:
    if isinstance(default, Mapping) and isinstance(own, Mapping):
        return merged(default, own)
    if isinstance(default, list) and isinstance(own, list):
        return _joined(default, own)
    return own


def _joined(default: list[Any], own: list[Any]) -> list[Any]:
    result = list(default)
    for entry in own:
        identity = _identity(entry)
        place = next((i for i, there in enumerate(default) if identity and _identity(there) == identity), None)
        if place is None:
            result.append(entry)
        else:
            result[place] = merged(result[place], entry)
    return result


def _identity(entry: Any) -> tuple[str, Any] | None:
    if not isinstance(entry, Mapping):
        return None
    return next(((key, entry[key]) for key in _NAMED_BY if key in entry), None)


def _problems_of(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if not config:
        return ()
    try:
        text = json.dumps(config, sort_keys=True)
    except (TypeError, ValueError):
        # YAML knows dates and keys that are no text; cloud-config does not.
        return (f"{where}: has a value that JSON does not know, such as a date; put it in quotes",)
    return tuple(f"{where}{line}" for line in config_problems(text))


@cache
def config_problems(text: str) -> tuple[str, ...]:
    """What is wrong with a cloud-config, given as JSON; each line begins with the path: ``.users[0].sudo: ...``."""
    config = json.loads(text)
    found = [*_own_keys(config), *_passwords(config), *_schema_problems(config)]
    return tuple(dict.fromkeys(found))


def _own_keys(config: Mapping[str, Any]) -> Iterator[str]:
    if "hostname" in config:
        yield ".hostname: is the VM's name and set by croft; leave it out, or give fqdn"


def _passwords(config: Mapping[str, Any]) -> Iterator[str]:
    """Passwords that are there in plain; cloud-init would take them."""
    if config.get("password") is not None:
        yield f".password: is a password in plain; {_HASH_IT.format(key='users[].hashed_passwd')}"
    users = config.get("users")
    listed = users if isinstance(users, list) else []
    for where, user in [(".user", config.get("user")), *((f".users[{i}]", user) for i, user in enumerate(listed))]:
        if not isinstance(user, Mapping):
            continue
        if user.get("plain_text_passwd") is not None:
            yield f"{where}.plain_text_passwd: is a password in plain; {_HASH_IT.format(key='hashed_passwd')}"
        for key in ("passwd", "hashed_passwd"):
            if user.get(key) is not None and not _HASHED.fullmatch(str(user[key])):
                yield f"{where}.{key}: is no hash of a password; {_HASH_IT.format(key='hashed_passwd')}"
    yield from _changed_passwords(config.get("chpasswd"))


def _changed_passwords(change: Any) -> Iterator[str]:
    if not isinstance(change, Mapping):
        return
    lines = change.get("list")
    lines = lines.splitlines() if isinstance(lines, str) else lines if isinstance(lines, list) else []
    for index, line in enumerate(lines):
        if not _HASHED.fullmatch(str(line).partition(":")[2].strip()):
            yield f".chpasswd.list[{index}]: is a password in plain; {_HASH_IT.format(key='chpasswd.users[].password')}"
    users = change.get("users")
    for index, user in enumerate(users if isinstance(users, list) else []):
        if isinstance(user, Mapping) and not _HASHED.fullmatch(str(user.get("password", "*"))):
            yield f".chpasswd.users[{index}].password: is no hash of a password; {_HASH_IT.format(key='it')}"
        elif isinstance(user, Mapping) and user.get("type", "hash") != "hash":
            yield f".chpasswd.users[{index}].type: would make a password of what is a hash; leave it out"


@cache
def _validator() -> Any:
    # Only those who give user data need the library.
    import jsonschema  # noqa: PLC0415

    return jsonschema.Draft4Validator(json.loads(SCHEMA.read_text()))


def _schema_problems(config: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    for error in sorted(_validator().iter_errors(config), key=lambda error: list(map(str, error.absolute_path))):
        deepest = best_match([error])
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in deepest.absolute_path)
        yield from (f"{path}{line}" for line in _in_words(deepest))


def _in_words(error: Any) -> Iterator[str]:
    """One broken keyword of the schema, without the value that breaks it."""
    keyword, wanted = error.validator, error.validator_value
    if keyword == "additionalProperties" and not wanted:
        known = error.schema.get("properties", {})
        for key in sorted(set(error.instance) - set(known)):
            yield f".{key}: is not known to cloud-init; {did_you_mean(key, known)}"
    elif keyword == "type":
        types = [wanted] if isinstance(wanted, str) else wanted
        yield f": is {_kind(error.instance)}, must be {' or '.join(_JSON_TYPES[one] for one in types)}"
    elif keyword == "enum":
        yield f": must be one of {', '.join(map(say, wanted))}"
    elif keyword == "required":
        yield f": lacks {' and '.join(key for key in wanted if key not in error.instance)}"
    elif keyword in ("anyOf", "oneOf"):
        yield f": is {_kind(error.instance)} that has none of the forms that cloud-init takes here"
    else:
        yield f": breaks cloud-init's rule {keyword} {json.dumps(wanted)[:60]}"


def _kind(value: Any) -> str:
    return "empty" if value is None else _TYPES.get(type(value), f"a {type(value).__name__}")
