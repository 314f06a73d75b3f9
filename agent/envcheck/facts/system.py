"""Section `system`: operating system, kernel, board, and what kind of machine this is."""

from __future__ import annotations

import os
import re

from envcheck.contract.fingerprint import Section
from envcheck.facts.python import Libc, parse_libc
from envcheck.facts.section import Facts, Scene, pairs, section

_DMI = "/sys/class/dmi/id/"
_TREE = "/proc/device-tree/"
_PLACEHOLDERS = {
    "",
    "none",
    "default string",
    "to be filled by o.e.m.",
    "not specified",
    "system product name",
}
_VIRTUAL = (
    ("qemu", "qemu"), ("kvm", "kvm"), ("vmware", "vmware"), ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("xen", "xen"), ("amazon ec2", "amazon"), ("google compute", "google"), ("virtual machine", "hyperv"),
    ("parallels", "parallels"), ("bochs", "bochs"), ("openstack", "openstack"),
    ("firecracker", "firecracker"),
)  # fmt: skip


# A container's group, not the service that runs containers (`/system.slice/docker.service`).
_CONTAINER_GROUP = re.compile(r"/(kubepods|docker|libpod|lxc|containerd|garden)(?:[/-]|\.payload|\.slice)")


class Release(Facts, frozen=True, kw_only=True):
    """os-release: `id` and `version_id` to compare, `name` for people."""

    id: str = ""
    version_id: str = ""
    name: str = ""


class Board(Facts, frozen=True, kw_only=True):
    """The board, from the device tree or from DMI; placeholders of vendors are left out."""

    vendor: str = ""
    model: str = ""
    firmware: str = ""
    compatible: list[str] = []


class SystemFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common. `vm` and `container` name the kind; absent when none."""

    os: Release = Release()
    kernel: str = ""
    kernel_build: str = ""
    machine: str = ""
    libc: Libc | None = None
    container: str = ""
    vm: str = ""
    board: Board = Board()


class SystemDevice(Facts, frozen=True, kw_only=True):
    """What tells devices apart. `serial` is the board's, `macs` those of its built-in network ports."""

    hostname: str = ""
    boot_id: str = ""
    serial: str = ""
    macs: list[str] = []
    timezone: str = ""
    unreadable: list[str] = []


class SystemReadings(Facts, frozen=True, kw_only=True):
    """What changes. `clock_synchronised` is left out where it is not known."""

    uptime_s: float | None = None
    load_1m: float | None = None
    clock_synchronised: bool | None = None


def gather(scene: Scene) -> Section:
    """Read the system's files; ask the kernel when this is the running machine."""
    return section(
        SystemFacts(
            os=parse_os_release(scene.text("/etc/os-release") or scene.text("/usr/lib/os-release") or ""),
            kernel=scene.text("/proc/sys/kernel/osrelease") or "",
            kernel_build=scene.text("/proc/sys/kernel/version") or "",
            machine=os.uname().machine if scene.host.live else scene.text("/proc/sys/kernel/arch") or "",
            libc=_libc(scene),
            container=_container(scene),
            vm=_vm(scene),
            board=_board(scene),
        ),
        SystemDevice(
            hostname=os.uname().nodename if scene.host.live else scene.text("/etc/hostname") or "",
            boot_id=scene.text("/proc/sys/kernel/random/boot_id") or "",
            serial=scene.text(f"{_TREE}serial-number") or "",
            macs=_macs(scene),
            timezone=_timezone(scene),
            unreadable=scene.unreadable,
        ),
        _readings(scene),
    )


def parse_os_release(text: str) -> Release:
    """Read os-release: shell assignments, quoted or not."""
    found = {name: value.strip("\"'") for name, value in pairs(text, "=").items()}
    return Release(
        id=found.get("ID", ""), version_id=found.get("VERSION_ID", ""), name=found.get("PRETTY_NAME", "")
    )


def parse_vm(names: str) -> str:
    """Name the hypervisor that a board's vendor and product names speak of, "" when none."""
    lowered = names.lower()
    return next((kind for word, kind in _VIRTUAL if word in lowered), "")


