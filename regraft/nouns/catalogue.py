"""The catalogue of methods and networks that a job or checkpoint can name."""

from regraft.nouns.base import D, Noun
from regraft.steps import Stream, items
from regraft.types import MethodInfo, NetworkInfo


class Methods(Noun[D]):
    @items
    def list(self) -> Stream[MethodInfo]:
        """Each with the JSON Schema of its parameters, what it needs, and when it is the right choice."""
        yield from self._pages("/v1/methods", MethodInfo, {}, 100)


class Networks(Noun[D]):
    @items
    def list(self) -> Stream[NetworkInfo]:
        """List the networks that the workers can build."""
        yield from self._pages("/v1/networks", NetworkInfo, {}, 100)
