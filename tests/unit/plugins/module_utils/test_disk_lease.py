# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook of leases: what it decides, and what it does at each of libvirt's moments, on a small server and hosts."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import disk_lease
from ansible_collections.croft.infra.plugins.module_utils.disk_lease import (
    SIZE,
    Holder,
    Hook,
    LeaseError,
    Verdict,
    decide,
    decode,
    encode,
    places,
    released,
)

KVM1, KVM2, KVM3 = (Holder(f"kvm{i}", f"10.0.0.1{i}") for i in (1, 2, 3))
UUID = "e39b45ed-20cd-5005-9a3f-de882b74d056"
SERVER = "10.0.0.9"
DISK = """<disk type='network' device='disk'><driver name='qemu' type='qcow2'/>
<source protocol='nfs' name='/srv/vms/{name}'><host name='{server}'/></source><target dev='vda'/>{more}</disk>"""


def xml(*disks: str) -> str:
    return f"<domain><name>web1</name><uuid>{UUID}</uuid><devices>{''.join(disks)}</devices></domain>"


def disk(name: str = "web1.qcow2", server: str = SERVER, more: str = "") -> str:
    return DISK.format(name=name, server=server, more=more)


IN_CEPH = ("rbd", "", "vms")
WEB1 = xml(disk(), disk("web1-seed.iso", more="<readonly/>"))


# --- what is decided --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holders", "running", "incoming", "then", "refusal"),
    [
        ((), {}, False, (KVM1,), None),
        # Its own name is from a start before: libvirt starts nothing twice on one host.
        ((KVM1,), {}, False, (KVM1,), None),
        ((KVM2,), {"kvm2": False}, False, (KVM1,), None),
        ((KVM2, KVM3), {"kvm2": False, "kvm3": False}, False, (KVM1,), None),
        ((KVM2,), {"kvm2": True}, False, (KVM2,), "web1 runs on kvm2; migrate it"),
        ((KVM1, KVM2), {"kvm2": True}, False, (KVM1, KVM2), "web1 runs on kvm2; migrate it"),
        ((KVM2,), {"kvm2": None}, False, (KVM2,), "web1 was last held by kvm2, which does not answer"),
        ((KVM2, KVM3), {"kvm2": None, "kvm3": True}, False, (KVM2, KVM3), "web1 runs on kvm3; migrate it"),
        ((KVM2, KVM3), {"kvm2": None, "kvm3": False}, False, (KVM2, KVM3), "web1 was last held by kvm2, which"),
        # By live migration: the source runs it, and nobody was asked.
        ((KVM2,), {}, True, (KVM2, KVM1), None),
        ((KVM1, KVM2), {}, True, (KVM2, KVM1), None),
        ((), {}, True, (KVM1,), None),
    ],
)
def test_who_may_hold_a_disk(
    holders: tuple[Holder, ...],
    running: dict[str, bool | None],
    incoming: bool,
    then: tuple[Holder, ...],
    refusal: str | None,
) -> None:
    verdict = decide("web1", KVM1, holders, running, incoming=incoming)
    assert verdict.holders == then
    assert (verdict.refusal is None) == (refusal is None)
    assert (verdict.refusal or "").startswith(refusal or "")


def test_a_verdict_without_a_refusal_grants() -> None:
    assert Verdict((KVM1,)).refusal is None


@pytest.mark.parametrize(
    ("holders", "then"),
    [((KVM1,), ()), ((KVM1, KVM2), (KVM2,)), ((KVM2,), (KVM2,)), ((), ()), ((Holder("kvm1", "10.9.9.9"),), ())],
)
def test_a_host_lets_go_of_its_own_part(holders: tuple[Holder, ...], then: tuple[Holder, ...]) -> None:
    assert released(KVM1, holders) == then


@pytest.mark.parametrize("holders", [(), (KVM1,), (KVM1, KVM2)])
def test_a_lease_is_read_as_it_was_written(holders: tuple[Holder, ...]) -> None:
    data = encode(holders)
    assert len(data) == SIZE
    assert decode(data) == holders


def test_an_empty_lease_names_nobody() -> None:
    assert decode(bytes(SIZE)) == decode(b"") == ()


