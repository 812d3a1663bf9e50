# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who needs an image, and what becomes of the others: on libvirt's test driver, and on a Ceph cluster's stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.domain import Image
from ansible_collections.croft.infra.plugins.module_utils.rbd_images import Golden
from ansible_collections.croft.infra.plugins.modules import image_users, image_versions

libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")

URI, POOL, MIB = "test:///default", "default-pool", 1024 * 1024
NOW, OLD, USED, OTHER = (f"{name}-{d * 12}.qcow2" for name, d in (("a", "0"), ("a", "1"), ("a", "2"), ("b", "3")))
DOMAIN = """<domain type='test'><name>web1</name><memory>65536</memory><os><type>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/default-pool/top.qcow2'/>
<backingStore type='file'><format type='qcow2'/><source file='{image}'/><backingStore/></backingStore>
<target dev='vda' bus='virtio'/></disk></devices></domain>"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def pool(conn: Any) -> Any:
    """A pool with four versions of images."""
    found = conn.storagePoolLookupByName(POOL)
    for name in (NOW, OLD, USED, OTHER):
        found.createXML(domain_xml.volume_xml(name, MIB, "qcow2"), 0)
    return found


def names(pool: Any) -> set[str]:
    return {volume.name() for volume in pool.listAllVolumes() if domain_xml.read_volume(volume.XMLDesc(0)).path}


def prune(run: Run, users: dict[str, list[str]], *, check: bool = False, **more: Any) -> dict[str, Any]:
    given = {"pool": POOL, "uri": URI, "names": ["a"], "current": [NOW], "users": [users, {}], "keep": 0, **more}
    return run(image_versions, given, check=check)


def test_a_clone_and_a_domain_need_their_image(conn: Any, pool: Any, run_module: Run) -> None:
    image = Image(pool.storageVolLookupByName(USED).path(), "qcow2", MIB)
    pool.createXML(domain_xml.volume_xml("clone.qcow2", MIB, "qcow2", image), 0)
    conn.defineXML(DOMAIN.format(image=f"/elsewhere/{OLD}"))
    outcome = run_module(image_users, {"uri": URI})
    assert outcome["changed"] is False
    assert outcome["users"] == {OLD: ["VM web1"], USED: [f"{POOL}/clone.qcow2"]}


def test_only_a_version_that_nobody_needs_is_removed(pool: Any, run_module: Run) -> None:
    users = {USED: ["VM web1"]}
    told = prune(run_module, users)
    assert (told["changed"], told["removed"]) == (False, [])
    assert [one["volume"] for one in told["versions"] if one["remove"]] == [OLD]
    predicted = prune(run_module, users, check=True, remove=True)
    assert {NOW, OLD, USED, OTHER} <= names(pool)
    done = prune(run_module, users, remove=True)
    assert (done["removed"], done["versions"]) == (predicted["removed"], predicted["versions"])
    assert done["removed"] == [OLD]
    assert OLD not in names(pool)
    assert {NOW, USED, OTHER} <= names(pool)
    assert prune(run_module, users, remove=True)["changed"] is False


def test_a_pool_that_is_not_there(run_module: Run, conn: Any) -> None:
    assert "the storage pool none is not defined" in prune(run_module, {}, pool="none")["msg"]
    assert prune(run_module, {}, keep=-1)["msg"] == "keep is -1; give 0 or more"


class Cluster:
    """A cluster's pool: golden images and their clones."""

    def __init__(self) -> None:
        self.images: dict[str, Golden | None] = {
            "a-000000000000.raw": Golden(3, ()),
            "a-111111111111.raw": Golden(2, ("vms/web1.raw",)),
            "a-222222222222.raw": Golden(1, ()),
            # A disk that is called like one.
            "a-333333333333.raw": None,
            "web1.raw": None,
        }

    def names(self) -> list[str]:
        return list(self.images)

    def golden(self, name: str) -> Golden | None:
        return self.images[name]

    def remove(self, name: str) -> None:
        del self.images[name]


def test_the_cluster_tells_of_clones_itself(run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()

    @contextmanager
    def opened(pool: str, user: str) -> Iterator[Cluster]:
        assert (pool, user) == ("vms", "client.libvirt")
        yield cluster

    monkeypatch.setattr(image_versions, "rbd_images", opened)
    current = ["a-000000000000.raw"]
    done = prune(run_module, {}, pool="vms", ceph_user="client.libvirt", current=current, remove=True)
    assert done["removed"] == ["a-222222222222.raw"]
    assert "vms/web1.raw need it" in done["versions"][1]["why"]
    assert set(cluster.images) == {"a-000000000000.raw", "a-111111111111.raw", "a-333333333333.raw", "web1.raw"}
