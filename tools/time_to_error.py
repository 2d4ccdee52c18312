"""Time to error: seconds until a sampled map is near the converged one.

    make time-to-error                       measure (25 minutes), draw, save
    python tools/time_to_error.py --quick    fewer samples, nothing saved (5 minutes)
    python tools/time_to_error.py --draw     draw what was measured
    python tools/time_to_error.py --readme   write the table of docs/speed.md

Expected gradients at pixels and SmoothGrad, both networks, the cat, tabby, the logit:
ours, shap, tf-explain, xplique and saliency take turns in one process; captum has the
same VGG16 in PyTorch, in a process of its own (compare_libraries.py makes both
environments). Neither xplique nor saliency has expected gradients.

The error of a map m is ||m - c|| / ||c|| over all values; c is the converged map, 2,000
samples of our own function: long runs, which are kept in the cache folder under a hash
of all that they depend on, and the calls that are timed. All are independent, so the
squared distance of two is the sum of their squared errors, in expectation. The pairs
together give the error of a run of each length, and that of c, which is subtracted from
the error of others.

The others draw independent samples: the squared error is V / n, with V from all their
calls. Ours are not independent; the samples that they need lie between two measured
errors, on a straight line in logarithms. The seconds of n samples are a + b n, with a
and b from all calls but the first of each length, which compiles.

bfloat16 is given the seeds of float32: its squared error is that of float32 plus the
squared difference of the two. Beyond the timed lengths, that of the longest counts.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from compare_libraries import (
    ROOT,
    arrays,
    environment,
    gradients_for_saliency,
    model_of_pixels,
    vgg16_in_torch,
)

# PyTorch's process imports this file: nothing of the project up here.

OUT = ROOT / "data" / "tables" / "time-to-error.json"
FIGURE = ROOT / "docs" / "time-to-error.png"
BEGIN = "<!-- time to error, by tools/time_to_error.py --readme -->"
END = "<!-- end of time to error -->"
NETWORKS = {"vgg16": "VGG16", "xception": "Xception"}
EXPECTED_GRADIENTS, SMOOTHGRAD = "expected gradients", "SmoothGrad"
TECHNIQUES = EXPECTED_GRADIENTS, SMOOTHGRAD
PHOTO, TARGET, BACKGROUND_PHOTOS = "cat", "tabby", 12
NOISE = 0.15  # of the range of a pixel
SIGMA = 255 * NOISE
LEVELS = 0.5, 0.25
FIRST_SEED = 1000  # of the calls that are timed; the long runs have those below
# In what the networks are fed: grey levels for a unit, and the order of the channels.
UNITS = {"vgg16": (1.0, slice(None, None, -1)), "xception": (127.5, slice(None))}
OURS, BFLOAT16 = "ours", "ours, bfloat16"
COLOURS = {  # of Okabe and Ito, for all eyes
    OURS: "#000000",
    BFLOAT16: "#56B4E9",
    "shap": "#D55E00",
    "tf-explain": "#E69F00",
    "xplique": "#009E73",
    "saliency": "#CC79A7",
    "captum": "#0072B2",
}
# Ours must be sooner by these factors; bfloat16 sooner than ours.
NEVER_LATER = {"tf-explain": 1, "xplique": 1, "saliency": 1}
TARGETS = {
    ("VGG16", EXPECTED_GRADIENTS): {"shap": 3, "captum": 2, BFLOAT16: 1.8},
    ("Xception", EXPECTED_GRADIENTS): {"shap": 2, BFLOAT16: 1.3},
    ("VGG16", SMOOTHGRAD): NEVER_LATER | {"captum": 1, BFLOAT16: 1.8},
    ("Xception", SMOOTHGRAD): NEVER_LATER | {BFLOAT16: 1.3},
}
NOTES = {
    "tf-explain": "given a model whose cross-entropy is minus a tenth of the logit",
    "captum": "in PyTorch, with the channels last, which is quicker",
}


class Plan(NamedTuple):
    lengths: tuple[int, ...]  # how many samples a timed call has
    calls: int  # of each length; the first compiles, and its time does not count
    long_runs: tuple[int, ...]  # of ours, for the converged map
    doubles: bool  # one more, twice as long, until the error is below the last level


FULL = Plan((8, 16, 32, 64), 2, (120, 120, 240, 648, 648), True)  # 2,016 samples
QUICK = Plan((8, 16), 2, (32, 32, 64), False)


# --- the converged map ----------------------------------------------------------------


class Case:
    """A technique on a network, with our own function."""

    def __init__(self, network: str, technique: str):
        from xai_helpers import background, load_classifier, sample_image

        self.network, self.technique = network, technique
        self.clf = load_classifier(network, weights="portable", verbose=False)
        self.photo = sample_image(PHOTO)
        self.others = background(BACKGROUND_PHOTOS, self.clf.input_size, exclude=PHOTO)

    def ours(self, n: int, seed: int, clf=None) -> np.ndarray:
        """The map, float32 (height, width, 3), of n samples."""
        from xai_helpers import explain

        options = {"samples": n, "seed": seed, "progress": False}
        arguments = clf or self.clf, self.photo
        if self.technique == EXPECTED_GRADIENTS:
            arguments = *arguments, self.others
            return explain.expected_gradients(*arguments, TARGET, **options).values
        return explain.smoothgrad(*arguments, TARGET, noise=NOISE, **options).values

    @property
    def folder(self) -> Path:
        """Where the long runs are kept."""
        from xai_helpers.engine.weights import cache_folder

        name = f"{self.network}-{self.technique.replace(' ', '-')}-{self.fingerprint}"
        return cache_folder() / "time-to-error" / name

    @property
    def fingerprint(self) -> str:
        """Of weights, photos, options, and the source of the technique.

        To the source belong the package's modules that the technique's file imports.
        """
        from xai_helpers import explain

        name = self.technique.lower().replace(" ", "_")
        technique = inspect.getmodule(inspect.unwrap(getattr(explain, name)))
        imported = map(inspect.getmodule, vars(technique).values())
        modules = {m.__name__: m for m in (technique, *imported) if m}
        digest = hashlib.sha256()
        for name in sorted(modules):
            if name.startswith("xai_helpers"):
                digest.update(inspect.getsource(modules[name]).encode())
        square, _ = self.clf.crop(self.photo)
        for array in (square, self.others, *self.clf.model.weights):
            digest.update(np.ascontiguousarray(array))
        digest.update(json.dumps([self.technique, TARGET, NOISE]).encode())
        return digest.hexdigest()[:16]

    def long_runs(self, plan: Plan) -> tuple[list[np.ndarray], list[int]]:
        """Maps and their numbers of samples; from the cache what is there."""
        folder, lengths = self.folder, list(plan.long_runs)
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            maps = [self._long_run(folder, n, k) for k, n in enumerate(lengths)]
            errors = Converged(maps, lengths).errors
            if not plan.doubles or errors[max(lengths)] < min(LEVELS):
                return maps, lengths
            lengths.append(2 * max(lengths))

    def _long_run(self, folder: Path, n: int, seed: int) -> np.ndarray:
        path = folder / f"{n}-samples-seed-{seed}.npy"
        if not path.exists():
            print(f"{folder.name}: {n} samples ...", flush=True)
            unfinished = path.with_suffix(".unfinished.npy")
            np.save(unfinished, self.ours(n, seed))
            unfinished.replace(path)
        return np.load(path)


class Converged:
    """The mean of independent runs, and how far they are from what they estimate.

    Attributes
    ----------
    values : float64 (height, width, 3), each run weighted with its number of samples
    samples : int, of all runs
    errors : {number of samples: relative error of one such run}, from few to many
    own_error : relative error of ``values``
    """

    def __init__(self, maps: Sequence[np.ndarray], lengths: Sequence[int]):
        maps = [np.asarray(values, "float64") for values in maps]
        shares = np.divide(lengths, sum(lengths))
        squared = squared_errors(maps, lengths)
        self.samples = int(sum(lengths))
        self.values = sum(s * values for s, values in zip(shares, maps, strict=True))
        self._own = sum(s**2 * squared[n] for s, n in zip(shares, lengths, strict=True))
        self._norm = (self.values**2).sum() - self._own
        self.own_error = float(np.sqrt(self._own / self._norm))
        self.errors = {
            n: float(np.sqrt(value / self._norm)) for n, value in squared.items()
        }

    def squared_error(self, values: np.ndarray) -> float:
        """Of a map, as a share of the squared norm; unbiased, so it can be below 0."""
        distance = ((values - self.values) ** 2).sum()
        return float((distance - self._own) / self._norm)

    def squared_difference(self, values: np.ndarray, others: np.ndarray) -> float:
        """Of two maps, as a share of the squared norm."""
        difference = np.subtract(values, others, dtype="float64")
        return float((difference**2).sum() / self._norm)

    def scale(self, values: np.ndarray) -> float:
        """By which factor the map is larger; 1 in expectation."""
        return float((values * self.values).sum() / self._norm)

    def cosine(self, values: np.ndarray) -> float:
        """With the map that ``values`` estimates."""
        return float(self.scale(values) * self._norm**0.5 / np.linalg.norm(values))


def squared_errors(maps: Sequence, lengths: Sequence[int]) -> dict[int, float]:
    """Length → expected squared distance of such a run from what all of them estimate.

    The least-squares solution over all pairs, each with the same relative accuracy.
    """
    distinct = sorted(set(lengths))
    pairs = list(combinations(range(len(maps)), 2))
    equations = np.zeros((len(pairs), len(distinct)))
    for equation, pair in zip(equations, pairs, strict=True):
        distance = ((maps[pair[0]] - maps[pair[1]]) ** 2).sum()
        for k in pair:
            equation[distinct.index(lengths[k])] += 1 / distance
    solution = np.linalg.lstsq(equations, np.ones(len(pairs)))[0]
    return dict(zip(distinct, solution.tolist(), strict=True))


# --- the contenders -------------------------------------------------------------------

Call = Callable[[int, int], np.ndarray]  # samples, seed → map (height, width, 3)


def take_turns(
    folder: Path, network: str, technique: str, contenders: dict[str, Call], plan: Plan
) -> None:
    """Every contender at each length; a file of maps and seconds for each of them.

    Where a library has no seed of its own, each call draws anew.
    """
    lengths = [n for n in plan.lengths for _ in range(plan.calls)]
    maps = {name: [] for name in contenders}
    seconds = {name: [] for name in contenders}
    for k, n in enumerate(lengths):
        for name, call in contenders.items():
            start = time.perf_counter()
            maps[name].append(call(n, FIRST_SEED + k))
            seconds[name].append(time.perf_counter() - start)
    for name in contenders:
        np.savez(
            folder / file_name(network, technique, name),
            lengths=lengths,
            seconds=seconds[name],
            maps=np.stack(maps[name]),
        )


def file_name(network: str, technique: str, contender: str) -> str:
    return f"{network}-{technique}-{contender}.npz"


def in_tensorflow(folder: Path, plan: Plan) -> None:
    """In the environment's own process: all but captum."""
    for network in NETWORKS:
        for technique in TECHNIQUES:
            case = Case(network, technique)
            contenders = {OURS: case.ours} | bfloat16_contender(folder, case)
            make = {EXPECTED_GRADIENTS: shap_contender, SMOOTHGRAD: smoothgrads}
            contenders |= make[technique](case)
            take_turns(folder, network, technique, contenders, plan)