@pytest.mark.parametrize("data", [b"kvm1", b"{", b"\xff\xfe"])
def test_a_lease_that_cannot_be_read_is_an_error(data: bytes) -> None:
    # main() makes a refusal of a ValueError.
    with pytest.raises(ValueError, match=r"."):
        decode(data.ljust(SIZE, b"\0"))


@pytest.mark.parametrize(
    ("disks", "at"),
    [
        ([disk()], [("nfs", SERVER, "/srv/vms")]),
        ([disk(more="<readonly/>")], []),
        ([disk(), disk("data.qcow2", "10.0.0.8")], [("nfs", SERVER, "/srv/vms"), ("nfs", "10.0.0.8", "/srv/vms")]),
        (["<disk type='file'><source file='/srv/vms/web1.qcow2'/></disk>"], []),
        (["<disk type='network'><source protocol='rbd' name='vms/x'><host name='c'/></source></disk>"], [IN_CEPH]),
        (["<disk type='network'><source protocol='rbd' name='vms/x'/></disk>"], [IN_CEPH]),
        (["<disk type='network'><source protocol='iscsi' name='x/1'><host name='c'/></source></disk>"], []),
        (["<disk type='network'/>"], []),
        (["<disk type='network'><source protocol='nfs' name='/x'/></disk>"], []),
        ([], []),
    ],
)
def test_the_disks_that_need_a_lease(disks: list[str], at: list[tuple[str, str, str]]) -> None:
    assert places(xml(*disks)) == at


# --- what is done -----------------------------------------------------------------------------------------------------


class Error(Exception):
    """libvirt's, with its code."""

    def __init__(self, text: str, code: int = 38) -> None:
        super().__init__(text)
        self._code = code

    def get_error_code(self) -> int:
        return self._code


class Net:
    """libvirt's bindings with a server and hosts behind them.

    ``volumes``: what the server's pool has; None: the server is away. ``running``: by address whether the host runs the
    VM; one that is not in it does not answer. ``unknown``: hosts that answer and have no such VM.
    """

    libvirtError = Error  # noqa: N815  (the name in the bindings)
    VIR_ERR_STORAGE_VOL_EXIST, VIR_ERR_NO_STORAGE_VOL, VIR_ERR_NO_DOMAIN = 90, 50, 42

    def __init__(self) -> None:
        self.volumes: dict[str, bytes] | None = {}
        self.running: dict[str, bool | Exception] = {}
        self.unknown: set[str] = set()
        self.open_connections = 0
        self.opened: list[str] = []
        self.asked: list[str] = []

    def open(self, uri: str) -> Server:
        self.opened.append(uri)
        if self.volumes is None:
            raise Error("unable to connect to server at '10.0.0.9:16514':\n No route to host")
        self.open_connections += 1
        return Server(self)

    def openReadOnly(self, uri: str) -> Asked:  # noqa: N802
        address = uri.removeprefix("qemu+tls://").removesuffix("/system")
        self.asked.append(address)
        if address not in self.running and address not in self.unknown:
            raise Error("no route to host")
        self.open_connections += 1
        return Asked(self, address)

    def registerErrorHandler(self, _handler: Any, _context: Any) -> None:  # noqa: N802
        return

    # What a test looks at

    def holders(self) -> list[str] | None:
        assert self.volumes is not None
        data = self.volumes.get(f"{UUID}.lease")
        return None if data is None else [holder.name for holder in decode(data)]

    def hold(self, *holders: Holder) -> None:
        assert self.volumes is not None
        self.volumes[f"{UUID}.lease"] = encode(holders)


class Asked:
    """The libvirt of a host."""

    def __init__(self, net: Net, address: str) -> None:
        self.net, self.address = net, address

    def lookupByUUIDString(self, uuid: str) -> Asked:  # noqa: N802
        assert uuid == UUID
        if self.address in self.net.unknown:
            raise Error("no domain", Net.VIR_ERR_NO_DOMAIN)
        return self

    def isActive(self) -> int:  # noqa: N802
        answer = self.net.running[self.address]
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    def close(self) -> None:
        self.net.open_connections -= 1


