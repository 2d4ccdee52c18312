"""Models for tools/models.py, and what is right for them: one check for each column.

What the package computes is compared with a derivation that uses Keras and TensorFlow
alone: graphs cut from the model as it was built, ``predict``, ``tf.GradientTape``.
"""

from __future__ import annotations

import inspect
import math
import sys
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xai_helpers import explain, keras, load_classifier, tf
from xai_helpers.engine.random_draws import mask_pairs, stratified_pairs

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))  # the vision transformers belong to the tests
import vision_transformers  # noqa: E402

CLASSES, SEED = 10, 0
SMALLEST = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}  # others: 32
SAMPLES, STEPS, MASKS, CELLS, FILL = 4, 4, 8, 4, 100
DRAWS = 16  # of expected gradients: their spread must be known
LIMITS = {"float32": 1e-4, "float64": 1e-5}  # of what is equal; see docs/models.md
STANDARD_ERRORS = 4


# --- the models -----------------------------------------------------------------------


class Case(NamedTuple):
    """A model, and what must be known of it beside the model."""

    build: Callable[[], keras.Model]
    size: int  # height and width in pixels
    default: str | None = None  # its default layer; None: the last one with extent
    functional: Callable[[], keras.Model] | None = None  # the same, without blocks
    class_token: bool = False


def architectures() -> dict[str, Callable]:
    """Every function of keras.applications that builds a model, by its name."""
    return dict(inspect.getmembers(keras.applications, inspect.isfunction))


def architecture(name: str) -> Case:
    size = SMALLEST.get(name, 32)
    options = {"weights": None, "classes": CLASSES, "input_shape": (size, size, 3)}
    return Case(partial(architectures()[name], **options), size)


def transformers() -> dict[str, Case]:
    """The default layer: the last one of which every cell can change the answer.

    Where the class token answers, that is what goes into the last attention: what comes
    out of it for the other tokens is thrown away.
    """
    vit, of_blocks, swin = (
        partial(build, classes=CLASSES)
        for build in (
            vision_transformers.vit,
            vision_transformers.vit_of_blocks,
            vision_transformers.swin,
        )
    )
    mean = {"class_token": False}
    with_token = {"default": "block1_norm1", "class_token": True}
    return {
        "ViT, class token": Case(vit, 32, **with_token),
        "ViT, mean of the tokens": Case(partial(vit, **mean), 32, "norm"),
        "ViT of blocks, class token": Case(of_blocks, 32, functional=vit, **with_token),
        "ViT of blocks, mean of the tokens": Case(
            partial(of_blocks, **mean), 32, "norm", partial(vit, **mean)
        ),
        "Swin": Case(swin, 32, "norm"),
    }


CASES = {name: architecture(name) for name in architectures()} | transformers()