def bfloat16_contender(folder: Path, case: Case) -> dict[str, Call]:
    """None where the CPU has no fast bfloat16; the reason is left in the folder."""
    from xai_helpers import load_classifier

    options = {"weights": "portable", "verbose": False, "precision": "bfloat16"}
    try:
        clf = load_classifier(case.network, **options)
        case.ours(1, 0, clf)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        Path(folder, "no-bfloat16.txt").write_text(reason, "utf-8")
        return {}
    return {BFLOAT16: partial(case.ours, clf=clf)}


def shap_contender(case: Case) -> dict[str, Call]:
    """Its products do not depend on the units, only on the order of the channels."""
    import shap

    from xai_helpers import keras

    clf, channels = case.clf, UNITS[case.network][1]
    model = keras.Model([clf.model.input], clf.model.output)
    explainer = shap.GradientExplainer(model, clf.preprocess(case.others))
    x, ranked = clf.preprocess(case.photo), np.array([[clf.class_index(TARGET)]])

    def call(n, seed):
        values, _ = explainer.shap_values(
            x, n, ranked_outputs=ranked, output_rank_order="custom", rseed=seed
        )
        return values[0, ..., 0][..., channels]

    return {"shap": call}


def smoothgrads(case: Case) -> dict[str, Call]:
    """tf-explain after preprocessing; the others on a model of grey levels."""
    import saliency.core as saliency
    import xplique.attributions as xplique

    clf, target = case.clf, case.clf.class_index(TARGET)
    square = clf.crop(case.photo)[0].astype("float32")
    model = model_of_pixels(clf)
    one_hot = np.eye(len(clf.classes), dtype="float32")[[target]]
    gradients = gradients_for_saliency(model, target)
    spread = SIGMA / (square.max() - square.min())  # sigma as a share of it

    @cache
    def explainer(n):
        return xplique.SmoothGrad(model, nb_samples=n, noise=SIGMA, reducer=None)

    def saliency_smoothgrad(n, seed):
        return saliency.GradientSaliency().GetSmoothedMask(
            square, gradients, stdev_spread=spread, nsamples=n, magnitude=False
        )

    return {
        "tf-explain": tf_explain_smoothgrad(case),
        "xplique": lambda n, seed: explainer(n)(square[None], one_hot).numpy()[0],
        "saliency": saliency_smoothgrad,
    }


