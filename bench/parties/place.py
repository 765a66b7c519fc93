"""Network namespaces and transports of the benchmarked programs, from the environment.

BENCH_HOST is our own address, BENCH_SEED_HOST the seed's; BENCH_TRANSPORT=utp leaves TCP out.
"""

import os

OUR_HOST = os.environ.get("BENCH_HOST", "127.0.0.1")
SEED_HOST = os.environ.get("BENCH_SEED_HOST", "127.0.0.1")
IS_UTP = os.environ.get("BENCH_TRANSPORT") == "utp"
LIBTORRENT_UTP = {
    "enable_incoming_utp": True,
    "enable_outgoing_utp": True,
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
}
