"""Free space on this machine's own disks. A mount of another machine may hang for ever: it is not asked."""

from __future__ import annotations

import os

import msgspec

from envcheck.facts.section import Facts, Scene

# This process's own name space, also where /proc/self stands for another's.
_MOUNTS = "/proc/thread-self/mountinfo"
_LOCAL = {
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "zfs", "overlay", "ubifs", "jffs2",
    "bcachefs",
}  # fmt: skip
_FOREIGN = {"nfs", "nfs4", "cifs", "smb3", "fuse", "autofs", "ceph", "glusterfs", "9p", "afs", "lustre"}
_IN_MEMORY = ("/dev/shm", "/tmp")  # noqa: S108 where programs expect room
_MAX_DISKS = 16
_MIB = 1024 * 1024


class Mount(msgspec.Struct, frozen=True):
    """One mount: where, of which device, which kind of file system."""

    point: str
    device: str
    kind: str


class Disk(Facts, frozen=True, kw_only=True):
    """One file system, in MiB: its size and what an ordinary user may still write."""

    total_mib: int
    free_mib: int


def parse_mounts(text: str) -> list[Mount]:
    """Read /proc/PID/mountinfo; lines that do not fit are left out."""
    found = []
    for line in text.splitlines():
        head, separator, tail = line.partition(" - ")
        fields, kinds = head.split(" "), tail.split(" ")
        if separator and len(fields) >= 6 and fields[4].startswith("/"):
            found.append(Mount(_unescaped(fields[4]), fields[2], kinds[0]))
    return found


def local_mounts(mounts: list[Mount]) -> list[Mount]:
    """Choose one mount of each local disk, the shortest path, and the memory where programs expect room."""
    # What was mounted over is not to be seen; the last one of a place is.
    seen = {mount.point: mount for mount in mounts}
    chosen: dict[str, Mount] = {}
    for mount in sorted(seen.values(), key=lambda mount: (len(mount.point), mount.point)):
        in_memory = mount.kind == "tmpfs" and mount.point in _IN_MEMORY
        if (mount.kind in _LOCAL or in_memory) and not _below_foreign(mount.point, seen):
            chosen.setdefault(mount.device, mount)
    return list(chosen.values())[:_MAX_DISKS]


def disks(scene: Scene) -> dict[str, Disk]:
    """Ask for the space of every local file system of the running machine, by its place."""
    if not scene.host.live:
        return {}
    found = {}
    for mount in local_mounts(parse_mounts(scene.text(_MOUNTS) or "")):
        try:
            told = os.statvfs(mount.point)
        except OSError:
            continue
        if told.f_blocks:
            total, free = (blocks * told.f_frsize // _MIB for blocks in (told.f_blocks, told.f_bavail))
            found[mount.point] = Disk(total_mib=total, free_mib=free)
    return found


def _below_foreign(point: str, seen: dict[str, Mount]) -> bool:
    """Whether the way to a mount leads over another machine's: to walk it may hang."""
    parts = point.split("/")
    above = ("/".join(parts[:count]) or "/" for count in range(1, len(parts)))
    return any(
        place != point and place in seen and seen[place].kind.partition(".")[0] in _FOREIGN for place in above
    )


def _unescaped(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
