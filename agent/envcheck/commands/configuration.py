"""The device's configuration: /etc/envcheck/config.yaml, `--config` or ENVCHECK_CONFIG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import msgspec

from envcheck.contract.document import convert
from envcheck.contract.yaml_text import read_yaml
from envcheck.errors import BadInput, Undetermined
from envcheck.facts.patience import within

if TYPE_CHECKING:
    from envcheck.facts.host import Target

DEFAULT_PATH = Path("/etc/envcheck/config.yaml")
_PATIENCE_S = 20.0
# 16 TiB: more than any process maps, and few enough bytes for every system call.
_MAX_MIB = 2**24


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device is told. Relative paths are taken from the configuration file's directory.

    `device` is the id that the device proposes (default: its host name). `python` is the interpreter
    that serves the model, `env_file` the variables it serves with; `unit` is a systemd service, which has
    both, `model` the path of the deployed model file. `release_keys` are the public keys
    whose bundles this device runs; there is no default, and the collector can't add one.
    `smoke_memory_mib` bounds the address space of a model's run (not with CUDA or TensorRT).
    """

    device: str = ""
    python: str = ""
    env_file: str = ""
    unit: str = ""
    model: str = ""
    state_dir: str = "/var/lib/envcheck"
    collector: str = ""
    ca_bundle: str = ""
    release_keys: list[str] = []
    policy: str = ""
    smoke_deadline_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 120.0
    smoke_memory_mib: Annotated[int, msgspec.Meta(ge=1, le=_MAX_MIB)] | None = None
    smoke_quick: bool = False


_PATHS = ("env_file", "model", "state_dir", "ca_bundle")


def load_configuration(path: Path | None, patience_s: float | None = None) -> Configuration:
    """Read the configuration; without a file at the default place, the defaults.

    Raises BadInput naming file and field for one that was named but is missing, or that does not fit, and
    Undetermined for one that does not answer in `patience_s` seconds (by default 20).
    """
    seconds = _PATIENCE_S if patience_s is None else patience_s
    named = path or (Path(os.environ["ENVCHECK_CONFIG"]) if os.environ.get("ENVCHECK_CONFIG") else None)
    chosen = named or DEFAULT_PATH
    try:
        text = within(seconds, lambda: chosen.read_text(encoding="utf-8"))
    except TimeoutError:
        raise Undetermined(
            f"the configuration {chosen} did not answer in {seconds:.3g} s",
            "does it lie on a network mount that hangs, or is it a pipe that nobody writes?",
        ) from None
    except FileNotFoundError:
        if named is None:
            return Configuration()
        raise BadInput(f"there is no configuration file {chosen}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the configuration {chosen} can't be read: {error}") from None
    return _resolve(convert(read_yaml(text, str(chosen)), Configuration, str(chosen)), chosen.parent)


def serving_target(
    configuration: Configuration,
    python: str | None,
    env_file: Path | None,
    unit: str | None,
    *,
    on_disk: bool = False,
) -> Target:
    """Find the target that options and configuration name; the options go first. Raises BadInput.

    `on_disk` lets an interpreter through that can't be run from here: its files can be read all the same.
    """
    from envcheck.facts.host import resolve_target

    serving, service = str(env_file) if env_file is not None else None, unit
    if not serving and not service:
        serving, service = configuration.env_file, configuration.unit
    chosen = python or configuration.python or None
    return resolve_target(chosen, serving or None, unit=service or None, on_disk=on_disk)


def unit_option(function: Any) -> Any:
    """Add `--unit NAME` to a command."""
    return click.option("--unit", metavar="NAME", help="The systemd service that serves the model.")(function)


def memory_option(function: Any) -> Any:
    """Add `--memory MIB` to a command, which gets it as `memory_mib`."""
    return click.option(
        "--memory",
        "memory_mib",
        type=click.IntRange(1, _MAX_MIB),
        metavar="MIB",
        help="Address space that the run may take (default: no bound; none with CUDA).",
    )(function)


def config_option(function: Any) -> Any:
    """Add `--config FILE` to a command."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file (default: ENVCHECK_CONFIG, then /etc/envcheck/config.yaml).",
    )(function)


def _resolve(configuration: Configuration, base: Path) -> Configuration:
    changes = {name: str(base / value) for name in _PATHS if (value := getattr(configuration, name))}
    # An interpreter may be a bare name, to be found on PATH.
    if "/" in configuration.python:
        changes["python"] = str(base / configuration.python)
    return msgspec.structs.replace(configuration, **changes)
