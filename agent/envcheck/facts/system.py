"""Section `system`: operating system, kernel, board, and what kind of machine this is."""

from __future__ import annotations

import os
import re

import msgspec

from envcheck.contract.fingerprint import Section
from envcheck.facts.disks import Disk, disks
from envcheck.facts.heat import Heat, heat
from envcheck.facts.python import Libc, parse_libc
from envcheck.facts.section import Facts, Scene, clean, pairs, section
from envcheck.facts.virtual import container, virtual_machine

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
# Compiled when first used: most machines tell their C library themselves.
_MUSL = rb"(?m)^P:musl\nV:([\w.]{1,20})"
_GLIBC = rb"GNU C Library [^\n]{0,80} release version (\d[\d.]{0,10}\d)"
_GLIBC_PLACES = (
    "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib/arm-linux-gnueabihf", "/lib64",
    "/usr/lib", "/lib",
)  # fmt: skip


class Release(Facts, frozen=True, kw_only=True):
    """os-release: `id` and `version_id` to compare, `name` for people; the image's own, if any."""

    id: str = ""
    version_id: str = ""
    name: str = ""
    image_id: str = ""
    image_version: str = ""


class Board(Facts, frozen=True, kw_only=True):
    """The board, from the device tree or from DMI; placeholders of vendors are left out.

    `firmware` is the version of what boots it, `revision` the Raspberry Pi's code for its exact making.
    """

    vendor: str = ""
    model: str = ""
    revision: str = ""
    firmware: str = ""
    firmware_date: str = ""
    compatible: list[str] = []


class SystemFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common. `vm` and `container` name the kind; absent when none."""

    os: Release = Release()
    kernel: str = ""
    kernel_build: str = ""
    realtime: bool = False
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


class SystemReadings(Heat, frozen=True, kw_only=True):
    """What changes. `clock_synchronised` is left out where it is not known; `disks` are the local ones."""

    uptime_s: float | None = None
    load_1m: float | None = None
    clock_synchronised: bool | None = None
    disks: dict[str, Disk] = {}


def gather(scene: Scene) -> Section:
    """Read the system's files; ask the kernel when this is the running machine."""
    return section(
        SystemFacts(
            os=parse_os_release(scene.text("/etc/os-release") or scene.text("/usr/lib/os-release") or ""),
            kernel=scene.text("/proc/sys/kernel/osrelease") or "",
            kernel_build=scene.text("/proc/sys/kernel/version") or "",
            realtime=scene.text("/sys/kernel/realtime") == "1",
            machine=clean(scene.host.answer("machine", os.uname().machine.encode))
            or scene.text("/proc/sys/kernel/arch")
            or "",
            libc=_libc(scene),
            container=container(scene),
            vm=virtual_machine(scene),
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
        id=found.get("ID", ""),
        version_id=found.get("VERSION_ID", ""),
        name=found.get("PRETTY_NAME", ""),
        image_id=found.get("IMAGE_ID", ""),
        image_version=found.get("IMAGE_VERSION", ""),
    )


def _libc(scene: Scene) -> Libc | None:
    own = scene.host.tree == "/"
    # This process tells its own C library, which the files of another root may not be of.
    asked = own or not scene.host.live
    told = parse_libc(clean(scene.host.answer("libc", _confstr))) if asked else None
    if told is not None:
        return told
    if any(name.startswith("ld-musl-") for name in scene.names("/lib")):
        match = re.search(_MUSL, scene.data("/lib/apk/db/installed") or b"")
        return Libc(name="musl", version=match.group(1).decode("ascii") if match else "")
    # An image of files only: glibc has its version among its texts.
    for folder in [] if own else _GLIBC_PLACES:
        if match := re.search(_GLIBC, scene.data(f"{folder}/libc.so.6") or b""):
            return Libc(name="glibc", version=match.group(1).decode("ascii"))
    return None


def _confstr() -> bytes:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").encode()
    except (ValueError, OSError):
        return b""  # not glibc


def _board(scene: Scene) -> Board:
    vendor, product, version, date = (
        _real(scene.text(_DMI + name)) for name in ("sys_vendor", "product_name", "bios_version", "bios_date")
    )
    model = scene.text(f"{_TREE}model")
    if model:
        compatible = (scene.text(f"{_TREE}compatible") or "").split("\0")
        loader = scene.text(f"{_TREE}chosen/bootloader/version") or scene.text(
            f"{_TREE}chosen/u-boot,version"
        )
        return Board(
            model=model,
            revision=(scene.data(f"{_TREE}system/linux,revision") or b"").hex().lstrip("0")[:16],
            firmware=version or (loader or "")[:80],
            firmware_date=date,
            compatible=[name for name in compatible if name],
        )
    if not product:
        vendor, product = (_real(scene.text(_DMI + name)) for name in ("board_vendor", "board_name"))
    return Board(vendor=vendor, model=product, firmware=version, firmware_date=date)


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
        disks=disks(scene),
        **msgspec.structs.asdict(heat(scene)),
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
