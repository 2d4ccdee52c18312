"""Notebooks that are opened in JupyterLab, in a real browser, and not changed."""

import json
import platform

import browsers
import render_notebooks as render
from test_browser import served, watched

pytestmark = browsers.MARKS
PATHS = [render.topics()[0], render.ROOT / "app" / "panel.ipynb"]


def test_notebooks_that_are_opened_are_not_marked_as_changed(browser, tmp_path):
    """If they were made with this version of Python; Lab writes that one, too."""
    texts = {}
    for path in PATHS:
        notebook = json.loads(path.read_text("utf-8"))
        notebook["metadata"]["language_info"]["version"] = platform.python_version()
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
        texts[path.name] = text + "\n"
        (tmp_path / path.name).write_text(texts[path.name], encoding="utf-8")
    with (
        served("lab", tmp_path) as (address, _),
        watched(browser, address) as page,
    ):
        for name in texts:
            page.goto(f"{address}/lab/tree/{name}")
            page.get_by_text("| Idle").wait_for()
            page.wait_for_timeout(3000)
            assert page.locator(".jp-Document:visible").count() >= 1
            assert page.locator(".jp-mod-dirty").count() == 0
            page.keyboard.press("Control+s")
            page.wait_for_timeout(3000)
    for name, text in texts.items():
        assert (tmp_path / name).read_text("utf-8") == text, name