class Server:
    """The libvirt of the server, its one pool, and streams."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def storagePoolLookupByName(self, name: str) -> Server:  # noqa: N802
        assert name == "shared"
        return self

    def createXML(self, text: str, _flags: int) -> None:  # noqa: N802
        name = ET.fromstring(text).findtext("name", "")
        assert self.net.volumes is not None
        if name in self.net.volumes:
            raise Error("it exists", Net.VIR_ERR_STORAGE_VOL_EXIST)
        self.net.volumes[name] = bytes(SIZE)

    def storageVolLookupByName(self, name: str) -> Volume:  # noqa: N802
        assert self.net.volumes is not None
        if name not in self.net.volumes:
            raise Error("no such volume", Net.VIR_ERR_NO_STORAGE_VOL)
        return Volume(self.net.volumes, name)

    def newStream(self, _flags: int) -> Stream:  # noqa: N802
        return Stream()

    def close(self) -> None:
        self.net.open_connections -= 1


class Volume:
    def __init__(self, volumes: dict[str, bytes], name: str) -> None:
        self.volumes, self.name = volumes, name

    def download(self, stream: Stream, _offset: int, length: int, _flags: int) -> None:
        stream.data = self.volumes[self.name][:length]

    def upload(self, stream: Stream, _offset: int, _length: int, _flags: int) -> None:
        stream.into = self

    def delete(self, _flags: int) -> None:
        del self.volumes[self.name]


class Stream:
    data = b""
    into: Volume | None = None

    def recv(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def send(self, data: bytes) -> int:
        assert self.into is not None
        self.into.volumes[self.into.name] = data
        return len(data)

    def finish(self) -> None:
        return


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Net:
    monkeypatch.setattr(disk_lease, "INCOMING", tmp_path / "croft" / "incoming")
    monkeypatch.setattr(disk_lease.time, "sleep", lambda _seconds: None)
    return Net()


CONFIG = {"host": "kvm1", "address": "10.0.0.11", "pools": [{"name": "shared", "server": SERVER, "path": "/srv/vms/"}]}


def hook(net: Net, me: Holder = KVM1) -> Hook:
    return Hook(net, [{**CONFIG, "host": me.name, "address": me.address}])


def start(net: Net, me: Holder = KVM1) -> str | None:
    """As libvirt starts a VM."""
    refusal = hook(net, me).call("web1", "prepare", "begin", WEB1)
    assert net.open_connections == 0
    return refusal


def stop(net: Net, me: Holder = KVM1) -> None:
    assert hook(net, me).call("web1", "release", "end", WEB1) is None
    assert net.open_connections == 0


def test_a_first_start_takes_the_lease_and_a_stop_gives_it_back(net: Net) -> None:
    assert start(net) is None
    assert net.holders() == ["kvm1"]
    assert net.opened == [f"qemu+tls://{SERVER}/system"]
    stop(net)
    assert net.holders() is None


def test_a_vm_that_runs_elsewhere_does_not_start(net: Net) -> None:
    start(net)
    net.running["10.0.0.11"] = True
    assert (start(net, KVM2) or "").startswith("web1 runs on kvm1; migrate it, or stop it there first")
    assert net.holders() == ["kvm1"]
    assert net.asked == ["10.0.0.11"]


def test_a_silent_holder_keeps_the_lease(net: Net) -> None:
    start(net)
    assert "last held by kvm1, which does not answer and may still run it" in (start(net, KVM2) or "")
    assert net.holders() == ["kvm1"]
    # Until somebody who knows that it is off deletes the lease.
    assert net.volumes is not None
    net.volumes.clear()
    assert start(net, KVM2) is None
    assert net.holders() == ["kvm2"]


def test_a_holder_that_answers_and_says_nothing_of_the_vm_is_silent(net: Net) -> None:
    net.hold(KVM1)
    net.running["10.0.0.11"] = Error("connection reset", 38)
    assert "does not answer" in (start(net, KVM2) or "")


@pytest.mark.parametrize("defined", [True, False])
def test_a_holder_that_does_not_run_the_vm_holds_it_no_more(net: Net, defined: bool) -> None:
    net.hold(KVM1)
    if defined:
        net.running["10.0.0.11"] = False
    else:
        net.unknown.add("10.0.0.11")
    assert start(net, KVM2) is None
    assert net.holders() == ["kvm2"]


def test_a_host_that_comes_back_takes_up_its_own_lease(net: Net) -> None:
    net.hold(KVM1)
    assert start(net) is None
    assert (net.holders(), net.asked) == (["kvm1"], [])


def incoming(net: Net, me: Holder) -> str | None:
    assert hook(net, me).call("web1", "migrate", "begin", WEB1) is None
    refusal = hook(net, me).call("web1", "prepare", "begin", WEB1)
    assert net.open_connections == 0
    return refusal


def test_during_a_live_migration_both_hosts_hold_it(net: Net) -> None:
    start(net)
    net.running["10.0.0.11"] = True
    assert incoming(net, KVM2) is None
    assert (net.holders(), net.asked) == (["kvm1", "kvm2"], [])
    stop(net, KVM1)
    assert net.holders() == ["kvm2"]


def test_a_live_migration_that_fails_leaves_it_to_the_source(net: Net) -> None:
    start(net)
    net.running["10.0.0.11"] = True
    assert incoming(net, KVM2) is None
    stop(net, KVM2)
    assert net.holders() == ["kvm1"]
    assert "runs on kvm1" in (start(net, KVM2) or "")


def test_only_the_start_that_a_migration_brings_is_incoming(net: Net) -> None:
    net.hold(KVM1)
    net.running["10.0.0.11"] = True
    incoming(net, KVM2)
    net.hold(KVM1)
    assert "runs on kvm1" in (start(net, KVM2) or "")


def test_a_migration_that_never_came_to_a_start_opens_no_door(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    start(net)
    net.running["10.0.0.11"] = True
    now = disk_lease.time.monotonic()
    hook(net, KVM2).call("web1", "migrate", "begin", WEB1)
    monkeypatch.setattr(disk_lease.time, "monotonic", lambda: now + 3600)
    assert "runs on kvm1" in (start(net, KVM2) or "")
    assert net.holders() == ["kvm1"]


@pytest.mark.parametrize(
    ("text", "is_expected"),
    [("40.0", True), ("100", True), ("39.9", False), ("101", False), ("", False), (None, False)],
)
def test_a_mark_is_good_for_a_minute_of_this_boot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, is_expected: bool
) -> None:
    if text is not None:
        (tmp_path / "mark").write_text(text)
    monkeypatch.setattr(disk_lease.time, "monotonic", lambda: 100.0)
    assert disk_lease.expected(tmp_path / "mark") is is_expected


def test_a_refused_migration_leaves_no_mark(net: Net) -> None:
    net.hold()
    assert "names nobody" in (incoming(net, KVM2) or "")
    assert list(disk_lease.INCOMING.iterdir()) == []


def test_an_empty_lease_is_looked_at_twice(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    net.hold()
    refusal = start(net) or ""
    assert refusal.startswith(f"web1's lease {UUID}.lease names nobody; make sure that no host runs web1")
    # The other host, which made it a moment ago, writes its name meanwhile.
    net.unknown.add("10.0.0.12")
    monkeypatch.setattr(disk_lease.time, "sleep", lambda _seconds: net.hold(KVM2))
    assert start(net) is None
    assert net.holders() == ["kvm1"]


def test_a_lease_that_goes_while_it_is_looked_at(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    net.hold()
    assert net.volumes is not None
    monkeypatch.setattr(disk_lease.time, "sleep", lambda _seconds: net.volumes.clear())
    assert start(net) == "web1's lease was given back a moment ago; start it again"


def test_to_release_what_is_not_there_is_no_error(net: Net) -> None:
    stop(net)
    assert net.holders() is None


def test_an_error_of_the_pool_is_not_taken_for_an_answer(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> Any:
        raise Error("no space left")

    monkeypatch.setattr(Server, "createXML", full)
    with pytest.raises(LeaseError, match="no space left"):
        hook(net).call("web1", "prepare", "begin", WEB1)
    monkeypatch.undo()
    monkeypatch.setattr(Server, "storageVolLookupByName", full)
    with pytest.raises(LeaseError, match="no space left"):
        hook(net).call("web1", "release", "end", WEB1)
    assert net.open_connections == 0


@pytest.mark.parametrize(
    "domain", [xml(), xml(disk(more="<readonly/>")), xml(disk(server="10.0.0.8")), xml(disk("sub/web1.qcow2"))]
)
@pytest.mark.parametrize(("operation", "moment"), [("prepare", "begin"), ("release", "end"), ("migrate", "begin")])
def test_other_vms_are_nobodys_matter(net: Net, domain: str, operation: str, moment: str) -> None:
    net.volumes = None
    assert hook(net).call("web1", operation, moment, domain) is None
    assert net.opened == []
    assert not disk_lease.INCOMING.exists()


def test_two_disks_in_one_pool_have_one_lease(net: Net) -> None:
    assert hook(net).call("web1", "prepare", "begin", xml(disk(), disk("data.qcow2"))) is None
    assert net.opened == [f"qemu+tls://{SERVER}/system"]


# --- the script -------------------------------------------------------------------------------------------------------


def script(net: Net, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, operation: str, moment: str) -> int:
    (tmp_path / "nfs.json").write_text(json.dumps(CONFIG))
    monkeypatch.setattr(disk_lease, "CONFIG", tmp_path)
    monkeypatch.setitem(disk_lease.sys.modules, "libvirt", net)
    monkeypatch.setattr(disk_lease.sys, "stdin", io.StringIO(WEB1))
    return disk_lease.main(["croft-disk-lease", "web1", operation, moment, "-"])


def test_the_script_says_no_by_its_exit_status(net: Net, monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    assert script(net, monkeypatch, tmp_path, "prepare", "begin") == 0
    net.hold(KVM2)
    net.running["10.0.0.12"] = True
    assert script(net, monkeypatch, tmp_path, "prepare", "begin") == 1
    assert capsys.readouterr().err == "croft: web1 runs on kvm2; migrate it, or stop it there first\n"


def test_a_server_that_is_away_keeps_a_vm_from_starting_and_not_from_stopping(
    net: Net, monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    net.volumes = None
    assert script(net, monkeypatch, tmp_path, "prepare", "begin") == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "croft: the lease of web1 cannot be reached: unable to connect to server at '10.0.0.9:16514': No"
    )
    assert said.count("\n") == 1
    assert script(net, monkeypatch, tmp_path, "release", "end") == 0
    assert capsys.readouterr().err == ""


def test_a_lease_or_a_configuration_that_nobody_can_read_keeps_a_vm_from_starting(
    net: Net, monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    net.volumes = {f"{UUID}.lease": b"what"}
    assert script(net, monkeypatch, tmp_path, "prepare", "begin") == 1
    assert "the lease of web1 cannot be reached: " in capsys.readouterr().err
    monkeypatch.setattr(disk_lease, "CONFIG", tmp_path / "none")
    monkeypatch.setattr(disk_lease.sys, "stdin", io.StringIO(WEB1))
    assert disk_lease.main(["croft-disk-lease", "web1", "prepare", "begin", "-"]) == 1
    assert "there is no configuration in " in capsys.readouterr().err


# --- in a Ceph pool ---------------------------------------------------------------------------------------------------


class Rados:
    """librados with one cluster behind it; it is its own connection, pool and write operation."""

    LIBRADOS_CREATE_EXCLUSIVE = 1

    class Error(Exception):
        """Its base class."""

    class ObjectExists(Error):  # noqa: N818  (the name in the bindings)
        pass

    class ObjectNotFound(Error):  # noqa: N818
        pass

    def __init__(self) -> None:
        self.objects: dict[str, bytes] | None = {}
        self.connections = 0
        self.user = ""

    def Rados(self, conffile: str, rados_id: str, conf: dict[str, str]) -> Rados:  # noqa: N802
        assert conffile == "/etc/ceph/ceph.conf"
        assert conf["rados_osd_op_timeout"] == "20"
        self.user = rados_id
        self.connections += 1
        return self

    def connect(self) -> None:
        if self.objects is None:
            raise self.Error("error connecting to the cluster")

    def shutdown(self) -> None:
        self.connections -= 1

    def open_ioctx(self, pool: str) -> Rados:
        assert pool == "vms"
        self.connections += 1
        return self

    def close(self) -> None:
        self.connections -= 1

    def WriteOpCtx(self) -> Rados:  # noqa: N802
        return self

    def __enter__(self) -> Rados:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def new(self, exclusive: int) -> None:
        assert exclusive == self.LIBRADOS_CREATE_EXCLUSIVE

    def operate_write_op(self, _operation: Rados, name: str) -> None:
        assert self.objects is not None
        if name in self.objects:
            raise self.ObjectExists
        self.objects[name] = b""

    def read(self, name: str, length: int) -> bytes:
        assert self.objects is not None
        if name not in self.objects:
            raise self.ObjectNotFound
        return self.objects[name][:length]

    def write_full(self, name: str, data: bytes) -> None:
        assert self.objects is not None
        self.objects[name] = data

    def remove_object(self, name: str) -> None:
        assert self.objects is not None
        del self.objects[name]


RBD_WEB1 = xml("<disk type='network'><source protocol='rbd' name='vms/web1.raw'/></disk>")


def ceph_call(net: Net, me: Holder, operation: str, moment: str) -> str | None:
    ours = {"host": me.name, "address": me.address, "pools": [{"name": "vms", "user": "client.libvirt"}]}
    return Hook(net, [ours, {**CONFIG, "pools": []}]).call("web1", operation, moment, RBD_WEB1)


def in_pool(rados: Rados) -> dict[str, tuple[Holder, ...]]:
    return {name: decode(data) for name, data in rados.objects.items()}


def test_a_lease_in_a_ceph_pool_is_held_and_given_back(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    rados = Rados()
    monkeypatch.setitem(disk_lease.sys.modules, "rados", rados)
    monkeypatch.setitem(disk_lease.sys.modules, "rbd", Rbd())
    assert ceph_call(net, KVM1, "prepare", "begin") is None
    assert in_pool(rados) == {f"{UUID}.lease": (KVM1,)}
    assert rados.user == "libvirt"
    net.running["10.0.0.11"] = True
    assert (ceph_call(net, KVM2, "prepare", "begin") or "").startswith("web1 runs on kvm1; migrate it")
    # By live migration it may.
    assert ceph_call(net, KVM2, "migrate", "begin") is None
    assert ceph_call(net, KVM2, "prepare", "begin") is None
    assert in_pool(rados) == {
        f"{UUID}.lease": (
            KVM1,
            KVM2,
        )
    }
    assert ceph_call(net, KVM1, "release", "end") is None
    assert ceph_call(net, KVM2, "release", "end") is None
    assert ceph_call(net, KVM2, "release", "end") is None
    assert (rados.objects, rados.connections, net.open_connections) == ({}, 0, 0)


def test_a_cluster_that_does_not_answer_is_told(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    rados = Rados()
    rados.objects = None
    monkeypatch.setitem(disk_lease.sys.modules, "rados", rados)
    with pytest.raises(LeaseError, match="error connecting to the cluster"):
        ceph_call(net, KVM1, "prepare", "begin")
    assert rados.connections == 0


class Rbd:
    """librbd: the owner of each image's exclusive lock, and whose were broken."""

    Error = type("Error", (Exception,), {})

    def __init__(self, **owners: str) -> None:
        self.owners = owners
        self.broken: list[str] = []
        self.answers = True

    def Image(self, _pool: Any, name: str) -> Rbd.One:  # noqa: N802
        if not self.answers:
            raise self.Error("timed out")
        return self.One(self, name.removesuffix(".raw"))

    class One:
        def __init__(self, rbd: Rbd, name: str) -> None:
            self.rbd, self.name = rbd, name

        def __enter__(self) -> Rbd.One:
            return self

        def __exit__(self, *_error: object) -> None:
            return

        def lock_get_owners(self) -> list[dict[str, Any]]:
            return [{"mode": 0, "owner": self.rbd.owners[self.name]}] if self.name in self.rbd.owners else []

        def lock_break(self, mode: int, owner: str) -> None:
            assert mode == 0
            self.rbd.broken.append(owner)
            del self.rbd.owners[self.name]