def tf_explain_smoothgrad(case: Case) -> Call:
    """Before it is made a picture of.

    tf-explain takes the gradient of the cross-entropy of softmax outputs. Of two
    outputs, softmax(z / 10, 9), where the second is so much larger that the first is
    some 0.0003, that is minus a tenth of the gradient of z, to a thousandth.
    """
    from tf_explain.core.smoothgrad import SmoothGrad

    from xai_helpers import keras

    clf, (unit, channels) = case.clf, UNITS[case.network]
    k = clf.class_index(TARGET)
    z = clf.model.output[:, k : k + 1] / 10
    two = keras.ops.concatenate([z, keras.ops.full_like(z, 9.0)], axis=1)
    model = keras.Model(clf.model.input, keras.layers.Softmax()(two))
    x = clf.preprocess(case.photo)

    def call(n, seed):
        copies = SmoothGrad.generate_noisy_images(x, n, SIGMA / unit)
        mean = SmoothGrad.get_averaged_gradients(copies, model, 0, n)
        return -10 / unit * mean.numpy()[0][..., channels]

    return call


def in_torch(folder: Path, plan: Plan) -> None:
    """In PyTorch's own environment: captum.

    Its ``GradientShap`` puts all samples into one batch and has no option for that.
    """
    import torch
    from captum import attr

    stored = dict(np.load(folder / "vgg16.npz"))
    model, x = vgg16_in_torch(stored)
    model = model.to(memory_format=torch.channels_last)
    background = x.new_tensor(np.load(folder / "background.npy").transpose(0, 3, 1, 2))
    options = {"target": int(stored["target"])}
    smoothgrad = attr.NoiseTunnel(attr.Saliency(model))
    gradient_shap = attr.GradientShap(model)

    def to_map(values):  # of BGR
        return values.numpy()[0].transpose(1, 2, 0)[..., ::-1]

    def captum_shap(n, seed):
        values = gradient_shap.attribute(
            x.clone(), background, n_samples=n, stdevs=0.0, **options
        )
        return to_map(values.detach())

    def captum_smoothgrad(n, seed):
        values = smoothgrad.attribute(
            x.clone().requires_grad_(), nt_samples=n, nt_samples_batch_size=8,
            stdevs=SIGMA, abs=False, **options,
        )  # fmt: skip
        return to_map(values.detach())

    calls = {EXPECTED_GRADIENTS: captum_shap, SMOOTHGRAD: captum_smoothgrad}
    for technique, call in calls.items():
        take_turns(folder, "vgg16", technique, {"captum": call}, plan)


