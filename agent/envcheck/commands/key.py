"""`envcheck key`: release keys, with which bundles are signed."""

from __future__ import annotations

from pathlib import Path

import click

from envcheck.commands.common import read_file
from envcheck.errors import BadInput

_MAX_PEM = 64 * 1024


@click.group()
def key() -> None:
    """Make a release key.

    A release key signs bundles; devices run only bundles whose key their own configuration pins. The private
    key stays where releases are made: neither devices nor the collector ever hold it.
    """


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
def create(file: Path) -> None:
    """Make a new Ed25519 key and write it to FILE.

    FILE is PEM, readable by its owner alone; one that exists is never overwritten. Prints the public key,
    which devices pin in `release_keys` of their configuration.

    \b
    Examples:
      envcheck key create release.pem
    """
    from envcheck.contract.keys import generate_private_key, key_id, load_private_key, public_key_of

    pem = generate_private_key()
    _write_new(file, pem)
    public = public_key_of(load_private_key(pem, str(file)))
    click.echo(f"{file} is a new release key (id {key_id(public)}), readable by you alone: keep a copy safe")
    click.echo(f"public key  {public}")
    click.echo("")
    click.echo("Devices run what it signs once their configuration pins it:")
    click.echo(f'  release_keys: ["{public}"]')


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Print the public key of the private key in FILE.

    \b
    Examples:
      envcheck key show release.pem
    """
    from envcheck.contract.keys import load_private_key, public_key_of

    click.echo(public_key_of(load_private_key(read_file(file, "key", _MAX_PEM), str(file))))


def read_public_key(text: str) -> str:
    """Return the public key that a person named: in base64, or as a file that holds it or the private key.

    Raises BadInput when it is none of these.
    """
    from envcheck.contract.keys import load_private_key, load_public_key, public_key_of

    path = Path(text)
    found = text
    if path.is_file():
        data = read_file(path, "key", _MAX_PEM)
        if data.lstrip().startswith(b"-----BEGIN"):
            return public_key_of(load_private_key(data, text))
        found = data.decode("ascii", "replace").strip()
    load_public_key(found, text[:200])
    return found


def _write_new(path: Path, data: bytes) -> None:
    """Write a private file that was not there before, whole or not at all; raises BadInput."""
    from envcheck.transport.files import refuse_write, write_whole

    scratch = path.with_name(f".{path.name}.key")
    try:
        write_whole(scratch, data, mode=0o600)
        try:
            # A link is made only where no file is: nothing can come between looking and writing.
            path.hardlink_to(scratch)
        finally:
            scratch.unlink(missing_ok=True)
    except FileExistsError:
        raise BadInput(f"{path} exists already; a key is never overwritten", "choose another name") from None
    except FileNotFoundError:
        raise BadInput(f"there is no directory {path.parent}", "make it first") from None
    except OSError as error:
        raise refuse_write("the key", path, error) from None
