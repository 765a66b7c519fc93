"""The command line of the fuzz targets: ``python -m fuzz TARGET ...``."""

import sys

from fuzz.runner import main
from fuzz.targets import TARGETS

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(*sorted(TARGETS), sep="\n")
    else:
        main(TARGETS)
