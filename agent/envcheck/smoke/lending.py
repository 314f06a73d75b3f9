"""Lets another user's child into its work directory: it reads all of it, writes its outputs, and no more."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from envcheck.facts.host import Rights


def lend(workdir: Path, rights: Rights | None) -> None:
    """Let that user's group read the work directory and what lies in it; None: our own rights serve."""
    if rights is None:
        return
    os.chown(workdir, -1, rights.gid)
    workdir.chmod(0o750)
    for path in workdir.iterdir():
        if path.is_file():
            os.chown(path, -1, rights.gid)
            path.chmod(0o640)


def lend_outputs(outputs: Path, rights: Rights | None) -> None:
    """Let that user, and nobody else but root, write the outputs."""
    if rights is not None:
        outputs.chmod(0o700)
        os.chown(outputs, rights.uid, rights.gid)


def take_back(outputs: Path, rights: Rights | None) -> None:
    """Take the outputs from that user, and drop what is no plain file of its own.

    What we read there with our rights must be what it could read with its own: no link to a file of others,
    no pipe that blocks.
    """
    if rights is None:
        return
    os.chown(outputs, os.geteuid(), os.getegid())
    for path in list(outputs.iterdir()):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != rights.uid or found.st_nlink != 1:
            _drop(path, found)


def _drop(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def closed_folder(path: Path, rights: Rights | None) -> Path | None:
    """Return the folder above `path` that this user may not enter, None when there is none."""
    for folder in reversed(path.parents) if rights else ():
        with suppress(OSError):
            if rights and not _may_enter(folder.stat(), rights.uid, [rights.gid, *rights.groups]):
                return folder
    return None


def _may_enter(found: os.stat_result, uid: int, groups: Sequence[int]) -> bool:
    bit = stat.S_IXUSR if found.st_uid == uid else stat.S_IXGRP if found.st_gid in groups else stat.S_IXOTH
    return bool(found.st_mode & bit)
