"""Fit the portable heads: linear classifiers on the published bases.

    make heads HEADS="--photos DIR --held-out DIR"

DIR holds .jpg photos: one for each ImageNet class, named so that sorting gives the
class order, and for --held-out photos that are never trained on. CONTRIBUTING.md says
where to get them. Three steps, each cached in --cache, so a stopped run goes on where
it was:

1. the teacher (teacher.py, a process of its own) says what it sees in each view;
2. the two published bases turn each view into features;
3. the heads are fitted, calibrated, measured on the held-out photos and written to
   data/heads/, with a table of what each part of the recipe is worth.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
from tqdm import tqdm
from views import kind_of_round, photo_files, resized, views

from xai_helpers import keras, tf, weights

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
HEADS = ROOT / "data" / "heads"
NAMES = ("vgg16", "xception")

# What works; --steps measures what each entry is worth.
RECIPE = {
    # EfficientNet-Lite0, 1, 2: the mean of their log-probabilities
    "teachers": [0, 1, 2],
    "kinds": ["centre", "crop", "mixture"],  # of views, see views.py
    "teacher_temperature": 1.5,
    "label_share": 0.2,  # of the target; the rest is the teacher's answer
    "mixup": 0.3,  # Beta(a, a), on the features
    "pooling": "average",
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "batch": 256,
    "steps": 3000,
    "seed": 0,
}
POOLING = {"vgg16": "average and maximum", "xception": "average"}


# --- features -------------------------------------------------------------------------


def base_of(name: str) -> keras.Model:
    """The published base, from pixels 0–255 to its last maps (VGG16) or their mean."""
    build = getattr(keras.applications, weights.weights_record(name).title)
    side = {"vgg16": 224, "xception": 299}[name]
    pooling = None if name == "vgg16" else "avg"
    base = build(
        weights=None, include_top=False, input_shape=(side, side, 3), pooling=pooling
    )
    base.set_weights(list(weights.portable_base(name).values()))
    return base


def feature_function(name: str):
    """Pixels to features. A Classifier cannot serve: it needs the head fitted here."""
    base = base_of(name)
    scale = getattr(keras.applications, name).preprocess_input

    @tf.function(reduce_retracing=True)
    def features(pixels):
        return base(scale(tf.cast(pixels, "float32")), training=False)

    side = base.input_shape[1]
    return lambda batch: np.asarray(features(resized(batch, side)), "float16")


def write_features(cache: Path, jobs: list, precision: str) -> None:
    """One file a round; bfloat16 halves the time and moves the features by 1 %."""
    keras.config.set_dtype_policy(precision)
    todo = [job for job in jobs if not (cache / f"features-{job[0]}.npz").exists()]
    if todo:
        functions = {name: feature_function(name) for name in NAMES}
    for label, files, number in tqdm(todo, desc="features", unit="round"):
        shown = views(files, number)
        starts = range(0, len(shown), 20)
        features = {
            name: np.concatenate([function(shown[s : s + 20]) for s in starts])
            for name, function in functions.items()
        }
        save(cache / f"features-{label}.npz", features)
    keras.config.set_dtype_policy("float32")


def save(path: Path, arrays: dict) -> None:
    scratch = path.with_suffix(".tmp")
    with open(scratch, "wb") as file:
        np.savez(file, **arrays)
    scratch.replace(path)


def pool(name: str, features: np.ndarray, pooling: str) -> np.ndarray:
    features = features.astype("float32")
    if name == "xception":
        return features
    average, maximum = features.mean(axis=(1, 2)), features.max(axis=(1, 2))
    return (
        average if pooling == "average" else np.concatenate([average, maximum], axis=1)
    )


# --- fitting --------------------------------------------------------------------------


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float32")
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def teacher_log_probabilities(stored, teachers: list[int]) -> np.ndarray:
    """The mean of the teachers' log-probabilities, (photos, 1000)."""
    return np.mean([log_softmax(stored[f"lite{size}"]) for size in teachers], axis=0)


def training_set(name: str, cache: Path, rounds: list[int], recipe: dict):
    """Features and targets of all views, (views, features) and (views, 1000)."""
    x, y = [], []
    for number in rounds:
        if kind_of_round(number) not in recipe["kinds"]:
            continue
        features = np.load(cache / f"features-round{number:03d}.npz")[name]
        stored = np.load(cache / f"teacher-round{number:03d}.npz")
        answers = teacher_log_probabilities(stored, recipe["teachers"])
        soft = log_softmax(answers / recipe["teacher_temperature"])
        share = recipe["label_share"]
        x.append(pool(name, features, recipe["pooling"]))
        y.append(
            (1 - share) * np.exp(soft) + share * np.eye(len(soft), dtype="float32")
        )
    return np.concatenate(x), np.concatenate(y)


