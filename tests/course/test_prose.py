"""The linter of texts finds a mistake, says where it is, and reads only sentences."""

import nbformat
import prose
import pytest

WRONG_WORD = "rec" + "ieve"  # in one piece, codespell would find it in this file
CLICHE = "It fell on the spot."


@pytest.fixture
def notebook(tmp_path):
    new = nbformat.v4
    cells = [new.new_code_cell(WRONG_WORD), new.new_markdown_cell("Right.")]
    cells += [new.new_markdown_cell(f"## Title\n\nWe {WRONG_WORD} it. {CLICHE}")]
    path = tmp_path / "notebook.ipynb"
    nbformat.write(new.new_notebook(cells=cells), path)
    return path


def test_a_misspelling_is_found_in_the_cell_of_a_notebook(notebook):
    (found,) = prose.spelling([notebook], [])
    assert found.endswith(f"notebook.ipynb, cell 2: {WRONG_WORD} ==> receive")


def test_a_cliche_is_found_in_the_line_of_a_document(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nRight.\n\n{CLICHE}\n")
    (found,) = prose.style([page])
    assert "page.md:5: " in found


def test_code_formulas_headings_and_tables_are_not_sentences():
    text = "# Head\n\nText `code` $x$ and [link](a/b.md) <b>bold</b>\n| table |\n"
    text += "```sh\ncode\n```\n<!-- comment -->\nEnd."
    assert prose.prose(text).split() == ["Text", "and", "[link]", "bold", "End."]
    assert prose.prose(text).count("\n") == text.count("\n")


def test_the_documents_are_clean():
    """`make lint` also reads the notebooks and the code."""
    pages = prose.files(prose.DOCUMENTS)
    assert len(pages) > 10
    assert prose.spelling(pages, []) == prose.style(pages) == []
