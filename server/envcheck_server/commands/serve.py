"""`envcheck-server serve`: run the collector."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envcheck.errors import BadInput
from envcheck_server.commands.logs import JsonFormatter, log_configuration
from envcheck_server.commands.options import open_for_serving, settings_options
from envcheck_server.settings import Settings, load_settings

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_SHUTDOWN_S = 30


@click.command()
@settings_options()
def serve(**flags: Any) -> int:
    """Run the collector.

    It needs no configuration: an empty database is made ready, and the address is told on stderr in a line
    that begins with "listening on". SIGTERM stops it once everything that was taken in is stored.

    \b
    Examples:
      envcheck-server serve
      envcheck-server serve --host 0.0.0.0 --tls-certificate chain.pem --tls-key key.pem
    """
    settings = load_settings(flags)
    # Until uvicorn listens to signals, one is remembered. It stops in good order and then raises the signal
    # again, to the handler that it found: this one.
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    _check_tls(settings)
    # Bound before the database is touched: a port that is taken must not migrate anything.
    listener = _bind(settings)
    store = open_for_serving(settings)
    try:
        _serve(settings, store, listener, told)
    finally:
        store.close()
        listener.close()
    return 0


def _serve(settings: Settings, store: Any, listener: socket.socket, told: list[int]) -> None:
    import uvicorn

    from envcheck_server.app import create_app

    _allow_connections()

    class Server(uvicorn.Server):
        """Says when it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.should_exit = self.should_exit or bool(told)
            if self.started and not self.should_exit:
                _announce(settings, listener)

    server = Server(_configuration(settings, create_app(settings, store)))
    server.run(sockets=[listener])


def _configuration(settings: Settings, app: Any) -> uvicorn.Config:
    import uvicorn

    from envcheck_server.api.protocol import BoundedProtocol

    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=log_configuration(settings.log_level, settings.log_format),
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        # Nobody is asked, logged or let in by the address they come from.
        proxy_headers=False,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
    )


def _allow_connections() -> None:
    """Take as many connections as the system allows: a fleet that comes back comes all at once."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_tls(settings: Settings) -> None:
    """Raise BadInput that names the files unless certificate and key can be used together."""
    if not settings.tls_certificate:
        return
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without a word of ours OpenSSL would ask the terminal for the key's.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password=lambda: "")
    except OSError as error:  # of which SSLError is one
        files = f"the certificate {settings.tls_certificate} and the key {settings.tls_key}"
        raise BadInput(
            f"{files} can't be used: {getattr(error, 'reason', None) or error.strerror or error}",
            "both are PEM: the chain, beginning with the collector's own, and its key without a password",
        ) from None


def _bind(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise BadInput(
            f"the collector can't listen on {settings.host}:{settings.port}: {error.strerror or error}",
            "choose another with --host and --port; --port 0 takes a free one",
        ) from None
    listener.set_inheritable(True)
    return listener


def _announce(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    if settings.log_format == "json":
        # Whatever the level is: whoever starts a collector looks for it.
        told = logging.LogRecord(
            "envcheck_server", logging.INFO, __file__, 0, f"listening on {url}", (), None
        )
        click.echo(JsonFormatter().format(told), err=True)
    else:
        click.echo(f"listening on {url}", err=True)
    sys.stderr.flush()
    if settings.ready_file:
        path = Path(settings.ready_file)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(url + "\n", encoding="utf-8")
        temporary.replace(path)
