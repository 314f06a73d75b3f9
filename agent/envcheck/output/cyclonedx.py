"""What is installed as a CycloneDX document, written by cyclonedx-python-lib."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from envcheck.errors import MissingExtra
from envcheck.output.installed import Installed, Software

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAMESPACE = uuid.UUID("7c5d1f1e-3a52-4f0b-9d53-6c0a4a1f8a11")


def cyclonedx_text(found: Installed) -> str:
    """Return the document as JSON. Equal environments captured at one time give equal documents.

    Raises MissingExtra without cyclonedx-python-lib.
    """
    try:
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
    except ImportError:
        raise MissingExtra("cyclonedx-python-lib", "sbom", "a CycloneDX document") from None

    written = make_outputter(_bom(found), OutputFormat.JSON, SchemaVersion.V1_6)
    return str(written.output_as_string(indent=2)) + "\n"


def _bom(found: Installed) -> Bom:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType

    interpreter = Component(
        type=ComponentType.PLATFORM,
        name=found.implementation or "Python",
        version=found.python or None,
        bom_ref="python",
        properties=[
            Property(name=f"envcheck:{name}", value=value)
            for name, value in (("machine", found.machine), ("system", found.system))
            if value
        ],
    )
    agent = Component(
        type=ComponentType.APPLICATION, name="envcheck", version=found.agent, bom_ref="envcheck"
    )
    components = [_component(item) for item in found.software]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, f"{found.digest} {found.captured_at}"),
        metadata=BomMetaData(
            timestamp=datetime.fromisoformat(found.captured_at.replace("Z", "+00:00")),
            component=interpreter,
            properties=[Property(name="envcheck:fingerprint", value=found.digest)],
        ),
        components=components,
    )
    bom.metadata.tools.components.add(agent)
    # What the interpreter imports is all that is known of who needs whom.
    bom.register_dependency(interpreter, components)
    return bom


def _component(item: Software) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.LIBRARY,
        name=item.name,
        version=item.version or None,
        bom_ref=f"package:{item.name}",
        purl=_purl(item),
        components=[_vendored(item.name, name, version) for name, version in item.vendored.items()],
        properties=[Property(name=f"envcheck:{name}", value=value) for name, value in _properties(item)],
    )


def _vendored(owner: str, name: str, version: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version or None,
        bom_ref=f"package:{owner}/{name}",
        purl=_purl(Software(name=name, version=version)),
    )


def _purl(item: Software) -> PackageURL | None:
    """Return the address of a package; a name that no index could hold has none."""
    from packageurl import PackageURL

    if _NAME.fullmatch(item.name) is None:
        return None

    version = item.version or None
    if item.origin == "conda":
        qualifiers = {"build": item.conda_build, "channel": item.conda_channel, "subdir": item.conda_subdir}
        known = {name: value for name, value in qualifiers.items() if value}
        return PackageURL("conda", name=item.name, version=version, qualifiers=known)
    qualifiers = {}
    if item.origin == "vcs" and item.reference:
        qualifiers["vcs_url"] = item.reference
    elif item.origin == "archive" and item.url:
        qualifiers["download_url"] = item.url
    return PackageURL("pypi", name=item.name, version=version, qualifiers=qualifiers)


def _properties(item: Software) -> Iterator[tuple[str, str]]:
    if item.origin != "index":
        yield "origin", item.origin
    if item.build:
        yield "build", item.build
    for tag in item.tags:
        yield "tag", tag
    if item.sha256:
        yield "archive-sha256", item.sha256
    if item.broken:
        yield "broken", item.broken
