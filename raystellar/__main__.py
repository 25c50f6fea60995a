"""``python -m raystellar`` is the program ``raystellar``."""

import sys

from raystellar.cli import main

if __name__ == "__main__":
    sys.exit(main())
