"""The background photos of expected gradients, and what a model makes of them."""

import hashlib
from collections.abc import Callable

import numpy as np

from .batches import memory_limit


class Background:
    """Photos; results for them serve again as long as they and the weights stay."""

    def __init__(self, photos: np.ndarray, model, cache: dict):
        self.photos, self.cache = photos, cache
        digest = hashlib.sha1(np.ascontiguousarray(photos), usedforsecurity=False)
        for weights in model.weights:
            digest.update(np.ascontiguousarray(weights))
        self.fingerprint = digest.hexdigest()

    def keep(self, name: str, compute: Callable, layer: str = ""):
        """``compute(photos)``, or its last result for this name and layer."""
        key, place = (self.fingerprint, layer), ("background", name)
        if place not in self.cache or self.cache[place][0] != key:
            self.cache[place] = key, compute(self.photos)
        return self.cache[place][1]

    def reader(self, compute: Callable, layer) -> Callable:
        """Row numbers → ``compute(photos[rows])``, a layer's output; None: the photos.

        Computed once for all photos if that takes a quarter of the memory or less.
        """
        if layer is None:
            return lambda rows: self.photos[rows]
        if 4 * int(np.prod(layer.shape)) * len(self.photos) > memory_limit() // 4:
            return lambda rows: compute(self.photos[rows])
        values = self.keep("layer outputs", compute, layer.name)
        return lambda rows: values[rows]
