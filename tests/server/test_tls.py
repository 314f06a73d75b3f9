"""TLS from end to end: a site's own authority, and an agent that trusts only whom it is told to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.authority import Authority

ENVCHECK = [sys.executable, "-m", "envcheck"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secured(process, authority: Authority) -> Any:
    """A collector process with a certificate that the site's authority signed."""
    chain, key = authority.issue("127.0.0.1")
    process.flags = ["--tls-certificate", str(chain), "--tls-key", str(key)]
    process.start()
    assert process.url.startswith("https://127.0.0.1:")
    return process


class Agent:
    def __init__(self, directory: Path, token: str) -> None:
        self.directory, self.token = directory, token

    def run(self, *arguments: str, ca_bundle: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        self.directory.mkdir(exist_ok=True)
        config = self.directory / "config.yaml"
        named = f"ca_bundle: {ca_bundle}\n" if ca_bundle else ""
        config.write_text(f"device: press-07\nstate_dir: state\n{named}")
        others = ("proxy", "ca_bundle", "ssl_cert")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not any(part in name.lower() for part in others)
        }
        return subprocess.run(
            [*ENVCHECK, *arguments, "--config", str(config)],
            env={**kept, "ENVCHECK_TOKEN": self.token, **environ},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def agent(secured, tmp_path: Path) -> Agent:
    return Agent(tmp_path / "device", secured.token("enroll", "--uses", "1"))


def test_a_device_trusts_the_authority_that_its_configuration_names(
    secured, agent: Agent, authority: Authority
) -> None:
    enrolled = agent.run("enroll", secured.url, ca_bundle=str(authority.certificate))
    assert enrolled.returncode == 0, enrolled.stderr
    reported = agent.run("report", ca_bundle=str(authority.certificate))
    assert (reported.returncode, "acknowledged" in reported.stdout) == (0, True), reported.stderr


@pytest.mark.slow
def test_nothing_turns_verification_off(secured, agent: Agent) -> None:
    told = {"PYTHONHTTPSVERIFY": "0", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": ""}
    refused = agent.run("enroll", secured.url, **told)
    assert refused.returncode == 4
    assert "certificate is not trusted" in refused.stderr
    assert "ca_bundle" in refused.stderr
    assert secured.run("device", "list", "--json").stdout.count("press-07") == 0


@pytest.mark.slow
def test_another_authority_or_name_is_not_trusted(
    secured, agent: Agent, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    refused = agent.run("enroll", secured.url, ca_bundle=str(stranger.certificate))
    assert (refused.returncode, "not trusted" in refused.stderr) == (4, True)
    elsewhere = secured.url.replace("127.0.0.1", "localhost")
    refused = agent.run("enroll", elsewhere, ca_bundle=str(authority.certificate))
    assert (refused.returncode, "certificate" in refused.stderr) == (4, True)
    missing = agent.run("enroll", secured.url, ca_bundle=str(tmp_path / "nowhere.pem"))
    assert (missing.returncode, "nowhere.pem" in missing.stderr) == (2, True)


@pytest.mark.slow
def test_the_systems_trust_store_counts(secured, agent: Agent, authority: Authority) -> None:
    """As where an administrator installed the site's authority: OpenSSL's own variable stands for it."""
    enrolled = agent.run("enroll", secured.url, SSL_CERT_FILE=str(authority.certificate))
    assert enrolled.returncode == 0, enrolled.stderr


@pytest.mark.slow
def test_plain_http_to_a_collector_with_tls_is_told_calmly(secured, agent: Agent) -> None:
    refused = agent.run("enroll", secured.url.replace("https://", "http://"))
    assert refused.returncode == 4
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("broken", ["certificate", "key"])
def test_files_that_are_no_certificate_are_named(
    process, authority: Authority, tmp_path: Path, broken: str
) -> None:
    chain, key = authority.issue("127.0.0.1")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    files = {"certificate": chain, "key": key, broken: nonsense}
    done = process.run(
        "serve", "--port", "0", "--tls-certificate", str(files["certificate"]), "--tls-key", str(files["key"])
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "nonsense.pem" in done.stderr
