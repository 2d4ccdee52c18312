"""The names of the classes: from what people have, to (WordNet id, label) in order."""

import codecs
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

WAYS = "a list such as ['cat', 'dog'], or a dict {'cat': 0, 'dog': 1}"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def to_classes(labels, count: int, *, yes_no: bool = False) -> list[tuple[str, str]]:
    """(WordNet id, label) of each of the ``count`` classes, in the model's order.

    Parameters
    ----------
    labels : None, sequence or dict
        None: "class 0", "class 1", … A list, tuple, array or pandas column of labels or
        of pairs (WordNet id, label). Or a dict, label → index as the ``class_indices``
        of a generator, or index → label.
    yes_no : whether the two classes are one output, no and yes
        Then one label is enough, that for yes.

    Raises
    ------
    ValueError
        If these are no labels, or not one for each class; it says what to give.
    """
    if labels is None:
        return [("", f"class {index}") for index in range(count)]
    items = list(labels.items()) if isinstance(labels, Mapping) else _as_list(labels)
    if yes_no and len(items) not in (1, 2):
        raise ValueError(
            "A yes/no model takes one label (for yes) or two (no, yes), not "
            f"{len(items)}."
        )
    if isinstance(labels, Mapping):
        items = _in_order(items, count)
    classes = [_pair(item) for item in items]
    if yes_no and len(classes) == 1:
        classes.insert(0, ("", f"not {classes[0][1]}"))
    if len(classes) != count:
        raise ValueError(
            f"{len(classes)} labels for a model with {count} outputs; give one label "
            "for each."
        )
    return classes


def read_labels(path: str | Path) -> list[str]:
    """The labels in a text file, one a line; blank lines are left out.

    UTF-8, or UTF-16 with the byte order mark that Windows writes. Another encoding is a
    ``ValueError``: the letters would be guessed.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path} (looked from {Path.cwd()}).")
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
        if "\0" in text:  # UTF-16 without its mark, UTF-32, or no text at all
            raise ValueError("it holds zero bytes")
    except ValueError as error:
        raise ValueError(
            f"{path} is no list of labels in UTF-8 ({error}); save it as UTF-8, one "
            "label a line."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _as_list(labels) -> list:
    """The items of a sequence; what has no order, or is read only once, is refused."""
    if isinstance(labels, (str, bytes, os.PathLike)):
        raise ValueError(
            f"labels is {WAYS}, not the string {str(labels)[:60]!r}; read a file of "
            "labels with open(file).read().splitlines()."
        )
    labels = labels.tolist() if hasattr(labels, "tolist") else labels  # NumPy, pandas
    is_list = hasattr(labels, "__len__") and hasattr(labels, "__getitem__")
    if not is_list or isinstance(labels, (str, bytes)):  # an array of no dimension
        raise ValueError(
            f"labels is {WAYS}, in the order of the outputs, not a "
            f"{type(labels).__name__}."
        )
    return list(labels)


def _in_order(items: list[tuple], count: int) -> list:
    """The labels of a dict by index 0, 1, …: each must be there once."""
    by_index = [(_index(key), value) for key, value in items]
    by_label = [(_index(value, digits=False), key) for key, value in items]
    readings = [r for r in (by_label, by_index) if all(i is not None for i, _ in r)]
    is_text = any(isinstance(key, str) for key, _ in items)
    if len(readings) == 2 and not is_text:  # numbers to numbers
        whole = [r for r in readings if {i for i, _ in r} == set(range(count))]
        if len(whole) == 2 and set(by_index) != set(by_label):
            raise ValueError(
                "labels has numbers on both sides, so which are the indices is not "
                "known; give a list of the labels in order."
            )
        readings = whole or readings
    if not readings:
        raise ValueError(
            "labels is a dict of neither label → index, {'cat': 0, 'dog': 1}, nor "
            "index → label, {0: 'cat', 1: 'dog'}."
        )
    times = Counter(index for index, _ in readings[0])
    wrong = {
        "missing": [i for i in range(count) if i not in times],
        "double": [i for i in sorted(times) if times[i] > 1],
        "outside": [i for i in sorted(times) if not 0 <= i < count],
    }
    faults = [f"{kind}: {_few(numbers)}" for kind, numbers in wrong.items() if numbers]
    if faults:
        raise ValueError(
            f"labels gives each index from 0 to {count - 1} one label; "
            f"{'; '.join(faults)}."
        )
    return [label for _, label in sorted(readings[0], key=lambda entry: entry[0])]


def _index(value, digits: bool = True) -> int | None:
    """A whole number as an int, also as text (the keys of a JSON file), else None."""
    if isinstance(value, (int, np.integer)):
        return int(value)
    is_number = isinstance(value, str) and value.isascii() and value.isdecimal()
    return int(value) if digits and is_number else None


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")


def _pair(item) -> tuple[str, str]:
    """(WordNet id, label) of a label or of such a pair."""
    if isinstance(item, (str, int, float, np.number)):
        return "", str(item)
    if isinstance(item, (tuple, list)) and len(item) == 2:
        wnid, label = item
        if isinstance(wnid, (str, type(None))) and isinstance(label, str):
            return str(wnid or ""), str(label)
    raise ValueError(
        f"A label is a text or a pair of texts, (WordNet id, label), not {item!r:.80}; "
        "for labels with indices give a dict."
    )
