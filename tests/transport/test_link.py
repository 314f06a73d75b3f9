"""What a link takes for an answer, and what it does not."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envcheck.contract.document import encode
from envcheck.contract.wire import GateQuestion, ObjectAnswer, Problem
from envcheck.errors import BadInput, EnvcheckError, Unreachable
from envcheck.transport.link import Later, Link, Refused, bearer, collector_url

HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}
GOOD = encode(ObjectAnswer(stored="a" * 64))


def ask(served: Any, **options: Any) -> ObjectAnswer:
    return Link(served.url).ask("PUT", "/v1/objects/x", ObjectAnswer, b"body", **options)


def test_a_document_of_the_wanted_kind_is_returned(served: Any) -> None:
    served.says(body=GOOD)
    assert ask(served).stored == "a" * 64


def test_a_newer_minor_version_is_still_an_answer(served: Any) -> None:
    served.says(body=GOOD.replace(b"answer/1.0", b"answer/1.7").replace(b"{", b'{"later":1,', 1))
    assert ask(served).stored == "a" * 64


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"body": b"<html>Log in</html>", "headers": HTML}, "text/html"),
        ({"body": b"<html>", "headers": JSON}, "not valid JSON"),
        ({"body": b"", "headers": {}}, "something without a type"),
        ({"body": b"{}", "headers": JSON}, "format"),
        ({"body": encode(GateQuestion(release="a@1")), "headers": JSON}, "holds a gate-question"),
        ({"body": GOOD.replace(b"/1.0", b"/2.0"), "headers": JSON}, "version 2.0"),
        ({"body": b"\x1f\x8b", "headers": {**JSON, "Content-Encoding": "gzip"}}, "encoding"),
        ({"status": 302, "headers": {"Location": "https://login.example.com/"}}, "login.example.com"),
        ({"status": 404, "body": b"<h1>Not found</h1>", "headers": HTML}, "text/html"),
        ({"status": 403, "body": b'{"error":"no"}', "headers": JSON}, "format"),
        ({"status": 500, "body": b"oops", "headers": HTML}, "500"),
        ({"status": 511, "body": b"<html>", "headers": HTML}, "511"),
    ],
)
def test_anything_else_is_no_answer(served: Any, answer: dict[str, Any], said: str) -> None:
    served.says(**answer)
    with pytest.raises(Unreachable, match=said) as caught:
        ask(served)
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_a_new_major_version_names_the_way_out(served: Any) -> None:
    served.says(body=GOOD.replace(b"/1.0", b"/2.0"))
    with pytest.raises(Unreachable) as caught:
        ask(served)
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_a_problem_is_told_in_the_collectors_own_words(served: Any, status: int) -> None:
    served.says(status=status, body=encode(Problem(message="it is used up", hint="ask for another")))
    with pytest.raises(Refused, match="used up") as caught:
        ask(served)
    assert (caught.value.status, caught.value.hint, caught.value.exit_code) == (status, "ask for another", 2)
    assert len(served.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_collector_is_asked_again_a_few_times(served: Any, answer: Any, status: int) -> None:
    busy = answer(status, encode(Problem(message="the queue is full")), {**JSON, "Retry-After": "0"})
    served.answers = lambda _asked: busy if len(served.asked) < 3 else answer(200, GOOD)
    assert ask(served).stored == "a" * 64
    assert len(served.asked) == 3


def test_a_collector_that_stays_busy_is_unreachable(served: Any, answer: Any) -> None:
    busy = answer(503, encode(Problem(message="the queue is full")), {**JSON, "Retry-After": "0"})
    served.answers = lambda _asked: busy
    with pytest.raises(Unreachable, match="503") as caught:
        ask(served)
    assert "the queue is full" in caught.value.hint
    assert len(served.asked) == 4


def test_retry_after_is_honoured_but_not_for_ever(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    served.says(status=503, headers={**JSON, "Retry-After": "7"})
    with pytest.raises(Later) as caught:
        ask(served)
    assert caught.value.retry_after_s == 7
    waited = [each for each in slept if each >= 1]
    assert len(waited) == 3
    assert all(7 <= each <= 10.5 for each in waited)
    assert len({*waited}) == 3, "those that were turned away together must not come back together"


@pytest.mark.parametrize(("given", "wait_s"), [("3600", 3600), ("999999999", 86400)])
def test_a_long_retry_after_is_left_to_a_later_run(
    served: Any, monkeypatch: pytest.MonkeyPatch, given: str, wait_s: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    served.says(status=503, headers={**JSON, "Retry-After": given}, body=encode(Problem(message="full")))
    with pytest.raises(Later) as caught:
        ask(served)
    assert (caught.value.retry_after_s, caught.value.hint) == (wait_s, "full")
    assert len(served.asked) == 1
    assert [each for each in slept if each >= 1] == []


@pytest.mark.parametrize(
    "given",
    ["soon", "-5", "", "1e9", "9" * 5000, "Mon, 01 Jan 99999 00:00 GMT", f"Mon, 01 Jan {10**12} 00:00 GMT"],
    ids=range(7),
)  # fmt: skip
def test_a_retry_after_that_makes_no_sense_is_no_fault_of_ours(served: Any, given: str) -> None:
    served.says(status=503, headers={**JSON, "Retry-After": given})
    with pytest.raises(Unreachable, match="answered 503"):
        ask(served)
    assert len(served.asked) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 408, 429, 500, 503])
def test_a_refusal_that_breaks_off_is_none(served: Any, status: int) -> None:
    served.says(status=status, body=encode(Problem(message="no" * 100)), cut=20)
    with pytest.raises(Unreachable):
        ask(served)


def test_a_request_that_was_too_slow_may_come_again(served: Any) -> None:
    served.says(status=408, body=encode(Problem(message="it took too long")))
    with pytest.raises(Unreachable, match="408") as caught:
        ask(served)
    assert "it took too long" in caught.value.hint


@pytest.mark.parametrize("status", [200, 400, 429, 503])
def test_an_answer_without_end_costs_nothing_whatever_its_status(status: int) -> None:
    """urllib3 alone would read a failure to its end, into memory, before it tries again."""
    sent = 0
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while sent < 200_000_000:
                connection.sendall(chunk)
                sent += len(chunk)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=pour, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(Unreachable):
            Link(f"http://127.0.0.1:{listener.getsockname()[1]}").ask("PUT", "/v1/x", ObjectAnswer, b"body")
    assert sent < 100_000_000


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "a..example", "two words"])
def test_a_host_that_can_be_none_is_said_plainly(host: str) -> None:
    with pytest.raises(Unreachable, match="malformed"):
        Link(f"http://{host}").ask("GET", "/v1/x", ObjectAnswer)


def test_an_endless_answer_is_cut_off(served: Any) -> None:
    served.says(body=b" " * 10_000_000)
    with pytest.raises(Unreachable, match="more"):
        ask(served)


def test_a_connection_that_breaks_off_is_unreachable(served: Any) -> None:
    served.says(body=GOOD, cut=20)
    with pytest.raises(Unreachable):
        ask(served)


def test_nobody_there_is_said_plainly() -> None:
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        Link("http://127.0.0.1:9").ask("GET", "/", ObjectAnswer)
    assert "HTTPConnectionPool" not in caught.value.message


def test_an_unknown_name_is_said_plainly() -> None:
    with pytest.raises(Unreachable, match=r"nobody\.invalid"):
        Link("http://nobody.invalid").ask("GET", "/", ObjectAnswer)


def test_a_password_in_netrc_does_not_replace_the_token(
    served: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    served.says(body=GOOD)
    Link(served.url, bearer("token")).ask("GET", "/", ObjectAnswer)
    assert served.asked[0].headers["authorization"] == "Bearer token"


def test_proxies_come_from_the_environment(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", served.url)
    monkeypatch.delenv("no_proxy", raising=False)
    served.says(body=GOOD)
    Link("http://collector.example.com").ask("GET", "/v1/x", ObjectAnswer)
    assert served.asked[0].path == "http://collector.example.com/v1/x"


def test_no_proxy_is_asked_for_what_is_near(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    served.says(body=GOOD)
    with pytest.raises(Unreachable, match="Connection refused"):
        ask(served)
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")
    assert ask(served).stored == "a" * 64
    assert len(served.asked) == 1


def test_a_missing_certificate_bundle_is_named() -> None:
    with pytest.raises(BadInput, match=r"/nowhere/ca\.pem"):
        Link("https://127.0.0.1:9", ca_bundle="/nowhere/ca.pem").ask("GET", "/", ObjectAnswer)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://c.example.com", "https://c.example.com"),
        ("https://c.example.com/", "https://c.example.com"),
        ("http://127.0.0.1:8484", "http://127.0.0.1:8484"),
        ("http://[::1]:8484", "http://[::1]:8484"),
    ],
)
def test_urls_of_collectors(given: str, taken: str) -> None:
    assert collector_url(given) == taken


@pytest.mark.parametrize(
    "given",
    ["", "c.example.com", "ftp://c", "https://", "http://c:port", "http://c/path", "http://c?q", "http://[::1",
     "https://me:secret@c"],
)  # fmt: skip
def test_other_urls_are_refused_without_showing_a_password(given: str) -> None:
    with pytest.raises(BadInput) as caught:
        collector_url(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut"])
def test_what_can_be_no_token(token: str) -> None:
    with pytest.raises(BadInput, match="token"):
        bearer(token)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    status=st.sampled_from([200, 201, 204, 206, 301, 400, 404, 418, 500, 599]),
    body=st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    kind=st.sampled_from(["application/json", "text/html", "application/problem+json", ""]),
)
def test_whatever_answers_only_ours_counts(served: Any, status: int, body: bytes, kind: str) -> None:
    served.says(status=status, body=b"" if status == 204 else body, headers={"Content-Type": kind})
    with pytest.raises(EnvcheckError):
        ask(served)


@pytest.mark.parametrize("target", ["http://[::1", "http://a:b:c/", "//[", "\\udc80"])
def test_a_redirect_to_no_address_is_no_fault_of_ours(served: Any, target: str) -> None:
    served.says(status=302, headers={**JSON, "Location": target})
    with pytest.raises(Unreachable):
        ask(served)
