"""``python -m xai_helpers`` is the command ``xai``."""

import sys

from .course.cli import main

sys.exit(main())
