from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts.heat import heat, parse_throttled
from envcheck.facts.host import Host
from envcheck.facts.section import Scene

ZONE = "sys/class/thermal/thermal_zone"


def test_temperatures_by_the_kind_of_the_zone(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    host = tree(
        {
            f"{ZONE}0/type": "cpu-thermal\n",
            f"{ZONE}0/temp": "61322\n",
            f"{ZONE}1/type": "acpitz\n",
            f"{ZONE}1/temp": "27800\n",
            f"{ZONE}2/type": "acpitz\n",
            f"{ZONE}2/temp": "-5000\n",
            f"{ZONE}3/type": "broken\n",
            f"{ZONE}3/temp": "99999999999\n",
            f"{ZONE}4/type": "off\n",
        }
    )
    assert heat(scene(host)).celsius == {"cpu-thermal": 61.3, "acpitz": 27.8, "acpitz (thermal_zone2)": -5.0}


@pytest.mark.parametrize(
    "path",
    [
        "sys/bus/platform/drivers/raspberrypi-firmware/soc@107c000000:firmware/get_throttled",
        "sys/devices/platform/soc/soc:firmware/get_throttled",
    ],
)
def test_what_the_raspberry_pi_says_of_its_supply(
    path: str, tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    found = heat(scene(tree({path: "50005\n"})))
    assert found.slowed_by == ["under-voltage", "throttled"]
    assert found.slowed_since_boot == ["under-voltage", "throttled"]
    assert parse_throttled(0x8) == ["soft temperature limit"]


def test_events_of_a_package_and_of_a_jetsons_supply(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    x86 = tree({"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "17\n"})
    assert heat(scene(x86)).throttle_events == 17
    hwmon = "sys/class/hwmon/hwmon"
    jetson = {f"{hwmon}3/name": "soctherm_oc\n", f"{hwmon}3/oc1_event_cnt": "0\n"}
    host = tree({**jetson, f"{hwmon}3/oc3_event_cnt": "4\n", f"{hwmon}1/name": "other\n"})
    (host.root / "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count").unlink()
    assert heat(scene(host)).throttle_events == 4


def test_a_machine_without_sensors_tells_nothing(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    found = heat(scene(tree({"etc/keep": ""})))
    assert (found.celsius, found.slowed_by, found.throttle_events) == ({}, [], None)


def test_a_sensor_that_refuses_is_no_fact(
    open_folder: Path,
    unprivileged: Callable[[], AbstractContextManager[None]],
    scene: Callable[..., Scene],
) -> None:
    zone = open_folder / "root" / f"{ZONE}0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("50000")
    (zone / "temp").chmod(0)
    here = scene(Host(root=open_folder / "root"))
    with unprivileged():
        assert heat(here).celsius == {}
    assert here.unreadable == []


@given(st.integers())
def test_any_bits_are_named(bits: int) -> None:
    assert len(parse_throttled(bits)) <= 4
