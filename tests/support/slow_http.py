"""HTTP requests of tests that share their machine: the time-out is long."""

from functools import partial

import httpx2

TIMEOUT_S = 120.0

get = partial(httpx2.get, timeout=TIMEOUT_S)
post = partial(httpx2.post, timeout=TIMEOUT_S)
request = partial(httpx2.request, timeout=TIMEOUT_S)