def fit(x: np.ndarray, y: np.ndarray, recipe: dict) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial regression with mixup; returns kernel and bias for raw features."""
    keras.utils.set_random_seed(recipe["seed"])
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-3
    inputs, targets = tf.constant((x - mean) / spread), tf.constant(y)
    layer = keras.layers.Dense(y.shape[1], kernel_initializer="zeros")
    layer.build((None, x.shape[1]))
    steps, batch = recipe["steps"], recipe["batch"]
    rate = keras.optimizers.schedules.CosineDecay(recipe["learning_rate"], steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe["weight_decay"])
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
        optimizer.apply_gradients(
            zip(gradients, layer.trainable_variables, strict=True)
        )

    rng = np.random.default_rng(recipe["seed"])
    for _ in range(steps):
        i, j = rng.integers(0, len(x), (2, batch))
        mixup = recipe["mixup"]
        share = rng.beta(mixup, mixup, (batch, 1)) if mixup else np.ones((batch, 1))
        step(tf.constant(i), tf.constant(j), tf.constant(share, "float32"))
    kernel, bias = layer.get_weights()
    kernel = kernel / spread[:, None]  # fold the standardisation into the layer
    return kernel, bias - mean @ kernel


# --- measuring ------------------------------------------------------------------------


def agreement(logits: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    """Share of photos whose first teacher answer is ours, and is in our first five."""
    first = answers.argmax(axis=1)[:, None]
    order = np.argsort(-logits, axis=1)
    hit = order[:, :5] == first
    return float(hit[:, 0].mean()), float(hit.any(axis=1).mean())


def calibration_error(logits: np.ndarray, correct: np.ndarray, bins: int = 5) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3), bins of equal count."""
    confidence = np.exp(log_softmax(logits).max(axis=1))
    order = np.argsort(confidence)
    parts = np.array_split(order, bins)
    gaps = [abs(confidence[p].mean() - correct[p].mean()) * len(p) for p in parts]
    return float(sum(gaps) / len(correct))


def calibrate(logits: np.ndarray, first: np.ndarray) -> float:
    """The temperature of least cross-entropy to the teacher's first answers."""
    temperatures = np.geomspace(0.2, 5, 200)
    rows = np.arange(len(first))
    losses = [-log_softmax(logits / t)[rows, first].mean() for t in temperatures]
    return float(temperatures[int(np.argmin(losses))])


def cross_calibrated(logits: np.ndarray, first: np.ndarray, folds: int = 10):
    """Each photo's logits divided by the temperature that the other photos ask for."""
    out = np.empty_like(logits)
    for k in range(folds):
        mine = np.arange(len(first)) % folds == k
        out[mine] = logits[mine] / calibrate(logits[~mine], first[~mine])
    return out


def held_out(name: str, cache: Path, pooling: str):
    stored = np.load(cache / "teacher-held_out.npz")
    features = np.load(cache / "features-held_out.npz")[name]
    lite0, ensemble = (teacher_log_probabilities(stored, t) for t in ([0], [0, 1, 2]))
    return pool(name, features, pooling), lite0, ensemble


def percent(value: float) -> str:
    return f"{value:.0%}"


def measure_steps(name: str, cache: Path, rounds: list[int]) -> list[tuple[str, dict]]:
    """The recipe, built up from the plainest one, a change at a time."""
    start = RECIPE | {
        "teachers": [0],
        "kinds": ["centre"],
        "label_share": 1.0,
        "mixup": 0,
        "steps": 1500,
    }
    changes = [("labels only, centre crops only", {})]
    changes += [("+ the teacher Lite0", {"label_share": 0.2})]
    changes += [("+ random crops", {"kinds": ["centre", "crop"]})]
    changes += [("+ mixup of features", {"mixup": 0.3})]
    changes += [("+ mixtures of photos", {"kinds": RECIPE["kinds"]})]
    changes += [("+ the teachers Lite1 and Lite2", {"teachers": [0, 1, 2]})]
    if name == "vgg16":
        changes += [("+ maximum beside average pool", {"pooling": POOLING[name]})]
    changes += [("+ 3000 steps instead of 1500", {"steps": 3000})]
    rows, recipe = [], start
    for title, change in tqdm(changes, desc=f"{name}, what each step gains"):
        recipe = recipe | change
        kernel, bias = fit(*training_set(name, cache, rounds, recipe), recipe)
        x, lite0, _ = held_out(name, cache, recipe["pooling"])
        first, five = agreement(x @ kernel + bias, lite0)
        rows.append((title, {"first": first, "five": five}))
    return rows


