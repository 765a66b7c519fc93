"""HTTP requests of tests that share their machine: the time-out is long."""

import ssl
from functools import partial

import httpx2

TIMEOUT_S = 120.0

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: a context of its own, with the authorities of the world, takes each call 50 ms."""
get = partial(httpx2.get, timeout=TIMEOUT_S, verify=NOBODY)
post = partial(httpx2.post, timeout=TIMEOUT_S, verify=NOBODY)
request = partial(httpx2.request, timeout=TIMEOUT_S, verify=NOBODY)