# --- from errors and seconds to the time to an error ----------------------------------


def variance(lengths: Sequence[int], squared: Sequence[float]) -> tuple[float, float]:
    """V of squared error = V / n, and its standard error.

    Each call estimates it. They count by their samples: a few of these can make up much
    of the error, so that a longer call knows more.
    """
    estimates, weights = np.multiply(lengths, squared), np.divide(lengths, sum(lengths))
    v = (weights * estimates).sum()
    spread = (weights**2 * (estimates - v) ** 2).sum() / (1 - (weights**2).sum())
    return float(v), float(np.sqrt(spread))


def time_line(lengths, seconds) -> tuple[float, float]:
    """a and b of seconds = a + b n, each call with the same relative accuracy."""
    b, a = np.polyfit(lengths, seconds, 1, w=1 / np.asarray(seconds))
    return float(a), float(b)


def samples_until(level: float, points: Sequence[tuple[int, float]]) -> float:
    """How many samples until the error is the level: between two (samples, error).

    On a straight line in logarithms. Below the first length: that length. Beyond the
    last: squared error in proportion to 1 / samples.
    """
    if points[0][1] <= level:
        return float(points[0][0])
    for (n, error), (more, smaller) in pairwise(points):
        if smaller <= level:
            share = np.log(error / level) / np.log(error / smaller)
            return float(n * (more / n) ** share)
    n, error = points[-1]
    return float(n * (error / level) ** 2)


