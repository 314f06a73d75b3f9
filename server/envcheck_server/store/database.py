"""Connections: a pool that reads, one that writes, and the errors of both made plain."""

from __future__ import annotations

import functools
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Select, Table
from sqlalchemy.exc import DBAPIError

from envcheck.errors import EnvcheckError
from envcheck_server.store.interface import StoreBusy

P = ParamSpec("P")
T = TypeVar("T")

_ATTEMPTS = 6


class Collision(StoreBusy):
    """Two transactions stood in each other's way; the database gave this one up, and it can be repeated."""


class Hot(Protocol):
    """The statements that run once for every report of the fleet, written by hand for each database."""

    def rows(self, connection: Connection, devices: Sequence[str]) -> list[Sequence[Any]]:
        """Return the devices' rows as reports.py reads them, kept from changing until the transaction ends.

        `devices` is sorted, so that no two transactions wait for each other.
        """

    def update(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write what reports change of devices; each device is there once."""

    def change(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add to the history."""


class Database(ABC):
    """One database of either kind, with what the tables must not care about."""

    hot: Hot
    # Whether GROUP BY sorts every row that no index gives in order, which costs more than reading them.
    sorts_groups = False

    def __init__(self, reader: Engine, writer: Engine) -> None:
        self.reader = reader
        self.writer = writer
        # The transaction that a thread has open for several writes.
        self._joined = threading.local()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction: one snapshot of the database."""
        if (joined := self.joined) is not None:
            yield joined
            return
        with self._plain_errors(), self.reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, concurrent: bool = False, alone: bool = False) -> Iterator[Connection]:
        """A write transaction, durable once the block is left; rolled back when it raises.

        There is one at a time, so that what it read holds until it has written; beside it run those that are
        `concurrent`, which look after themselves. While one is `alone`, nobody else writes.
        """
        if (joined := self.joined) is not None:
            yield joined
            return
        with self._plain_errors(), self._begin(concurrent=concurrent, alone=alone) as connection:
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of everything that this thread reads and writes inside the block."""
        with self.write() as connection:
            before = self.joined
            self._joined.connection = connection
            try:
                yield
            finally:
                self._joined.connection = before

    @property
    def joined(self) -> Connection | None:
        """The transaction that this thread has open with `together`."""
        return getattr(self._joined, "connection", None)

    @abstractmethod
    def insert_missing(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows, leaving alone those whose primary key is there already."""

    @abstractmethod
    def among(
        self, column: ColumnElement[Any], values: Collection[int] | Collection[str]
    ) -> ColumnElement[bool]:
        """Return `column IN values` for any number of values."""

    @abstractmethod
    def number_at(self, column: ColumnElement[Any], name: str, place: int) -> ColumnElement[Any]:
        """Return the number at a place in the list of this name in a column of JSON; NULL without it."""

    @abstractmethod
    def held(self, query: Select[Any], table: Table) -> Select[Any]:
        """Return the query so that rows of `table` do not change until the transaction ends."""

    @abstractmethod
    def need_room(self, connection: Connection) -> None:
        """Take some of the disk for a moment, where a row that was written does not prove any."""

    @abstractmethod
    def size(self, connection: Connection) -> int:
        """Return how many bytes the database has on the disk."""

    @abstractmethod
    def sizes(self, connection: Connection) -> dict[str, int]:
        """Return bytes on the disk by table, its indices among them; empty where that is not known."""

    def close(self) -> None:
        """Let go of every connection."""
        self.reader.dispose()
        self.writer.dispose()

    @abstractmethod
    @contextmanager
    def _begin(self, *, concurrent: bool, alone: bool) -> Iterator[Connection]:
        """Begin a write transaction."""

    @abstractmethod
    def _explain(self, error: DBAPIError) -> Exception | None:
        """Return what an error of the driver means, None when it is a fault of the program."""

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            meant = self._explain(error)
            if isinstance(meant, EnvcheckError):
                raise meant from error
            if meant is not None:
                # What was sent is in the words of the driver.
                raise meant from None
            raise


class _OverDatabase(Protocol):
    _database: Database


S = TypeVar("S", bound=_OverDatabase)


def repeated(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Run a method that is one transaction again when it collided with another one."""

    @functools.wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # What is part of a larger transaction fails with it.
        attempts = 1 if self._database.joined is not None else _ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                return method(self, *args, **kwargs)
            except Collision:
                if attempt == attempts:
                    raise
                time.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311  (no secret: spreads retries)
        raise AssertionError

    return run
