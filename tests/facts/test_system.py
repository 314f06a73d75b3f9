from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import system
from envcheck.facts.clock import kernel_clock_synchronised
from envcheck.facts.host import Host
from envcheck.facts.section import Scene
from envcheck.facts.system import parse_os_release
from envcheck.facts.virtual import parse_container, parse_vm


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("QEMU Standard PC (Q35 + ICH9, 2009)", "qemu"),
        ("VMware, Inc. VMware7,1", "vmware"),
        ("innotek GmbH VirtualBox", "virtualbox"),
        ("Microsoft Corporation Virtual Machine", "hyperv"),
        ("Amazon EC2 m5.large", "amazon"),
        ("Google Google Compute Engine", "google"),
        ("Microsoft Corporation Surface Pro", ""),
        ("Advantech ARK-3500", ""),
    ],
)
def test_virtual_machines_by_their_board(names: str, kind: str) -> None:
    assert parse_vm(names) == kind


@pytest.mark.parametrize(
    ("marker", "groups", "kind"),
    [
        ("", "0::/\n", ""),
        ("podman", "0::/\n", "podman"),
        ("", "4:memory:/docker/abc\n", "docker"),
        ("", "0::/kubepods/besteffort/podx\n", "kubernetes"),
        ("", "0::/machine.slice/libpod-abc\n", "podman"),
        ("", "0::/system.slice/docker.service\n", ""),
        ("", "0::/system.slice/containerd.service\n", ""),
        ("", "0::/lxc.payload.web/init.scope\n", "lxc"),
    ],
)
def test_containers(marker: str, groups: str, kind: str) -> None:
    assert parse_container(marker, groups) == kind


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("5.15.153.1-microsoft-standard-WSL2 #1 SMP", "wsl"),
        ("4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016", "gvisor"),
        ("6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1", ""),
    ],
)
def test_containers_by_their_kernel(kernel: str, kind: str) -> None:
    assert parse_container("", "0::/\n", kernel) == kind


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"run/secrets/kubernetes.io/serviceaccount/namespace": "x"}, "kubernetes"),
        ({".singularity.d/runscript": ""}, "apptainer"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": 'engine="podman-4.3.1"'}, "podman"),
    ],
)
def test_containers_by_their_marks(
    files: dict[str, str], kind: str, tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    assert system.gather(scene(tree(files))).shared["container"] == kind


CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"
FLAGGED = "processor : 0\nflags\t: lm hypervisor\n"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"proc/cpuinfo": FLAGGED}, "unknown"),
        ({"proc/cpuinfo": FLAGGED, CLOCKS: "tsc kvm-clock acpi_pm\n"}, "kvm"),
        ({"proc/cpuinfo": FLAGGED, CLOCKS: "hyperv_clocksource_tsc_page tsc\n"}, "hyperv"),
        ({"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "kvm"),
        ({"proc/device-tree/fw-cfg@9020000/compatible": "qemu,fw-cfg-mmio\0"}, "qemu"),
        ({"sys/hypervisor/type": "xen\n"}, "xen"),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "proc/cpuinfo": FLAGGED}, "amazon"),
        (
            {"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "proc/cpuinfo": "processor : 0\nflags\t: lm\n"},
            None,
        ),
        ({"proc/cpuinfo": "processor : 0\nflags\t: lm\n"}, None),
    ],
)
def test_virtual_machines_by_what_every_user_may_read(
    files: dict[str, str], kind: str | None, tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    assert system.gather(scene(tree(files))).shared.get("vm") == kind


def test_what_a_raspberry_pi_is_made_of(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    base = "proc/device-tree"
    files = {f"{base}/model": "Raspberry Pi 5 Model B Rev 1.0\0", f"{base}/compatible": "a,b\0c\0"}
    revision = b"\x00\xd0\x41\x70"
    host = tree(
        {**files, f"{base}/system/linux,revision": revision, f"{base}/chosen/bootloader/version": "1234\0"}
    )
    assert system.gather(scene(host)).shared["board"] == {
        "model": "Raspberry Pi 5 Model B Rev 1.0",
        "revision": "d04170",
        "firmware": "1234",
        "compatible": ["a,b", "c"],
    }


def test_os_release() -> None:
    release = parse_os_release("ID=ubuntu\nVERSION_ID=\"22.04\"\nPRETTY_NAME='Ubuntu 22.04.5 LTS'\n# x\n")
    assert (release.id, release.version_id, release.name) == ("ubuntu", "22.04", "Ubuntu 22.04.5 LTS")


def test_placeholders_of_vendors_are_no_board(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    dmi = "sys/class/dmi/id"
    host = tree(
        {
            f"{dmi}/sys_vendor": "To Be Filled By O.E.M.\n",
            f"{dmi}/product_name": "To Be Filled By O.E.M.\n",
            f"{dmi}/board_vendor": "ASRock\n",
            f"{dmi}/board_name": "J3455-ITX\n",
        }
    )
    assert system.gather(scene(host)).shared["board"] == {"vendor": "ASRock", "model": "J3455-ITX"}


def test_only_built_in_network_ports_identify(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    def port(folder: str, address: str, assigned: str = "0") -> dict[str, str | bytes]:
        return {
            f"{folder}/address": address,
            f"{folder}/addr_assign_type": assigned,
            f"{folder}/device/x": "",
        }

    host = tree(
        {
            **port("sys/devices/pci0/net/eth0", "02:00:00:00:00:01"),
            **port("sys/devices/pci0/usb1/net/usb0", "02:00:00:00:00:02"),
            **port("sys/devices/pci0/net/rand0", "02:00:00:00:00:03", assigned="3"),
            "sys/devices/virtual/net/veth0/address": "02:00:00:00:00:04",
            "sys/devices/virtual/net/veth0/addr_assign_type": "0",
            "sys/class/net/keep": "",
        }
    )
    for name, folder in [("eth0", "pci0"), ("usb0", "pci0/usb1"), ("rand0", "pci0"), ("veth0", "virtual")]:
        link = host.root / "sys/class/net" / name
        link.symlink_to(f"../../devices/{folder}/net/{name}")
        device = link.resolve() / "device"
        if device.exists():
            (device / "x").unlink()
            device.rmdir()
            device.symlink_to("../..")
    assert system.gather(scene(host)).device["macs"] == ["02:00:00:00:00:01"]


def test_musl_is_told_apart(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    host = tree({"lib/ld-musl-aarch64.so.1": b"\x7fELF"})
    assert system.gather(scene(host)).shared["libc"] == {"name": "musl"}


def test_the_c_library_of_an_image_by_its_files(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    alpine = {
        "lib/ld-musl-x86_64.so.1": b"",
        "lib/apk/db/installed": "C:Q1\nP:musl-utils\nV:9\n\nC:Q1x\nP:musl\nV:1.2.5-r9\nA:x86_64\n",
    }
    assert system.gather(scene(tree(alpine))).shared["libc"] == {"name": "musl", "version": "1.2.5"}


def test_glibc_of_an_image_by_its_text(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    text = b"\x7fELF..GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\nCopyright"
    host = tree({"lib/aarch64-linux-gnu/libc.so.6": text})
    assert system.gather(scene(host)).shared["libc"] == {"name": "glibc", "version": "2.36"}


def test_this_machine_itself(scene: Callable[..., Scene]) -> None:
    found = system.gather(scene(Host()))
    assert found.shared["machine"] == os.uname().machine
    assert found.device["hostname"] == os.uname().nodename
    assert found.readings["uptime_s"] > 0


def test_the_clock_is_asked_and_not_set() -> None:
    before = time.time()
    answers = {kernel_clock_synchronised() for _ in range(3)}
    assert len(answers) == 1
    assert abs(time.time() - before) < 60


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    parse_os_release(text)
    parse_vm(text)
    parse_container("", text, text)
