"""What several test files share: the two networks, loaded once, and a toy model."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def xception():
    from xai_helpers import load_classifier

    return load_classifier("xception", verbose=False)


@pytest.fixture(scope="session")
def vgg16():
    from xai_helpers import load_classifier

    return load_classifier("vgg16", verbose=False)


@pytest.fixture
def noise():
    """A photo-like array of the given size, different for each seed."""

    def make(height=40, width=50, seed=0):
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make
