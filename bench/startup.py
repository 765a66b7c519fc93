"""Time of ``import torrent_engine`` and ``torrent-engine --help`` as whole processes."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import machine, save

PYTHON = sys.executable
COMMANDS = {
    "python": [PYTHON, "-c", "pass"],
    "import torrent_engine": [PYTHON, "-c", "import torrent_engine"],
    "torrent-engine --help": [str(Path(PYTHON).with_name("torrent-engine")), "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    about = machine()
    times_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, argv in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            if number:  # the first round fills caches
                times_ms[name].append(round((time.perf_counter() - started) * 1000, 1))
    medians = {name: round(statistics.median(values), 1) for name, values in times_ms.items()}
    medians["import alone"] = round(medians["import torrent_engine"] - medians["python"], 1)
    for name, value in medians.items():
        print(f"{name:24} {value:7.1f} ms")
    document = {"what": "startup", "machine": about, "medians_ms": medians, "rows_ms": times_ms}
    print("written:", save("startup", document))


if __name__ == "__main__":
    main()
