from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import variables
from envcheck.facts.host import Host, Target
from envcheck.facts.section import Scene, Unavailable
from envcheck.facts.variables import allowed, is_recorded, without_device

SECRETS = ("KEY", "TOKEN", "SECRET", "PASS", "CRED")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "LD_PRELOAD", "TZ", "MKL_CBWR"])
def test_what_changes_numbers_or_speed_is_recorded(name: str) -> None:
    assert is_recorded(name)


@pytest.mark.parametrize(
    "name",
    ["HOME", "AWS_REGION", "NVIDIA_API_KEY", "TORCH_HUB_TOKEN", "ORT_PASSWORD", "CUDA_cred", "TZDIR"],
)
def test_everything_else_and_secrets_are_not(name: str) -> None:
    assert not is_recorded(name)


@given(
    st.sampled_from(["ORT_", "NVIDIA_", "TORCH_", "CUDA_"]),
    st.sampled_from(SECRETS),
    st.text("ABCabc_", max_size=5),
    st.booleans(),
)
def test_no_name_that_speaks_of_a_secret_gets_through(prefix: str, word: str, rest: str, lower: bool) -> None:
    name = prefix + rest + (word.lower() if lower else word) + rest
    assert allowed({name: "s3cr3t"}) == {}


def test_credentials_in_values_are_stripped() -> None:
    found = allowed({"TORCH_MIRROR": "https://me:s3cr3t@mirror.example/x?token=s3cr3t"})
    assert found == {"TORCH_MIRROR": "https://mirror.example/x"}


def test_credentials_are_stripped_wherever_a_long_value_is_cut() -> None:
    (value,) = allowed({"TORCH_MIRROR": "x" * 4080 + " https://me:s3cr3t@mirror.example/x"}).values()
    assert len(value) <= 4096
    assert "s3cr3t" not in value
    assert "me:" not in value


def test_what_belongs_to_one_device_is_written_alike_on_all() -> None:
    one = without_device("/srv/a/lib:/usr/lib:/srv/ab/lib", "/srv/a")
    assert one == "{prefix}/lib:/usr/lib:/srv/ab/lib"
    assert without_device("GPU-8f2c1e0a-1111-2222-3333-444455556666,0", "") == "GPU-*,0"
    assert without_device("all", "") == "all"
    assert without_device("GPU-8f2c,MIG-GPU-8f2c1e0a-1111/1/0", "") == "GPU-*,MIG-*"
    assert without_device("/opt/cuda/usr/lib:/usr/lib", "/usr") == "/opt/cuda/usr/lib:{prefix}/lib"


def test_configured_ones_are_those_of_the_serving_process(scene: Callable[..., Scene]) -> None:
    target = Target(
        "/srv/a/bin/python", {"OMP_NUM_THREADS": "2", "TZ": "UTC", "HOME": "/x", "LD_PRELOAD": "/srv/a/l.so"}
    )
    found = variables.gather(scene(Host(environ={"OMP_NUM_THREADS": "9"}), target=target))
    assert found.shared == {
        "origin": "configured",
        "values": {"LD_PRELOAD": "{prefix}/l.so", "OMP_NUM_THREADS": "2", "TZ": "UTC"},
    }
    assert found.device["values"] == {"LD_PRELOAD": "/srv/a/l.so"}


def test_inherited_ones_leave_out_what_isolation_hides(
    scene: Callable[..., Scene],
) -> None:
    environ = {"OMP_NUM_THREADS": "9", "PYTHONPATH": "/x", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "0"}
    found = variables.gather(scene(Host(environ=environ), target=Target("/usr/bin/python3")))
    assert found.shared == {"origin": "agent", "values": {"OMP_NUM_THREADS": "9"}}


def test_a_mounted_image_serves_nothing(scene: Callable[..., Scene]) -> None:
    with pytest.raises(Unavailable) as caught:
        variables.gather(scene(Host(environ={"OMP_NUM_THREADS": "9"}), target=Target("")))
    assert caught.value.status == "skipped"


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50)), st.text(max_size=10))
def test_any_environment_is_read(environ: dict[str, str], prefix: str) -> None:
    for value in allowed(environ).values():
        without_device(value, prefix)
