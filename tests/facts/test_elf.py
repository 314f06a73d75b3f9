from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.elf_files import make_elf
from support.tools import need

from envcheck.facts.elf import Elf, parse_elf, read_from

CAPI = Path(str(onnxruntime.__file__)).parent / "capi"


def real_libraries() -> list[Path]:
    found = [*CAPI.glob("*.so*"), Path(sys.executable).resolve()]
    found += [
        Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line
    ]
    return sorted(set(found), key=lambda path: path.name)


def readelf(path: Path) -> Elf:
    """What binutils says of a library."""
    dynamic = subprocess.run(["readelf", "-dW", str(path)], capture_output=True, text=True, check=True).stdout
    notes = subprocess.run(["readelf", "-nW", str(path)], capture_output=True, text=True, check=True).stdout

    def named(tag: str) -> list[str]:
        return re.findall(rf"\({tag}\).*\[(.*)\]", dynamic)

    search = named("RUNPATH") or named("RPATH")
    return Elf(
        needed=named("NEEDED"),
        soname="".join(named("SONAME")),
        search=[part for part in ":".join(search).split(":") if part],
        build_id="".join(re.findall(r"Build ID: (\w+)", notes)),
    )


@pytest.mark.parametrize("path", real_libraries(), ids=lambda path: path.name)
def test_real_libraries_are_read_as_readelf_reads_them(path: Path) -> None:
    need("readelf")
    assert parse_elf(read_from(path.read_bytes())) == readelf(path)


def test_only_a_little_of_a_library_is_read() -> None:
    path = max(CAPI.glob("*.so*"), key=lambda path: path.stat().st_size)
    read_bytes = []
    with path.open("rb") as file:

        def read(at: int, length: int) -> bytes:
            file.seek(at)
            data = file.read(length)
            read_bytes.append(len(data))
            return data

        found = parse_elf(read)
    assert found is not None
    assert any(name.startswith("libc.") for name in found.needed)
    assert sum(read_bytes) < 200_000 < path.stat().st_size


@pytest.mark.parametrize("word", ["32", "64"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_both_classes_and_byte_orders(word: str, order: str) -> None:
    data = make_elf(int(word), order, needed=["libcudnn.so.9", "libcublas.so.12"], build_id=b"\xab\xcd")
    found = parse_elf(read_from(data))
    assert found is not None
    assert (found.needed, found.build_id) == (["libcudnn.so.9", "libcublas.so.12"], "abcd")


@given(st.binary(max_size=300), st.integers(0, 500), st.sampled_from([32, 64]), st.data())
def test_any_bytes_any_truncation_and_any_change_are_read(
    garbage: bytes, cut: int, bits: int, data: st.DataObject
) -> None:
    whole = make_elf(bits, "little", needed=["libcudart.so.12"], build_id=b"\x01" * 20)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + data.draw(st.binary(min_size=1, max_size=8)) + whole[at + 8 :]
    for content in (garbage, b"\x7fELF\x02\x01" + garbage, whole[:cut], changed):
        found = parse_elf(read_from(content))
        assert found is None or len(found.needed) <= 256


@pytest.mark.parametrize("cut", [0, 16, 64, 100, 4096])
def test_a_truncated_real_library_is_read_as_far_as_it_goes(cut: int) -> None:
    found = parse_elf(read_from(Path(sys.executable).resolve().read_bytes()[:cut]))
    assert found is None or found.needed == []