@pytest.fixture
def locked(net: Net, monkeypatch: pytest.MonkeyPatch) -> Rbd:
    """A VM that ran on kvm1, which answers and runs it no more; its QEMU's lock is still there."""
    rados, rbd = Rados(), Rbd()
    monkeypatch.setitem(disk_lease.sys.modules, "rados", rados)
    monkeypatch.setitem(disk_lease.sys.modules, "rbd", rbd)
    assert ceph_call(net, KVM1, "prepare", "begin") is None
    assert rbd.broken == []
    rbd.owners["web1"] = "10.0.0.11:0/77"
    net.unknown.add("10.0.0.11")
    return rbd


@pytest.mark.parametrize("me", [KVM1, KVM2])
def test_nobody_waits_for_the_lock_of_a_qemu_that_is_gone(net: Net, locked: Rbd, me: Holder) -> None:
    assert ceph_call(net, me, "prepare", "begin") is None
    assert (locked.broken, locked.owners) == (["10.0.0.11:0/77"], {})


def test_nobody_waits_for_the_lock_of_a_qemu_that_was_killed(net: Net, locked: Rbd) -> None:
    # libvirt saw it end, and gave its lease back.
    assert ceph_call(net, KVM1, "release", "end") is None
    assert locked.broken == []
    assert ceph_call(net, KVM1, "prepare", "begin") is None
    assert (locked.broken, locked.owners) == (["10.0.0.11:0/77"], {})


