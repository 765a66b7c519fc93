"""Name look-ups that the tests decide on."""

from collections.abc import Mapping, Sequence

from torrent_engine.base.errors import NetworkError


class Names:
    """A resolver that knows some names, and remembers what it was asked."""

    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        self.hosts = hosts
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.hosts:
            raise NetworkError(f"cannot resolve {host}")
        return list(self.hosts[host])


def names(**hosts: Sequence[str]) -> Names:
    return Names(hosts)
