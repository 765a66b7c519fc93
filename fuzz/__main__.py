"""The command line of the fuzz targets: ``python -m fuzz TARGET ...``."""

from fuzz.runner import main
from fuzz.targets import TARGETS

if __name__ == "__main__":
    main(TARGETS)