def row(name: str, converged: Converged, runs: dict[str, dict]) -> dict:
    """What a contender needs.

    runs : contender → its arrays, as ``take_turns`` stored them
    """
    lengths, seconds, maps = (runs[name][k] for k in ("lengths", "seconds", "maps"))
    timed = np.r_[False, lengths[1:] == lengths[:-1]]  # not the first of each length
    a, b = time_line(lengths[timed], seconds[timed])
    distinct = np.unique(lengths).tolist()
    last = distinct[-1]

    def means(values):
        return {n: float(np.mean(np.compress(lengths == n, values))) for n in distinct}

    result = {"contender": name, "note": NOTES.get(name, "")}
    if name in (OURS, BFLOAT16):
        pairs = zip(maps, runs[OURS]["maps"], strict=True)
        squared = means([converged.squared_difference(*pair) for pair in pairs])
        difference = {n: value**0.5 for n, value in squared.items()}  # of ours: 0
        errors = {
            n: float(np.hypot(error, difference.get(n, difference[last])))
            for n, error in converged.errors.items()
        }
        needed = [samples_until(level, list(errors.items())) for level in LEVELS]
        result |= {"difference": list(difference.items())}
    else:
        squared = [converged.squared_error(values) for values in maps]
        v, spread = variance(lengths, squared)
        squared = means(squared)
        errors = {n: max(value, 0.0) ** 0.5 for n, value in squared.items()}
        needed = [v / level**2 for level in LEVELS]
        law = [(n, n * value / v) for n, value in squared.items()]
        result |= {"variance": v, "standard error": spread, "law": law}
        scales = [converged.scale(values) for values in maps]
        result["scale"] = float(np.average(scales, weights=lengths))
        cosine = means([converged.cosine(values) for values in maps])[last]
        result["cosine"] = cosine, (1 + errors[last] ** 2) ** -0.5  # the expected one
    return result | {
        "errors": list(errors.items()),
        "seconds": [
            (n, float(np.median(seconds[timed & (lengths == n)]))) for n in distinct
        ],
        "line": (a, b),
        "samples": needed,
        "time": [a + b * n for n in needed],
    }


def targets_of(rows: list[dict]) -> list[dict]:
    """What is asked of ours, at each level: by which factor, and whether it was met."""
    times = {(r["network"], r["technique"], r["contender"]): r["time"] for r in rows}
    keys = "network", "technique", "contender", "level", "factor", "ratio", "met"
    results = []
    for case, factors in TARGETS.items():
        for name, factor in factors.items():
            for k, level in enumerate(LEVELS if (*case, name) in times else ()):
                ratio = times[*case, name][k] / times[*case, OURS][k]
                ratio = 1 / ratio if name == BFLOAT16 else ratio
                values = *case, name, level, factor, ratio, ratio >= factor
                results.append(dict(zip(keys, values, strict=True)))
    return results


