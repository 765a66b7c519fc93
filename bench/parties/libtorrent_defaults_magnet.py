"""libtorrent_magnet.py with what libtorrent has by default where a user need not change it."""

import os
import runpy

os.environ["LIBTORRENT_DEFAULTS"] = "1"
runpy.run_module("bench.parties.libtorrent_magnet", run_name="__main__")
