# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.croft.infra.plugins.module_utils.debian_image import (
    EFI_FILE,
    ESP_START,
    PARTITION_START,
    File,
    Image,
    Source,
    core_image_in_gap,
    deb822_sources,
    debian_source,
    esp_argvs,
    files_tar,
    grub_embedded_config,
    image_problems,
    last_words,
    master_boot_record,
    mke2fs_argv,
    mmdebstrap_argv,
    mounts_below,
    one_line_sources,
    transport_options,
    without_secrets,
)

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FILE = File("/etc/motd", "hello\n")
IMAGE = Image(name="node", packages=("udev", "dbus"), files=(FILE,), customize=("true",))
DISK = replace(IMAGE, format="qcow2")


@pytest.mark.parametrize(
    "same",
    [
        replace(IMAGE, name="other"),
        replace(IMAGE, packages=("dbus", "udev", "dbus")),
        replace(IMAGE, files=(File("/etc/motd", "hello\n", "644"),)),
        replace(IMAGE, disk_mib=2048, kernel_command_line="quiet"),
    ],
    ids=["name", "order of packages", "spelling of a mode", "disk of a directory"],
)
def test_hash_stays(same: Image) -> None:
    assert same.hash == IMAGE.hash


@pytest.mark.parametrize(
    "other",
    [
        replace(IMAGE, suite="forky"),
        replace(IMAGE, variant="apt"),
        replace(IMAGE, packages=("udev",)),
        replace(IMAGE, files=()),
        replace(IMAGE, files=(File("/etc/motd", "bye\n"),)),
        replace(IMAGE, files=(File("/etc/motd", "hello\n", "0755"),)),
        replace(IMAGE, customize=("false",)),
        DISK,
    ],
)
def test_hash_changes(other: Image) -> None:
    assert other.hash != IMAGE.hash


def test_hash_of_a_disk_counts_its_size_and_what_boots() -> None:
    disks = [DISK, replace(DISK, disk_mib=2048), replace(DISK, kernel_command_line="quiet"), replace(DISK, kernel="/k")]
    assert len({disk.hash for disk in disks}) == 4


def test_order_of_customize_counts() -> None:
    assert replace(IMAGE, customize=("a", "b")).hash != replace(IMAGE, customize=("b", "a")).hash


def test_file_names() -> None:
    assert IMAGE.file_name == f"node-{IMAGE.hash}"
    assert DISK.file_name == f"node-{DISK.hash}.qcow2"
    assert len(IMAGE.hash) == 12


def test_a_disk_needs_more_tools() -> None:
    assert set(IMAGE.tools) == {"mmdebstrap"}
    assert set(DISK.tools) == {"mmdebstrap", "mke2fs", "mformat", "grub-mkimage", "qemu-img"}


@pytest.mark.parametrize(
    ("image", "wrong"),
    [
        (IMAGE, []),
        (replace(IMAGE, packages=("libc6:amd64", "g++", "qemu-utils=1:10.0+ds-1~deb13u1")), []),
        (replace(IMAGE, name="../x"), ["name"]),
        (replace(IMAGE, suite="Trixie main"), ["suite"]),
        (replace(IMAGE, packages=("ok-package", "--no", "a b")), ["'--no'", "'a b'"]),
        (replace(IMAGE, files=(File("etc/motd", ""),)), ["absolute"]),
        (replace(IMAGE, files=(File("/etc/../x", ""),)), ["'..'"]),
        (replace(IMAGE, files=(FILE, FILE)), ["twice"]),
        (replace(IMAGE, files=(File("/x", "", "rw"),)), ["octal"]),
        (replace(IMAGE, disk_mib=1), ["disk_mib"]),
        (replace(IMAGE, kernel_command_line="a\nb"), ["kernel_command_line"]),
        (replace(IMAGE, name="", suite="", disk_mib=-1), ["name", "suite", "disk_mib"]),
    ],
)
def test_problems(image: Image, wrong: list[str]) -> None:
    problems = image_problems(image)
    assert len(problems) == len(wrong)
    assert all(word in problem for word, problem in zip(wrong, problems, strict=True))


ONE_LINE = """
# deb http://commented.example/debian trixie main
deb http://mirror.example/debian bookworm main contrib # the rest
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] https://user:pw@other.example/x stable main
deb nonsense
"""

