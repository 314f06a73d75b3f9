"""`envcheck baseline`: freeze a training environment into a bundle; show, verify and sign bundles."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envcheck.commands.common import notice, open_bundle, read_file, target_options, write_output
from envcheck.commands.key import read_public_key
from envcheck.errors import EXIT_FAIL, EXIT_PASS, BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from envcheck.baseline.material import Source
    from envcheck.baseline.named import NamedPackage
    from envcheck.contract.bundle import Bundle
    from envcheck.contract.evidence import SmokeReadings
    from envcheck.contract.fingerprint import Fingerprint

_FILE = click.Path(path_type=Path)


@click.group()
def baseline() -> None:
    """Freeze a training environment into a bundle.

    A bundle (NAME@VERSION.envcheck) is one file: the model, golden inputs, reference outputs, the noise floor
    measured here, and the fingerprint of this environment, under one signature.
    """


@baseline.command()
@click.argument("model", type=_FILE, metavar="MODEL.onnx")
@click.option("--inputs", type=_FILE, required=True, metavar="IN.npz", help="Golden inputs, by input name.")
@click.option("--name", required=True, metavar="NAME@VERSION", help="What the release is called.")
@click.option("--labels", type=_FILE, metavar="Y.npz", help="The right class of each sample.")
@click.option("--float-model", type=_FILE, metavar="F.onnx", help="What a quantised model was made from.")
@click.option("--key", type=_FILE, metavar="K", help="Sign with this private key.")
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="Default: NAME@VERSION.envcheck.")
@target_options
@click.option("--provider", "providers", metavar="P", multiple=True, help="Execution providers, in order.")
@click.option("--package", "packages", metavar="D", multiple=True, help="A distribution that counts too.")
@click.option("--requirements", type=_FILE, metavar="FILE", multiple=True, help="Its packages count too.")
@click.option("--pylock", type=_FILE, metavar="FILE", multiple=True, help="Its packages count too.")
@click.option("--edge-cases", is_flag=True, help="Add samples of zeros and of the extremes of the inputs.")
@click.option("--expect-accuracy", type=click.FloatRange(0, 1), metavar="X", help="Refuse a lower accuracy.")
@click.option("--top", type=click.IntRange(1), default=1, metavar="K", help="The K best must agree (1).")
@click.option("--accept-constant", is_flag=True, help="Outputs may be the same for every sample.")
@click.option("--accept-non-finite", is_flag=True, help="Outputs may hold NaN or infinities.")
@click.option("--accept-saturation", is_flag=True, help="int8 products may saturate on this machine.")
@click.option(
    "--timing", "timings", type=_FILE, metavar="SMOKE", multiple=True, help="What smoke -o wrote on a device."
)
@click.option("--quick", is_flag=True, help="Take a short timing.")
@click.option("--deadline", type=float, default=600.0, metavar="S", help="Seconds a process may take (600).")
def create(
    model: Path,
    inputs: Path,
    name: str,
    labels: Path | None,
    float_model: Path | None,
    key: Path | None,
    output: Path | None,
    python: str | None,
    env_file: Path | None,
    providers: tuple[str, ...],
    packages: tuple[str, ...],
    requirements: tuple[Path, ...],
    pylock: tuple[Path, ...],
    timings: tuple[Path, ...],
    deadline: float,
    **chosen: Any,
) -> None:
    """Measure a model in its training environment and write a bundle.

    Runs the model in every way that ought not to matter (optimisation levels, threads, inputs moved by their
    last bit), measures how far its outputs stray from double precision, and keeps that as the noise
    floor that devices are held to. A quantised model is held to its quantisation error against --float-model.

    \b
    Examples:
      envcheck baseline create cnn.onnx --inputs inputs.npz --name digits@1.0 --key release.pem
      envcheck baseline create cnn.onnx --inputs inputs.npz --labels labels.npz \\
          --expect-accuracy 0.96 --name digits@1.0 -o digits.envcheck
      envcheck baseline create int8.onnx --float-model float.onnx --inputs inputs.npz \\
          --python /opt/training/venv/bin/python --name digits-int8@1.3
      envcheck baseline create cnn.onnx --inputs inputs.npz --edge-cases \\
          --requirements requirements.txt --timing pi.json --name digits@1.1
    """
    from envcheck.baseline.create import CPU, Options, count_stages, create_baseline
    from envcheck.baseline.material import Material
    from envcheck.contract.baseline import parse_release
    from envcheck.contract.bundle import build_bundle, read_bundle
    from envcheck.contract.fingerprint import shared_fingerprint
    from envcheck.facts.gather import capture
    from envcheck.facts.host import resolve_target
    from envcheck.judge.device_class import device_class
    from envcheck.smoke.starting import require_deadline

    parse_release(name)
    options = Options(
        providers=providers or (CPU,),
        deadline_s=require_deadline(deadline),
        # The options that say what is accepted, expected and added have the names of these fields.
        **chosen,
    )
    material = Material(
        model=_model(model),
        inputs=_source(inputs, "file of inputs"),
        labels=None if labels is None else _source(labels, "file of labels"),
        float_model=None if float_model is None else _model(float_model),
    )
    signing = None if key is None else _private_key(key)
    written = _writable(output or Path(f"{name}.envcheck"), model, inputs, labels, float_model, key)
    target = resolve_target(python, None if env_file is None else str(env_file))
    fingerprint = capture(target)
    named = _named(packages, requirements, pylock, fingerprint)
    options = replace(
        options,
        packages=named,
        device_class=device_class(shared_fingerprint(fingerprint), options.providers[0]),
        timings=_timings(timings, material.model.data),
    )
    with _progress(count_stages(material, options)) as progress:
        members = create_baseline(
            material, name, target, fingerprint, options, progress=progress, notice=notice
        )
    data = build_bundle(name, members, signing)
    write_output(written, data, "bundle")
    _print(read_bundle(data, str(written)), f"{written} ({len(data) / 1000:.0f} kB) is ready")


@baseline.command()
@click.argument("bundle", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the baseline as a JSON document.")
def show(bundle: Path, as_json: bool) -> None:
    """Show what a bundle holds devices to.

    \b
    Examples:
      envcheck baseline show digits@1.0.envcheck
      envcheck baseline show digits@1.0.envcheck --json
    """
    from envcheck.contract.document import encode

    opened = open_bundle(bundle)
    if as_json:
        click.echo(encode(opened.baseline()).decode("ascii"))
    else:
        _print(opened, f"sha256 {opened.sha256}")


@baseline.command()
@click.argument("bundle", type=_FILE)
@click.option("--key", "keys", metavar="PUBKEY|FILE", multiple=True, help="A key that may have signed it.")
def verify(bundle: Path, keys: tuple[str, ...]) -> int:
    """Check that a bundle is whole, and who signed it.

    Exits 0 when every byte is as it was written and, if keys are given, one of them signed it; 1 when it
    is whole but unsigned or signed by another key; 2 when it is damaged or no bundle.

    \b
    Examples:
      envcheck baseline verify digits@1.0.envcheck
      envcheck baseline verify digits@1.0.envcheck --key "$(envcheck key show release.pem)"
    """
    from envcheck.contract.keys import key_id
    from envcheck.contract.text import printable

    public = [read_public_key(key) for key in keys]
    opened = open_bundle(bundle)
    release = opened.baseline().release
    opened.fingerprint()
    signer = opened.signer()
    click.echo(f"{bundle} is whole: {printable(release)}, sha256 {opened.sha256}")
    if signer is None:
        click.echo(
            "it is not signed" + (f"; sign it: envcheck baseline sign {bundle} --key K" if keys else "")
        )
    else:
        click.echo(f"signed by {signer} (id {key_id(signer)})")
    if not keys:
        return EXIT_PASS
    if signer in public:
        click.echo("verified: that is a key you gave")
        return EXIT_PASS
    click.echo("NOT verified: none of the keys you gave signed it")
    return EXIT_FAIL


@baseline.command()
@click.argument("bundle", type=_FILE)
@click.option("--key", type=_FILE, required=True, metavar="K", help="The private key to sign with.")
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="Default: the bundle itself.")
def sign(bundle: Path, key: Path, output: Path | None) -> None:
    """Sign a bundle; a signature that it has is replaced.

    \b
    Examples:
      envcheck baseline sign digits@1.0.envcheck --key release.pem
    """
    from envcheck.contract.bundle import sign_bundle
    from envcheck.contract.keys import key_id, public_key_of

    signing = _private_key(key)
    opened = open_bundle(bundle)
    opened.baseline()
    written = _writable(output or bundle, key)
    write_output(written, sign_bundle(opened, signing), "bundle")
    public = public_key_of(signing)
    before = opened.signer()
    if before not in (None, public):
        click.echo(f"the signature by {before} is replaced")
    click.echo(f"{written} is signed by {public} (id {key_id(public)})")


def _named(
    packages: Sequence[str], requirements: Sequence[Path], pylock: Sequence[Path], fingerprint: Fingerprint
) -> list[NamedPackage]:
    """Read which distributions count beside those that the model's process loads."""
    from envcheck.baseline.named import marker_environment, name_package, read_pylock, read_requirements

    named = [name_package(package, f"--package {package}") for package in packages]
    if requirements or pylock:
        environment = marker_environment(fingerprint)
        named += [each for path in requirements for each in read_requirements(path, environment)]
        named += [each for path in pylock for each in read_pylock(path, environment)]
    return named


