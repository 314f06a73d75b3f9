"""Peers of the collector: routes that do nothing, served by the same uvicorn.

python peers.py litestar_app|raw_app READY_FILE
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any


def litestar_app() -> Any:
    """An empty PUT route of Litestar that reads its body."""
    from litestar import Litestar, Request, put

    @put("/v1/devices/{device:str}/report")
    async def report(request: Request[Any, Any, Any], device: str) -> dict[str, str]:
        await request.body()
        return {"device": device}

    return Litestar([report], openapi_config=None, logging_config=None)


def raw_app() -> Any:
    """An empty ASGI application that reads its body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


def main() -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    Path(sys.argv[2]).write_text(str(listener.getsockname()[1]))
    config = uvicorn.Config(
        {"litestar_app": litestar_app, "raw_app": raw_app}[sys.argv[1]](),
        access_log=False,
        log_level="error",
        lifespan="off",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
