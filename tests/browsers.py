"""Chromium for the tests that need one; skipped without, but for CI on Linux."""

import os
import shutil
import sys
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright
except ModuleNotFoundError:
    Axe = sync_playwright = None

MISSING = [
    name
    for name, part in {
        "Chromium (apt install chromium)": PROGRAM,
        "playwright and axe (pip install -e .[dev])": sync_playwright,
    }.items()
    if part is None
]
REQUIRED = bool(os.environ.get("CI")) and sys.platform == "linux"  # there, a failure
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        bool(MISSING) and not REQUIRED, reason=f"no {' and no '.join(MISSING)}"
    ),
]


def in_browser(test):
    """A decorator for single tests; for a whole file: ``pytestmark = MARKS``."""
    for mark in MARKS:
        test = mark(test)
    return test


@contextmanager
def chromium():
    assert not MISSING, f"CI without {' and '.join(MISSING)}"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])


def axe_findings(page, part: str | None = None) -> list[str]:
    """What axe calls serious or critical on a page, or in a part of it that a CSS
    selector names; a line each: rule and place.
    """
    options = {"preload": False, "resultTypes": ["violations"]}  # half the time
    result = Axe().run(page, context=part, options=options).response
    return [
        f"{rule['id']} ({rule['impact']}): {node['html']}"
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
