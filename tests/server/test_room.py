"""Memory for bodies: large ones share so much, and small ones are never turned away for it."""

from __future__ import annotations

import pytest

from envcheck_server.api.room import SMALL, Room
from envcheck_server.service.errors import Busy


def test_large_bodies_share_the_room_and_leave_it() -> None:
    room = Room(1_000_000, 7)
    room.hold(1, 400_000)
    room.hold(2, 600_000)
    with pytest.raises(Busy) as busy:
        room.hold(3, 100_000)
    assert busy.value.retry_after_s == 7
    with pytest.raises(Busy):
        room.hold(2, 600_001)
    room.leave(1)
    room.hold(3, 100_000)
    room.leave(3)
    room.leave(3)


def test_one_that_is_alone_may_have_any_size_and_a_small_one_always() -> None:
    room = Room(1_000_000, 7)
    room.hold(1, 50_000_000)
    room.hold(2, SMALL)
    with pytest.raises(Busy):
        room.hold(2, SMALL + 1)
    room.leave(1)
    room.hold(2, SMALL + 1)
