"""The README's table of techniques is the registry's."""

import pytest
import readme

from xai_helpers import explain

TEXT = readme.README.read_text("utf-8")


def test_the_readme_lists_the_techniques_of_the_registry():
    assert readme.readme(TEXT) == TEXT, "run `make readme`"


def test_every_technique_has_its_title_its_question_and_a_link_to_its_file():
    table = readme.techniques_table().splitlines()[2:]
    for line, technique in zip(table, explain.TECHNIQUES.values(), strict=True):
        assert f"[{technique.title}]" in line
        assert f"| {technique.question} |" in line
        (path,) = [part.split(")")[0] for part in line.split("](")[1:]]
        assert f"def {technique.name}(" in (readme.README.parent / path).read_text()


def test_only_what_stands_between_the_marks_is_replaced():
    text = "before\n<a>\nold\n<b>\nafter\n"
    new = readme.replace_between(text, "<a>", "<b>", "new", "newer")
    assert new == "before\n<a>\n\nnew\n\nnewer\n\n<b>\nafter\n"
    assert readme.replace_between(new, "<a>", "<b>", "new", "newer") == new


@pytest.mark.parametrize("text", ["no marks", "<a> <b> <a>", "<b>"])
def test_missing_or_doubled_marks_are_named(text):
    with pytest.raises(SystemExit, match="<a> <b>"):
        readme.replace_between(text, "<a>", "<b>", "new")
