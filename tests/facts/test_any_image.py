"""An image whose installed files may hold anything: whatever is told, it is told, and bounded."""

from __future__ import annotations

import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.elf_files import make_elf

from envcheck.contract.document import decode, encode
from envcheck.contract.fingerprint import Fingerprint
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target

SITE = "opt/app/lib/python3.11/site-packages"
ALPHA = f"{SITE}/alpha-1.0.dist-info"
FILES: dict[str, bytes] = {
    "etc/os-release": b"ID=debian\n",
    "opt/app/bin/python3.11": make_elf(64, "<", needed=["libc.so.6"], build_id=b"\1") + b"\x003.11.2\0",
    "opt/app/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so": b"",
    "opt/app/conda-meta/alpha-1.0-py311_0.json": json.dumps(
        {"channel": "https://conda.example/main", "files": [f"{ALPHA}/METADATA"], "subdir": "linux-64"}
    ).encode(),
    f"{ALPHA}/METADATA": b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0+cu126\n\nText\n",
    f"{ALPHA}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    f"{ALPHA}/INSTALLER": b"pip\n",
    f"{ALPHA}/direct_url.json": b'{"url": "https://host/alpha.git", "vcs_info": {"commit_id": "c0ffee"}}',
    f"{ALPHA}/RECORD": b"alpha/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n",
    f"{SITE}/alpha/__init__.py": b"",
    f"{SITE}/alpha/_vendor/beta-2.0.dist-info/METADATA": b"Name: beta\n",
    f"{SITE}/gamma-3.0.egg-info": b"Name: gamma\nVersion: 3.0\n",
    f"{SITE}/delta.egg-info/PKG-INFO": b"Name: delta\nVersion: 4.0\n",
    f"{SITE}/eps.egg-link": b"/opt/eps\n.\n",
    f"{SITE}/paths.pth": b"/opt/extra\n/opt/zips/a.egg\n/opt/zips/w-1.0-py3-none-any.whl\nimport os\n",
    f"{SITE}/onnxruntime/__init__.py": b'__version__ = "1.23.2"\n',
    f"{SITE}/onnxruntime/capi/build_and_package_info.py": b'package_name = "onnxruntime-gpu"\n',
    f"{SITE}/onnxruntime/capi/libonnxruntime_providers_cuda.so": make_elf(
        64, "<", needed=["libcudart.so.12", "libcudnn.so.9"], build_id=b"\2\3"
    ),
    f"{SITE}/torch/version.py": b"__version__ = '2.13.0+cu126'\ncuda = '12.6'\n",
    f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9": b"",
    "opt/extra/zeta-1.0.dist-info/METADATA": b"Name: zeta\nVersion: 1.0\n",
    "opt/app/pyvenv.cfg": b"home = /usr/bin\nversion = 3.11.2\n",
    "srv/model.onnx": b"onnx",
}
SHREDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda _, __: b"",
    lambda _, chance: chance.randbytes(300),
    lambda data, chance: data[: chance.randrange(len(data) + 1)],
    lambda data, chance: data.replace(b"a", chance.randbytes(2)),
    lambda data, _: data.replace(b"\n", b"\0") + b"\xff\xfe" * 40,
    lambda _, __: b"[" * 3000,
    lambda data, _: data * 2000,
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "opt/app/bin/python3.11").chmod(0o755)
    for name, folder in (("a.egg", "EGG-INFO"), ("w-1.0-py3-none-any.whl", "w-1.0.dist-info")):
        (root / "opt/zips").mkdir(exist_ok=True)
        with zipfile.ZipFile(root / "opt/zips" / name, "w") as archive:
            for file in ("PKG-INFO", "METADATA", "RECORD", "WHEEL"):
                archive.writestr(f"{folder}/{file}", f"Name: {name[0]}\nVersion: 1.0\n")
    return root


def of_image(root: Path) -> Fingerprint:
    """Capture with all that can be asked for, verification too."""
    target = Target("/opt/app/bin/python3.11", {}, unasked="a test", model="/srv/model.onnx")
    return capture(target, host=Host(root=root, environ={}), verify=True)


