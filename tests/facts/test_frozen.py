from __future__ import annotations

import pytest

from envcheck.facts.host import Host, Target
from envcheck.facts.process import Ended


def test_values_are_compared_by_their_fields_and_can_not_be_changed() -> None:
    assert Target("/usr/bin/python3", {"A": "1"}) == Target("/usr/bin/python3", {"A": "1"})
    assert Target("/usr/bin/python3") != Target("/usr/bin/python3", {})
    assert Host("/mnt") != Host()
    assert Ended(0) != Target("")
    with pytest.raises(AttributeError, match=r"Target\.python can't be changed"):
        Target("").python = "/usr/bin/python3"


def test_a_changed_copy_leaves_the_first_as_it_was() -> None:
    first = Target("/usr/bin/python3", {"A": "1"})
    assert first.changed(model="/m.onnx") == Target("/usr/bin/python3", {"A": "1"}, model="/m.onnx")
    assert first.model == ""
    with pytest.raises(TypeError):
        first.changed(nonsense=1)


def test_a_value_shows_its_fields() -> None:
    assert repr(Ended(3, b"x")).startswith("Ended(flooded=False, problem='', returncode=3, ")


def test_a_machine_seen_by_another_process_is_the_same_otherwise() -> None:
    host = Host("/mnt", {"A": "1"}).seen_by("7", "")
    assert (host.base, host.environ, host.process) == ("/mnt", {"A": "1"}, "7")
