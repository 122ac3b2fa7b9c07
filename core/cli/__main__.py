"""`python -m eosin.cli`: the same as the command `eosin`."""

from __future__ import annotations

import sys

from eosin.cli import main

sys.exit(main())
