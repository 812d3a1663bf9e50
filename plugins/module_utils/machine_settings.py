# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings by which this machine reaches packages and names, to be handed on to a lab node when it starts.

They are read each time and kept nowhere: a mirror, a proxy or a certificate is the machine's own business.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.croft.infra.plugins.module_utils import debian_image

TRUST = Path("/etc/ssl/certs/ca-certificates.crt")
COPIED = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/apt/auth.conf")


def apt_sources() -> list[debian_image.Source]:
    """Return every source that apt has on this machine, in the order of apt's own reading."""
    sources: list[debian_image.Source] = []
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if path.is_file() and path.suffix in (".list", ".sources"):
            parse = debian_image.deb822_sources if path.suffix == ".sources" else debian_image.one_line_sources
            sources += parse(path.read_text(errors="replace"))
    return sources


def node_settings(suite: str) -> dict[str, str]:
    """Return the files that let a node reach what this machine reaches: text by path below the node's root."""
    files = {path.lstrip("/"): Path(path).read_text() for path in COPIED if Path(path).is_file()}
    source = debian_image.debian_source(apt_sources(), suite)
    if source:
        files["etc/apt/sources.list"] = f"{source.line()}\n"
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False).stdout
    files["etc/apt/apt.conf.d/90machine"] = debian_image.transport_options(dump)
    # Certificates that somebody added to this machine, such as a proxy's, are in the bundle only.
    if TRUST.is_file():
        files[str(TRUST).lstrip("/")] = TRUST.read_text()
    return files
