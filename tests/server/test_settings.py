"""Settings: flags before variables before defaults, and what can't be is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from envcheck.errors import BadInput
from envcheck_server.settings import SETTINGS, Settings, database_path, load_settings


def test_flags_win_over_variables_and_variables_over_defaults() -> None:
    environ = {"ENVCHECK_SERVER_PORT": "9000", "ENVCHECK_SERVER_HOST": "::1"}
    found = load_settings({"port": 9001, "host": None}, environ)
    assert (found.port, found.host, found.next_report_s) == (9001, "::1", 300)


def test_the_defaults_are_settings_that_hold() -> None:
    assert load_settings({}, {}) == Settings()
    assert all(setting.metadata["help"] for setting in SETTINGS)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"ENVCHECK_SERVER_PORT": "http"}, "ENVCHECK_SERVER_PORT"),
        ({"ENVCHECK_SERVER_PORT": "70000"}, "port"),
        ({"ENVCHECK_SERVER_PORT": "-1"}, "port"),
        ({"ENVCHECK_SERVER_WRITE_QUEUE": "0"}, "write_queue"),
        ({"ENVCHECK_SERVER_LOG_LEVEL": "loud"}, "log_level"),
        ({"ENVCHECK_SERVER_TLS_KEY": "key.pem"}, "tls_certificate"),
    ],
)
def test_what_can_not_be_is_refused_by_name(environ: dict[str, str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        load_settings({}, environ)


def test_the_database_has_a_place_without_being_told() -> None:
    assert database_path(Settings(database="x.db"), {}) == Path("x.db")
    state = {"XDG_STATE_HOME": "/state", "HOME": "/home/me"}
    assert database_path(Settings(), state) == Path("/state/envcheck/collector.db")
    home = {"HOME": "/home/me"}
    assert database_path(Settings(), home) == Path("/home/me/.local/state/envcheck/collector.db")
    assert database_path(Settings(), {}) == Path("envcheck/collector.db")
