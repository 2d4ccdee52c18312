"""The project's data: where it lies, and the classes, which people call by labels."""

import difflib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np


class WeightsError(RuntimeError):
    """Weights that cannot be had or trusted, with a sentence that names the way out."""


def data_folder() -> Path:
    """The project's ``data/``: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).parent.parent
    in_wheel = package / "data"
    return in_wheel if in_wheel.is_dir() else package.parent / "data"


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, label) of the 1000 ImageNet classes, in Keras's order."""
    table = json.loads((data_folder() / "imagenet_class_index.json").read_text("utf-8"))
    return tuple(tuple(table[str(index)]) for index in range(len(table)))


def find_class(target: str | int, classes: list[tuple[str, str]]) -> int:
    """The index of a label, a WordNet id, or an index, among (WordNet id, label) pairs.

    Digits as text are a label if there is one, else an index. If nothing, or more than
    one class, answers to it, a ValueError names close labels or the ids to choose from.
    """
    if isinstance(target, (int, np.integer)) and not isinstance(target, bool):
        if 0 <= target < len(classes):
            return int(target)
        raise ValueError(f"Class index {target} is outside 0 to {len(classes) - 1}.")
    name = str(target).strip().lower().replace(" ", "_")
    matches = [
        i
        for i, (wnid, label) in enumerate(classes)
        if name and name in (wnid.lower(), label.lower().replace(" ", "_"))
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        ids = " or ".join(classes[i][0] or str(i) for i in matches)
        raise ValueError(f"{len(matches)} classes are called {target!r}: give {ids}.")
    if name.isdecimal() and name.isascii():  # an index, as text
        return find_class(int(name), classes)
    labels = {label.lower(): label for _, label in classes}
    close = [label for key, label in labels.items() if name and name in key][:5]
    similar = difflib.get_close_matches(name, labels, n=5, cutoff=0.6)
    close += [labels[key] for key in similar if labels[key] not in close]
    advice = f"Close labels: {', '.join(close)}."
    if not close:
        examples = ", ".join(label for _, label in classes[:3])
        advice = f"Classes are, for example, {examples}."
    raise ValueError(f"No class {target!r}. {advice}")
