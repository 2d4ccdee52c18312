"""A check computes the right answer anew for each answer; here it is kept meanwhile."""

import functools
import hashlib

import numpy as np
import pytest

from xai_helpers import Classifier, explain


def key_of(value):
    """What tells one argument from another: arrays by their bytes."""
    if isinstance(value, Classifier):
        return id(value)
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return value.shape, value.dtype.str, digest
    if isinstance(value, (list, tuple)):
        return tuple(map(key_of, value))
    return repr(value)


def kept(function, results):
    @functools.wraps(function)
    def wrapped(*arguments, **options):
        pairs = sorted(options.items())
        key = function, key_of(arguments), key_of([*map(list, pairs)])
        if key not in results:
            results[key] = function(*arguments, **options)
        return results[key]

    return wrapped


@pytest.fixture(autouse=True, scope="module")
def kept_results():
    """The maps and logits of the module's tests."""
    results, patch = {}, pytest.MonkeyPatch()
    for technique in explain.TECHNIQUES.values():
        patch.setitem(vars(technique), "function", kept(technique.function, results))
    patch.setattr(Classifier, "logits_of", kept(Classifier.logits_of, results))
    yield
    patch.undo()
