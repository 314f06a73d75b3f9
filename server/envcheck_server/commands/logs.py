"""The collector's log: one line for each event, in which strings from elsewhere can do nothing."""

from __future__ import annotations

import logging
import time
from typing import Any

from envcheck.contract.text import printable


class InertFormatter(logging.Formatter):
    """Escapes control characters and indents all but the first line: nothing poses as an event of its own."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """Return the event, and behind it the traceback if there is one."""
        return printable(super().format(record))


def log_configuration(level: str) -> dict[str, Any]:
    """Return the configuration for `logging`: uvicorn's events and our own from `level` on, to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"inert": {"()": InertFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "inert"}},
        "loggers": {
            name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
            for name in ("uvicorn", "envcheck_server")
        },
    }
