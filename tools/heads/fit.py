"""Fit the portable heads: linear classifiers on the published bases.

    make heads HEADS="--data DIR"

CONTRIBUTING.md says which photos DIR holds. Three steps; the two long ones are cached
in --cache, so a stopped run goes on where it was:

1. the teachers (teacher.py, a process of its own) give the logits of each view;
2. the two published bases turn each view into features (features.py);
3. two heads are fitted and averaged, calibrated, measured on photos that were never
   fitted on, and written to data/heads/.

The first head is a ridge regression onto the teachers' logits (Ba and Caruana 2014,
"Do deep nets really need to be deep?"): a logit says something about a class also on
photos that do not show it, so a class can be learned from a few photos, or from none.
It agrees with the teachers most often. The second learns the teachers' probabilities by
cross-entropy, and so what tells the likely classes apart: its Grad-CAM points to the
right half of a mosaic more often. The mean of the two has most of both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import venv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from features import SIDES, write_features
from scipy.special import log_softmax
from views import MEASURING, TRAINING, kind_of_round, photo_sets, stored_file

from xai_helpers import (
    explain,
    keras,
    load_classifier,
    metrics,
    sample_image,
    tf,
    weights,
)

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
HEADS = ROOT / "data" / "heads"
NAMES = tuple(SIDES)
TITLES = {
    "selection": "selection: 200 photos of common categories",
    "kept_out": "kept out: 200 more of them",
    "imagenet50": "imagenet50",
}
PENALTIES = 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 3000, 256, 2e-3, 0.05  # of AdamW
MIXUP = 0.3  # Beta(a, a), on the features
CLASSES = {  # what the course's photos show, for the pointing game
    "bird": "robin", "cat": "Egyptian_cat", "coffee": "espresso",
    "dogs": "cocker_spaniel", "dragonfly": "dragonfly", "officer": "suit",
    "palace": "palace", "rocket": "missile",
}  # fmt: skip


class Recipe(NamedTuple):
    """What a head is fitted from."""

    sets: tuple[str, ...] = TRAINING
    kinds: tuple[str, ...] = ("centre", "crop", "mixture")  # of views, see views.py
    teachers: tuple[int, ...] = (0, 1, 2)  # EfficientNet-Lite0, 1, 2
    maximum: bool = True  # VGG16: the maximum of each channel beside its average


class Head(NamedTuple):
    kernel: np.ndarray  # (features, 1000)
    bias: np.ndarray  # (1000,)

    def logits(self, features: np.ndarray) -> np.ndarray:
        return features @ self.kernel + self.bias


# --- fitting --------------------------------------------------------------------------


def load_round(cache: Path, network: str, job: tuple, recipe: Recipe) -> tuple:
    """Features (photos, n) and the teachers' mean log-probabilities (photos, 1000)."""
    features = np.load(stored_file(cache, "features", *job))[network]
    if network == "vgg16" and not recipe.maximum:
        features = features[:, : features.shape[1] // 2]
    stored = np.load(stored_file(cache, "teacher", *job))
    logits = [stored[f"lite{size}"].astype("float32") for size in recipe.teachers]
    return features, np.mean([log_softmax(z, axis=1) for z in logits], axis=0)


def training_set(cache: Path, network: str, rounds: dict, recipe: Recipe) -> tuple:
    """Features and targets of all views that the recipe takes."""
    parts = [
        load_round(cache, network, (name, number), recipe)
        for name in recipe.sets
        for number in range(rounds[name])
        if kind_of_round(number) in recipe.kinds
    ]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return x, y - y.mean(axis=1, keepdims=True)  # a softmax ignores what all share


def ridge(x: np.ndarray, y: np.ndarray, penalties) -> list[Head]:
    """Ridge regression on standardised features, in closed form; one for each penalty.

    Least squared error of the logits + penalty × squared kernel, both per view.
    """
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-3
    z, offset = (x - mean) / spread, y.mean(axis=0)
    values, vectors = np.linalg.eigh((z.T @ z).astype("float64") / len(z))
    products = vectors.T @ (z.T @ (y - offset)) / len(z)
    heads = []
    for penalty in penalties:
        kernel = vectors @ (products / (values + penalty)[:, None]) / spread[:, None]
        heads.append(Head(kernel, offset - mean @ kernel))
    return heads


def cross_entropy_head(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Head:
    """Multinomial regression on the teachers' probabilities, with mixup and AdamW."""
    keras.utils.set_random_seed(seed)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-3
    inputs, targets = tf.constant((x - mean) / spread), tf.nn.softmax(y)
    layer = keras.layers.Dense(y.shape[1], kernel_initializer="zeros")
    layer.build((None, x.shape[1]))
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, STEPS)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY)
    optimizer.build(layer.trainable_variables)

    @tf.function
    def step(i, j, share):
        def blend(rows):
            return share * tf.gather(rows, i) + (1 - share) * tf.gather(rows, j)

        with tf.GradientTape() as tape:
            loss = tf.nn.softmax_cross_entropy_with_logits(
                blend(targets), layer(blend(inputs))
            )
            loss = tf.reduce_mean(loss)
        gradients = tape.gradient(loss, layer.trainable_variables)
        optimizer.apply(gradients)

    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        i, j = rng.integers(0, len(x), (2, BATCH))
        share = rng.beta(MIXUP, MIXUP, (BATCH, 1))
        step(tf.constant(i), tf.constant(j), tf.constant(share, "float32"))
    kernel, bias = layer.get_weights()
    kernel = kernel / spread[:, None]  # fold the standardisation into the layer
    return Head(kernel, bias - mean @ kernel)


