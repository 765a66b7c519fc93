"""The command line of the fuzz targets: ``python -m fuzz TARGET ...``."""

import sys

from fuzz.record import read_record, table
from fuzz.runner import main
from fuzz.targets import TARGETS

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(*sorted(TARGETS), sep="\n")
    elif sys.argv[1:] == ["--table"]:
        print(table(sorted(TARGETS), read_record()))
    else:
        main(TARGETS)
