# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles kvm_host and storage_local did to the hosts."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://kvm_hosts"]
HOSTS = ("kvm1", "kvm2", "kvm3")


@pytest.mark.parametrize("unit", ["libvirtd.service", "libvirtd-tls.socket", "virtlogd.socket"])
def test_the_daemons_run_and_start_with_the_host(host: Host, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_the_guests_bridge_has_its_port_and_no_address(host: Host) -> None:
    (port,) = json.loads(host.check_output("ip -json link show master br-vms type veth"))
    assert port["ifname"] == "vm0"
    assert not [address for address in host.interface("br-vms").addresses if "." in address]


def test_the_bridge_answers_for_no_address_of_the_host(host: Host) -> None:
    (bridge,) = json.loads(host.check_output("ip -json link show br-vms"))
    assert "NOARP" in bridge["flags"]


def test_the_guests_network_is_the_bridge(host: Host) -> None:
    info = host.check_output("virsh net-info vms")
    for line in ("Active:         yes", "Autostart:      yes", "Bridge:         br-vms"):
        assert line in info


def test_the_pool_lies_on_its_own_disk(host: Host) -> None:
    info = host.check_output("virsh pool-info croft")
    for line in ("State:          running", "Autostart:      yes"):
        assert line in info
    mount = host.mount_point("/var/lib/croft/pool")
    assert mount.exists
    assert mount.filesystem == "ext4"
    assert mount.device.startswith("/dev/loop") or mount.device == "/dev/croft/disk0"
    assert host.file("/var/lib/croft/pool").mode == 0o711


@pytest.mark.parametrize("peer", HOSTS)
def test_hosts_reach_each_other_over_tls(host: Host, peer: str) -> None:
    address = host.check_output(f"getent ahostsv4 {peer}").split()[0]
    for name in (peer, address):
        assert host.check_output(f"virsh -c qemu+tls://{name}/system hostname").strip() == peer


def test_a_stranger_without_a_certificate_is_not_let_in(host: Host) -> None:
    done = host.run("virsh -c 'qemu+tls://localhost/system?pkipath=/nowhere' hostname")
    assert done.rc != 0


def test_keys_are_for_their_users_only(host: Host) -> None:
    libvirt, qemu = host.file("/etc/pki/libvirt/private/serverkey.pem"), host.file("/etc/pki/qemu/server-key.pem")
    assert (libvirt.user, libvirt.group, libvirt.mode) == ("root", "root", 0o600)
    assert (qemu.user, qemu.group, qemu.mode) == ("root", "libvirt-qemu", 0o640)


def test_the_key_of_qemu_does_not_command_libvirt(host: Host) -> None:
    """Who broke out of a guest has QEMU's key and certificate, laid out here the way a client wants them."""
    here = "/run/croft-test-pki"
    host.check_output(
        f"mkdir -p {here} && cp /etc/pki/CA/cacert.pem {here}/"
        f" && cp /etc/pki/qemu/server-cert.pem {here}/clientcert.pem"
        f" && cp /etc/pki/qemu/server-key.pem {here}/clientkey.pem"
    )
    refused = host.run(f"virsh -c 'qemu+tls://{host.check_output('hostname')}/system?pkipath={here}' hostname")
    host.check_output(f"rm -r {here}")
    assert refused.rc != 0


def test_mandatory_access_control_is_as_the_distribution_has_it(host: Host) -> None:
    assert not host.run("grep -E '^ *security_driver' /etc/libvirt/qemu.conf").stdout
