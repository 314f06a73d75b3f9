"""The captured devices in tests/hosts: what is told of each, and that nothing in their files can break it."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envcheck.contract.document import decode, encode
from envcheck.contract.fingerprint import Fingerprint
from envcheck.facts.gather import capture
from envcheck.facts.host import FILE_LIMIT, Host, Target
from envcheck.facts.identity import hardware_id

HOSTS = Path(__file__).parents[1] / "hosts"
GOLDEN = Path(__file__).parent / "golden"
# The one command that updates the goldens: ENVCHECK_UPDATE_GOLDENS=1 pytest tests/facts/test_trees.py
UPDATE = "ENVCHECK_UPDATE_GOLDENS"
SECTIONS = ("system", "cpu", "memory", "cuda")
SHREDS = (
    b"",
    b"\xff\xfe",
    b"\0" * 50,
    b"9" * 5000,
    b"-1",
    b": : :\n" * 9,
    b"[" * 3000,
    b"\x7fELF\x02\x01" * 40,
)


def overlaid(tree: Path, changed: Mapping[str, bytes]) -> Host:
    """A tree of which some files hold something else."""

    class Overlaid(Host):
        def read(self, path: str, limit: int = FILE_LIMIT, at: int = 0) -> bytes:
            real = str(Path(self._real(path)).relative_to(tree))
            if real in changed:
                return changed[real][at : at + limit]
            return super().read(path, limit, at)

    return Overlaid(root=tree, environ={})


def of_tree(root: Path, changed: Mapping[str, bytes] | None = None) -> Fingerprint:
    return capture(Target(""), host=overlaid(root, changed or {}), sections=SECTIONS)


def files_of(root: Path) -> list[str]:
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()
    )


def kinds_of(names: list[str]) -> list[str]:
    """One file of each kind: those of the second processor say nothing that those of the first do not."""
    kinds: dict[str, str] = {}
    for name in names:
        kinds.setdefault(re.sub(r"\d+", "#", name), name)
    return list(kinds.values())


def require_sound(found: Fingerprint, where: object) -> None:
    """No section crashed, and the whole can be written and read."""
    for name, section in found.sections.items():
        assert section.status != "error", (where, name, section.reason)
    assert decode(encode(found), Fingerprint, "own") == found


def test_captured_devices_are_as_their_goldens_say(device: str) -> None:
    found = capture(Target(""), host=Host(root=HOSTS / device / "root", environ={}))
    plain: dict[str, Any] = {
        name: {key: value for key, value in msgspec.to_builtins(section).items() if key != "duration_ms"}
        for name, section in found.sections.items()
    }
    golden = GOLDEN / f"{device}.json"
    if os.environ.get(UPDATE) == "1":
        golden.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")
    assert plain == json.loads(golden.read_text()), f"if this is right: {UPDATE}=1 pytest {__file__}"


def test_every_golden_belongs_to_a_device() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {
        path.parent.name for path in HOSTS.glob("*/root")
    }


def test_every_captured_device_names_its_source(device: str) -> None:
    text = (HOSTS / device / "SOURCE.md").read_text()
    assert "public" in text or "https://" in text or text.startswith("Captured")
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("raspberry-pi-3", "cpu.level", "armv8.0"),
        ("raspberry-pi-5", "cpu.level", "armv8.2"),
        ("raspberry-pi-5", "memory.page_bytes", 16384),
        ("raspberry-pi-zero-2-w", "cpu.architecture", "arm"),
        ("jetson-nano-l4t32", "cuda.l4t", "32.7.1"),
        ("jetson-nano-l4t32", "cpu.offline", "2-3"),
        ("jetson-agx-orin-l4t35", "cuda.jetson.power_mode_name", "MAXN"),
        ("jetson-orin-nano", "cuda.jetson.power_mode_name", "MAXN_SUPER"),
        ("jetson-agx-thor-l4t38", "cpu.level", "armv9.0"),
        ("jetson-agx-thor-l4t38", "cuda.driver_cuda", "13.0"),
        ("industrial-pc-haswell", "cpu.level", "x86-64-v3"),
        ("server-cascade-lake-vnni", "cpu.level", "x86-64-v4"),
        ("vm-epyc-rome-masked", "cpu.level", "x86-64-v2"),
        ("vm-epyc-rome-masked", "system.vm", "qemu"),
        ("container-cgroup-v1", "cpu.quota", 2.0),
        ("container-cgroup-v1", "memory.limit_mib", 4096),
        ("container-cgroup-v2", "cpu.quota", 1.5),
        ("container-cgroup-v2", "cpu.affinity", 4),
        ("container-cgroup-v2", "system.container", "docker"),
        ("mini-pc-alpine-musl", "system.libc", {"name": "musl", "version": "1.2.5"}),
        ("server-a100-mig", "cuda.toolkit", "12.2.2"),
    ],
)
def test_what_each_device_is_there_for(name: str, path: str, value: object) -> None:
    """Goldens are updated by a command; what makes a tree worth having is not."""
    section, *keys = path.split(".")
    found: Any = of_tree(HOSTS / name / "root").sections[section].shared
    for key in keys:
        found = found[key]
    assert found == value


def test_kinds_of_cores_partitions_and_contradictions() -> None:
    def shared(name: str, section: str) -> dict[str, Any]:
        return of_tree(HOSTS / name / "root").sections[section].shared

    kinds = shared("laptop-alder-lake-hybrid", "cpu")["kinds"]
    assert [(kind["name"], kind["count"]) for kind in kinds] == [("performance", 8), ("efficiency", 8)]
    gpus = shared("server-a100-mig", "cuda")["gpus"]
    assert [part["profile"] for part in gpus[0]["partitions"]] == ["3g.40gb", "2g.20gb"]
    (contradiction,) = shared("vm-epyc-rome-masked", "cpu")["contradictions"]
    assert {"avx", "avx2"} <= set(contradiction["only_here"])
    honest = [path.parent.name for path in HOSTS.glob("*/root") if path.parent.name != "vm-epyc-rome-masked"]
    assert [name for name in honest if "contradictions" in shared(name, "cpu")] == []


def another_device(root: Path) -> Iterator[tuple[str, bytes]]:
    """What another device of the image, after a reboot, has in its files."""
    fixed = {
        "proc/sys/kernel/random/boot_id": b"ffffffff-0000-4000-8000-000000000000\n",
        "etc/hostname": b"another\n",
        "proc/uptime": b"3.00 1.00\n",
        "proc/loadavg": b"9.99 0.1 0.1 1/1 1\n",
        "proc/device-tree/serial-number": b"2222222222222222\0",
        "etc/timezone": b"Asia/Tokyo\n",
    }
    patterns: list[tuple[str, Callable[[bytes], bytes]]] = [
        (r"sys/devices/.*/address", lambda _: b"02:00:00:00:00:99\n"),
        (r".*/(scaling_cur_freq|scaling_max_freq|cur_freq|min_freq)", lambda _: b"300000\n"),
        (r".*/thermal_zone\d+/temp", lambda _: b"81234\n"),
        (r".*/(package_throttle_count|oc\d_event_cnt)", lambda _: b"4711\n"),
        (r".*/get_throttled", lambda _: b"f000f\n"),
        (r".*/cpu\.stat", lambda _: b"nr_throttled 999\n"),
        (r".*/energy_performance_preference", lambda _: b"power\n"),
        # A few pages more or less are the kernel's own business at each boot.
        (r"proc/meminfo", lambda data: re.sub(rb"(?<=MemTotal:)( +)(\d+)", _fewer_pages, data)),
        (r"proc/cpuinfo", lambda data: re.sub(rb"(Serial|cpu MHz)(\s*): [\w.]+", rb"\1\2: 2222.2222", data)),
        (r".*/information|\.answers/nvml\.json", _other_gpus),
    ]
    for name in files_of(root):
        if name in fixed:
            yield name, fixed[name]
        for pattern, change in patterns:
            if re.fullmatch(pattern, name):
                yield name, change((root / name).read_bytes())


def _fewer_pages(match: re.Match[bytes]) -> bytes:
    return match.group(1) + b"%d" % (int(match.group(2)) - 68)


def _other_gpus(data: bytes) -> bytes:
    data = re.sub(rb"(GPU|MIG)-[0-9a-f]{8}", rb"\1-99999999", data)
    return re.sub(rb'("(?:memory_free_mib|mhz|power_w|celsius|slowed)": )\d+', rb"\g<1>64", data)


def test_another_device_of_the_image_and_a_reboot_change_no_digest(device: str) -> None:
    root = HOSTS / device / "root"
    changed = dict(another_device(root))
    before, after = of_tree(root), of_tree(root, changed)
    assert len(changed) > 5
    assert after.digest == before.digest
    assert after.sections["system"].device != before.sections["system"].device
    assert after.sections["system"].readings != before.sections["system"].readings
    if hardware_id(before):
        assert hardware_id(after) != hardware_id(before)


def test_hardware_has_an_identity_that_a_reboot_keeps_and_a_container_has_none(device: str) -> None:
    first, again = of_tree(HOSTS / device / "root"), of_tree(HOSTS / device / "root")
    assert len(hardware_id(first)) == (0 if device.startswith("container-") else 64)
    assert hardware_id(first) == hardware_id(again)


def test_garbage_in_any_one_file_breaks_nothing(device: str) -> None:
    """Every kind of file of every tree in turn, each with another shred and with its own beginning."""
    root = HOSTS / device / "root"
    chance = random.Random(device)
    for name in kinds_of(files_of(root)):
        content = (root / name).read_bytes()
        for garbage in (chance.choice(SHREDS), content[: chance.randrange(len(content) + 1)]):
            require_sound(of_tree(root, {name: garbage}), (name, garbage[:80]))


@pytest.mark.parametrize("seed", range(3))
def test_garbage_in_all_files_at_once_breaks_nothing(device: str, seed: int) -> None:
    root = HOSTS / device / "root"
    chance = random.Random(f"{device} {seed}")
    changed = {name: chance.choice([*SHREDS, chance.randbytes(60)]) for name in files_of(root)}
    require_sound(of_tree(root, changed), seed)


@pytest.mark.slow
def test_any_garbage_in_any_one_file_breaks_nothing(device: str) -> None:
    root = HOSTS / device / "root"
    chance = random.Random(f"{device} slow")
    for name in files_of(root):
        content = (root / name).read_bytes()
        at = chance.randrange(len(content) + 1)
        changed = content[:at] + chance.randbytes(3) + content[at + 3 :]
        for garbage in (chance.choice(SHREDS), chance.randbytes(200), changed, content[:at], content[:-1]):
            require_sound(of_tree(root, {name: garbage}), (name, garbage[:80]))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_no_truncation_of_all_files_breaks_anything(device: str, share: float) -> None:
    root = HOSTS / device / "root"
    changed = {
        name: content[: int(len(content) * share)]
        for name in files_of(root)
        for content in [(root / name).read_bytes()]
    }
    require_sound(of_tree(root, changed), share)


def test_folders_and_links_in_the_place_of_files_break_nothing(device: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(HOSTS / device / "root", root, symlinks=True)
    for place, name in enumerate(kinds_of(files_of(root))):
        (root / name).unlink()
        if place % 3 == 0:
            (root / name).mkdir()
        elif place % 3 == 1:
            (root / name).symlink_to(f"../{Path(name).name}")
    require_sound(of_tree(root), device)


def test_root_and_another_user_are_told_one_digest(
    unprivileged: Callable[[], AbstractContextManager[None]],
) -> None:
    """What only root may read has no place in shared facts."""
    told = capture(Target(""), host=Host(), sections=SECTIONS)
    with unprivileged():
        other = capture(Target(""), host=Host(), sections=SECTIONS)
    assert other.digest == told.digest