def photos(count: int, size: int, seed: int) -> np.ndarray:
    """Coarse coloured squares under fine noise, uint8 (count, size, size, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 226, (count, 4, 4, 3))
    cell = np.arange(size) * 4 // size
    noise = rng.integers(0, 31, (count, size, size, 3))
    return (coarse[:, cell][:, :, cell] + noise).astype("uint8")


def enliven(model: keras.Model, inputs: np.ndarray) -> None:
    """Random weights with which photos differ, for a deep network as well.

    Batch normalisations get the statistics of these inputs, and a shift of 1: with 0,
    deep networks of ReLUs amplify the smallest rounding. ConvNeXt's blocks are scaled
    by 1, and the last layer makes logits of mean 0 and standard deviation 2.
    """
    normalisations = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
        layer.beta.assign(np.ones(layer.beta.shape))
    for layer in model.layers:
        if type(layer).__name__ == "LayerScale":  # 1e-6: the blocks would do nothing
            layer.set_weights([np.ones_like(w) for w in layer.get_weights()])
    if normalisations:
        model(inputs, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
    head = [layer for layer in model.layers if layer.weights][-1]
    kernel, bias = head.get_weights()
    logits = Derivation(model).logits(inputs)
    factor = 2 / (logits - logits.mean(0)).std()
    head.set_weights([kernel * factor, (bias - logits.mean(0)) * factor])


# --- what is right, without the package -----------------------------------------------


class Step(NamedTuple):
    """A call in a model that was built in functional Keras."""

    operation: keras.Operation
    input: keras.KerasTensor
    output: keras.KerasTensor


def steps_of(model: keras.Model) -> tuple[keras.Model, list[Step]]:
    """The model and its calls; ``Sequential``s in it (ConvNeXt has some) are opened."""
    if not any(isinstance(layer, keras.Sequential) for layer in model.layers):
        _, *calls = model.operations  # the first one is the input
        return model, [Step(op, op.input, op.output) for op in calls]
    steps = []

    def call(operation, *args, **kwargs):
        if isinstance(operation, keras.Sequential):
            for layer in operation.layers:
                args = (call(layer, *args),)
            return args[0]
        output = operation(*args, **kwargs)
        steps.append(Step(operation, args[0], output))
        return output

    opened = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )
    return opened, steps


def last_with_extent(steps: list[Step]) -> Step:
    """The last call that outputs more than one cell and is no pooling layer."""
    found = [
        step
        for step in steps
        if isinstance(step.output, keras.KerasTensor)
        and len(step.output.shape) == 4
        and math.prod(step.output.shape[1:3]) > 1
        and "Pooling" not in type(step.operation).__name__
    ]
    return found[-1]


class Derivation:
    """Scores and gradients of a model that was built in functional Keras.

    default : name of the layer whose maps are meant; None: the last one with extent
    inputs : what the model is fed, float32 (N, height, width, 3)
    divisor : of the preprocessing; pixels 0–255 divided by this are the inputs
    """

    def __init__(self, model, default=None, class_token=False, divisor=1):
        model, steps = steps_of(model)
        last = steps[-1]  # a Dense with its softmax, or the softmax alone
        is_dense = isinstance(last.operation, keras.layers.Dense)
        self.head = last.operation.weights if is_dense else None
        named = [step for step in steps if step.operation.name == default]
        self.layer = named[0] if default else last_with_extent(steps)
        self.cut = keras.Model(model.input, [self.layer.output, last.input])
        self.class_token, self.divisor = class_token, np.float32(divisor)
        self.dtype = model.inputs[0].dtype

    def run(self, inputs) -> tuple[tf.Tensor, tf.Tensor]:
        """What the operation outputs, and the logits (N, classes)."""
        output, before_head = self.cut(tf.cast(inputs, self.dtype), training=False)
        return output, self.through_head(before_head)

    def through_head(self, x):
        if self.head is None:
            return x
        kernel, bias = (tf.convert_to_tensor(w) for w in self.head)
        return tf.matmul(x, kernel) + bias

    def logits(self, inputs) -> np.ndarray:
        """By ``predict``."""
        return np.asarray(self.through_head(self.cut.predict(inputs, verbose=0)[1]))

    def scores(self, pixels, target) -> np.ndarray:
        return self.logits(np.float32(pixels) / self.divisor)[:, target]

    def pixel_gradients(self, pixels, target) -> np.ndarray:
        """d logit / d pixel, (N, height, width, 3), of pixels 0–255."""
        pixels = tf.constant(pixels, tf.float32)
        return self.compiled_pixel_gradients(pixels, tf.constant(target)).numpy()

    def at_layer(self, square, target) -> tuple[np.ndarray, np.ndarray]:
        """Activations and d logit / d activation, each (h, w, channels)."""
        pixels = tf.constant(square[None], tf.float32)
        parts = self.compiled_at_layer(pixels, tf.constant(int(target)))
        return self.grid(parts[0]), self.grid(parts[1])

    # Compiled: step by step, a grouped convolution is compiled anew at every call.

    @cached_property
    def compiled_pixel_gradients(self) -> Callable:
        @tf.function(reduce_retracing=True)
        def compute(pixels, target):
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                score = tf.gather(self.run(pixels / self.divisor)[1], target, axis=1)
            return tape.gradient(score, pixels)

        return compute

    @cached_property
    def compiled_at_layer(self) -> Callable:
        @tf.function(reduce_retracing=True)
        def compute(pixels, target):
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                output, logits = self.run(pixels / self.divisor)
                score = tf.gather(logits, target, axis=1)
            return output, tape.gradient(score, output)

        return compute

    def grid(self, output) -> np.ndarray:
        """(1, h, w, c), or (1, tokens, c) without the class token, → (h, w, c)."""
        cells = output.numpy()[0]
        if cells.ndim == 3:
            return cells
        cells = cells[1:] if self.class_token else cells
        side = math.isqrt(len(cells))
        return cells.reshape(side, side, -1)


def grad_cam_of(activations, gradients) -> np.ndarray:
    """Selvaraju et al. (2017), eq. 1 and 2."""
    return np.maximum(activations @ gradients.mean((0, 1)), 0)


# --- the checks: one for each column --------------------------------------------------


class Differs(Exception):
    """What is different, in a sentence."""


def set_dtype(dtype: str) -> None:
    keras.config.set_floatx(dtype)  # of inputs
    keras.config.set_dtype_policy(dtype)  # of layers


class Trial:
    """A loaded model, its derivation, and two questions: photo, target, class index."""

    def __init__(self, case: Case, dtype: str = "float32"):
        keras.utils.set_random_seed(SEED)
        set_dtype(dtype)
        self.model, size = case.build(), case.size
        kinds = {type(layer).__name__ for layer in self.model.layers}
        rescales = kinds & {"Rescaling", "Normalization"}
        # by a power of two: exact, so that both sides are fed the same to the last bit
        divisor = 1 if rescales else 256
        model = case.functional() if case.functional else self.model
        enliven(model, np.float32(photos(16, size, 1)) / np.float32(divisor))
        if case.functional:
            self.model.set_weights(model.get_weights())
        self.truth = Derivation(model, case.default, case.class_token, divisor)
        self.first, self.second = photos(2, size, 2)
        self.background = photos(5, size, 3)

    def feed(self, pixels):
        """The preprocessing: pixels 0–255, array or tensor → what the model is fed."""
        return pixels / self.truth.divisor

    @cached_property
    def clf(self):
        return load_classifier(self.model, preprocess=self.feed, verbose=False)

    @cached_property
    def questions(self) -> list[tuple]:
        """The first photo's top class; the second's best three: that with evidence."""
        pixels = np.stack([self.first, self.second])
        order = self.truth.scores(pixels, slice(None)).argsort(axis=1)

        def evidence(k):
            return np.linalg.norm(grad_cam_of(*self.truth.at_layer(self.second, k)))

        top, best = int(order[0, -1]), int(max(order[1, -3:], key=evidence))
        if not evidence(best):
            best = int(max(order[1], key=evidence))
        return [(self.first, None, top), (self.second, best, best)]

    def predict(self, pixels) -> np.ndarray:
        return self.model.predict(self.feed(np.float32(pixels)), verbose=0)


def distance(values, expected, around=0.0) -> float:
    """The norm of the difference, as a share of the norm of ``expected − around``."""
    values, expected = np.asarray(values), np.asarray(expected, "float64")
    if values.shape != expected.shape:
        raise Differs(f"shape {values.shape} in place of {expected.shape}")
    if not (np.isfinite(values).all() and np.isfinite(expected).all()):
        raise Differs("not finite")
    size = np.linalg.norm(expected - around)
    if not size:
        raise Differs("nothing to compare: the derivation is zero")
    return float(np.linalg.norm(values - expected) / size)


def loads(trial: Trial) -> float:
    """Probabilities as ``predict`` says; logits as of the layer before the softmax."""
    pixels = np.stack([trial.first, trial.second])
    logits = trial.truth.scores(pixels, slice(None))
    return max(
        distance(trial.clf.probabilities(pixels), trial.predict(pixels)),
        distance(trial.clf.logits(pixels), logits),
    )


def default_layer(trial: Trial) -> float:
    """Kind, name and grid; that it is the right call, "activations" shows."""
    layer, right = trial.clf.default_layer, trial.truth.layer.operation
    grid = trial.truth.at_layer(trial.first, 0)[0].shape
    named = isinstance(right, keras.Layer)  # Keras counts operations as it likes
    got = (layer.name if named else layer.class_name, tuple(layer.shape))
    expected = (right.name if named else type(right).__name__, grid)
    if got != expected:
        raise Differs(f"{layer.name} {got[1]} in place of {right.name} {grid}")
    return 0.0


def activations(trial: Trial) -> float:
    return max(
        distance(
            explain.activations(trial.clf, photo).values,
            trial.truth.at_layer(photo, 0)[0],
        )
        for photo in (trial.first, trial.second)
    )


def layer_map(name: str, formula: Callable, trial: Trial) -> float:
    """Of the two questions, the first may have a map that is zero everywhere."""
    distances = []
    for photo, target, index in trial.questions:
        values = getattr(explain, name)(trial.clf, photo, target).values
        expected = formula(*trial.truth.at_layer(photo, index))
        if target is not None or expected.any() or values.any():
            distances.append(distance(values, expected))
    return max(distances)


def layer_cam_of(activations, gradients) -> np.ndarray:
    """Jiang et al. (2021): each cell weighted by its own gradient, where positive."""
    return np.maximum((np.maximum(gradients, 0) * activations).sum(-1), 0)


def pixel_map(name: str, formula: Callable, options: dict, trial: Trial) -> float:
    """formula : (truth, pixels float32, class index) → what the values should be"""
    function = getattr(explain, name)
    return max(
        distance(
            function(trial.clf, photo, target, **options).values,
            formula(trial.truth, np.float32(photo), index),
        )
        for photo, target, index in trial.questions
    )


def gradients_of(truth, x, index) -> np.ndarray:
    return truth.pixel_gradients(x[None], index)[0]


def smoothgrad_of(truth, x, index) -> np.ndarray:
    """The same noise: 15 % of the range, from a generator with seed 0, in pairs."""
    rng = np.random.default_rng(0)
    noise = 0.15 * 255 * rng.standard_normal((SAMPLES // 2, *x.shape), "float32")
    copies = np.concatenate([x + noise, x - noise])
    return truth.pixel_gradients(copies, index).mean(0)


def integrated_gradients_of(truth, x, index) -> np.ndarray:
    """From black, the gradient in the middle of each of the steps."""
    points = np.stack([x * np.float32((k + 0.5) / STEPS) for k in range(STEPS)])
    return x * truth.pixel_gradients(points, index).mean(0)


def occlusion(trial: Trial) -> float:
    """Every covered picture through ``predict``."""
    side = trial.first.shape[0]
    patch = -(-side // 3)
    places = [*range(0, side - patch, patch), side - patch]

    def drops(truth, x, index):
        covered = []
        for row in places:
            for column in places:
                covered.append(x.copy())
                covered[-1][row : row + patch, column : column + patch] = FILL
        scores = truth.scores(np.stack([x, *covered]), index)
        return (scores[0] - scores[1:]).reshape(len(places), -1)

    options = {"patch": patch, "stride": patch, "fill": FILL}
    return pixel_map("occlusion", drops, options, trial)


def rise(trial: Trial) -> float:
    """Probabilities by ``predict``; the masks alone are the package's."""
    size = trial.first.shape[:2]
    masks = mask_pairs(CELLS, 0.5, size, 0)(MASKS // 2).reshape(MASKS, *size)
    options, distances = {"masks": MASKS, "cells": CELLS, "fill": FILL}, []
    for photo, target, index in trial.questions:
        shown = masks[..., None]
        pictures = photo * shown + FILL * (1 - shown)
        p = trial.predict(pictures)[:, index].astype("float64")
        expected = np.einsum("n,nhw->hw", p, masks) / (MASKS * 0.5)
        values = explain.rise(trial.clf, photo, target, **options).values
        distances.append(distance(values, expected, expected.mean()))
    return max(distances)


def expected_gradients(trial: Trial) -> float:
    """The package's draws, and their sum is the score difference, within its error."""
    background, distances = np.float32(trial.background), []
    for photo, target, index in trial.questions:
        result = explain.expected_gradients(
            trial.clf, photo, trial.background, target, samples=DRAWS
        )
        rng, x = np.random.default_rng(0), np.float32(photo)
        halves = [stratified_pairs(DRAWS // 2, len(background), rng) for _ in range(2)]
        rows, alpha = (np.concatenate(both) for both in zip(*halves, strict=True))
        b, alpha = background[rows], alpha[:, None, None, None]
        products = (x - b) * trial.truth.pixel_gradients(b + alpha * (x - b), index)
        distances.append(distance(result.values, products.mean(0)))
        scores = trial.truth.scores(np.stack([x, *background]), index)
        difference, sums = scores[0] - scores[1:].mean(), products.sum((1, 2, 3))
        error = sums.std(ddof=1) / math.sqrt(DRAWS)
        allowed = STANDARD_ERRORS * error + 1e-3 * np.abs(scores).max()
        total = float(np.sum(result.values, dtype="float64"))
        if abs(total - difference) > allowed:
            raise Differs(f"the sum is {total:.3g}, the score difference {difference}")
        said = abs(result.checks["score difference"] - difference)
        distances.append(float(said / np.abs(scores).max()))
    return max(distances)


CHECKS: dict[str, Callable[[Trial], float]] = {
    "activations": activations,
    "occlusion": occlusion,
    "gradients": partial(pixel_map, "gradients", gradients_of, {}),
    "smoothgrad": partial(pixel_map, "smoothgrad", smoothgrad_of, {"samples": SAMPLES}),
    "integrated_gradients": partial(
        pixel_map, "integrated_gradients", integrated_gradients_of,
        {"steps": STEPS, "tolerance": None},
    ),
    "expected_gradients": expected_gradients,
    "grad_cam": partial(layer_map, "grad_cam", grad_cam_of),
    "layer_cam": partial(layer_map, "layer_cam", layer_cam_of),
    "rise": rise,
}  # fmt: skip
BEFORE = {"loads": loads, "default layer": default_layer}
COLUMNS = [*BEFORE, *explain.TECHNIQUES]


def checked(check: Callable[[Trial], float], trial: Trial) -> dict:
    """A cell of the table: "equal", "differs", "refused" or "fails", and how far."""
    try:
        found = check(trial)
    except Differs as difference:
        return {"verdict": "differs", "says": str(difference)}
    except ValueError as refusal:
        return {"verdict": "refused", "says": str(refusal)}
    except Exception as error:  # what no user should see
        return {"verdict": "fails", "says": f"{type(error).__name__}: {error}"}
    verdict = "equal" if found <= LIMITS[trial.truth.dtype] else "differs"
    return {"verdict": verdict, "distance": float(f"{found:.1e}")}


def measure(name: str, case: Case) -> dict:
    """The row of a model."""
    start, trial = time.perf_counter(), Trial(case)
    checks = BEFORE | {technique: CHECKS[technique] for technique in explain.TECHNIQUES}
    row = {"model": name, "size": case.size, "divisor": int(trial.truth.divisor)}
    cells = {column: checked(check, trial) for column, check in checks.items()}
    if cells["loads"]["verdict"] in ("equal", "differs"):
        row["layers"] = len(trial.clf.layers())
        if cells["default layer"]["verdict"] in ("equal", "differs"):
            default = trial.clf.default_layer
            row |= {"default": default.name, "grid": list(default.shape)}
    repeat_in_64_bits(case, checks, cells)
    seconds = round(time.perf_counter() - start)
    return row | {"seconds": seconds, "cells": cells}


def repeat_in_64_bits(case: Case, checks: dict, cells: dict) -> None:
    """Where the numbers differ with 32 bits: an error stays, what was rounding goes."""
    doubtful = [c for c, cell in cells.items() if cell["verdict"] == "differs"]
    doubtful = [column for column in doubtful if "distance" in cells[column]]
    trial = Trial(case, "float64") if doubtful else None
    for column in doubtful:
        exact = checked(checks[column], trial)
        cells[column] |= {"verdict": exact["verdict"]}
        if "distance" in exact:
            cells[column]["in 64 bits"] = exact["distance"]
        else:
            cells[column]["says"] = f"in 64 bits: {exact['says']}"
    set_dtype("float32")
