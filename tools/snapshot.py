"""The values of every technique, kept in a file and compared later.

    python tools/snapshot.py save before.npz             some minutes
    python tools/snapshot.py compare before.npz          after a change

For a change that must not change a number. Every technique of the registry is asked
about both networks and a small transfer-learned model, three photos, two classes, both
scores and, where it takes a layer, two layers. The file stays outside git: 100 MB.
"""

import argparse
import sys
from itertools import product

import numpy as np

from xai_helpers import background, explain, keras, load_classifier, sample_image

MODELS = ("vgg16", "xception", "nested")
PHOTOS = ("cat", "dogs", "coffee")
FEW = {"samples": 6, "steps": 24, "masks": 24, "progress": False}  # where taken


def load(name: str):
    """A network of the course, or a convolutional base nested in another model."""
    if name != "nested":
        return load_classifier(name, weights="portable", verbose=False)
    keras.utils.set_random_seed(3)
    layers, inputs = keras.layers, keras.Input((64, 64, 3))
    base = [layers.Rescaling(1 / 127.5, -1, name="rescaling")]
    base += [layers.Conv2D(6, 3, activation="relu", name="first")]
    base += [layers.MaxPooling2D(name="pool")]
    base += [layers.Conv2D(8, 3, activation="relu", name="second")]
    x = layers.GlobalAveragePooling2D()(keras.Sequential(base)(inputs))
    outputs = layers.Dense(3, activation="softmax")(x)
    return load_classifier(keras.Model(inputs, outputs), verbose=False)


def calls_of(technique: explain.Technique, classifier):
    """The options of each call, and those among them that tell the calls apart."""
    layers = (None, classifier.bottlenecks[len(classifier.bottlenecks) // 2])
    targets = (None, len(classifier.classes) // 2)
    scores = ("logit", "probability")
    choices = {"target": targets, "score": scores, "layer": layers}
    names = [name for name in choices if technique.takes(name)]
    quick = technique.quick(min(classifier.input_size)) | FEW
    for values in product(*map(choices.get, names)):
        yield quick | dict(zip(names, values, strict=True)), values


def snapshot(models) -> dict[str, np.ndarray]:
    """Technique, model, photo, options and what it is, joined by | → array."""
    arrays, classifiers = {}, {model: load(model) for model in models}
    for (model, classifier), photo in product(classifiers.items(), PHOTOS):
        image = sample_image(photo)
        others = background(4, classifier.input_size, exclude=photo)
        for name, technique in explain.TECHNIQUES.items():
            for options, values in calls_of(technique, classifier):
                result = technique.call(classifier, image, background=others, **options)
                key = "|".join(map(str, (name, model, photo, *values)))
                parts = {"values": result.values, "score": result.score_value or 0.0}
                if result.upsampling is not None:
                    parts["heatmap"] = result.heatmap()
                for label, part in (parts | result.checks).items():
                    arrays[f"{key}|{label}"] = np.asarray(part)
        print(model, photo, flush=True)
    return arrays


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """The largest, as a share of the largest value before."""
    if before.shape != after.shape:
        return np.inf
    if np.array_equal(before, after):  # infinite ones, too
        return 0.0
    return float(np.abs(after - before).max() / (np.abs(before).max() or 1))


def compare(before: dict, after: dict, bound: float) -> bool:
    """Print the largest difference of each technique; whether all are within."""
    differences = {}
    for key in sorted({*before, *after}):
        both = key in before and key in after
        size = difference(before[key], after[key]) if both else np.inf
        differences.setdefault(key.split("|")[0], []).append((size, key))
    largest = {technique: max(sizes) for technique, sizes in differences.items()}
    for technique, (size, key) in largest.items():
        print(f"{technique:22} at most {size:.1e}, in {key}")
    return all(size <= bound for size, _ in largest.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("save", "compare"))
    parser.add_argument("file")
    parser.add_argument("--bound", type=float, default=1e-5)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    args = parser.parse_args()
    arrays = snapshot(args.models)
    if args.action == "save":
        np.savez(args.file, **arrays)
        return 0
    before = dict(np.load(args.file))
    before = {k: a for k, a in before.items() if k.split("|")[1] in args.models}
    return 0 if compare(before, arrays, args.bound) else 1


if __name__ == "__main__":
    sys.exit(main())
