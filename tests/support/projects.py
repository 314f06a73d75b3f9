"""A source tree that pip really builds and installs: it brings its own build backend."""

from __future__ import annotations

from pathlib import Path

BACKEND = """
import base64, hashlib, os, zipfile

NAME, VERSION = {name!r}, {version!r}
INFO = NAME + "-" + VERSION + ".dist-info"


def _wheel(folder, files):
    files[INFO + "/METADATA"] = "Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % (NAME, VERSION)
    files[INFO + "/WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append("%s,sha256=%s,%d" % (path, digest, len(text)))
    files[INFO + "/RECORD"] = "\\n".join(rows + [INFO + "/RECORD,,"]) + "\\n"
    file = "%s-%s-py3-none-any.whl" % (NAME, VERSION)
    with zipfile.ZipFile(os.path.join(folder, file), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return file


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with open(NAME + ".py") as file:
        return _wheel(wheel_directory, {{NAME + ".py": file.read()}})


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, {{"__editable__%s.pth" % NAME: os.getcwd() + "\\n"}})
"""


def make_project(folder: Path, name: str, version: str, body: str = "x = 1\n") -> Path:
    """Write a project of one module; build it with --no-build-isolation."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(BACKEND.format(name=name, version=version))
    (folder / f"{name}.py").write_text(body)
    return folder
