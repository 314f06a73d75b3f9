"""What a fingerprint tells of one device alone."""

from __future__ import annotations

from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.fingerprint import Fingerprint


def hardware_id(fingerprint: Fingerprint) -> str:
    """Return a digest of the hardware's own serials, "" when none can be read without root.

    The board's serial where there is one, else the addresses of its built-in network ports: what stays when
    the disk is cloned or exchanged, and what every user of the machine reads alike.
    """
    section = fingerprint.sections.get("system")
    device = section.device if section else {}
    if serial := device.get("serial"):
        return digest(canonical_json({"serial": serial}))
    if macs := device.get("macs"):
        return digest(canonical_json({"macs": macs}))
    return ""
