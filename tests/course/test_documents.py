"""The documents: their links lead somewhere, and the notebooks find the glossary."""

import re
from pathlib import Path

import nbformat
import pytest
import render_notebooks as render
import yaml

ROOT = render.ROOT
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
GLOSSARY = ROOT / "docs" / "glossary.md"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings: small letters, hyphens, no punctuation."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def markdown_of(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


def test_every_term_that_a_notebook_links_is_in_the_glossary():
    glossary_anchors = anchors(GLOSSARY)
    for path in [*render.topics(), *render.solutions(), *render.appendices()]:
        for target in LINK.findall(markdown_of(path)):
            page, _, anchor = target.partition("#")
            if page.endswith("glossary.md"):
                assert (path.parent / page).resolve() == GLOSSARY, (path.name, target)
                assert anchor in glossary_anchors, (path.name, target)


def test_every_term_says_which_notebook_introduces_it():
    terms = re.split(r"^## ", GLOSSARY.read_text("utf-8"), flags=re.M)[1:]
    assert len(terms) >= 25
    names = [term.partition("\n")[0] for term in terms]
    assert names == sorted(names, key=str.lower)
    for term in terms:
        assert re.search(r"\(\.\./notebooks/\d\d_\w+\.ipynb\)", term), term[:40]


def test_an_anchor_is_made_as_github_makes_it(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# ReLU\n## Class activation map\n### What's new?\n```\n# no\n```\n"
    )
    assert anchors(page) == {"relu", "class-activation-map", "whats-new"}


def test_the_readme_can_be_read_at_one_sitting():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


def test_the_citation_file_names_the_version_and_the_title():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'version = "{citation["version"]}"' in project
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "MIT"
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert citation["title"] in readme
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {citation['version']}" in changes


def test_every_work_that_the_paper_cites_is_in_its_references():
    paper = (ROOT / "paper" / "paper.md").read_text("utf-8")
    _, front, text = paper.split("---\n", 2)
    entries = re.findall(
        r"^@\w+\{(\w+),", (ROOT / "paper" / "paper.bib").read_text("utf-8"), re.M
    )
    assert len(set(entries)) == len(entries)
    assert set(re.findall(r"@([\w]+)", text)) == set(entries)
    assert len(text.split()) <= 1000
    assert yaml.safe_load(front)["bibliography"] == "paper.bib"
