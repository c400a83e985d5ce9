"""`python -m fastbp` is the `fastbp` command."""

from __future__ import annotations

import sys

from fastbp.cli import main

if __name__ == "__main__":
    sys.exit(main())
