"""libtorrent_magnet.py with the default settings of libtorrent where these work."""

import os
import runpy

os.environ["LIBTORRENT_DEFAULTS"] = "1"
runpy.run_module("bench.parties.libtorrent_magnet", run_name="__main__")