def rounded(value, digits: int = 4):
    """Floats of nested lists and dictionaries to so many significant digits."""
    if isinstance(value, dict):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner, digits) for inner in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def run(plan: Plan) -> dict:
    from benchmark import machine

    pythons = {kind: environment(kind) for kind in ("tensorflow", "torch")}
    results = {"machine": machine(), "levels": LEVELS, "left out": {}}
    results |= {"converged": [], "rows": []}
    cases = {(n, t): Case(n, t) for n in NETWORKS for t in TECHNIQUES}
    long_runs = {key: case.long_runs(plan) for key, case in cases.items()}
    with tempfile.TemporaryDirectory() as temporary:
        folder, case = Path(temporary), cases["vgg16", EXPECTED_GRADIENTS]
        arrays(folder / "vgg16.npz")
        np.save(folder / "background.npy", case.clf.preprocess(case.others))
        (folder / "plan.json").write_text(json.dumps(plan))
        for kind, python in pythons.items():
            print(f"measuring with {kind} ...", flush=True)
            subprocess.run([python, __file__, "--inside", kind, folder], check=True)
        for key, (maps, lengths) in long_runs.items():
            files = {name: folder / file_name(*key, name) for name in COLOURS}
            runs = {name: dict(np.load(f)) for name, f in files.items() if f.exists()}
            maps = [*maps, *runs[OURS]["maps"]]
            converged = Converged(maps, [*lengths, *runs[OURS]["lengths"].tolist()])
            names = {"network": NETWORKS[key[0]], "technique": key[1]}
            own = {"samples": converged.samples, "own error": converged.own_error}
            results["converged"].append(names | own)
            results["rows"] += [names | row(name, converged, runs) for name in runs]
        if (reason := folder / "no-bfloat16.txt").exists():
            results["left out"][BFLOAT16] = reason.read_text("utf-8")
    results = rounded(results)
    return results | {"targets": rounded(targets_of(results["rows"]))}


def report(results: dict) -> None:
    for part in results["converged"]:
        print(part)
    for result in results["rows"]:
        print(result["network"], result["technique"], result["contender"], sep=", ")
        for key, value in result.items():
            if key not in ("network", "technique", "contender", "note"):
                print(f"    {key}: {value}")
    print(markdown(results), results["left out"] or "", sep="\n")


# --- table and figure -----------------------------------------------------------------


def cases_of(results: dict) -> dict[tuple[str, str], dict[str, dict]]:
    """(technique, network) → contender → its row."""
    return {
        (technique, network): {
            row["contender"]: row
            for row in results["rows"]
            if (row["technique"], row["network"]) == (technique, network)
        }
        for technique in TECHNIQUES
        for network in NETWORKS.values()
    }


