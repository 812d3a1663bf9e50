# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: debian_image
short_description: Build a Debian image from packages and cache it by what it is made from
description:
  - Builds a Debian root file system with C(mmdebstrap), as a directory or as a disk image that boots with a
    BIOS and with UEFI (without Secure Boot).
  - The result lies in O(cache_dir) under a name that ends in a hash of everything it is made from. When it is there
    already, nothing is done and no tool is needed. Older versions of the same name are kept.
  - The mirror and how to reach it (proxy, certificates, C(Check-Valid-Until)) are those of the machine it runs on. None
    of that stays in the image, C(/etc/apt/sources.list) is empty in it, and the SSH host keys, machine id and
    certificates that maintainer scripts make are removed. So make the host keys when the image starts
    (C(ssh-keygen -A)).
  - Needs to run as root. O(format=qcow2) needs no loop device and no mount.
version_added: 0.1.0
author: The croft contributors
options:
  name:
    description: What the image is called; the first part of its file name.
    type: str
    required: true
  suite:
    description: The Debian suite, by code name.
    type: str
    default: trixie
  variant:
    description:
      - The set of packages to begin with, one of C(mmdebstrap)'s variants.
      - V(extract) unpacks O(packages) alone, without what they depend on and without their scripts; enough for the
        root file system of a container that holds one static program.
    type: str
    choices: [extract, minbase, apt, essential, required, important, standard]
    default: minbase
  packages:
    description: The packages to install on top; what they merely recommend is not installed.
    type: list
    elements: str
    default: []
  files:
    description: Text files to write after the packages are installed and before O(customize) runs.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path in the image. Missing directories are made.
        type: str
        required: true
      content:
        description: The text.
        type: str
        required: true
      mode:
        description: Octal mode, as a string.
        type: str
        default: "0644"
  customize:
    description:
      - Shell commands to run in the image, in this order. The first one that fails fails the build.
      - With O(variant=extract) they run beside the image, whose root directory is C("$1").
    type: list
    elements: str
    default: []
  format:
    description: A directory, or a disk image with an MBR, GRUB and one ext4 partition.
    type: str
    choices: [directory, qcow2]
    default: directory
  cache_dir:
    description: Where images are kept. Made when it is not there.
    type: path
    default: /var/cache/croft/images
  disk_mib:
    description: Size of the virtual disk in MiB, with O(format=qcow2).
    type: int
    default: 1024
  kernel:
    description: Path of the kernel in the image, with O(format=qcow2).
    type: str
    default: /boot/vmlinuz
  initrd:
    description: Path of the initial RAM disk in the image, with O(format=qcow2).
    type: str
    default: /boot/initrd.img
  kernel_command_line:
    description: What the kernel is given besides C(root=/dev/vda1), with O(format=qcow2).
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Says whether an image would be built.
"""

EXAMPLES = r"""
- name: Build the root file system of a container
  croft.infra.debian_image:
    name: node
    packages: [systemd-sysv, openssh-server, python3]
    files:
      - path: /etc/motd
        content: "Built from packages.\n"
    customize:
      - systemctl enable ssh
  register: node_image

- name: Build a disk image
  croft.infra.debian_image:
    name: guest
    format: qcow2
    disk_mib: 768
    packages: [linux-image-cloud-amd64, systemd-sysv, udev]
    customize:
      - ln -s "$(basename /boot/vmlinuz-*)" /boot/vmlinuz
      - ln -s "$(basename /boot/initrd.img-*)" /boot/initrd.img
    kernel_command_line: console=ttyS0 quiet
"""

RETURN = r"""
path:
  description: Absolute path of the directory or of the C(.qcow2) file; in check mode, where it would be.
  returned: success
  type: str
  sample: /var/cache/croft/images/guest-0c3f8a91d2be.qcow2
hash:
  description: The first 12 hexadecimal digits of the SHA-256 of what the image is made from.
  returned: success
  type: str
  sample: 0c3f8a91d2be
