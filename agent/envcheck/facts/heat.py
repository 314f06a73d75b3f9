"""Readings of heat and of what it, or a weak power supply, slows down. Files only: no firmware is asked."""

from __future__ import annotations

from envcheck.facts.section import Facts, Scene, clean, integer

_ZONES = "/sys/class/thermal"
_MAX_ZONES = 48
# Bits of the Raspberry Pi firmware's get_throttled; those since the boot lie 16 higher.
_PI_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_PI_DRIVER = "/sys/bus/platform/drivers/raspberrypi-firmware"
_PI_FILE = "/sys/devices/platform/soc/soc:firmware/get_throttled"


class Heat(Facts, frozen=True, kw_only=True):
    """Temperatures in degrees by the zone's kind; what slows the processor now, what did since the boot.

    `throttle_events` counts them where the processor does (Intel's packages, the Jetsons' over-current).
    """

    celsius: dict[str, float] = {}
    slowed_by: list[str] = []
    slowed_since_boot: list[str] = []
    throttle_events: int | None = None


def heat(scene: Scene) -> Heat:
    """Read every thermal zone and every counter of throttling."""
    bits = _pi_bits(scene)
    return Heat(
        celsius=_celsius(scene),
        slowed_by=parse_throttled(bits),
        slowed_since_boot=parse_throttled(bits >> 16),
        throttle_events=_events(scene),
    )


def parse_throttled(bits: int) -> list[str]:
    """Name what the lowest bits of the Raspberry Pi's get_throttled say."""
    return [name for bit, name in enumerate(_PI_BITS) if bits >> bit & 1]


def _celsius(scene: Scene) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in [name for name in scene.names(_ZONES) if name.startswith("thermal_zone")][:_MAX_ZONES]:
        value = integer(_quietly(scene, f"{_ZONES}/{name}/temp"))
        if value is None or not -100_000 < value < 1_000_000:
            continue
        kind = _quietly(scene, f"{_ZONES}/{name}/type") or name
        # Two zones of one kind are told apart by their numbers.
        found[kind if kind not in found else f"{kind} ({name})"] = round(value / 1000, 1)
    return found


def _pi_bits(scene: Scene) -> int:
    folders = [name for name in scene.names(_PI_DRIVER) if name.endswith("firmware")]
    for path in [*(f"{_PI_DRIVER}/{name}/get_throttled" for name in folders), _PI_FILE]:
        text = _quietly(scene, path)
        try:
            return int(text[:16], 16)
        except ValueError:
            continue
    return 0


def _events(scene: Scene) -> int | None:
    """Return how often the first processor's package, or a Jetson's supply, was throttled since the boot."""
    package = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    counts = [integer(_quietly(scene, package))]
    for name in scene.names("/sys/class/hwmon")[:_MAX_ZONES]:
        base = f"/sys/class/hwmon/{name}"
        if _quietly(scene, f"{base}/name") == "soctherm_oc":
            counts += [integer(_quietly(scene, f"{base}/oc{number}_event_cnt")) for number in (1, 2, 3)]
    told = [count for count in counts if count is not None and count >= 0]
    return sum(told) if told else None


def _quietly(scene: Scene, path: str) -> str:
    """Return a file's text, "" for any failure: a sensor that is powered off refuses, and that is no fact."""
    try:
        return clean(scene.host.read(path, 4096))
    except OSError:
        return ""
