"""Labels as people have them, and label files as their editors write them."""

import codecs

import numpy as np
import pytest

from xai_helpers.engine.labels import read_labels, to_classes

CAT_DOG_OWL = [("", "cat"), ("", "dog"), ("", "owl")]


class Column:
    """What pandas's Index and Series have in common, as far as it is needed."""

    def __init__(self, *values):
        self.values = values

    def tolist(self):
        return list(self.values)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, k):
        raise KeyError(k)  # a Series is asked by its own index


# --- sequences ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog", "owl"],
        ("cat", "dog", "owl"),
        np.array(["cat", "dog", "owl"]),
        np.array(["cat", "dog", "owl"], object),
        [np.str_("cat"), "dog", "owl"],
        Column("cat", "dog", "owl"),
        [("", "cat"), ("", "dog"), ["", "owl"]],
        [(None, "cat"), "dog", "owl"],
    ],
)
def test_sequences_of_labels(labels):
    classes = to_classes(labels, 3)
    assert classes == CAT_DOG_OWL
    assert {type(text) for pair in classes for text in pair} == {str}


def test_none_counts():
    assert to_classes(None, 2) == [("", "class 0"), ("", "class 1")]
    assert to_classes(None, 2, yes_no=True) == [("", "class 0"), ("", "class 1")]


def test_pairs_keep_their_wordnet_ids():
    pairs = [("n02123045", "tabby"), ("n02099712", "Labrador")]
    assert to_classes(pairs, 2) == pairs
    assert to_classes(np.array(pairs), 2) == pairs


@pytest.mark.parametrize(
    "labels", [[3, 7], np.array([3, 7]), (np.int64(3), np.uint8(7))]
)
def test_numbers_are_labels(labels):
    assert to_classes(labels, 2) == [("", "3"), ("", "7")]


def test_fractions_are_labels():
    assert to_classes([0.5, np.float64(1.25)], 2) == [("", "0.5"), ("", "1.25")]


def test_two_classes_may_have_one_label():
    """ImageNet's cranes, the bird and the machine."""
    assert to_classes(["crane", "crane"], 2) == [("", "crane"), ("", "crane")]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("abc", "not the string 'abc'"),
        ("labels.txt", r"open\(file\)\.read\(\)\.splitlines\(\)"),
        ("x" * 9000, "not the string 'x{60}'"),
        (b"abc", "not the string"),
        ({"cat", "dog", "owl"}, "in the order of the outputs, not a set"),
        ((name for name in "abc"), "not a generator"),
        (map(str, range(3)), "not a map"),
        ({"a": 0, "b": 1, "c": 2}.keys(), "not a dict_keys"),
        (3, "not a int"),
        (np.array("abc"), "not a str"),
        (np.array(b"abc"), "not a bytes"),
        ([["a"], ["b"], ["c"]], "A label is a text"),
        ([("a", "b", "c")] * 3, "A label is a text"),
        ([None, "dog", "owl"], "A label is a text"),
        ([b"cat", b"dog", b"owl"], "A label is a text"),
        (np.array([b"cat", b"dog", b"owl"]), "A label is a text"),
        ([("cat", 0), ("dog", 1), ("owl", 2)], "with indices give a dict"),
        ([(0, "cat"), (1, "dog"), (2, "owl")], "with indices give a dict"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_sequence_of_labels_is_refused(labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        to_classes(labels, 3)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("count", [0, 2, 4])
def test_one_label_for_each_output(count):
    with pytest.raises(ValueError) as caught:
        to_classes(["label"] * count, 3)
    assert str(caught.value) == (
        f"{count} labels for a model with 3 outputs; give one label for each."
    )


# --- dicts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        {"dog": 1, "cat": 0, "owl": 2},
        {"dog": np.int64(1), "cat": np.int32(0), "owl": np.int64(2)},
        {2: "owl", 0: "cat", 1: "dog"},
        {"2": "owl", "0": "cat", "1": "dog"},  # as JSON writes it
        {np.int64(2): "owl", 0: "cat", 1: "dog"},
    ],
)
def test_dicts_put_each_label_at_its_index(labels):
    assert to_classes(labels, 3) == CAT_DOG_OWL


def test_a_table_of_pairs():
    """Keras's ``imagenet_class_index.json``."""
    table = {"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"]}
    expected = [("n01440764", "tench"), ("n01443537", "goldfish")]
    assert to_classes(table, 2) == expected


def test_folders_called_by_numbers():
    """Keras sorts their names as text: 0, 1, 10, 2."""
    class_indices = {"0": 0, "1": 1, "10": 2, "2": 3}
    assert [label for _, label in to_classes(class_indices, 4)] == ["0", "1", "10", "2"]