def test_the_lock_of_a_vm_that_runs_or_comes_is_not_broken(net: Net, locked: Rbd) -> None:
    net.unknown.clear()
    net.running["10.0.0.11"] = True
    assert ceph_call(net, KVM2, "prepare", "begin") is not None
    assert ceph_call(net, KVM2, "migrate", "begin") is None
    assert ceph_call(net, KVM2, "prepare", "begin") is None
    assert locked.broken == []


def test_a_lock_that_cannot_be_broken_is_told_and_waited_for(net: Net, locked: Rbd, capsys: Any) -> None:
    locked.answers = False
    assert ceph_call(net, KVM2, "prepare", "begin") is None
    assert f"the lock of {UUID}'s former host stays: timed out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("disks", "expected"),
    [
        (["<disk type='network'><source protocol='rbd' name='vms/a.raw'/></disk>"], ["a.raw"]),
        (["<disk type='network'><source protocol='rbd' name='other/a.raw'/></disk>"], []),
        (["<disk type='network'><source protocol='rbd' name='vms/a.iso'/><readonly/></disk>"], []),
        (["<disk type='network'><source protocol='nfs' name='vms/a.raw'/></disk>"], []),
    ],
)
def test_the_images_of_a_vm_in_a_pool(disks: list[str], expected: list[str]) -> None:
    assert disk_lease.disks_at(xml(*disks), disk_lease.Place("rbd", "", "vms")) == expected