DEB822 = """
Types: deb deb-src
# a comment within
URIs: http://a.example/debian http://b.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://embedded.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_one_line_sources() -> None:
    assert one_line_sources(ONE_LINE) == [
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib")),
        Source("https://user:pw@other.example/x", "stable", ("main",), {"arch": "amd64", "signed-by": "/k.gpg"}),
    ]


def test_deb822_sources() -> None:
    found = deb822_sources(DEB822)
    assert [(s.uri.split("/")[2], s.suite) for s in found] == [
        ("a.example", "bookworm"),
        ("a.example", "bookworm-updates"),
        ("b.example", "bookworm"),
        ("b.example", "bookworm-updates"),
        ("embedded.example", "trixie"),
    ]
    assert found[0].components == ("main", "contrib")
    assert found[0].options == {"signed-by": KEYRING}
    assert "BEGIN PGP" in found[-1].options["signed-by"]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", " continued\n", "Types: deb\n"])
def test_sources_that_say_nothing(text: str) -> None:
    assert deb822_sources(text) == []
    assert one_line_sources(text) == []


@pytest.mark.parametrize(
    ("sources", "line"),
    [
        ([], None),
        ([Source("http://m/debian", "bookworm", ("main",))], f"deb [signed-by={KEYRING}] http://m/debian trixie main"),
        (
            [Source("http://m/d", "stable", ("contrib", "main"), {"signed-by": KEYRING, "arch": "amd64"})],
            f"deb [signed-by={KEYRING}] http://m/d trixie main",
        ),
        # Docker, nodejs, PostgreSQL ... use the same suites, or have a "main", or both; their own key signs them.
        (
            [
                Source("http://docker/linux/debian-ce", "bookworm", ("stable",)),
                Source("http://pgdg/", "bookworm-pgdg", ("main",)),
                Source("http://grafana/", "stable", ("main",), {"signed-by": "/etc/apt/keyrings/grafana.gpg"}),
                Source("http://m/debian-security", "bookworm-security", ("main",)),
                Source("http://m/debian", "bookworm", ("main",), {"signed-by": KEYRING}),
            ],
            f"deb [signed-by={KEYRING}] http://m/debian trixie main",
        ),
        (
            [Source("http://m/debian/", "trixie", ("main",), {"signed-by": "/etc/own.gpg"})],
            "deb [signed-by=/etc/own.gpg] http://m/debian/ trixie main",
        ),
        (
            [Source("http://m/debian", "trixie", ("main",), {"trusted": "yes"})],
            "deb [trusted=yes] http://m/debian trixie main",
        ),
        (
            [Source("http://m/debian", "trixie", ("main",), {"signed-by": "-----BEGIN PGP"})],
            f"deb [signed-by={KEYRING}] http://m/debian trixie main",
        ),
        ([Source("http://ubuntu/ubuntu", "noble", ("main",))], None),
    ],
)
def test_debian_source(sources: list[Source], line: str | None) -> None:
    found = debian_source(sources, "trixie")
    assert (found.line() if found else None) == line


def test_transport_options() -> None:
    dump = "\n".join(
        [
            'Acquire "";',
            'Acquire::http::Proxy "http://p:3128";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::https "";',
            'Acquire::https::CaInfo "/etc/ssl/ca.pem";',
            'Acquire::cdrom::mount "/media/cdrom/";',
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
            'Acquire::CompressionTypes::xz "xz";',
            'Acquire::Languages:: "en";',
        ]
    )
    assert transport_options(dump).splitlines() == [
        'Acquire::http::Proxy "http://p:3128";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::https::CaInfo "/etc/ssl/ca.pem";',
        'Acquire::Languages "none";',
    ]


def test_mmdebstrap_argv() -> None:
    image = replace(IMAGE, customize=("echo 'a b' >/x", "true"), variant="apt")
    assert mmdebstrap_argv(image, "/t", "/w/apt.conf", "/w x/files.tar") == [
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--format=directory",
        "--aptopt=/w/apt.conf",
        "--include=dbus,udev",
        "--customize-hook=tar-in '/w x/files.tar' /",
        """--customize-hook=chroot "$1" sh -euc 'echo '"'"'a b'"'"' >/x'""",
        '--customize-hook=chroot "$1" sh -euc true',
        "trixie",
        "/t",
        "-",
    ]


def test_mmdebstrap_argv_of_what_is_merely_unpacked() -> None:
    image = Image(name="x", variant="extract", packages=("busybox-static",), customize=('mkdir "$1/bin"',))
    assert mmdebstrap_argv(image, "/t", "/w/apt.conf", "/w/files.tar")[6:] == [
        "--extract-hook=tar-in /w/files.tar /",
        '--extract-hook=sh -euc \'mkdir "$1/bin"\' sh "$1"',
        "trixie",
        "/t",
        "-",
    ]


def test_mmdebstrap_argv_of_the_bare_minimum() -> None:
    argv = mmdebstrap_argv(Image(name="x"), "/t", "/w/apt.conf", None)
    assert not [argument for argument in argv if argument.startswith(("--include", "--customize"))]


def test_files_tar_holds_files_alone_and_root_owns_them() -> None:
    archive = files_tar([File("/lib/b", "ä", "0755"), File("/etc/a", "")])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
        assert [(m.name, m.isfile(), m.mode, m.uid, m.mtime) for m in members] == [
            ("etc/a", True, 0o644, 0, 0),
            ("lib/b", True, 0o755, 0, 0),
        ]
        content = tar.extractfile("lib/b")
        assert content is not None
        assert content.read().decode() == "ä"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Get:1 https://me:secret@host/debian x", "Get:1 https://***@host/debian x"),
        ("http://token@host", "http://***@host"),
        ("https://host/a@b", "https://host/a@b"),
        ("no url", "no url"),
    ],
)
def test_without_secrets(text: str, clean: str) -> None:
    assert without_secrets(text) == clean


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "it said nothing"),
        ("one\ntwo\n\nthree\nfour\nfive\n", "two | three | four | five"),
        ("I: start\nE: Unable to locate package nope\nI: cleaning up\n", "E: Unable to locate package nope"),
        ("sh: 1: nope: not found\nE: setup failed\n", "sh: 1: nope: not found | E: setup failed"),
        ("Err:1 https://u:p@h/d x", "Err:1 https://***@h/d x"),
    ],
)
def test_last_words(output: str, said: str) -> None:
    assert last_words(output) == said


def test_mounts_below() -> None:
    mountinfo = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 0:5 / /cache/.building-a/tree/dev rw - devtmpfs udev rw
31 30 0:6 / /cache/.building-a/tree/dev/pts rw - devpts devpts rw
32 21 0:7 / /cache/.building-a\\040b/tree rw - tmpfs tmpfs rw
33 21 0:7 / /cache/.building-ab/tree rw - tmpfs tmpfs rw
"""
    assert mounts_below(mountinfo, "/cache/.building-a") == [
        "/cache/.building-a/tree/dev/pts",
        "/cache/.building-a/tree/dev",
    ]
    assert mounts_below(mountinfo, "/cache/.building-a b/tree") == ["/cache/.building-a b/tree"]
    assert mounts_below(mountinfo, "/elsewhere") == []