"""

import fcntl
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import debian_image as pure
from ansible_collections.croft.infra.plugins.module_utils.machine_settings import apt_sources

GRUB_DIRECTORY = Path("/usr/lib/grub/i386-pc")
GRUB_EFI_DIRECTORY = Path("/usr/lib/grub/x86_64-efi")


class BuildError(Exception):
    """The image could not be built; the message is one line."""


class Builder:
    """Builds one image below a directory of its own in the cache."""

    def __init__(self, module: AnsibleModule, image: pure.Image, cache: Path, lock: int) -> None:
        self.module, self.image, self.lock = module, image, lock
        self.work = cache / f".building-{image.name}-{image.hash}"

    def run(self, argv: list[str], data: str | None = None) -> None:
        """Run a command; it keeps the lock, so that one that outlives us is not disturbed by the next build."""
        code, out, err = self.module.run_command(
            argv, data=data, environ_update={"LC_ALL": "C.UTF-8"}, umask=0o022, pass_fds=[self.lock]
        )
        if code != 0:
            raise BuildError(f"{argv[0]} failed (rc {code}): {pure.last_words(out + os.linesep + err)}")

    def build(self, target: Path) -> None:
        """Build the image and put it to ``target`` in one step."""
        self.work.mkdir(mode=0o755)
        tree = self.work / "tree"
        self.build_tree(tree)
        self.clean_tree(tree)
        result = tree if self.image.format == "directory" else self.build_disk(tree)
        result.rename(target)

    def build_tree(self, tree: Path) -> None:
        source = pure.debian_source(apt_sources(), self.image.suite)
        if source is None:
            raise BuildError("No mirror: no deb source in /etc/apt of this machine serves Debian's main; add one.")
        code, dump, err = self.module.run_command(
            ["apt-config", "dump", "Acquire"], environ_update={"LC_ALL": "C.UTF-8"}
        )
        if code != 0:
            raise BuildError(f"apt-config failed (rc {code}): {pure.last_words(err)}")
        options = pure.transport_options(dump)
        for key, path in (("netrc", Path("/etc/apt/auth.conf")), ("netrcparts", Path("/etc/apt/auth.conf.d"))):
            options += f'Dir::Etc::{key} "{path}";\n' if path.exists() else ""
        apt_options, files = self.work / "apt.conf", self.work / "files.tar"
        apt_options.touch(mode=0o600)
        apt_options.write_text(options)
        files.write_bytes(pure.files_tar(self.image.files))
        archive = str(files) if self.image.files else None
        self.run(pure.mmdebstrap_argv(self.image, str(tree), str(apt_options), archive), data=source.line())

    def clean_tree(self, tree: Path) -> None:
        """Take out secrets and what belongs to this machine, but nothing that the image's own files say."""
        own = {tree / file.path.lstrip("/") for file in self.image.files}
        unwanted = [path for pattern in pure.UNWANTED for path in tree.glob(pattern)]
        for brought_in in ("etc/resolv.conf", "etc/hostname"):
            ours, theirs = Path("/", brought_in), tree / brought_in
            if theirs.is_file() and not theirs.is_symlink() and ours.is_file():
                unwanted += [theirs] if theirs.read_bytes() == ours.read_bytes() else []
        for path in unwanted:
            if path not in own:
                path.unlink()
        sources = tree / "etc/apt/sources.list"
        if sources.parent.is_dir() and sources not in own:
            sources.write_text("")

    def build_disk(self, tree: Path) -> Path:
        """Make a disk image of the tree with nothing but files: no loop device, no mount."""
        for what in (self.image.kernel, self.image.initrd):
            if not (tree / what.lstrip("/")).is_file():
                raise BuildError(f"No {what} in the image: install a kernel, or make that file in customize.")
        raw, disk = self.work / "raw", self.work / "disk.qcow2"
        core = self.build_grub("bios", pure.GRUB_MKIMAGE, pure.GRUB_MODULES)
        efi_core = self.build_grub("efi", pure.GRUB_EFI_MKIMAGE, pure.GRUB_EFI_MODULES)
        sectors = self.image.disk_mib * 1024 * 1024 // pure.SECTOR
        boot_code = (GRUB_DIRECTORY / "boot.img").read_bytes()
        with raw.open("wb") as file:
            file.truncate(sectors * pure.SECTOR)
            file.write(pure.master_boot_record(boot_code, sectors, secrets.randbits(32)))
            file.write(pure.core_image_in_gap(core.read_bytes()))
        for argv in pure.esp_argvs(str(raw), str(efi_core)):
            self.run(argv)
        self.run(pure.mke2fs_argv(str(tree), str(raw), sectors - pure.PARTITION_START))
        # Compressed it is half the size to copy to every host, and boots no slower.
        qcow2 = ["-O", "qcow2", "-c", "-o", "compression_type=zstd"]
        self.run(["qemu-img", "convert", "-f", "raw", *qcow2, str(raw), str(disk)])
        disk.chmod(0o644)
        return disk

    def build_grub(self, firmware: str, command: tuple[str, ...], modules: tuple[str, ...]) -> Path:
        """GRUB's core image for one kind of firmware."""
        config, core = self.work / f"{firmware}.cfg", self.work / f"{firmware}.img"
        config.write_text(pure.grub_embedded_config(self.image, efi=firmware == "efi"))
        self.run([*command, "-c", str(config), "-o", str(core), *modules])
        return core


