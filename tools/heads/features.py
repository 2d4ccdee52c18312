"""The pooled features that the two published bases see in each view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm
from views import MEASURING, resized, rounds_of, save_arrays, stored_file, views

from xai_helpers import keras, tf, weights

SIDES = {"vgg16": 224, "xception": 299}
BATCH = 20


def base_of(name: str) -> keras.Model:
    """The published base, from pixels 0–255 to its last maps."""
    build = getattr(keras.applications, weights.weights_record(name).title)
    shape = (SIDES[name], SIDES[name], 3)
    base = build(weights=None, include_top=False, input_shape=shape)
    base.set_weights(list(weights.portable_base(name).values()))
    return base


def feature_function(name: str):
    """Pixels to pooled features. A Classifier cannot serve: it has the head already."""
    base = base_of(name)
    scale = getattr(keras.applications, name).preprocess_input

    @tf.function(reduce_retracing=True)
    def features(pixels):
        maps = base(scale(tf.cast(pixels, "float32")), training=False)
        maps = tf.cast(maps, "float32")
        average = tf.reduce_mean(maps, axis=(1, 2))
        if name == "xception":  # only the average, so that CAM is Grad-CAM
            return average
        return tf.concat([average, tf.reduce_max(maps, axis=(1, 2))], axis=1)

    return lambda batch: features(resized(batch, SIDES[name])).numpy()


def write_features(cache: Path, sets: dict, rounds: int, caltech_rounds: int) -> None:
    """One file a round: (photos, 1024) of VGG16 and (photos, 2048) of Xception.

    bfloat16 halves the time and moves the features by 1 %; the photos that measure
    stay in float32.
    """
    jobs = rounds_of(sets, rounds, caltech_rounds)
    for precision in ("float32", "mixed_bfloat16"):
        mine = [
            job for job in jobs if (job[0] in MEASURING) == (precision == "float32")
        ]
        _write(cache, sets, mine, precision)
    keras.config.set_dtype_policy("float32")


def _write(cache: Path, sets: dict, jobs: list, precision: str) -> None:
    paths = {job: stored_file(cache, "features", *job) for job in jobs}
    todo = [job for job in jobs if not paths[job].exists()]
    if not todo:
        return
    keras.config.set_dtype_policy(precision)
    functions = {name: feature_function(name) for name in SIDES}
    for job in tqdm(todo, desc=f"features, {precision}", unit="round"):
        shown = views(job[0], sets[job[0]], job[1])
        starts = range(0, len(shown), BATCH)
        features = {
            name: np.concatenate([function(shown[s : s + BATCH]) for s in starts])
            for name, function in functions.items()
        }
        save_arrays(paths[job], features)
