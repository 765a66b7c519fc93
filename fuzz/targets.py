"""Every fuzz target by its name: what checks one input, and what makes inputs to begin with."""

from collections.abc import Mapping
from typing import Final

from fuzz import (
    addresses,
    codec,
    dht,
    encryption,
    exchange,
    holepunch,
    lsd,
    magnet,
    metadata,
    models,
    names,
    nat,
    proxies,
    rows,
    tracker,
    utp,
    web,
    wire,
)
from fuzz.runner import FuzzTarget

TARGETS: Final[Mapping[str, FuzzTarget]] = {
    "bencode": FuzzTarget(codec.fuzz_bencode, codec.mutated),
    "body": FuzzTarget(web.fuzz_body, web.mutated_body),
    "compact": FuzzTarget(addresses.fuzz_compact, addresses.mutated_compact),
    "connect": FuzzTarget(proxies.fuzz_connect, proxies.mutated_connect),
    "dht": FuzzTarget(dht.fuzz_one, dht.mutated),
    "encryption": FuzzTarget(encryption.fuzz_one, encryption.mutated),
    "exchange": FuzzTarget(exchange.fuzz_one, exchange.mutated),
    "holepunch": FuzzTarget(holepunch.fuzz_one, holepunch.mutated),
    "ip-filter": FuzzTarget(addresses.fuzz_text_list, addresses.mutated_text_list),
    "ip-filter-p2b": FuzzTarget(addresses.fuzz_binary_list, addresses.mutated_binary_list),
    "lsd": FuzzTarget(lsd.fuzz_one, lsd.mutated),
    "magnet": FuzzTarget(magnet.fuzz_one, magnet.mutated),
    "metadata": FuzzTarget(metadata.fuzz_one, metadata.mutated),
    "metainfo": FuzzTarget(codec.fuzz_metainfo, codec.mutated),
    "names": FuzzTarget(names.fuzz_one, names.mutated),
    "nat": FuzzTarget(nat.fuzz_one, nat.mutated),
    "rows": FuzzTarget(rows.fuzz_one, rows.mutated),
    "socks": FuzzTarget(proxies.fuzz_socks, proxies.mutated_socks),
    "utp": FuzzTarget(utp.fuzz_one, utp.mutated),
    "web-seed": FuzzTarget(web.fuzz_range_answer, web.mutated_range_answer),
    "wire": FuzzTarget(wire.fuzz_one, wire.mutated),
    **{name: FuzzTarget(*pair) for name, pair in tracker.TARGETS.items()},
    **{name: FuzzTarget(check, models.mutated) for name, check in models.TARGETS.items()},
}