def markdown(results: dict) -> str:
    """A line for each technique, network and level."""
    from benchmark import duration, ratio

    lines = [
        "| technique | network | error | ours, float32 | others ÷ ours, samples "
        "| others ÷ ours, seconds | ours, bfloat16 | target, seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, rows in cases_of(results).items():
        others, ours = dict(rows), rows[OURS]
        half = others.pop(BFLOAT16, None)
        del others[OURS]
        for k, level in enumerate(results["levels"]):
            samples, times = (
                {name: row[key][k] / ours[key][k] for name, row in others.items()}
                for key in ("samples", "time")
            )
            uncertain = {
                name: 100 * row["standard error"] / row["variance"]
                for name, row in others.items()
            }
            cells = [
                *case,
                f"{level:g}",
                f"{duration(ours['time'][k])}, {ours['samples'][k]:.0f} samples",
                " · ".join(
                    f"{name} {ratio(value)} ± {uncertain[name]:.0f} %"
                    for name, value in samples.items()
                ),
                " · ".join(f"{name} {ratio(value)}" for name, value in times.items()),
                f"{ratio(ours['time'][k] / half['time'][k])} sooner" if half else "–",
                target_text(results, *case, level),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def target_text(results: dict, *case) -> str:
    """≥ 3 × (shap), ≥ 2 × (captum: **missed**)"""
    names = {}
    for target in results["targets"]:
        if (target["technique"], target["network"], target["level"]) == case:
            name = target["contender"].removeprefix(f"{OURS}, ")
            name += "" if target["met"] else ": **missed**"
            names.setdefault(target["factor"], []).append(name)
    return ", ".join(f"≥ {factor:g} × ({', '.join(n)})" for factor, n in names.items())


def speed_page(text: str) -> str:
    """docs/speed.md with the table between its two marks, once it is measured."""
    from readme import replace_between

    if not OUT.exists():
        return text
    results = json.loads(OUT.read_text("utf-8"))
    left_out = [f"Without {n}: {reason}" for n, reason in results["left out"].items()]
    picture = (
        "![Four graphs on logarithmic axes, for each technique and network: the "
        "relative error falls with the seconds, along a line for each library, down "
        f"to the levels 0.5 and 0.25.]({FIGURE.name})"
    )
    return replace_between(text, BEGIN, END, markdown(results), *left_out, picture)


def draw(results: dict, path: Path) -> None:
    import matplotlib.pyplot as plt

    markers = dict(zip(COLOURS, "osD^vPX", strict=True))
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    for axis, (case, rows) in zip(axes.flat, cases_of(results).items(), strict=True):
        for name, row in rows.items():
            a, b = row["line"]
            n, errors = np.transpose(row["errors"])
            style = {"color": COLOURS[name], "lw": 2 if name == OURS else 1.2}
            marks = {"marker": markers[name], "ms": 5, "label": name, "zorder": 3}
            if "variance" in row:  # the law, from the measured errors on
                line = np.geomspace(n[0], max(n[-1], row["samples"][-1]))
                axis.loglog(a + b * line, np.sqrt(row["variance"] / line), **style)
                style["ls"] = ""
            axis.loglog(a + b * n, errors, **style, **marks)
        for level in results["levels"]:
            axis.axhline(level, color="0.5", ls=":", lw=1)
        axis.set_title(panel_title(case, rows, results["levels"][-1]), fontsize=10)
        axis.set_yticks([2, 1, *results["levels"]], ["2", "1", "0.5", "0.25"])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("seconds")
    for axis in axes[:, 0]:
        axis.set_ylabel("relative error of the map")
    figure.savefig(path, dpi=90)


def panel_title(case: tuple[str, str], rows: dict[str, dict], level: float) -> str:
    """What there is to see: ours, and the soonest other library."""
    times = {name: row["time"][-1] for name, row in rows.items() if name != BFLOAT16}
    ours = times.pop(OURS)
    other = min(times, key=times.get)
    theirs = f"{other}: {times[other]:.0f} s"
    return f"{', '.join(case)}: {level:g} after {ours:.0f} s ({theirs})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="save nothing (5 minutes)")
    parser.add_argument(
        "--calls", type=int, default=2, help="of each length, 2 or more"
    )
    parser.add_argument("--out", type=Path, help="write the JSON and a .png here")
    parser.add_argument("--draw", action="store_true", help="only draw")
    parser.add_argument("--readme", action="store_true", help="write its table")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        kind, folder = args.inside[0], Path(args.inside[1])
        plan = Plan(*json.loads((folder / "plan.json").read_text()))
        {"tensorflow": in_tensorflow, "torch": in_torch}[kind](folder, plan)
        return
    if args.readme:
        from readme import SPEED, rewrite

        rewrite(SPEED, speed_page)
        return
    if args.draw:
        draw(json.loads(OUT.read_text("utf-8")), FIGURE)
        return
    results = run((QUICK if args.quick else FULL)._replace(calls=max(2, args.calls)))
    report(results)
    out = args.out or (None if args.quick else OUT)
    if out:
        text = json.dumps(results, indent=1, ensure_ascii=False)
        out.write_text(text + "\n", "utf-8")
        draw(json.loads(text), FIGURE if out == OUT else out.with_suffix(".png"))


if __name__ == "__main__":
    main()
