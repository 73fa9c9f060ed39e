"""`python -m vtr_demo COMMAND …`: see ``cli`` for the commands."""

from __future__ import annotations

import sys

from vtr_demo.cli import main

if __name__ == "__main__":
    sys.exit(main())
