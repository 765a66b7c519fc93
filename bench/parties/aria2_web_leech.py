"""aria2_web_leech.py TORRENT SAVE_DIR: a web seed download by aria2, its start included."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import MIB

torrent, save_dir = sys.argv[1:3]
argv = [
    *("aria2c", f"--dir={save_dir}", "--seed-time=0", "--enable-dht=false", "--quiet=true"),
    *("--enable-dht6=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false"),
    *("--file-allocation=none", "--max-connection-per-server=4", "--split=4"),
    *("--min-split-size=1M", "--no-conf=true", torrent),
]
started = time.perf_counter()
process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
if status:
    sys.exit(f"aria2c ended with {status}")
size = sum(path.stat().st_size for path in Path(save_dir).iterdir() if path.is_file())
print(
    json.dumps(
        {
            "seconds": round(seconds, 4),
            "mib_per_s": round(size / seconds / MIB, 1),
            "cpu_s": round(used.ru_utime + used.ru_stime, 2),
            "peak_rss_mib": round(used.ru_maxrss / 1024, 1),
        }
    ),
    flush=True,
)
