"""`python -m rmnet`: the command `rmnet`, also where its script is not on the PATH."""

import sys

from rmnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
