"""`envcheck gate`: ask the collector whether devices are ready for a release."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import click

from envcheck.commands.collector import collector_options, open_link
from envcheck.commands.common import EXIT_BY_OUTCOME, read_file, write_output
from envcheck.contract.baseline import parse_release
from envcheck.contract.document import encode
from envcheck.contract.selector import is_device_id, parse_selector
from envcheck.contract.wire import MOST_EXPECTED, GateAnswer, GateQuestion
from envcheck.errors import BadInput

FORMATS = ("text", "json", "junit", "sarif", "markdown")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


@click.command()
@click.argument("release", metavar="NAME@VERSION")
@click.option("--cohort", default="", metavar="SELECTOR", help="Devices that are asked about (default: all).")
@click.option("--min-ready", default="100%", show_default=True, help="Least share of ready devices.")
@click.option("--max-unknown", default="0%", show_default=True, help="Largest share of unknown devices.")
@click.option(
    "--max-age", metavar="AGE", help="How old a report may be, like 90m or 24h (default: the policy's)."
)
@click.option(
    "--expect",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of device ids that must be there, one a line or the first column of a CSV.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT[:FILE]",
    help=f"{', '.join(FORMATS)}; repeatable. Without a file it takes the place of the text on stdout.",
)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the --format without a file.",
)
@collector_options
def gate(
    release: str,
    cohort: str,
    min_ready: str,
    max_unknown: str,
    max_age: str | None,
    expect: Path | None,
    formats: tuple[str, ...],
    output: Path | None,
    collector: str | None,
    token: str | None,
    token_file: Path | None,
) -> int:
    """Ask the collector whether devices are ready.

    Exit code 0: ready, 1: too many are blocked, 3: not known (silent, stale or unreadable devices), 4: the
    collector can't be reached, 2: the question itself is wrong. Nothing but 0 lets a rollout through.

    \b
    Examples:
      envcheck gate digits@1.3
      envcheck gate digits@1.3 --cohort line=press --min-ready 95% --max-unknown 1%
      envcheck gate digits@1.3 --format junit:gate.xml --format markdown:gate.md
    """
    from envcheck.transport.client import ask_gate

    destinations = _destinations(formats, output)
    question = GateQuestion(
        release="@".join(parse_release(release)),
        cohort=_checked(cohort),
        min_ready=read_share(min_ready, "--min-ready"),
        max_unknown=read_share(max_unknown, "--max-unknown"),
        max_age_s=_age(max_age),
        expect=_expected(expect),
    )
    answer = ask_gate(open_link(collector, token, token_file), question)
    for form, file in destinations:
        _write(answer, form, file)
    return EXIT_BY_OUTCOME[answer.outcome]


def read_share(text: str, option: str) -> float:
    """Read a percentage as a fraction; raises BadInput naming the option."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None or Decimal(match.group(1)) > 100:
        raise BadInput(f"{option}: {text[:40]!r} is not a percentage", "a percentage is like 95% or 99.5%")
    return float(Decimal(match.group(1)) / 100)


def _destinations(formats: tuple[str, ...], output: Path | None) -> list[tuple[str, Path | None]]:
    """Read `--format` and `-o`: each format and its file, None for stdout, which the text has by default."""
    found: list[tuple[str, Path | None]] = []
    for given in formats:
        form, colon, file = given.partition(":")
        if form not in FORMATS or (colon and not file):
            raise BadInput(f"--format: {given[:80]!r} is not a format", f"there are {', '.join(FORMATS)}")
        found.append((form, Path(file) if file else None))
    bare = [form for form, file in found if file is None]
    if len(bare) > 1:
        raise BadInput(f"--format: {' and '.join(bare)} would share one output", "name files: FORMAT:FILE")
    if output is not None and not bare:
        bare = ["text"]
        found.append(("text", None))
    placed = [(form, file or output) for form, file in found]
    return placed if any(file is None for _, file in placed) else [*placed, ("text", None)]


def _checked(cohort: str) -> str:
    parse_selector(cohort)
    return cohort


def _age(text: str | None) -> int | None:
    from envcheck.judge.decide import parse_age

    return None if text is None else parse_age(text, "--max-age")


def _expected(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = read_file(path, "list of devices").decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text (byte {error.start})") from None
    cells = [(number, line.partition(",")[0].strip().strip('"')) for number, line in enumerate(lines, 1)]
    named = [(number, cell) for number, cell in cells if cell and not cell.startswith("#")]
    if named and named[0][1].lower() in ("device", "id", "device_id"):
        named = named[1:]
    for number, cell in named:
        if not is_device_id(cell):
            raise BadInput(
                f"{path}, line {number}: {cell[:80]!r} is not a device's id",
                "an id has up to 63 of a-z, 0-9, '.', '_' and '-'",
            )
    if not 0 < len(named) <= MOST_EXPECTED:
        raise BadInput(f"--expect: {path} names {len(named)} devices", f"it must name 1 to {MOST_EXPECTED}")
    return sorted({cell for _, cell in named})


def _write(answer: GateAnswer, form: str, file: Path | None) -> None:
    data = _render(answer, form, to_file=file is not None)
    if file is None:
        click.echo(data, nl=False)
        return
    write_output(file, data if isinstance(data, bytes) else data.encode("utf-8"))


def _render(answer: GateAnswer, form: str, *, to_file: bool) -> str | bytes:
    if form == "json":
        return encode(answer) + b"\n"
    if form == "junit":
        from envcheck.output.junit import junit

        return junit(answer)
    if form == "sarif":
        from envcheck.output.sarif import sarif

        return sarif(answer)
    if form == "markdown":
        from envcheck.output.markdown import markdown

        return markdown(answer)
    return _text(answer, to_file=to_file)


def _text(answer: GateAnswer, *, to_file: bool) -> str:
    from envcheck.output.console import console
    from envcheck.output.gate import gate_text

    text = gate_text(answer, EXIT_BY_OUTCOME[answer.outcome], console())
    return click.unstyle(text) if to_file else text
