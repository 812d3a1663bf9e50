# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to libvirt: its Python bindings, one connection, and errors in words."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

DEFAULT_URI = "qemu:///system"

# virDomainState, https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainState; a blocked domain runs, and waits
# for I/O.
DOMAIN_STATES = {
    1: "running",
    2: "running",
    3: "paused",
    4: "shutting_down",
    5: "stopped",
    6: "crashed",
    7: "suspended",
}


class LibvirtMissingError(Exception):
    """There is no libvirt on this host (not installed); the text says what is missing."""


class LibvirtFailedError(Exception):
    """libvirt is installed, and cannot be reached or refuses to say what there is; the text says why."""


def bindings(name: str = "libvirt") -> ModuleType:
    """The bindings' module, with libvirt's habit of printing each error switched off. Raises LibvirtMissingError."""
    try:
        library = import_module(name)
    except ImportError as error:
        missing = f"libvirt's Python bindings ({name}) are not installed (Debian package python3-libvirt)"
        raise LibvirtMissingError(missing) from error
    if name == "libvirt":
        library.registerErrorHandler(lambda _context, _error: None, None)
    return library


@contextmanager
def connection(uri: str = DEFAULT_URI) -> Iterator[Any]:
    """An open virConnect, closed at the end. Raises LibvirtMissingError or LibvirtFailedError."""
    library = bindings()
    if uri.startswith("qemu:///") and not any(
        shutil.which(daemon, path="/usr/sbin:/sbin:/usr/bin") for daemon in ("libvirtd", "virtqemud")
    ):
        raise LibvirtMissingError("libvirt's daemon is not installed (Debian package libvirt-daemon-system)")
    try:
        opened = library.open(uri)
    except library.libvirtError as error:
        raise LibvirtFailedError(f"no connection to {uri}: {words(error)}") from error
    try:
        yield opened
    except library.libvirtError as error:
        raise LibvirtFailedError(f"libvirt failed: {words(error)}") from error
    finally:
        opened.close()


def uri_of(address: str) -> str:
    """The libvirt of another machine of the deployment, over TLS."""
    return f"qemu+tls://{_in_uri(address)}/system"


def migration_uri_of(address: str) -> str:
    """Where another machine's QEMU takes a migration: at the same address, whether or not this one knows its name.

    Without it libvirt tells the other machine's hostname. The port is libvirt's choice.
    """
    return f"tcp://{_in_uri(address)}"


def _in_uri(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def found(lookup: Callable[[], Any], missing: str) -> Any | None:
    """What libvirt finds; None when it fails with the error of this name, like VIR_ERR_NO_NETWORK."""
    try:
        return lookup()
    except bindings().libvirtError as error:
        if error.get_error_code() == getattr(bindings(), missing):
            return None
        raise


def removed(volumes: Iterable[Any]) -> str:
    """Delete volumes, None among them; what could not be deleted, as the end of a sentence, else the empty string."""
    left = ""
    for volume in volumes:
        try:
            if volume is not None:
                volume.delete(0)
        except bindings().libvirtError as error:
            left += f"; the volume {volume.path()} could not be removed: {words(error)}"
    return left


def quietly(call: Callable[[], Any]) -> None:
    """Call what may come too late, since what it speaks of ended a moment ago."""
    try:
        call()
    except bindings().libvirtError:
        return


def words(error: Exception) -> str:
    """What libvirt said, on one line."""
    return " ".join(str(error).split())


def agent_answers(domain: Any, timeout: int) -> str | None:
    """None when the agent of a running guest answers guest-ping within `timeout` seconds, else why it does not."""
    try:
        bindings("libvirt_qemu").qemuAgentCommand(domain, '{"execute": "guest-ping"}', timeout, 0)
    except bindings().libvirtError as error:
        return words(error)
    return None