def mean_head(first: Head, second: Head, x: np.ndarray) -> Head:
    """Half of each, divided by the spread of its logits over the views."""
    a, b = ((x @ head.kernel).std() for head in (first, second))
    halves = zip(first, second, strict=True)
    return Head(*(0.5 * p / a + 0.5 * q / b for p, q in halves))


# --- measuring ------------------------------------------------------------------------


def agreement(logits: np.ndarray, answers: np.ndarray) -> list[float]:
    """Share of photos whose first teacher answer is ours, and is in our first five."""
    first = answers.argmax(axis=1)[:, None]
    hit = np.argsort(-logits, axis=1)[:, :5] == first
    return [float(hit[:, 0].mean()), float(hit.any(axis=1).mean())]


def cross_entropy(logits: np.ndarray, answers: np.ndarray) -> float:
    """Mean of −log p of the teachers' first answers."""
    rows = np.arange(len(answers)), answers.argmax(axis=1)
    return float(-log_softmax(logits, axis=1)[rows].mean())


def temperature_of(logits: np.ndarray, answers: np.ndarray) -> float:
    """The temperature of least cross-entropy."""
    candidates = np.geomspace(0.2, 5, 200)
    return float(min(candidates, key=lambda t: cross_entropy(logits / t, answers)))


def calibration_error(logits: np.ndarray, answers: np.ndarray, bins: int = 5) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3), bins of equal count."""
    confidence = np.exp(log_softmax(logits, axis=1).max(axis=1))
    correct = logits.argmax(axis=1) == answers.argmax(axis=1)
    parts = np.array_split(np.argsort(confidence), bins)
    gaps = [abs(confidence[p].mean() - correct[p].mean()) * len(p) for p in parts]
    return float(sum(gaps) / len(correct))


def pointing(network: str, head: Head) -> float:
    """Grad-CAM's mean share on the right half of mosaics of two of the course's photos.

    The last layer; the classes that the photos show, whatever the network answers.
    """
    classifier = load_classifier(network, weights="portable", verbose=False)
    classifier.model.layers[-1].set_weights(list(head))
    names, shares = list(CLASSES), []
    for k, left in enumerate(names):
        for right in (names[(k + 1) % 8], names[(k + 3) % 8]):
            photos = [sample_image(left), sample_image(right)]
            image = metrics.mosaic(photos, classifier.input_size[0])
            for tile, name in enumerate((left, right)):
                heatmap = explain.grad_cam(classifier, image, CLASSES[name])
                shares.append(metrics.pointing_game_score(heatmap, tile, 2))
    return float(np.mean(shares))


def steps_of(network: str) -> list[tuple[str, Recipe]]:
    """The recipe, built up from the plainest one, a change at a time."""
    recipe = Recipe(("one_per_class",), ("centre",), (0,), False)
    changes = [("one photo a class, centre crops, the teacher Lite0", {})]
    changes += [("+ random crops", {"kinds": ("centre", "crop")})]
    changes += [("+ mixtures of photos", {"kinds": Recipe().kinds})]
    changes += [("+ the teachers Lite1 and Lite2", {"teachers": (0, 1, 2)})]
    if network == "vgg16":
        changes += [("+ maximum beside average pool", {"maximum": True})]
    photos = ("one_per_class", "common", "birds_fish")
    changes += [("+ photos of common categories, birds and fish", {"sets": photos})]
    changes += [("+ Caltech-101", {"sets": TRAINING})]
    steps = []
    for title, change in changes:
        recipe = recipe._replace(**change)
        steps.append((title, recipe))
    return steps


def measuring_sets(cache: Path, network: str, recipe: Recipe) -> dict[str, tuple]:
    """Features and answers of the photos that are never fitted on."""
    teachers = recipe._replace(teachers=(0, 1, 2))
    return {n: load_round(cache, network, (n, 0), teachers) for n in MEASURING}


def make_head(network: str, cache: Path, rounds: dict) -> dict:
    """Choose the penalty, fit, calibrate, measure, write; returns what was measured."""
    x, y = training_set(cache, network, rounds, Recipe())
    sets = measuring_sets(cache, network, Recipe())
    features, answers = sets["selection"]

    def loss(head):  # on the photos for selection, calibrated
        logits = head.logits(features)
        return cross_entropy(logits / temperature_of(logits, answers), answers)

    heads = dict(zip(PENALTIES, ridge(x, y, PENALTIES), strict=True))
    penalty = min(heads, key=lambda p: loss(heads[p]))
    gains = []

    def note(title, head, recipe):
        measured = measuring_sets(cache, network, recipe)
        shares = {n: agreement(head.logits(a), b) for n, (a, b) in measured.items()}
        points = pointing(network, head) if recipe == Recipe() else None
        gains.append([title, shares, points])
        print(network, *gains[-1], flush=True)

    for title, recipe in steps_of(network):
        (step,) = ridge(*training_set(cache, network, rounds, recipe), [penalty])
        note(title, step, recipe)
    other = cross_entropy_head(x, y)
    note("cross-entropy instead, all photos", other, Recipe())
    head = mean_head(heads[penalty], other, x)
    note("the mean of both", head, Recipe())
    temperature = temperature_of(head.logits(features), answers)
    recipe = {
        "base_sha256": weights.weights_record(network).base_sha256,
        "pooling": "average" if network == "xception" else "average and maximum",
        "views": len(x),
        "penalty": penalty,
        "temperature": temperature,
        "agreement": gains[-1][1],
        "photos": {name: len(answers) for name, (_, answers) in sets.items()},
        "calibration_error": {
            name: [calibration_error(head.logits(a) / t, b) for t in (1.0, temperature)]
            for name, (a, b) in sets.items()
        },
        "gains": gains,
    }
    arrays = {"kernel": head.kernel / temperature, "bias": head.bias / temperature}
    arrays = {key: value.astype("float16") for key, value in arrays.items()}
    HEADS.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(HEADS / f"{network}.npz", recipe=json.dumps(recipe), **arrays)
    return recipe


# --- the report -----------------------------------------------------------------------


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def pair(shares: list[float]) -> str:
    return " / ".join(map(percent, shares))


def with_error(shares: list[float], photos: int) -> str:
    """Both shares with their binomial standard errors."""
    errors = [np.sqrt(p * (1 - p) / photos) for p in shares]
    return " / ".join(
        f"{100 * p:.1f} ± {100 * e:.1f} %" for p, e in zip(shares, errors, strict=True)
    )


def report(recipes: dict[str, dict]) -> str:
    """data/heads/README.md"""
    lines = [
        "# The portable heads",
        "",
        "Written by `make heads`; see CONTRIBUTING.md. Each file holds `kernel` and",
        "`bias` (float16, temperature already divided out) and `recipe`, the JSON",
        "of what stands here. Agreement is with the first answer of three teachers",
        "(EfficientNet-Lite0, 1 and 2, the mean of their log-probabilities), as our",
        "first choice / among our first five, ± one binomial standard error, on photos",
        "that were never fitted on. The penalty and the temperature were chosen on",
        "those for selection; the others are only reported.",
        "",
        "| | VGG16 | Xception |",
        "| --- | --- | --- |",
    ]

    def row(title, cell):
        cells = " | ".join(cell(recipes[name]) for name in NAMES)
        lines.append(f"| {title} | {cells} |")

    row("pooling", lambda r: r["pooling"])
    row("views fitted on", lambda r: f"{r['views']:,}")
    row("penalty", lambda r: str(r["penalty"]))
    for n, title in TITLES.items():
        row(title, lambda r, n=n: with_error(r["agreement"][n], r["photos"][n]))
    row("temperature", lambda r: f"{r['temperature']:.2f}")
    for n in MEASURING:
        row(
            f"calibration error before / after, {n.replace('_', ' ')}",
            lambda r, n=n: pair(r["calibration_error"][n]),
        )
    for name in NAMES:
        title = weights.weights_record(name).title
        lines += ["", f"## What each step gained, {title}", ""]
        lines += [
            "| step | selection | kept out | imagenet50 | pointing |",
            "| --- | --- | --- | --- | --- |",
        ]
        for step, measured, points in recipes[name]["gains"]:
            cells = " | ".join(pair(measured[n]) for n in MEASURING)
            points = "" if points is None else f"{points:.3f}"
            lines.append(f"| {step} | {cells} | {points} |")
    lines += [
        "",
        "Pointing: Grad-CAM's share on the right half of 16 mosaics of the course's",
        "photos (0.5 is chance). All regressions of a network have its penalty.",
        "Differences within two standard errors may be chance: about 10 points on 200",
        "photos, 20 on 50.",
        "",
    ]
    return "\n".join(lines)


# --- all of it ------------------------------------------------------------------------


def ask_teachers(python: Path | None, args, cache: Path) -> None:
    """Run teacher.py in an environment with PyTorch, made on first use."""
    if python is None:
        home = ROOT / ".venv-teacher"
        python = home / "bin" / "python"
        if not (home / "ready").exists():
            venv.create(home, with_pip=True)
            needed = HERE / "teacher_requirements.txt"
            subprocess.run(
                [python, "-m", "pip", "install", "-q", "-r", needed], check=True
            )
            (home / "ready").touch()
    command = [python, HERE / "teacher.py", "--data", args.data, "--cache", cache]
    command += ["--rounds", args.rounds, "--caltech-rounds", args.caltech_rounds]
    subprocess.run([str(part) for part in command], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=weights.cache_folder() / "heads")
    parser.add_argument("--rounds", type=int, default=9, help="views of each photo")
    parser.add_argument("--caltech-rounds", type=int, default=3)
    parser.add_argument("--teacher-python", type=Path, help="a python with PyTorch")
    args = parser.parse_args()
    sets = photo_sets(args.data)
    files = [file for photos in sets.values() for file in photos]
    names = "".join(f"{file.name} {file.stat().st_size}\n" for file in files)
    digest = hashlib.sha256(names.encode()).hexdigest()
    cache = args.cache / digest[:12]  # other photos, other cache
    cache.mkdir(parents=True, exist_ok=True)
    ask_teachers(args.teacher_python, args, cache)
    write_features(cache, sets, args.rounds, args.caltech_rounds)
    rounds = dict.fromkeys(TRAINING, args.rounds) | {"caltech101": args.caltech_rounds}
    text = report({name: make_head(name, cache, rounds) for name in NAMES})
    (HEADS / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
