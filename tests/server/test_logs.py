"""What is logged is told once, from the level on that was asked for, and forges nothing."""

from __future__ import annotations

import logging
import logging.config

import pytest

from envcheck_server.commands.logs import InertFormatter, log_configuration

HOSTILE = "x\n2026-01-01T00:00:00Z INFO uvicorn: all is well\x1b[2J\r\u202e"


def formatted(message: str, error: Exception | None = None) -> list[str]:
    told = None if error is None else (type(error), error, None)
    record = logging.LogRecord("envcheck_server", logging.ERROR, __file__, 1, message, (), told)
    return InertFormatter().format(record).split("\n")


@pytest.mark.parametrize(
    "lines", [formatted(HOSTILE), formatted("a request failed", ValueError(HOSTILE))], ids=["text", "error"]
)
def test_nothing_poses_as_an_event(lines: list[str]) -> None:
    assert lines[0].partition(" ERROR envcheck_server: ")[1]
    assert all(line.startswith("  ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(("level", "heard"), [("info", ["aside", "fault"]), ("error", ["fault"])])
def test_the_level_counts_for_our_own_events(level: str, heard: list[str], capsys) -> None:
    loggers = [logging.getLogger(name) for name in ("uvicorn", "envcheck_server")]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    try:
        logging.config.dictConfig(log_configuration(level))
        loggers[1].info("aside")
        loggers[1].error("fault")
        said = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    finally:
        for one, (handlers, was, propagates) in zip(loggers, before, strict=True):
            one.handlers[:], one.propagate = handlers, propagates
            one.setLevel(was)
    assert said == heard
