"""What an interpreter tells when nothing is installed in it: change one thing and see what is made of it."""

from __future__ import annotations

from typing import Any

import msgspec

from envcheck.facts.interpreter import Interpreter


def told(**changed: Any) -> Interpreter:
    """An answer of CPython 3.11 in /opt/app/venv."""
    plain = {
        "implementation": "cpython",
        "version": "3.11.7",
        "build": "3.11.7 (main)",
        "abi": "cpython-311-x86_64-linux-gnu",
        "abiflags": "",
        "gil": None,
        "machine": "x86_64",
        "bits": 64,
        "byteorder": "little",
        "libc": "glibc 2.36",
        "executable": "/opt/app/venv/bin/python",
        "prefix": "/opt/app/venv",
        "base_prefix": "/usr",
        "conda": None,
        "flags": {},
        "user_site": False,
        "customised": [],
        "path": ["/opt/app/venv/lib/python3.11/site-packages"],
        "distributions": [],
        "unreadable": [],
        "hooks": [],
        "files": {},
        "folders": {},
        **changed,
    }
    return msgspec.convert(plain, Interpreter)
