"""The DHT without sockets: queries per second, lookups by network size, malicious nodes, spoofing.

bench/run dht                       # all four, some minutes
bench/run dht queries lookups       # some of them
bench/run dht liars --trials 50     # a quick look
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable

from bench.harness import machine, save
from tests.support.dht_liars import POOL, Conspiracy, Liar, Lie
from tests.support.dht_network import PORT, Neighbourhood, Network
from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.codec.bencode import encode
from torrent_engine.protocol.dht.items import sign_item
from torrent_engine.protocol.dht.krpc import Bencoded, NodeInfo, encode_query
from torrent_engine.protocol.dht.node import DhtNode
from torrent_engine.protocol.dht.security import node_id_for

TABLE_NODES = 5_000  # of a network from which one node's table is filled
SIZES = (100, 1_000, 10_000)
HONEST, LIARS = 50, 200
UNLIMITED = DhtConfig(max_upload_bytes_per_s=0)  # the budget of 8 kB/s would end every run
NORMAL_METHODS = (b"ping", b"find_node", b"get_peers")
ALL_METHODS = (*NORMAL_METHODS, b"get", b"sample_infohashes", b"announce_peer", b"put", b"none")

Datagram = tuple[bytes, PeerAddress]


def main() -> None:
    parts: dict[str, Callable[[argparse.Namespace], dict[str, object]]] = {
        "queries": queries,
        "lookups": lookups,
        "liars": liars,
        "spoofed": spoofed,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=", ".join(parts))
    parser.add_argument("--rounds", type=int, default=5, help="of the part queries")
    parser.add_argument("--count", type=int, default=50_000, help="queries of a round")
    parser.add_argument("--trials", type=int, default=200, help="lookups, or announces, of a kind")
    options = parser.parse_args()
    chosen = options.parts or list(parts)
    document: dict[str, object] = {"what": "dht", "machine": machine(), "options": vars(options)}
    for name in chosen:
        document[name] = parts[name](options)
    if len(chosen) == len(parts):
        print("written:", save("dht", document))


def known_node(config: DhtConfig, rng: random.Random) -> DhtNode:
    """Return a node with a full table, some hundred torrents, and both kinds of values."""
    network = Network("bench", config=config)
    nodes = [node_info(network, rng) for _ in range(TABLE_NODES)]
    host = network.add_node()
    Neighbourhood(nodes).fill(host.node, rng, 0.0)
    answers = host.node._responder.handlers
    for number in range(300):
        for port in range(20):
            peer = PeerAddress(f"12.{number // 250}.{number % 250}.{port}", PORT)
            answers.peers.announce(info_hash(number), peer, is_seed=True, now=0.0)
    answers.items.put_immutable(Bencoded(encode(b"x" * 980)), "12.0.0.1", 0.0)
    answers.items.put_mutable(mutable_item(), "12.0.0.1", 0.0, cas=None)
    return host.node


def mutable_item():
    return sign_item(b"k" * 32, Bencoded(encode(b"y" * 980)), 1)


def node_info(network: Network, rng: random.Random) -> NodeInfo:
    address = network.new_address()
    return NodeInfo(node_id_for(address.host, rng), address)


def info_hash(number: int) -> InfoHash:
    return InfoHash(random.Random(number).randbytes(20))


def query(method: bytes, rng: random.Random, address: PeerAddress) -> Datagram:
    """Return a query as small as others send it, about something that the node has."""
    sender = NodeId(rng.randbytes(20))
    target = rng.choice([mutable_item().target, info_hash(rng.randrange(300))])
    arguments = {
        b"ping": {},
        b"find_node": {b"target": rng.randbytes(20)},
        b"get_peers": {b"info_hash": info_hash(rng.randrange(300)), b"scrape": rng.randrange(2)},
        b"get": {b"target": target},
        b"sample_infohashes": {b"target": rng.randbytes(20)},
        b"announce_peer": {b"info_hash": target, b"port": 1, b"token": b"aaaaaaaa"},
        b"put": {b"v": b"x", b"token": b"aaaaaaaa"},
        b"none": {b"target": target},
    }[method]
    return encode_query(rng.randbytes(2), method, sender, arguments), address


def queries(options: argparse.Namespace) -> dict[str, object]:
    """Time one node that answers strangers: each of its queries is from another address."""
    rng = random.Random(1)
    per_s: list[float] = []
    for _ in range(options.rounds):
        node = known_node(UNLIMITED, rng)
        network = Network(rng.random())
        asked = [
            query(NORMAL_METHODS[number % 3], rng, network.new_address())
            for number in range(options.count)
        ]
        per_s.append(round(options.count / answering_s(node, asked)))
    figures = {"per_s": round(statistics.median(per_s)), "rounds": per_s}
    print(f"queries answered: {figures['per_s']:,} a second (ping, find_node, get_peers)")
    return figures


def answering_s(node: DhtNode, asked: list[Datagram]) -> float:
    """Return the processor time of answering all of them, one a call as they come."""
    answered, began_s = 0, time.process_time()
    for number, (data, address) in enumerate(asked):
        now = 1.0 + number / 1_000
        node.receive_datagram(data, address, now=now)
        answered += len(node.datagrams_to_send())
        if number % 100 == 0:
            node.handle_timer(now=now)
    spent_s = time.process_time() - began_s
    assert answered >= len(asked), "not all were answered"
    return spent_s


def lookups(options: argparse.Namespace) -> dict[str, object]:
    """Look for random ids in converged networks; a node is made when somebody asks it."""
    result: dict[str, object] = {}
    for size in SIZES:
        network, everybody = converged(size)
        ends, before = [], network.datagrams
        for _ in range(options.trials):
            info = network.rng.choice(everybody)
            host = network.hosts.get(info.address) or made(network, info.address)
            target = NodeId(network.rng.randbytes(20))
            ends.append(network.ended(host, host.node.find_node(target, now=network.now)))
        hops = [end.hops for end in ends]
        asked = [end.queried for end in ends]
        figures = {
            "hops": round(statistics.mean(hops), 2),
            "max_hops": max(hops),
            "asked": round(statistics.mean(asked), 1),
            "max_asked": max(asked),
            "datagrams": round((network.datagrams - before) / len(ends), 1),
            "seconds": round(statistics.mean(end.duration_s for end in ends), 2),
        }
        result[str(size)] = figures
        print(f"{size:6,} nodes:", figures, f"hops / log2: {figures['hops'] / math.log2(size):.2f}")
    return result


def converged(size: int) -> tuple[Network, list[NodeInfo]]:
    """Return a network whose nodes have tables as after hours, made when they are asked."""
    network = Network(size)
    everybody = [node_info(network, network.rng) for _ in range(size)]
    by_address = {node.address: node for node in everybody}
    tables = Neighbourhood(everybody)

    def make(address: PeerAddress) -> DhtNode | None:
        info = by_address.get(address)
        if info is None:
            return None
        node = DhtNode(
            network.config,
            rng=random.Random(info.id),
            secret=bytes(32),
            is_ipv6=False,
            node_id=info.id,
            now=network.now,
        )
        tables.fill(node, network.rng, network.now)
        return node

    network.make_machine = make
    return network, everybody


def made(network: Network, address: PeerAddress):
    assert network.make_machine is not None
    machine = network.make_machine(address)
    assert machine is not None
    return network.add(address, machine)


def liars(options: argparse.Namespace) -> dict[str, object]:
    """Let one honest node announce a seed and another look for it, while four of five lie."""
    kinds: dict[str, list[Lie]] = {lie.value: [lie] for lie in Lie}
    kinds["all of them"] = list(Lie)
    result: dict[str, object] = {}
    for name, lies in kinds.items():
        found, asked, stored = 0, [], []
        for network_number in range(max(options.trials // 20, 1)):
            network, honest = conspired(lies, network_number)
            for _ in range(20):
                seed, leech = network.rng.sample(honest, 2)
                target = InfoHash(network.rng.randbytes(20))
                stored.append(len(network.announce(seed, target).stored_at))
                peers, end = network.peers_of(leech, target)
                found += PeerAddress(seed.address.host, PORT) in peers
                asked.append(end.queried)
        figures = {
            "trials": len(asked),
            "found": round(found / len(asked), 4),
            "asked": round(statistics.mean(asked), 1),
            "written_to": round(statistics.mean(stored), 1),
        }
        result[name] = figures
        print(f"{LIARS} liars of {LIARS + HONEST}, {name}:", figures)
    return result


def conspired(lies: list[Lie], seed: int):
    network = Network(f"liars {seed}")
    honest = [network.add_node() for _ in range(HONEST)]
    conspiracy = Conspiracy(network.rng, [network.new_address() for _ in range(POOL)])
    conspiracy.victims = [host.address for host in honest]
    for number in range(LIARS):
        friend = node_info(network, network.rng)
        conspiracy.friends.append(friend)
        network.add(friend.address, Liar(lies[number % len(lies)], friend.id, conspiracy))
    everybody = [*(host.info for host in honest), *conspiracy.friends]
    network.fill_tables(honest, known=everybody)
    return network, honest


def spoofed(options: argparse.Namespace) -> dict[str, object]:
    """Send queries of senders who never hear the answers; count what goes out for each byte."""
    rng = random.Random(3)
    result: dict[str, object] = {}
    victim = PeerAddress("99.1.2.3", PORT)
    for name, addresses in (
        ("of many addresses", Network("spoof").new_address),
        ("of one address", lambda: victim),
    ):
        for methods in (*((method,) for method in ALL_METHODS), ALL_METHODS):
            label = "all" if len(methods) > 1 else methods[0].decode()
            asked = (query(rng.choice(methods), rng, addresses()) for _ in range(5_000))
            worst, ratio = amplification(known_node(UNLIMITED, rng), asked)
            result[f"{label} {name}"] = {"ratio": round(ratio, 2), "worst": round(worst, 2)}
            print(f"{label} {name}: {ratio:.2f} bytes out for each in, one answer {worst:.2f}")
    return result


def amplification(node: DhtNode, asked: Iterable[Datagram]) -> tuple[float, float]:
    """Return the worst answer, and all that is sent, pings of strangers too, by what came in."""
    now, bytes_in, bytes_out, worst = 0.0, 0, 0, 0.0
    for data, address in asked:
        now += 0.001
        node.receive_datagram(data, address, now=now)
        reply = sum(len(each) for each, _ in node.datagrams_to_send())
        worst = max(worst, reply / len(data))
        due = node.next_timer()
        if due is not None and due <= now:
            node.handle_timer(now=now)
        bytes_in += len(data)
        bytes_out += reply + sum(len(each) for each, _ in node.datagrams_to_send())
    return worst, bytes_out / bytes_in


if __name__ == "__main__":
    main()
