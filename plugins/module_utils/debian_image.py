# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Debian image is made from, what it is called, and the commands that make it.

Everything here is pure; the module ``debian_image`` reads the machine and runs what is decided here.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Part of every hash: raise it when the way of building changes what comes out.
FORMAT_VERSION = 2
SECTOR = 512
# The first partition starts at 1 MiB, as every partitioning tool of today has it; GRUB's core image for a BIOS lives in
# the gap. UEFI reads its own from that partition. The root is after it, the last one, so that it can grow.
ESP_START = 2048
ESP_SECTORS = 2048
PARTITION_START = ESP_START + ESP_SECTORS

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")
SUITE = re.compile(r"^[a-z][a-z0-9.-]*$")
# Policy manual, 5.6.1, with the architecture qualifier and the version that apt takes.
PACKAGE = re.compile(r"^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+)?$")
MODE = re.compile(r"^0?[0-7]{3,4}$")

RELEASES = ("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid")
DEBIAN_SUITES = frozenset((*RELEASES, "oldoldstable", "oldstable", "stable", "testing", "unstable"))
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Of the machine's Acquire options these steer which indexes it keeps for itself, not how it reaches a mirror.
NOT_TRANSPORT = ("cdrom", "IndexTargets", "Changelogs", "CompressionTypes", "Languages")
# Options of a source that decide whether apt believes it.
TRUST_OPTIONS = ("signed-by", "trusted", "check-valid-until", "allow-insecure", "allow-weak")

GRUB_MKIMAGE = ("grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub")
# All that is needed to read a kernel from an ext4 file system in an MBR partition and start it.
# `linux16` enters the kernel as a BIOS boot sector would: 2 s faster than `linux` on a machine that is emulated.
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux16")
# For UEFI: the prefix without a disk means the one that it was read from.
GRUB_EFI_MKIMAGE = ("grub-mkimage", "-O", "x86_64-efi", "-p", "(,msdos1)/boot/grub")
GRUB_EFI_MODULES = ("part_msdos", "ext2", "linux")
# Where UEFI looks on a disk that it was told nothing about (UEFI specification, 3.5.1.1).
EFI_FILE = "::/EFI/BOOT/BOOTX64.EFI"