def test_numbers_on_both_sides():
    assert to_classes({3: 0, 7: 1}, 2) == [("", "3"), ("", "7")]
    assert to_classes({0: 3, 1: 7}, 2) == [("", "3"), ("", "7")]
    assert to_classes({1: 0, 0: 1}, 2) == [("", "1"), ("", "0")]  # either way
    with pytest.raises(ValueError, match="which are the indices is not known"):
        to_classes({0: 1, 1: 2, 2: 0}, 3)


@pytest.mark.parametrize(
    ("labels", "faults"),
    [
        ({"cat": 0, "dog": 1}, "missing: 2."),
        ({0: "cat", 2: "owl"}, "missing: 1."),
        ({"cat": 0, "dog": 1, "hound": 1}, "missing: 2; double: 1."),
        ({"cat": 0, "dog": 1, "owl": 2, "eagle owl": 2}, "double: 2."),
        ({"cat": 1, "dog": 2, "owl": 3}, "missing: 0; outside: 3."),
        ({"cat": -1, "dog": 0, "owl": 1}, "missing: 2; outside: -1."),
        ({0: "cat", 1: "dog", 2: "owl", 3: "ant", 9: "bee"}, "outside: 3, 9."),
        ({5: 6, 7: 8}, "missing: 0, 1, 2; outside: 6, 8."),
        ({}, "missing: 0, 1, 2."),
    ],
)
def test_dicts_that_miss_or_double_an_index(labels, faults):
    with pytest.raises(ValueError) as caught:
        to_classes(labels, 3)
    expected = f"labels gives each index from 0 to 2 one label; {faults}"
    assert str(caught.value) == expected


def test_many_missing_indices_are_not_all_named():
    with pytest.raises(ValueError) as caught:
        to_classes({"cat": 0}, 50_000)
    assert "missing: 1, 2, 3, 4, 5, …" in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [{"cat": "0", "dog": "1"}, {"cat": 0.0, "dog": 1.0}, {"a": ["x"], "b": ["y"]}],
)
def test_dicts_without_indices_are_refused(labels):
    with pytest.raises(ValueError, match="neither label → index"):
        to_classes(labels, 2)


# --- yes or no ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels", [["dog"], ("dog",), np.array(["dog"]), [("", "dog")]]
)
def test_one_label_is_that_for_yes(labels):
    expected = [("", "not dog"), ("", "dog")]
    assert to_classes(labels, 2, yes_no=True) == expected


def test_one_pair_is_that_for_yes():
    yes = ("n02084071", "dog")
    assert to_classes([yes], 2, yes_no=True) == [("", "not dog"), yes]


@pytest.mark.parametrize("labels", [["cat", "dog"], {"dog": 1, "cat": 0}])
def test_two_labels_are_no_and_yes(labels):
    expected = [("", "cat"), ("", "dog")]
    assert to_classes(labels, 2, yes_no=True) == expected


@pytest.mark.parametrize("labels", [[], ["a", "b", "c"], {"a": 0, "b": 1, "c": 2}])
def test_yes_or_no_takes_no_other_number(labels):
    with pytest.raises(ValueError) as caught:
        to_classes(labels, 2, yes_no=True)
    assert str(caught.value) == (
        f"A yes/no model takes one label (for yes) or two (no, yes), not {len(labels)}."
    )


def test_one_label_for_two_outputs_is_not_enough():
    with pytest.raises(ValueError, match="1 labels for a model with 2 outputs"):
        to_classes(["dog"], 2)


# --- files ----------------------------------------------------------------------------

TEXT = "crème brûlée\n\n  trifle  \n苹果\n\n"
LABELS = ["crème brûlée", "trifle", "苹果"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_label_files(tmp_path, encoding, line_end):
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    content = TEXT.replace("\n", line_end).encode(encoding)
    path = tmp_path / "labels.txt"
    path.write_bytes(mark.get(encoding, b"") + content)
    assert read_labels(path) == read_labels(str(path)) == LABELS


def test_the_last_line_may_be_without_its_end(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"cat\ndog")
    assert read_labels(tmp_path / "labels.txt") == ["cat", "dog"]
    (tmp_path / "labels.txt").write_bytes(b"")
    assert read_labels(tmp_path / "labels.txt") == []


@pytest.mark.parametrize(
    "content",
    [
        "käse\nhund\n".encode("latin-1"),
        "cat\ndog\n".encode("utf-16-le"),  # without its mark it looks like UTF-8
        "cat\ndog\n".encode("utf-32"),
        codecs.BOM_UTF16_LE + b"c\0a\0t",
        bytes(range(256)),
    ],
)
def test_other_encodings_are_refused(tmp_path, content):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.txt .*save it as UTF-8") as caught:
        read_labels(path)
    assert len(str(caught.value)) < 200 + len(str(path))


def test_a_label_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*labels\.txt"):
        read_labels(tmp_path / "labels.txt")
    with pytest.raises(OSError, match=str(tmp_path)):
        read_labels(tmp_path)
