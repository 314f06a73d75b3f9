"""The interpreter in a unit's command, whatever starts it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envcheck.errors import BadInput
from envcheck.facts.host import Host
from envcheck.facts.unit import find_unit

Tree = Callable[[dict[str, str | bytes]], Host]


@pytest.mark.parametrize(
    ("command", "python"),
    [
        ("/bin/sh -c 'exec venv/bin/python -m app'", "/srv/app/venv/bin/python"),
        ("/usr/bin/nice ./venv/bin/python -m app", "/srv/app/venv/bin/python"),
        ("/usr/bin/env ${VENV}/bin/python -m app", "/opt/venv/bin/python"),
        ("@/opt/venv/bin/python3 /other/bin/python -m app", "/opt/venv/bin/python3"),
        ("@/usr/bin/nice python3 /opt/venv/bin/python3", "/opt/venv/bin/python3"),
        ("-+/opt/venv/bin/python3 -m app", "/opt/venv/bin/python3"),
        ("!!/opt/venv/bin/python3 -m app", "/opt/venv/bin/python3"),
    ],
)
def test_commands(tree: Tree, command: str, python: str) -> None:
    unit = f"[Service]\nExecStart={command}\nWorkingDirectory=-/srv/app\nEnvironment=VENV=/opt/venv\n"
    assert find_unit("a", tree({"etc/systemd/system/a.service": unit})).python == python


def test_a_service_that_starts_a_container(tree: Tree) -> None:
    unit = "[Service]\nExecStart=/usr/bin/docker run --rm app\n"
    with pytest.raises(BadInput, match="starts no Python that can be seen") as told:
        find_unit("a", tree({"etc/systemd/system/a.service": unit}))
    assert "--container" in told.value.hint