# Secrets and identities that maintainer scripts make, and what mmdebstrap brings in from the machine.
UNWANTED = (
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list.d/*",
    "etc/ssh/ssh_host_*",
    "etc/dropbear/dropbear_*_host_key",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/log/apt/*",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
)


@dataclass(frozen=True)
class File:
    """A file of the image: absolute path, text, octal mode."""

    path: str
    content: str
    mode: str = "0644"


@dataclass(frozen=True)
class Image:
    """An image as it is wished. ``disk_mib`` and what boots count for disk images only."""

    name: str
    suite: str = "trixie"
    variant: str = "minbase"
    packages: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    customize: tuple[str, ...] = ()
    format: str = "directory"
    disk_mib: int = 1024
    kernel: str = "/boot/vmlinuz"
    initrd: str = "/boot/initrd.img"
    kernel_command_line: str = ""

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all that the image is made from, its name apart."""
        made_from: dict[str, object] = {
            "version": FORMAT_VERSION,
            "suite": self.suite,
            "variant": self.variant,
            "packages": sorted(set(self.packages)),
            "files": sorted([f.path, f.content, int(f.mode, 8)] for f in self.files),
            "customize": list(self.customize),
            "format": self.format,
        }
        if self.format == "qcow2":
            made_from["disk"] = [self.disk_mib, self.kernel, self.initrd, self.kernel_command_line]
        text = json.dumps(made_from, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def file_name(self) -> str:
        """Name of the result in the cache."""
        return f"{self.name}-{self.hash}" + (".qcow2" if self.format == "qcow2" else "")

    @property
    def tools(self) -> dict[str, str]:
        """Commands that the build needs, each with the Debian package that has it."""
        tools = {"mmdebstrap": "mmdebstrap"}
        if self.format == "qcow2":
            tools |= {
                "mke2fs": "e2fsprogs",
                "grub-mkimage": "grub-common",
                "mformat": "mtools",
                "qemu-img": "qemu-utils",
            }
        return tools


def image_problems(image: Image) -> list[str]:
    """Return one line for each thing that is wrong with ``image``; an empty list when it can be built."""
    problems = []
    if not NAME.match(image.name):
        problems.append(f"name: {image.name!r} is not a name; use a-z, 0-9, '.', '_' and '-'.")
    if not SUITE.match(image.suite):
        problems.append(f"suite: {image.suite!r} is not the name of a Debian suite; use for example 'trixie'.")
    problems += [
        f"packages: {package!r} is not the name of a Debian package."
        for package in image.packages
        if not PACKAGE.match(package)
    ]
    seen: set[str] = set()
    for file in image.files:
        if not file.path.startswith("/") or file.path.endswith("/") or ".." in file.path.split("/"):
            problems.append(f"files: path {file.path!r} must be absolute, name a file and have no '..'.")
        if file.path in seen:
            problems.append(f"files: path {file.path!r} is there twice; keep one.")
        seen.add(file.path)
        if not MODE.match(file.mode):
            problems.append(f"files: mode {file.mode!r} of {file.path!r} is not octal; quote it, for example '0644'.")
    minimum = 64
    if image.disk_mib < minimum:
        problems.append(f"disk_mib: {image.disk_mib} is too small; at least {minimum}.")
    if "\n" in image.kernel_command_line:
        problems.append("kernel_command_line: must be one line.")
    return problems


@dataclass(frozen=True)
class Source:
    """One place that apt gets binary packages from."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the source in apt's one-line format."""
        options = " ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return " ".join(["deb", *([f"[{options}]"] if options else []), self.uri, self.suite, *self.components])


def one_line_sources(text: str) -> list[Source]:
    """Parse a ``.list`` file (sources.list(5), one-line style); lines that say something else are skipped."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"^\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>[^#]+)", line)
        words = match["rest"].split() if match else []
        if match is None or not words[1:]:
            continue
        uri, suite, *components = words
        options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
        sources.append(Source(uri, suite, tuple(components), {k.lower(): v for k, v in options.items()}))
    return sources


def deb822_sources(text: str) -> list[Source]:
    """Parse a ``.sources`` file (sources.list(5), deb822 style); stanzas that are disabled are left out."""
    sources = []
    stripped = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", stripped):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[key] = fields.get(key, "") + "\n" + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        options = {key: fields[key].strip() for key in TRUST_OPTIONS if fields.get(key, "").strip()}
        sources += [
            Source(uri, suite, tuple(fields.get("components", "").split()), options)
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return sources


def debian_source(sources: Iterable[Source], suite: str) -> Source | None:
    """Return where to get ``suite``: the first source of Debian's own ``main``, with the suite replaced.

    Other archives use Debian's suite names too, so a source counts as Debian's when Debian's keyring (or apt's default)
    signs it, or else, for mirrors signed again, when its address ends in ``/debian``. ``None`` when there is none.
    """
    candidates = [s for s in sources if s.suite.rstrip("/") in DEBIAN_SUITES and "main" in s.components]
    signed = [s for s in candidates if "debian-archive" in s.options.get("signed-by", "debian-archive")]
    mirrors = [s for s in candidates if s.uri.rstrip("/").endswith("/debian")]
    for found in [*signed, *mirrors]:
        options = {key: found.options[key] for key in TRUST_OPTIONS if key in found.options}
        # An embedded key cannot stand on one line.
        if not options.get("signed-by", DEBIAN_KEYRING).startswith("/"):
            del options["signed-by"]
        if options.get("trusted") != "yes":
            options.setdefault("signed-by", DEBIAN_KEYRING)
        return Source(found.uri, suite, ("main",), options)
    return None


def transport_options(apt_config_dump: str) -> str:
    """Return apt.conf(5) text with how this machine reaches its mirrors, out of ``apt-config dump Acquire``."""
    kept = []
    for line in apt_config_dump.splitlines():
        match = re.match(r'^Acquire::([^:\s]+)\S* "(.+)";$', line)
        if match and match[1] not in NOT_TRANSPORT:
            kept.append(line)
    # No translations: they are a third of the index and nobody reads them here.
    return "\n".join([*kept, 'Acquire::Languages "none";', ""])


def mmdebstrap_argv(image: Image, target: str, apt_options: str, files: str | None) -> list[str]:
    """Return the command that builds ``image`` as the directory ``target``; it reads the sources on standard input.

    ``apt_options`` is the path of an apt.conf(5) file and ``files`` that of a tar archive: in files, since a proxy's
    password would be seen by everybody on a command line.
    """
    argv = ["mmdebstrap", "--mode=root", f"--variant={image.variant}", "--format=directory", f"--aptopt={apt_options}"]
    if image.packages:
        argv.append("--include=" + ",".join(sorted(set(image.packages))))
    # What is merely unpacked has no customize step, and no shell that could be counted on.
    bare = image.variant == "extract"
    hook, shell = ("extract", "") if bare else ("customize", 'chroot "$1" ')
    if files is not None:
        argv.append(f"--{hook}-hook=tar-in {shlex.quote(files)} /")
    argv += [
        f"--{hook}-hook={shell}sh -euc {shlex.quote(command)}" + (' sh "$1"' if bare else "")
        for command in image.customize
    ]
    return [*argv, image.suite, target, "-"]


def files_tar(files: Sequence[File]) -> bytes:
    """Return ``files`` as a tar archive, owned by root.

    Directories are left out on purpose: tar then makes those that are missing and does not put one in the place of a
    symbolic link such as ``/lib``.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in sorted(files, key=lambda f: f.path):
            content = file.content.encode()
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size, member.mode = len(content), int(file.mode, 8)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def without_secrets(text: str) -> str:
    """Return ``text`` with the user and password of every URL replaced."""
    return re.sub(r"(\w+://)[^/@\s\"']+@", r"\1***@", text)


def last_words(output: str, lines: int = 4) -> str:
    """Return the last lines of a command's output that are not mere progress, joined to one line, without secrets."""
    said = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("I: ")]
    return without_secrets(" | ".join(said[-lines:])) or "it said nothing"


def mounts_below(mountinfo: str, directory: str) -> list[str]:
    """Return the mount points at or below ``directory`` out of /proc/self/mountinfo, in the order to unmount them."""
    points = [
        re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
        for line in mountinfo.splitlines()
        if line.strip()
    ]
    return [p for p in reversed(points) if p == directory or p.startswith(directory.rstrip("/") + "/")]


def master_boot_record(boot_code: bytes, disk_sectors: int, identifier: int) -> bytes:
    """Return the first sector of a disk with GRUB's boot code and two partitions.

    The first in the table is the root: Linux, active, to the end of the disk. The second is what UEFI boots from, and
    lies before it. Layout: boot code up to byte 440, disk identifier, partition table at 446, signature 55 AA. The
    cylinder fields say "see the sector numbers", as they do on every disk above 8 GiB.
    """
    beyond = b"\xfe\xff\xff"
    root = b"\x80" + beyond + b"\x83" + beyond + struct.pack("<II", PARTITION_START, disk_sectors - PARTITION_START)
    esp = b"\x00" + beyond + b"\xef" + beyond + struct.pack("<II", ESP_START, ESP_SECTORS)
    return boot_code[:440] + struct.pack("<IH", identifier, 0) + root + esp + bytes(32) + b"\x55\xaa"


def esp_argvs(disk: str, core: str) -> list[list[str]]:
    """Return the commands that make what UEFI boots from in the raw image ``disk``, with ``core`` in it."""
    at = f"{disk}@@{ESP_START * SECTOR}"
    # FAT wants a geometry; 16 heads of 32 sectors fill the partition.
    return [
        ["mformat", "-i", at, "-T", str(ESP_SECTORS), "-h", "16", "-s", "32", "-v", "EFI", "::"],
        ["mmd", "-i", at, "::/EFI", "::/EFI/BOOT"],
        ["mcopy", "-i", at, core, EFI_FILE],
    ]


def mke2fs_argv(tree: str, disk: str, sectors: int) -> list[str]:
    """Return the command that writes ``tree`` as an ext4 file system into the partition of the raw image ``disk``.

    ``resize=`` reserves the descriptors for growing while mounted to 1 TiB (in blocks of 4 KiB); the journal is small
    since every guest has its own copy of it. Two features that newer versions turn on by themselves are off: not every
    GRUB reads them.
    """
    extended = f"offset={PARTITION_START * SECTOR},resize={2**28},root_owner=0:0,lazy_itable_init=1"
    form = shlex.split("-q -F -t ext4 -b 4096 -L root -m 1 -J size=8 -O ^metadata_csum_seed,^orphan_file")
    return ["mke2fs", *form, "-E", extended, "-d", tree, disk, str(sectors // 8)]


def grub_embedded_config(image: Image, *, efi: bool) -> str:
    """Return the script that GRUB's core image runs at once: no menu, no modules to look for, no time-out."""
    where, kind = ("", "") if efi else ("set root=(hd0,msdos1)\n", "16")
    return (
        f"{where}"
        f"linux{kind} {image.kernel} root=/dev/vda1 {image.kernel_command_line}\n"
        f"initrd{kind} {image.initrd}\n"
        "boot\n"
    )


def core_image_in_gap(core: bytes) -> bytes:
    """Return GRUB's core image as it must lie on the disk from sector 1 on, to be loaded by boot.img.

    The first sector (diskboot.img) ends with a list of what to load after it: the start sector (64 bit), the number of
    sectors and the segment to load to (16 bit each). ``grub-mkimage`` writes the length there; the start sector is
    where ``grub-bios-setup`` would put it: 2.

    Raises:
        ValueError: the core image does not fit between the first sector and the first partition.
    """
    sectors = -(-len(core) // SECTOR)
    if sectors > ESP_START - 1:
        raise ValueError(f"GRUB's core image needs {sectors} sectors, {ESP_START - 1} are there.")
    blocklist = struct.pack("<QHH", 2, sectors - 1, 0x0820)
    return core[: SECTOR - len(blocklist)] + blocklist + core[SECTOR:]