def remove_leftovers(module: AnsibleModule, cache: Path, name: str) -> None:
    """Remove what builds of this name left behind; the caller holds the lock, so none of them is running."""
    ours = re.compile(rf"^\.building-{re.escape(name)}-[0-9a-f]{{12}}$")
    for leftover in [path for path in cache.iterdir() if ours.match(path.name)]:
        # A build that was killed may have left the machine's own /dev and /proc mounted in there.
        for point in pure.mounts_below(Path("/proc/self/mountinfo").read_text(), str(leftover)):
            module.run_command(["umount", "--lazy", point])
        if still := pure.mounts_below(Path("/proc/self/mountinfo").read_text(), str(leftover)):
            raise BuildError(f"{leftover} of a build that was killed has {still[0]} mounted; unmount it.")
        shutil.rmtree(leftover)


def build(module: AnsibleModule, image: pure.Image, target: Path) -> bool:
    """Build ``image`` unless somebody else did while we waited; return whether it was built here."""
    missing = {package for tool, package in image.tools.items() if shutil.which(tool) is None}
    if image.format == "qcow2":
        grub = {GRUB_DIRECTORY / "boot.img": "grub-pc-bin", GRUB_EFI_DIRECTORY / "moddep.lst": "grub-efi-amd64-bin"}
        missing |= {package for file, package in grub.items() if not file.is_file()}
    if missing:
        raise BuildError(f"Building images needs packages that are not installed: {', '.join(sorted(missing))}.")
    if os.geteuid() != 0:
        raise BuildError("Building images needs root: the files in an image belong to its own users.")
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (target.parent / f".{image.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers(module, target.parent, image.name)
        if target.exists():
            return False
        try:
            Builder(module, image, target.parent, lock.fileno()).build(target)
        finally:
            remove_leftovers(module, target.parent, image.name)
    return True


def main() -> None:
    file = {"path": {"required": True}, "content": {"required": True}, "mode": {"default": "0644"}}
    variants = ["extract", "minbase", "apt", "essential", "required", "important", "standard"]
    module = AnsibleModule(
        argument_spec={
            "name": {"required": True},
            "suite": {"default": "trixie"},
            "variant": {"default": "minbase", "choices": variants},
            "packages": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file},
            "customize": {"type": "list", "elements": "str", "default": []},
            "format": {"default": "directory", "choices": ["directory", "qcow2"]},
            "cache_dir": {"type": "path", "default": "/var/cache/croft/images"},
            "disk_mib": {"type": "int", "default": 1024},
            "kernel": {"default": "/boot/vmlinuz"},
            "initrd": {"default": "/boot/initrd.img"},
            "kernel_command_line": {"default": ""},
        },
        supports_check_mode=True,
    )
    wish: dict[str, Any] = dict(module.params)
    cache = Path(wish.pop("cache_dir"))
    files = tuple(pure.File(**entry) for entry in wish.pop("files"))
    wish |= {key: tuple(wish[key]) for key in ("packages", "customize")}
    image = pure.Image(**wish, files=files)
    if problems := pure.image_problems(image):
        module.fail_json(msg="\n".join(problems))
    target = cache / image.file_name
    result = {"path": str(target), "hash": image.hash}
    try:
        changed = not target.exists() and (module.check_mode or build(module, image, target))
    except (BuildError, OSError, ValueError) as error:
        module.fail_json(msg=f"Image {image.name} ({image.suite}): {error}", **result)
    module.exit_json(changed=changed, **result)


if __name__ == "__main__":
    main()