def test_master_boot_record() -> None:
    sector = master_boot_record(b"\xeb" * 512, 1048576, 0x12345678)
    assert len(sector) == 512
    assert sector[:440] == b"\xeb" * 440
    assert struct.unpack_from("<I", sector, 440)[0] == 0x12345678
    active, kind = sector[446], sector[450]
    assert (active, kind) == (0x80, 0x83)
    assert struct.unpack_from("<II", sector, 454) == (PARTITION_START, 1048576 - PARTITION_START)
    # What UEFI boots from: the second in the table, before the root on the disk, and right up to it.
    assert (sector[462], sector[466]) == (0x00, 0xEF)
    start, size = struct.unpack_from("<II", sector, 470)
    assert (start, start + size) == (ESP_START, PARTITION_START)
    assert sector[478:510] == bytes(32)
    assert sector[510:] == b"\x55\xaa"


def test_core_image_says_where_the_rest_of_it_is() -> None:
    core = bytes(range(256)) * 5
    placed = core_image_in_gap(core)
    assert placed[:500] == core[:500]
    assert placed[512:] == core[512:]
    assert struct.unpack("<QHH", placed[500:512]) == (2, 2, 0x0820)


def test_core_image_must_fit() -> None:
    assert core_image_in_gap(bytes(512 * (ESP_START - 1)))
    with pytest.raises(ValueError, match="2048 sectors"):
        core_image_in_gap(bytes(512 * (ESP_START - 1) + 1))


def test_grub_boots_what_the_image_says() -> None:
    image = replace(DISK, kernel="/k", initrd="/i", kernel_command_line="quiet")
    bios, efi = (grub_embedded_config(image, efi=efi).splitlines() for efi in (False, True))
    assert bios == ["set root=(hd0,msdos1)", "linux16 /k root=/dev/vda1 quiet", "initrd16 /i", "boot"]
    # The root follows from the disk that UEFI took it from, whichever number that has.
    assert efi == ["linux /k root=/dev/vda1 quiet", "initrd /i", "boot"]


@pytest.mark.skipif(shutil.which("mformat") is None, reason="Debian package mtools")
def test_uefi_finds_its_boot_loader_on_the_disk(tmp_path: Path) -> None:
    raw, core = tmp_path / "raw", tmp_path / "core"
    with raw.open("wb") as file:
        file.truncate(PARTITION_START * 512)
    core.write_bytes(b"loader" * 30000)
    for argv in esp_argvs(str(raw), str(core)):
        subprocess.run(argv, check=True)
    # Beyond its partition is the root's.
    assert raw.stat().st_size == PARTITION_START * 512
    read = ["mcopy", "-i", f"{raw}@@{ESP_START * 512}", EFI_FILE, "-"]
    assert subprocess.run(read, check=True, capture_output=True).stdout == core.read_bytes()


def test_mke2fs_fills_the_partition() -> None:
    argv = mke2fs_argv("/tree", "/raw", 16384)
    assert argv[-4:] == ["-d", "/tree", "/raw", "2048"]
    assert f"offset={PARTITION_START * 512}" in argv[argv.index("-E") + 1]
