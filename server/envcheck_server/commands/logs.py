"""The collector's log: one line for each event, in which strings from elsewhere can do nothing."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from envcheck.contract.text import inert, printable
from envcheck_server.service.request_id import request_id


class InertFormatter(logging.Formatter):
    """Escapes control characters and indents all but the first line: nothing poses as an event of its own."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """Return the event, and behind it the traceback if there is one."""
        text = printable(super().format(record))
        named = request_id()
        if not named:
            return text
        first, found, rest = text.partition("\n")
        return f"{first} (request {named}){found}{rest}"


class JsonFormatter(logging.Formatter):
    """One JSON object on one line for each event.

    Its strings have no control characters either, so that they are harmless after they were decoded too; a
    traceback keeps its line breaks.
    """

    converter = time.gmtime  # type: ignore[assignment]

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger and message, and where there are such: request and error."""
        event = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": inert(record.getMessage()),
        }
        if named := request_id():
            event["request"] = named
        if record.exc_info:
            event["error"] = printable(self.formatException(record.exc_info))
        return json.dumps(event)


FORMATTERS: dict[str, type[logging.Formatter]] = {"text": InertFormatter, "json": JsonFormatter}


def log_configuration(level: str, form: str = "text") -> dict[str, Any]:
    """Return the configuration for `logging`: uvicorn's events and our own from `level` on, to stderr.

    Of other libraries what is at least a warning, so that no line there is of another form.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": {"()": FORMATTERS[form]}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
            for name in ("uvicorn", "envcheck_server")
        },
    }
