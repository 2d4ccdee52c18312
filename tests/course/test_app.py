"""The notebook of `make app`; test_browser.py opens it as a page."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from xai_helpers import explain

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "app" / "panel.ipynb"

DRIVE = """
def check(network, name, photo):
    panel.network.value, panel.technique.value, panel.photo.value = network, name, photo
    panel.wait()
    result = panel.attribution
    assert result is not None, panel.message.value
    assert result.model == network.name and result.map.any()
    assert (result.image == network.crop(panel.photos[photo])[0]).all()
    print(name, result.technique, sep="|")
xception, vgg = networks
for name in {names}:
    check(xception, name, panel.photo.value)
for photo in panel.photos:
    check(vgg, "grad_cam", photo)
"""


@pytest.mark.real
def test_the_panel_of_the_page_through_techniques_and_photos():
    """In a kernel as the page runs it: the techniques of one pass with Xception (all
    of them are moved with toys, in test_widgets.py), the photos with VGG16."""
    quick = {
        name: t.title for name, t in explain.TECHNIQUES.items() if not t.quick(299)
    }
    notebook = nbformat.read(PAGE, as_version=4)
    source = DRIVE.replace("{names}", repr(list(quick)))
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    client = NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(PAGE.parent)}}
    )
    client.execute()
    outputs = notebook.cells[-1].outputs
    text = "".join(out.text for out in outputs if out.get("name") == "stdout")
    lines = [tuple(line.split("|")) for line in text.splitlines()]
    assert lines == [*quick.items(), *8 * [("grad_cam", "Grad-CAM")]]


def test_the_notebook_of_the_page_is_committed_without_outputs():
    for cell in nbformat.read(PAGE, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
