"""`envcheck capture`: describe the environment that serves the model."""

from __future__ import annotations

from typing import Any

import click

from envcheck.commands.capturing import FORMATS, run


@click.command()
@click.option("--python", metavar="EXE", help="The interpreter that serves the model (default: this one).")
@click.option("--unit", metavar="NAME", help="The systemd service that serves the model.")
@click.option("--container", metavar="NAME", help="A running container (docker or podman).")
@click.option(
    "--env-file",
    metavar="FILE",
    help="Variables that the model is served with (NAME=VALUE lines, as systemd reads them).",
)
@click.option(
    "--root", metavar="DIR", help="Read a mounted image or a captured tree instead of this machine."
)
@click.option("--model", metavar="FILE", help="The deployed model file: its digest is told.")
@click.option("--section", "sections", metavar="S", multiple=True, help="Only this section; may be repeated.")
@click.option("--verify", is_flag=True, help="Hash all installed files and hold them to their records.")
@click.option("--json", "as_json", is_flag=True, help="Print the fingerprint as a JSON document.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="What to print (default: text; with -o: json)."
)
@click.option("--wheels", metavar="DIR", help="For pylock: the wheels that were installed, to be locked to.")
@click.option("-o", "--output", metavar="FILE", help="Write it to a file.")
@click.option("--deadline", type=float, metavar="S", help="Seconds that all of it may take (default: 20).")
@click.option(
    "--config",
    metavar="FILE",
    help="Configuration file (default: ENVCHECK_CONFIG, then /etc/envcheck/config.yaml).",
)
def capture(**options: Any) -> int:
    """Describe this machine's inference environment.

    Reads files and asks the interpreter that serves the model what it would import; changes nothing, needs
    no root, imports neither torch nor onnxruntime. Sections: python, packages, system, cpu, memory,
    cuda, onnxruntime, variables. What can't be had is told with its reason, and exits 0 all the same.

    \b
    Examples:
      envcheck capture
      envcheck capture --python /opt/app/venv/bin/python --env-file /etc/default/app
      envcheck capture --unit app.service --model /opt/app/model.onnx
      envcheck capture --container app --section python --section packages
      envcheck capture --section cpu --section onnxruntime --json
      envcheck capture --root /mnt/image --python /opt/app/venv/bin/python -o fingerprint.json
      envcheck capture --verify --deadline 120
      envcheck capture --format cyclonedx -o sbom.json
    """
    return run(**options)
