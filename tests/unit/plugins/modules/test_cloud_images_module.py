# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module from its arguments to files, with a web server on the loopback and real qemu-img."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.modules import cloud_images

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="Debian package qemu-utils")
Fetch = Callable[..., dict[str, Any]]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a directory and says nothing."""

    def log_message(self, *_words: Any) -> None:
        """Nothing."""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """What is published: a qcow2 image, a raw one that boots, a page that is none, a damaged image, one that refers."""
    folder = tmp_path / "published"
    folder.mkdir()
    raw = bytes(510) + b"\x55\xaa" + bytes(1024 * 1024 - 512)
    (folder / "disk.raw").write_bytes(raw)
    (folder / "page.qcow2").write_text("<html>not found</html>")
    make = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2"]
    subprocess.run([*make, folder / "disk.raw", folder / "disk.qcow2"], check=True)
    whole = (folder / "disk.qcow2").read_bytes()
    # The L1 table's place in the header points nowhere (qcow2.txt, byte 40).
    (folder / "damaged.qcow2").write_bytes(whole[:40] + b"\x00\x00\x00\x7f\x00\x00\x00\x00" + whole[48:])
    refers = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", folder / "refers.qcow2"]
    subprocess.run(refers, check=True)
    sums = [f"{digest(folder / name)}  {name}" for name in ("disk.qcow2", "disk.raw")]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return folder


@pytest.fixture
def server(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def fetch(run_module: Callable[..., dict[str, Any]], tmp_path: Path) -> Fetch:
    def run(*images: dict[str, Any], check: bool = False) -> dict[str, Any]:
        given = {"images": list(images), "cache_dir": str(tmp_path / "cache"), "timeout": 5}
        return run_module(cloud_images, given, check=check)

    return run


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wish(url: str, path: Path, **more: str) -> dict[str, str]:
    return {"name": "disk", "url": f"{url}/{path.name}", "checksum": f"sha256:{digest(path)}", **more}


def test_an_image_is_fetched_once(fetch: Fetch, server: str, published: Path, tmp_path: Path) -> None:
    image = wish(server, published / "disk.qcow2")
    predicted = fetch(image, check=True)
    assert (predicted["changed"], (tmp_path / "cache").exists()) == (True, False)
    done = fetch(image)
    (told,) = done["images"]
    assert (done["changed"], done["fetched"], predicted["images"]) == (True, ["disk"], done["images"])
    assert told["path"] == f"{tmp_path}/cache/disk-{digest(published / 'disk.qcow2')[:12]}.qcow2"
    assert Path(told["path"]).read_bytes() == (published / "disk.qcow2").read_bytes()
    (published / "disk.qcow2").unlink()
    assert fetch(image)["changed"] is False
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".disk.lock", Path(told["path"]).name]


def test_a_list_of_checksums_makes_versions(fetch: Fetch, server: str, published: Path) -> None:
    image = wish(server, published / "disk.qcow2", checksum=f"sha256:{server}/SHA256SUMS")
    first = fetch(image)["images"][0]
    assert fetch(image)["changed"] is False
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", published / "disk.qcow2", "2M"], check=True)
    (published / "SHA256SUMS").write_text(f"{digest(published / 'disk.qcow2')}  disk.qcow2\n")
    second = fetch(image)["images"][0]
    assert first["hash"] != second["hash"]
    assert Path(first["path"]).exists()
    assert Path(second["path"]).exists()


def test_a_raw_image_is_kept_as_qcow2(fetch: Fetch, published: Path) -> None:
    (told,) = fetch(wish(f"file://{published}", published / "disk.raw", format="raw"))["images"]
    info = subprocess.run(["qemu-img", "info", told["path"]], capture_output=True, text=True, check=True)
    assert "file format: qcow2" in info.stdout


def test_all_that_is_wrong_is_told_and_what_is_right_is_kept(
    fetch: Fetch, server: str, published: Path, tmp_path: Path
) -> None:
    good = wish(server, published / "disk.qcow2", name="good")
    other = good | {"name": "other", "checksum": f"sha256:{'0' * 64}"}
    away = good | {"name": "away", "url": f"{server}/away.qcow2"}
    silent = good | {"name": "silent", "url": "http://127.0.0.1:1/x.qcow2"}
    unlisted = good | {"name": "unlisted", "url": f"{server}/x.qcow2", "checksum": f"sha256:{server}/SHA256SUMS"}
    files = [wish(server, published / f"{name}.qcow2", name=name) for name in ("page", "damaged", "refers")]
    done = fetch(good, other, away, silent, unlisted, *files)
    assert done["failed"]
    assert done["changed"]
    told = dict(line.split(": ", 1) for line in done["problems"])
    expected = {
        "other": f"{server}/disk.qcow2 has the sha256 {digest(published / 'disk.qcow2')}, wanted {'0' * 64}; it is",
        "away": f"{server}/away.qcow2 cannot be read: HTTP Error 404: File not found; correct the url",
        "silent": "http://127.0.0.1:1/x.qcow2 cannot be read: Request failed: <urlopen error [Errno 111]",
        "unlisted": f"{server}/SHA256SUMS has no sha256 of {server}/x.qcow2",
        "page": "is raw, not qcow2; correct its url or its format",
        "damaged": "is damaged: ",
        "refers": "refers to another file",
    }
    assert set(told) == set(expected)
    for name, text in expected.items():
        assert told[name].startswith(text), told[name]
    kept = sorted(path.name for path in (tmp_path / "cache").iterdir() if path.suffix == ".qcow2")
    assert kept == [f"good-{digest(published / 'disk.qcow2')[:12]}.qcow2"]


def test_what_cannot_be_meant_reaches_no_server(fetch: Fetch) -> None:
    done = fetch({"name": "x", "url": "http://127.0.0.1:1/x", "checksum": "md5:abc"})
    assert done["problems"] == ["x: checksum must begin with one of sha256:, sha384:, sha512:"]