def require_sound(found: Fingerprint, where: object) -> None:
    failed = {name: section.reason for name, section in found.sections.items() if section.status == "error"}
    assert failed == {}, where
    assert found.sections["packages"].device["verified"].get("problem", "") == "", where
    assert decode(encode(found), Fingerprint, "own") == found


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_the_image_is_told_when_nothing_is_wrong(image: Path) -> None:
    found = of_image(image)
    require_sound(found, image)
    packages = found.sections["packages"].shared
    assert set(packages) == {"alpha", "gamma", "delta", "zeta", "a", "w"}
    assert packages["alpha"]["source"]["commit"] == "c0ffee"
    assert packages["alpha"]["conda"]["subdir"] == "linux-64"
    assert packages["alpha"]["vendored"] == {"beta": "2.0"}
    assert found.sections["onnxruntime"].shared["needs"] == {"cuda": ["12"], "cudnn": ["9"]}
    assert found.sections["cuda"].shared["torch"] == {"version": "2.13.0+cu126", "cuda": "12.6"}
    assert found.sections["variables"].readings["model"]["status"] == "ok"


def test_garbage_in_all_installed_files_breaks_nothing(image: Path) -> None:
    chance = random.Random("image")
    contents = {name: (image / name).read_bytes() for name in files_of(image)}
    for _ in range(10):
        for name, content in contents.items():
            if chance.random() < 0.5:
                (image / name).write_bytes(chance.choice(SHREDS)(content, chance))
        require_sound(of_image(image), {name: (image / name).read_bytes()[:80] for name in contents})


def a_loop(place: Path) -> None:
    place.symlink_to(place.name)


def test_pipes_folders_and_loops_in_the_place_of_files_break_nothing(image: Path) -> None:
    puts: list[Callable[[Path], None]] = [os.mkfifo, os.mkdir, a_loop]
    for place, name in enumerate(files_of(image)):
        path = image / name
        content = path.read_bytes()
        path.unlink()
        puts[place % 3](path)
        require_sound(of_image(image), (name, puts[place % 3]))
        path.rmdir() if path.is_dir() else path.unlink()
        path.write_bytes(content)
    a_loop(image / SITE / "looped")
    shutil.rmtree(image / SITE / "alpha")
    a_loop(image / SITE / "alpha")
    pipe = image / ALPHA / "RECORD"
    pipe.unlink()
    os.mkfifo(pipe)
    require_sound(of_image(image), pipe)


def test_links_lead_nowhere_outside(image: Path, tmp_path: Path) -> None:
    """Absolute links are those of the image; nothing of the machine that reads it is told."""
    outside = tmp_path / "opt/secret"
    (outside / "evil-6.0.dist-info").mkdir(parents=True)
    (outside / "evil-6.0.dist-info/METADATA").write_text("Name: evil\nVersion: 6.0\n")
    (image / SITE / "out.pth").write_text(f"{outside}\n../../../../../../../../..{outside}\n")
    (image / SITE / "evil-6.0.dist-info").symlink_to(outside / "evil-6.0.dist-info")
    (image / SITE / "more-6.0.dist-info").symlink_to("../" * 20 + str(outside / "evil-6.0.dist-info")[1:])
    shutil.rmtree(image / "opt/extra")
    (image / "opt/extra").symlink_to(outside)
    found = of_image(image)
    assert "6.0" not in {
        entry.get("version")
        for entry in found.sections["packages"].shared.values()
        if not entry.get("broken")
    }


@pytest.mark.slow
def test_garbage_in_any_installed_file_breaks_nothing(image: Path) -> None:
    chance = random.Random("slow image")
    for name in files_of(image):
        content = (image / name).read_bytes()
        for shred in SHREDS:
            (image / name).write_bytes(shred(content, chance))
            require_sound(of_image(image), (name, (image / name).read_bytes()[:80]))
        (image / name).write_bytes(content)
