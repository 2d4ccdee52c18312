"""``python -m xai_helpers`` is the command ``xai``."""

import sys

from .cli import main

sys.exit(main())