def parse_container(marker: str, groups: str) -> str:
    """Name the container kind from systemd's marker or from the control groups, "" when neither tells."""
    if marker:
        return marker
    match = _CONTAINER_GROUP.search(groups)
    word = match.group(1) if match else ""
    return {"kubepods": "kubernetes", "libpod": "podman"}.get(word, word)


def _libc(scene: Scene) -> Libc | None:
    if scene.host.live:
        try:
            return parse_libc(os.confstr("CS_GNU_LIBC_VERSION") or "")
        except (ValueError, OSError):
            pass  # not glibc: its loader tells
    musl = any(name.startswith("ld-musl-") for name in scene.names("/lib"))
    return Libc(name="musl") if musl else None


def _container(scene: Scene) -> str:
    marker = scene.text("/run/systemd/container") or ""
    if not marker and scene.data("/run/.containerenv") is not None:
        marker = "podman"
    if not marker and scene.data("/.dockerenv") is not None:
        marker = "docker"
    return parse_container(marker, scene.text("/proc/self/cgroup") or "")


def _vm(scene: Scene) -> str:
    names = " ".join(scene.text(_DMI + name) or "" for name in ("sys_vendor", "product_name", "bios_vendor"))
    if kind := parse_vm(names) or (scene.text("/sys/hypervisor/type") or ""):
        return kind
    # Below a masked hypervisor only the flag is left.
    return "unknown" if " hypervisor" in (scene.text("/proc/cpuinfo") or "") else ""


def _board(scene: Scene) -> Board:
    model = scene.text(f"{_TREE}model")
    if model:
        compatible = (scene.text(f"{_TREE}compatible") or "").split("\0")
        return Board(model=model, compatible=[name for name in compatible if name])
    vendor, product, firmware = (
        _real(scene.text(_DMI + name)) for name in ("sys_vendor", "product_name", "bios_version")
    )
    if not product:
        vendor, product = (_real(scene.text(_DMI + name)) for name in ("board_vendor", "board_name"))
    return Board(vendor=vendor, model=product, firmware=firmware)


def _real(text: str | None) -> str:
    return "" if text is None or text.lower() in _PLACEHOLDERS else text


def _macs(scene: Scene) -> list[str]:
    """Return the permanent addresses of the machine's own network ports: no USB, no virtual ones."""
    found = []
    for name in scene.names("/sys/class/net")[:64]:
        base = f"/sys/class/net/{name}"
        if (scene.link(base) or "").find("/usb") >= 0 or scene.link(f"{base}/device") is None:
            continue
        address = scene.text(f"{base}/address") or ""
        if scene.text(f"{base}/addr_assign_type") == "0" and address.strip("0:"):
            found.append(address)
    return sorted(found)


def _timezone(scene: Scene) -> str:
    linked = scene.link("/etc/localtime") or ""
    return linked.rpartition("zoneinfo/")[2] if "zoneinfo/" in linked else scene.text("/etc/timezone") or ""


def _readings(scene: Scene) -> SystemReadings:
    return SystemReadings(
        uptime_s=_float(scene.text("/proc/uptime")),
        load_1m=_float(scene.text("/proc/loadavg")),
        clock_synchronised=_synchronised(scene),
    )


def _float(text: str | None) -> float | None:
    """Read the first number of a line, as /proc/uptime and /proc/loadavg begin."""
    word = (text or "").partition(" ")[0]
    whole, _, fraction = word.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(word) < 20 and (fraction or "0").isdigit()):
        return None
    return float(word) if word.isascii() else None


def _synchronised(scene: Scene) -> bool | None:
    """Whether the clock is synchronised: what timesyncd noted, else what the kernel tells."""
    if scene.data("/run/systemd/timesync/synchronized") is not None:
        return True
    if not scene.host.live:
        return None
    from envcheck.facts.clock import kernel_clock_synchronised

    return kernel_clock_synchronised()
