"""Targets that are more than a program on this machine: a unit, a container, a tree only read."""

from __future__ import annotations

from envcheck.errors import BadInput
from envcheck.facts.finding import checked, find_python, read_env_file
from envcheck.facts.host import Host, Target

_ONE = "name one of them: a unit has its own variables, a container its own file system"
READ_ONLY = "it was not run: only its files are here"
APART = "it was not run: the service has a root directory of its own"


def resolve_special(
    python: str | None,
    env_file: str | None,
    unit: str | None,
    container: str | None,
    host: Host,
    *,
    on_disk: bool,
) -> Target:
    """Find the target in a unit, a container or a tree; raises BadInput."""
    if sum(map(bool, (unit, container, env_file))) > 1:
        raise BadInput("unit, container and env file can't be combined", _ONE)
    if container:
        if not host.live:
            raise BadInput("a tree that is only read has no running container", "leave --root out")
        from envcheck.facts.container import container_target

        return container_target(container, python, host)
    if not host.live:
        return _in_tree(python, env_file, unit, host)
    from envcheck.facts.unit import find_unit

    found = find_unit(unit or "", host, python)
    target = Target(found.python, found.environ, unit=found)
    if not found.root:
        return checked(target.changed(python=find_python(found.python, host)), host, on_disk=on_disk)
    target = target.changed(unasked=found.closed or APART)
    if not on_disk:
        raise BadInput(
            f"the unit {found.name} has a root directory of its own: its Python can't be run from here",
            "run envcheck in there; `envcheck capture --unit` tells what its files tell",
        )
    if not found.closed:
        _require_there(target.python, target.seen_from(host))
    return target


def _in_tree(python: str | None, env_file: str | None, unit: str | None, host: Host) -> Target:
    """Find what would serve in a tree; its programs are not run."""
    from envcheck.facts.tree import find_interpreter

    target = Target("", read_env_file(env_file) if env_file else None, unasked=READ_ONLY)
    if unit:
        from envcheck.facts.unit import find_unit

        found = find_unit(unit, host, python)
        target = target.changed(python=found.python, environ=found.environ, unit=found)
    if python:
        if not python.startswith("/"):
            raise BadInput(
                f"{python} is no absolute path",
                "name it as the tree sees it: /opt/app/venv/bin/python",
            )
        target = target.changed(python=python)
    if target.python:
        if not (target.unit and target.unit.closed):
            _require_there(target.python, target.seen_from(host))
        return target
    return target.changed(python=find_interpreter(host))


def _require_there(python: str, host: Host) -> None:
    from envcheck.facts.tree import is_installed

    if not is_installed(python, host):
        raise BadInput(
            f"there is no Python {python} below {host.tree}",
            "name it as the tree sees it: --python /opt/app/venv/bin/python",
        )
