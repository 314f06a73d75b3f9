"""A machine whose every file, folder and link may hold anything, also those that no captured tree has."""

from __future__ import annotations

import errno
import io
import os
import random
import re
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from envcheck.contract.document import decode, encode
from envcheck.contract.fingerprint import Fingerprint
from envcheck.facts.gather import capture
from envcheck.facts.host import FILE_LIMIT, Host, Target
from envcheck.output.capture import print_capture

HOSTS = Path(__file__).parents[1] / "hosts"
SHREDS = (
    b"", b"\xff\xfe\0", b"9" * 5000, b"-1", b"0", b"1", b": :\n" * 9, b"[" * 3000, b"max", b"max 100000",
    b"-9223372036854775808", b"99999999999999999999", "\u0663\u00b2".encode(), b"1 2 3 4", b"0-99999999",
    b"0-3,8\n", b"[always] madvise", b"Y", b"1.5e308", b"nan", b"NaN kB", b"MemTotal: 1 kB\n",
)  # fmt: skip
NAMES = (
    "cpu0", "cpu1", "node0", "thermal_zone0", "zram0", "eth0", "\udcff", "a b", "x" * 300, "nvidia0", "nvgpu",
    "hwmon0", "policy0", "0000:01:00.0", "gi1", "17000000.gpu", "ld-musl-x86_64.so.1", "fw-cfg@1", "index0",
    "soc:firmware", "libcudart.so.12", "libcuda.so\n", "serving",
)  # fmt: skip
LINKS = ("../x", "/usr/share/zoneinfo/Europe/Berlin", "\udcff", "", "/" * 50, "../../usb1/x", "x.so.1.2")
REFUSALS = (
    errno.EACCES, errno.EPERM, errno.EISDIR,
    errno.ENOTDIR, errno.ELOOP, errno.EIO, errno.EINVAL, errno.ENODATA,
    errno.ENAMETOOLONG, errno.ENXIO, errno.EAGAIN,
)  # fmt: skip


def kind(path: str) -> str:
    return re.sub(r"\d+", "#", path)


@cache
def known() -> tuple[dict[str, list[bytes]], dict[str, list[str]]]:
    """Contents of files and names in folders of all captured trees, by kinds of paths."""
    files: dict[str, list[bytes]] = defaultdict(list)
    names: dict[str, set[str]] = defaultdict(set)
    for root in sorted(HOSTS.glob("*/root")):
        for path in sorted(root.rglob("*")):
            place = "/" + str(path.relative_to(root))
            names[kind(str(Path(place).parent))].add(path.name)
            if path.is_file() and not path.is_symlink():
                files[kind(place)].append(path.read_bytes())
    return files, {place: sorted(found) for place, found in names.items()}


class AnyHost(Host):
    """Every answer is drawn by chance, of one seed and path always the same; `asked` are the files read."""

    __slots__ = ("asked", "seed")
    asked: set[str]
    seed: int

    def __init__(self, seed: int, asked: set[str]) -> None:
        super().__init__(root="/nonexistent", environ={})
        self._set(seed=seed, asked=asked)

    def chance(self, path: str, refused: float = 0.0) -> random.Random:
        drawn = random.Random(f"{self.seed} {path}".encode("utf-8", "surrogateescape"))
        share = drawn.random()
        if share < refused:
            number = errno.ENOENT if share < refused * 0.7 else drawn.choice(REFUSALS)
            raise OSError(number, os.strerror(number))
        return drawn

    def read(self, path: str, limit: int = FILE_LIMIT, at: int = 0) -> bytes:
        self.asked.add(path)
        chance = self.chance(path, refused=0.4)
        data = content(path, chance)
        if data and chance.random() < 0.3:
            data = data[: chance.randrange(len(data))]
        if data and chance.random() < 0.2:
            place = chance.randrange(len(data))
            data = data[:place] + chance.randbytes(3) + data[place + chance.randrange(4) :]
        return data[at : at + limit]

    def names(self, path: str) -> list[str]:
        chance = self.chance(path, refused=0.3)
        likely = known()[1].get(kind(path), [])
        if likely and chance.random() < 0.8:
            return sorted(chance.sample(likely, chance.randrange(len(likely) + 1)))
        return sorted(chance.choices(NAMES, k=5))

    def link(self, path: str) -> str:
        return self.chance(path, refused=0.3).choice([*LINKS, path])

    def answer(self, name: str, ask: Callable[[], bytes]) -> bytes:
        try:
            return self.read(f"/.answers/{name}")
        except OSError:
            return b""

    def is_device(self, path: str) -> bool:
        return self.chance(path).random() < 0.7

    def may_open(self, path: str) -> bool:
        return self.chance(path).random() < 0.5


def content(path: str, chance: random.Random) -> bytes:
    files, _ = known()
    likely, share = files.get(kind(path)), chance.random()
    if likely and share < 0.5:
        return chance.choice(likely)
    if share < 0.7:
        return chance.choice(chance.choice(list(files.values())))
    return chance.choice([*SHREDS, chance.randbytes(60)])


def require_sound(seed: int, asked: set[str]) -> None:
    found = capture(Target(""), host=AnyHost(seed, asked))
    failed = {name: section.reason for name, section in found.sections.items() if section.status == "error"}
    assert failed == {}, seed
    assert decode(encode(found), Fingerprint, "own") == found
    written = io.StringIO()
    print_capture(found, Console(file=written, width=100))
    assert not set(written.getvalue()) & set(map(chr, range(32))) - {"\n"}


def test_no_answer_of_a_machine_breaks_a_section() -> None:
    asked: set[str] = set()
    for seed in range(300):
        require_sound(seed, asked)
    # Every file that is read from any of the captured trees was garbage here, and so were others.
    read: set[str] = set()
    for root in HOSTS.glob("*/root"):
        capture(Target(""), host=noting(root, read))
    lasting = {kind(path) for path in read if "/cgroup/" not in path}
    assert lasting - {kind(path) for path in asked} == set()


def noting(root: Path, read: set[str]) -> Host:
    class Noting(Host):
        def read(self, path: str, limit: int = FILE_LIMIT, at: int = 0) -> bytes:
            read.add(path)
            return super().read(path, limit, at)

    return Noting(root=root, environ={})


@pytest.mark.slow
def test_no_answer_of_many_machines_breaks_a_section() -> None:
    for seed in range(1000, 3000):
        require_sound(seed, set())