def _timings(paths: Sequence[Path], model: bytes) -> dict[str, SmokeReadings]:
    from envcheck.baseline.timings import Timed, read_timings
    from envcheck.contract.canonical import digest

    documents = [Timed(read_file(path, "smoke document", 64 * 1024**2), str(path)) for path in paths]
    return read_timings(documents, digest(model), notice)


def _source(path: Path, what: str) -> Source:
    from envcheck.baseline.material import Source

    return Source(read_file(path, what), str(path))


def _model(path: Path) -> Source:
    from envcheck.baseline.external import MAX_MODEL, too_large
    from envcheck.baseline.material import Source

    # Before gigabytes are read.
    if path.is_file() and path.stat().st_size > MAX_MODEL:
        raise too_large(str(path))
    return Source(read_file(path, "model"), str(path), path.parent)


def _private_key(path: Path) -> Ed25519PrivateKey:
    from envcheck.contract.keys import load_private_key

    return load_private_key(read_file(path, "key", 64 * 1024), str(path))


def _writable(path: Path, *sources: Path | None) -> Path:
    """Refuse, before anything is measured, a place where no bundle should or can be written."""
    if not path.parent.is_dir():
        raise BadInput(f"there is no directory {path.parent}", "make it first, or choose another with -o")
    if path.is_dir():
        raise BadInput(f"{path} is a directory", "name a file with -o")
    if path.exists() and any(source is not None and path.samefile(source) for source in sources):
        raise BadInput(f"{path} would be overwritten by the bundle", "choose another name with -o")
    return path


def _print(bundle: Bundle, last: str) -> None:
    from envcheck.output.baseline import baseline_text
    from envcheck.output.console import show

    show(baseline_text(bundle.baseline(), bundle.fingerprint(), bundle.signer(), last))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None] | None]:
    """Show on a terminal how far the measuring is; a log gets none of it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from envcheck.output.console import console

    shown = (TextColumn("measuring"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*shown, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda stage: bar.update(task, description=stage, advance=stage.startswith("session"))
