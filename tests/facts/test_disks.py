from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import disks as module
from envcheck.facts.disks import disks, local_mounts, parse_mounts
from envcheck.facts.host import Host
from envcheck.facts.section import Scene

MOUNTS = r"""22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
23 22 0:6 / /dev rw - devtmpfs udev rw
24 23 0:23 / /dev/shm rw shared:2 - tmpfs tmpfs rw
25 22 0:24 / /run rw - tmpfs tmpfs rw
30 22 179:1 / /boot/firmware rw - vfat /dev/mmcblk0p1 rw
31 22 0:50 / /mnt/nas rw - nfs4 server:/x rw
32 31 8:1 / /mnt/nas/usb rw - ext4 /dev/sda1 rw
33 22 0:51 / /mnt/cloud rw - fuse.sshfs sshfs rw
34 22 8:2 / /data\040disk rw - xfs /dev/sda2 rw
35 22 179:2 /home /var/lib/app rw - ext4 /dev/root rw
36 22 0:60 / /net rw - autofs systemd-1 rw
"""


def test_local_disks_are_chosen_each_once_and_never_anothers() -> None:
    assert [mount.point for mount in local_mounts(parse_mounts(MOUNTS))] == [
        "/",
        "/dev/shm",
        "/data disk",
        "/boot/firmware",
    ]


def test_a_disk_that_was_mounted_over_by_another_machine_is_not_asked() -> None:
    over = MOUNTS + r"40 22 0:70 / /data\040disk rw - nfs server:/y rw" + "\n"
    assert "/data disk" not in [mount.point for mount in local_mounts(parse_mounts(over))]


def test_only_chosen_places_are_asked(monkeypatch: pytest.MonkeyPatch, scene: Callable[..., Scene]) -> None:
    asked: list[str] = []

    class Seen:
        f_blocks, f_bavail, f_frsize = 1000, 500, 1 << 20

    def statvfs(path: str) -> Seen:
        asked.append(path)
        return Seen()

    here = scene(Host())
    monkeypatch.setattr(here, "text", lambda path: MOUNTS)
    monkeypatch.setattr(module.os, "statvfs", statvfs)
    found = disks(here)
    assert asked == ["/", "/dev/shm", "/data disk", "/boot/firmware"]
    assert (found["/"].total_mib, found["/"].free_mib) == (1000, 500)


def test_this_machine_itself(scene: Callable[..., Scene]) -> None:
    told = os.statvfs("/")
    found = disks(scene(Host()))
    if "/" in found:
        assert found["/"].total_mib == told.f_blocks * told.f_frsize >> 20


def test_a_captured_tree_has_no_disks(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    assert disks(scene(tree({"proc/thread-self/mountinfo": MOUNTS}))) == {}


@given(st.text(max_size=200), st.integers(0, len(MOUNTS)))
def test_any_text_and_any_truncation_are_read(text: str, cut: int) -> None:
    for mounts in (text, MOUNTS[:cut], MOUNTS + text):
        assert all(Path(mount.point).is_absolute() for mount in local_mounts(parse_mounts(mounts)))
