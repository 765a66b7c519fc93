"""libtorrent_magnet.py with a look every 100 ms whether the hashes of pieces are all here.

That costs it time: its other marks are to be taken without.
"""

import os
import runpy

os.environ["LIBTORRENT_LAYERS"] = "1"
runpy.run_module("bench.parties.libtorrent_magnet", run_name="__main__")