HISTORY = """#!/bin/sh
echo '<pacemaker-result><list name="fencing history">'
event() {{ echo "<fence_event action='$1' target='kvm1' client='x' status='$2' completed='$3'/>"; }}
# What people had fenced is shown to those only who ask for all.
case "$*" in *--verbose*) event {action} {status} '2026-11-28 09:35:04.000068Z';; esac
event reboot success '2026-11-28 09:21:43.576021Z'
echo '</list></pacemaker-result>'
"""
REBOOTED, BY_HAND = (datetime.fromisoformat(f"2026-11-28T09:{at}+00:00").timestamp() for at in ("21:43", "35:04"))


@pytest.mark.parametrize(
    ("event", "since", "expected"),
    [
        (("off", "success"), BY_HAND - 60, True),
        (("reboot", "success"), BY_HAND - 60, True),
        # It was on again since, and took the lease.
        (("off", "success"), BY_HAND + 60, False),
        (("off", "failed"), BY_HAND - 60, False),
        (("on", "success"), BY_HAND - 60, False),
        (("on", "success"), REBOOTED - 60, True),
        # Of an older version of the lease nobody knows.
        (("off", "success"), 0, False),
    ],
)
def test_a_host_that_was_turned_off_since_it_took_the_lease_runs_nothing(
    event: tuple[str, str], since: float, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "stonith_admin"
    binary.write_text(HISTORY.format(action=event[0], status=event[1]))
    binary.chmod(0o755)
    monkeypatch.setattr(disk_lease, "STONITH_ADMIN", str(binary))
    assert disk_lease.was_fenced(Holder(KVM1.name, KVM1.address, since)) is expected


def test_without_a_cluster_nobody_is_fenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_lease, "STONITH_ADMIN", str(tmp_path / "none"))
    assert disk_lease.was_fenced(Holder(KVM1.name, KVM1.address, 1.0)) is False
