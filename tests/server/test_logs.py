"""What is logged is told once, from the level on that was asked for, and forges nothing."""

from __future__ import annotations

import json
import logging
import logging.config

import pytest
from support.collector import refused

from envcheck_server.commands.logs import InertFormatter, JsonFormatter, log_configuration
from envcheck_server.service.errors import NotKnown
from envcheck_server.service.request_id import request_id

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
    loggers = [logging.getLogger(name) for name in ("uvicorn", "envcheck_server", "")]
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


def as_json(message: str, error: Exception | None = None) -> tuple[str, dict[str, str]]:
    told = None if error is None else (type(error), error, None)
    record = logging.LogRecord("envcheck_server", logging.ERROR, __file__, 1, message, (), told)
    line = JsonFormatter().format(record)
    return line, json.loads(line)


@pytest.mark.parametrize("error", [None, ValueError(HOSTILE)])
def test_json_is_one_line_of_plain_characters_before_and_after_it_is_decoded(error) -> None:
    line, event = as_json(HOSTILE, error)
    assert line.isascii()
    assert line.isprintable()
    assert set(event) == {"time", "level", "logger", "message"} | ({"error"} if error else set())
    assert event["message"].isprintable()
    assert all(one.isprintable() for one in event.get("error", "").split("\n"))
    assert not any(one.startswith("2026-01-01") for one in event.get("error", "").split("\n"))


def test_a_refused_request_is_found_in_the_log_by_its_name(collector, caplog, monkeypatch) -> None:
    class Named(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    lines: list[str] = []
    logger = logging.getLogger("envcheck_server")
    handler = Named()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "envcheck_server"):
            answer = collector.http.request("GET", "/v1/releases")
            monkeypatch.setattr(collector.services.releases, "all", lambda: 1 / 0)
            failed = collector.holder("gate:read").send("GET", "/v1/releases")
    finally:
        logger.removeHandler(handler)
    events = [json.loads(line) for line in lines]
    assert [one["request"] for one in events] == [
        answer.headers["x-request-id"],
        failed.headers["x-request-id"],
    ]
    assert "no token" in events[0]["message"]
    assert "ZeroDivisionError" in events[1]["error"]
    assert events[1]["request"] in refused(failed, 500).hint


def test_requests_have_names_of_their_own_in_threads_too(collector) -> None:
    seen = []

    def look(sha256: str) -> None:
        seen.append(request_id())
        raise NotKnown("there is none")

    collector.services.releases.bundle = look  # type: ignore[method-assign]
    holder = collector.holder("gate:read")
    names = [holder.send("GET", f"/v1/bundles/{'a' * 64}").headers["x-request-id"] for _ in range(3)]
    assert seen == names
    assert len(set(names)) == 3
    assert request_id() == ""


def test_a_real_collector_logs_json_from_its_first_line_to_its_last(process) -> None:
    process.flags = ["--log-format", "json", "--log-level", "debug"]
    process.start()
    with process.client() as http:
        http.request("GET", f"/x{HOSTILE!r}")
        answer = http.request("GET", "/v1/releases")
    assert process.stop() == 0
    events = [json.loads(line) for line in (process.directory / "log").read_text().splitlines()]
    assert any(one["message"] == f"listening on {process.url}" for one in events)
    assert any(one.get("request") == answer.headers["x-request-id"] for one in events)


def test_scripts_may_ask_for_json_only_as_it_is_spelt(process) -> None:
    said = process.run("serve", "--log-format", "yaml")
    assert said.returncode == 2
    assert "log_format" in said.stderr
