"""Notebooks that are opened in JupyterLab, in a real browser, and not changed."""

import json
import platform

import browsers
import pytest
import render_notebooks as render
from test_browser import served, watched

pytestmark = browsers.MARKS
PATHS = [render.topics()[0], render.ROOT / "app" / "panel.ipynb"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_that_is_opened_is_not_marked_as_changed(path, browser, tmp_path):
    """If it was made with this version of Python; Lab writes that one, too."""
    notebook = json.loads(path.read_text("utf-8"))
    notebook["metadata"]["language_info"]["version"] = platform.python_version()
    copy = tmp_path / path.name
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    copy.write_text(text, encoding="utf-8")
    with (
        served("lab", tmp_path) as (address, _),
        watched(browser, address) as page,
    ):
        page.goto(f"{address}/lab/tree/{path.name}")
        page.get_by_text("| Idle").wait_for()
        page.wait_for_timeout(3000)
        assert page.locator(".jp-Document:visible").count() >= 1
        assert page.locator(".jp-mod-dirty").count() == 0
        page.keyboard.press("Control+s")
        page.wait_for_timeout(3000)
    assert copy.read_text("utf-8") == text
