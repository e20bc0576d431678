"""What the loader asks of a dataset: so that `Dataset` can stand on top of the loader, and offer it."""

from collections.abc import Iterator
from typing import Protocol

from ..files.manifest import Manifest
from ..traffic.counts import Counts
from ..traffic.record import Table


class Source(Protocol):
    """Tables of traffic, shard by shard."""

    @property
    def manifest(self) -> Manifest:
        """What there is."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def episodes(self) -> int:
        """Number of episodes."""

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards there are."""

    def table(self, shard: int) -> Table:
        """Read one shard, checked."""

    def counts(self, shard: int) -> Counts:
        """Return how many rows of which kind the episodes of a shard have."""

    def tables(self) -> Iterator[Table]:
        """Read the shards one after the other, in order of the episodes."""