def make_head(name: str, cache: Path, rounds: list[int], steps: bool) -> dict:
    recipe = RECIPE | {"pooling": POOLING[name]}
    x, y = training_set(name, cache, rounds, recipe)
    kernel, bias = fit(x, y, recipe)
    x, lite0, ensemble = held_out(name, cache, recipe["pooling"])
    logits, first = x @ kernel + bias, lite0.argmax(axis=1)
    correct = logits.argmax(axis=1) == first
    temperature = calibrate(logits, first)
    measured = {
        "photos": len(first),
        "lite0": agreement(logits, lite0),
        "teachers": agreement(logits, ensemble),
        "calibration_error_before": calibration_error(logits, correct),
        "calibration_error_after": calibration_error(
            cross_calibrated(logits, first), correct
        ),
    }
    recipe |= {
        "base_sha256": weights.weights_record(name).base_sha256,
        "views": len(y),
        "rounds": len(rounds),
        "temperature": temperature,
        "held_out": measured,
        "gains": measure_steps(name, cache, rounds) if steps else [],
    }
    arrays = {"kernel": kernel / temperature, "bias": bias / temperature}
    arrays = {key: value.astype("float16") for key, value in arrays.items()}
    HEADS.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(HEADS / f"{name}.npz", recipe=json.dumps(recipe), **arrays)
    return recipe


def write_report(recipes: dict[str, dict]) -> None:
    lines = [
        "# The portable heads",
        "",
        "Written by `tools/heads/fit.py --steps`; see CONTRIBUTING.md. Each file holds",
        "`kernel`, `bias` (float16, temperature already divided out) and `recipe`, the",
        "JSON of what stands here. Agreement is with the first answer of a teacher, on",
        "photos never trained on: as our first choice / among our first five.",
        "",
        "| | VGG16 | Xception |",
        "| --- | --- | --- |",
    ]

    def row(title, cell):
        cells = " | ".join(cell(recipes[name]) for name in NAMES)
        lines.append(f"| {title} | {cells} |")

    def pair(values):
        return " / ".join(percent(v) for v in values)

    row("pooling", lambda r: r["pooling"])
    row("views seen", lambda r: f"{r['views']:,}")
    row("photos held out", lambda r: str(r["held_out"]["photos"]))
    row("agreement with Lite0", lambda r: pair(r["held_out"]["lite0"]))
    row("agreement with the three teachers", lambda r: pair(r["held_out"]["teachers"]))
    row("temperature", lambda r: f"{r['temperature']:.2f}")
    row(
        "calibration error before",
        lambda r: percent(r["held_out"]["calibration_error_before"]),
    )
    row(
        "calibration error after (tenfold)",
        lambda r: percent(r["held_out"]["calibration_error_after"]),
    )
    for name in NAMES:
        gains = recipes[name]["gains"]
        if gains:
            title = weights.weights_record(name).title
            lines += ["", f"## What each step gained, {title}", ""]
            lines += [
                "| step | first choice | in the first five |",
                "| --- | --- | --- |",
            ]
            lines += [
                f"| {step} | {percent(v['first'])} | {percent(v['five'])} |"
                for step, v in gains
            ]
    lines += [
        "",
        "With 50 photos, one photo is 2 %, and a difference of less than about 10 %",
        "may be chance.",
        "",
    ]
    (HEADS / "README.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


# --- all of it ------------------------------------------------------------------------


def ask_teacher(python: Path | None, args, rounds: int) -> None:
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
    script = HERE / "teacher.py"
    command = [python, script, "--photos", args.photos, "--held-out", args.held_out]
    command += ["--cache", args.cache, "--rounds", str(rounds)]
    subprocess.run([str(part) for part in command], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=weights.cache_folder() / "heads")
    parser.add_argument("--rounds", type=int, default=13, help="views of each photo")
    parser.add_argument("--teacher-python", type=Path, help="a python with PyTorch")
    parser.add_argument("--steps", action="store_true", help="measure each step's gain")
    args = parser.parse_args()
    photos, others = photo_files(args.photos), photo_files(args.held_out)
    if len(photos) != 1000:
        raise SystemExit(f"{args.photos} has {len(photos)} photos, not one a class.")
    names = "".join(f"{p.name} {p.stat().st_size}\n" for p in [*photos, *others])
    digest = hashlib.sha256(names.encode()).hexdigest()
    args.cache /= digest[:12]  # other photos, other cache
    args.cache.mkdir(parents=True, exist_ok=True)
    ask_teacher(args.teacher_python, args, args.rounds)
    write_features(args.cache, [("held_out", others, 0)], "float32")
    jobs = [(f"round{r:03d}", photos, r) for r in range(args.rounds)]
    write_features(args.cache, jobs, "mixed_bfloat16")
    rounds = list(range(args.rounds))
    write_report({n: make_head(n, args.cache, rounds, args.steps) for n in NAMES})
    return 0


if __name__ == "__main__":
    sys.exit(main())
