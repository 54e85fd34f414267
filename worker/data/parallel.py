"""Several streams of batches side by side: domains, environments, views of the same images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from worker.data.batches import Batch, Shuffled
from worker.runtime.run import State


@dataclass(frozen=True)
class Together:
    """A batch of each stream, by its name; as long as the first."""

    of: Mapping[str, Batch]

    def __len__(self) -> int:
        return len(next(iter(self.of.values())))


class Parallel:
    """A batch of every stream at each step; an epoch is one of the longest stream, shorter ones begin anew within it.

    Which epoch a stream is in and where, is a function of the step alone.
    """

    def __init__(self, streams: Mapping[str, Shuffled]) -> None:
        self._streams = dict(streams)

    @property
    def per_epoch(self) -> int:
        return max(stream.per_epoch for stream in self._streams.values())

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Together]:
        first = epoch * self.per_epoch + start
        endless = {name: _from(stream, first) for name, stream in self._streams.items()}
        for _ in range(start, self.per_epoch):
            yield Together({name: next(batches) for name, batches in endless.items()})

    def state_dict(self) -> State:
        return {name: stream.state_dict() for name, stream in self._streams.items()}

    def load_state_dict(self, state: State) -> None:
        for name, stream in self._streams.items():
            stream.load_state_dict(state[name])


def _from(stream: Shuffled, step: int) -> Iterator[Batch]:
    epoch, start = divmod(step, stream.per_epoch)
    while True:
        yield from stream.epoch(epoch, start)
        epoch, start = epoch + 1, 0
