"""How fast the explanations are: against their limit, and against other libraries.

    make bench                           time all of it, print the table (40 minutes)
    python tools/benchmark.py --quick    fewer samples and repetitions (10 minutes)
    python tools/benchmark.py --save     and keep it: data/tables/speed-cpu.json
    python tools/benchmark.py --readme   write the README's tables from that file

One photo (the cat), one class (tabby), portable weights. Within a row everything runs
in one process, taking turns, and the median of the repetitions counts; a machine that
slows down slows down all of them. The *limit* is what cannot be avoided: the forward
and backward passes that the technique consists of, compiled, nothing else, at the batch
size that is best here. `images` counts what went through the network, by a layer that
counts, so that nobody is faster by doing less; `agrees` compares the results. Memory is
the peak of a process of its own, beyond the network loaded and asked once.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
TABLES = ROOT / "data" / "tables"
PHOTO, TARGET = "cat", "tabby"
NETWORKS = ("vgg16", "xception")
LAST = {"vgg16": "block5_conv3", "xception": "block14_sepconv2_act"}
BLOCK_2 = {"vgg16": "block2_conv2", "xception": "block2_sepconv2_bn"}
MIDDLE = {"vgg16": "block2_pool", "xception": "add_6"}  # VGG16's "layer 7" takes this
BATCHES = (1, 4, 8)  # tried for the limit
REPETITIONS, LEAST = 4, 2  # turns, and seconds for all of them: short ones more often
BEGIN, END = "<!-- speed, by tools/benchmark.py --readme -->", "<!-- end of speed -->"
SHARED = (
    "for a sample ours needs one forward and two backward passes, shap two of each: "
    "4/3 where both kinds cost the same. The bare passes are {bare} faster than shap; "
    "ours takes {over} as long as they"
)
WHY = {  # targets that the committed run missed
    (network, technique): SHARED + rest
    for network in ("VGG16", "Xception")
    for technique, rest in {
        "SHAP, pixels": ".",
        "SHAP, middle layer": ": it also asks about the photo itself, and looks "
        "whether background and weights are those of the last call.",
    }.items()
} | {
    ("Xception", "activations"): "so short a pass that {extra} count: ours "
    "also cuts the photo to the network's square and scales its colours."
}
UNLIKE = {
    "activations": "draws one picture of all channels; the numbers in it are compared",
    "Grad-CAM": "of the softmax, not rectified, shown in 255 steps; its raw map with "
    "guided=False is compared with ours of the probability",
    "gradients": "of the cross-entropy; compared with ours of the probability",
    "SmoothGrad": "other noise, in the preprocessed range; of the cross-entropy, sizes "
    "only; not comparable number by number",
    "integrated gradients": "from zero after preprocessing, not multiplied by the way, "
    "of the softmax: not the paper's; not comparable",
    "occlusion, every picture whole": "nearly white patch, 1 - p instead of a drop, "
    "partial patches at the rim: not comparable",
    "SHAP, pixels": "other random pairs: sums compared",
    "SHAP, middle layer": "other random pairs: sums compared",
}


class Row(NamedTuple):
    """One technique on one network."""

    technique: str
    setting: str
    runs: dict[str, Callable]  # by whose it is: ours first
    limit: tuple[str, float]  # which passes, and how many; see Bench.passes
    target: tuple[
        str, float
    ]  # against "limit" or a contender: at most, or (>) at least
    agrees: Callable | None = None  # () → what the comparison found


class Bench:
    """The networks, the photo, and each technique as one would call it."""

    def __init__(self, network: str, quick: bool = False, counting: bool = False):
        from xai_helpers import background, explain, load_classifier, sample_image

        self.name, self.explain = network, explain
        self.clf = load_classifier(network, weights="portable", verbose=False)
        if counting:
            self.clf = self.counted()
        self.photo = sample_image(PHOTO)
        self.square = self.clf.cut(self.photo)[0]
        self.input = self.clf.preprocess(self.photo)
        self.target = self.clf.index(TARGET)
        self.samples = 4 if quick else 16
        self.others = background(self.samples // 4, self.clf.input_size, exclude=PHOTO)
        self.side = min(self.clf.input_size)

    # --- the passes that are the limit ---

    @cached_property
    def softmax(self):
        from xai_helpers import keras

        network = self.clf.network
        return keras.Model([network.input], keras.layers.Softmax()(network.output))

    def counted(self):
        """A twin whose first convolution counts the images that pass."""
        from xai_helpers import keras, models, tf

        old, seen = self.clf, tf.Variable(0)
        first = next(layer for layer in old.network.layers if layer.weights)

        class Counting(type(first)):
            def call(self, x):
                seen.assign_add(tf.shape(x)[0])
                return super().call(x)

        def twin(layer):
            kind = Counting if layer is first else type(layer)
            return kind.from_config(layer.get_config())

        network = keras.models.clone_model(old.network, clone_function=twin)
        network.set_weights(old.network.get_weights())
        self.seen = seen
        return models.Classifier(
            old.name, network, old._scale, old.classes, weights=old.weights
        )

    @cached_property
    def passes(self) -> dict[str, Callable]:
        """name → a function of a batch size; what it returns is a NumPy array."""
        from xai_helpers import tf

        clf = self.clf

        def compiled(function):
            return tf.function(
                partial(function), autograph=False, reduce_retracing=True
            )

        def forward_of(model):
            return compiled(lambda x: model(x, training=False))

        def backward_of(model, classes):
            def run(x):
                y = model(x, training=False)
                return [tf.gradients(y[:, k], [x])[0] for k in classes]

            return compiled(run)

        def on(function, x):
            x = np.repeat(np.asarray(x), BATCHES[-1], axis=0)
            parts = {size: tf.constant(x[:size]) for size in BATCHES}
            return lambda size: [
                np.asarray(y) for y in tf.nest.flatten(function(parts[size]))
            ]

        entering = clf.up_to(MIDDLE[self.name])(self.input)
        two = self.target, self.target + 1
        return {
            "forward": on(forward_of(clf.network), self.input),
            "forward to block 2": on(
                forward_of(clf.up_to(BLOCK_2[self.name])), self.input
            ),
            "both": on(backward_of(clf.network, two[:1]), self.input),
            "two classes": on(backward_of(clf.network, two), self.input),
            "two classes from the middle": on(
                backward_of(clf.after(MIDDLE[self.name]), two), entering
            ),
        }

    # --- the rows ---

    def rows(self) -> list[Row]:
        from tf_explain.core import (
            activations,
            grad_cam,
            integrated_gradients,
            occlusion_sensitivity,
            smoothgrad,
            vanilla_gradients,
        )

        explain, n = self.explain, self.samples
        given, data, tabby = (self.clf, self.photo), (self.input, None), self.target
        last, block = LAST[self.name], BLOCK_2[self.name]
        patch = self.side // 8
        occlude = partial(explain.occlusion, *given, TARGET, patch=patch, stride=patch)
        positions = len(explain.occluding.starts(self.side, patch, patch)) ** 2
        every = [layer.name for layer in self.clf.layers()]
        softmax = self.softmax

        two = [best.index for best in self.clf.top(self.photo, 2)]  # as shap ranks them

        def shap_of(layer):
            return lambda: explain.shap_gradients(
                *given, self.others, two, layer=layer, samples=n
            )

        rows = [
            Row(
                "activations",
                block,
                {
                    "ours": lambda: explain.activations(*given, block),
                    "tf-explain": lambda: activations.ExtractActivations().explain(
                        data, softmax, [block]
                    ),
                },
                ("forward to block 2", 1),
                ("limit", 1.1),
                self.same_activations,
            ),
            Row(
                "Grad-CAM",
                last,
                {
                    "ours": lambda: explain.grad_cam(*given, TARGET),
                    "tf-explain": lambda: grad_cam.GradCAM().explain(
                        data, softmax, tabby, layer_name=last
                    ),
                },
                ("forward", 1),
                ("limit", 1.3),
                self.same_grad_cam,
            ),
            Row(
                "Grad-CAM, all layers",
                f"{len(every)} layers, one pass",
                {"ours": lambda: explain.grad_cam(*given, TARGET, every)},
                ("both", 1),
                ("limit", 1.3),
            ),
            Row(
                "gradients",
                "",
                {
                    "ours": lambda: explain.gradients(*given, TARGET),
                    "tf-explain": lambda: (
                        vanilla_gradients.VanillaGradients().explain_score_model(
                            data, softmax, tabby
                        )
                    ),
                },
                ("both", 1),
                ("limit", 1.1),
                self.same_gradients,
            ),
            Row(
                "SmoothGrad",
                f"{n} samples",
                {
                    "ours": lambda: explain.smoothgrad(*given, TARGET, samples=n),
                    "tf-explain": lambda: smoothgrad.SmoothGrad().explain(
                        data, softmax, tabby, n, 1.0
                    ),
                },
                ("both", n),
                ("limit", 1.1),
            ),
            Row(
                "integrated gradients",
                f"{n} even steps",
                {
                    "ours": lambda: explain.integrated_gradients(
                        *given, TARGET, steps=n, tolerance=None
                    ),
                    "tf-explain": lambda: (
                        integrated_gradients.IntegratedGradients().explain(
                            data, softmax, tabby, n
                        )
                    ),
                },
                ("both", n),
                ("limit", 1.1),
            ),
            Row(
                "occlusion, every picture whole",
                f"{positions} patches of {patch} px",
                {
                    "ours": lambda: occlude(exhaustive=True),
                    "tf-explain": lambda: occlusion_sensitivity.OcclusionSensitivity(
                        16
                    ).explain(data, softmax, tabby, patch),
                },
                ("forward", positions),
                ("limit", 1.1),
            ),
            Row(
                "occlusion, what a patch reaches",
                f"{positions} patches of {patch} px",
                {"ours": occlude},
                ("forward", positions),
                ("limit", 1 / 3),
                lambda: self.same_occlusion(occlude),
            ),
            Row(
                "SHAP, pixels",
                f"{n} samples, 2 classes",
                {"ours": shap_of(None), "shap": self.shap(None)},
                ("two classes", n),
                ("shap", 1.5),
                lambda: self.same_shap(shap_of(None), None),
            ),
            Row(
                "SHAP, middle layer",
                f"{MIDDLE[self.name]}, {n} samples, 2 classes",
                {
                    "ours": shap_of(MIDDLE[self.name]),
                    "shap": self.shap(MIDDLE[self.name]),
                },
                ("two classes from the middle", n),
                ("shap", 1.5),
                lambda: self.same_shap(shap_of(MIDDLE[self.name]), MIDDLE[self.name]),
            ),
        ]
        if self.name != "vgg16":  # no plain chain
            rows = [
                row
                for row in rows
                if row.technique != "occlusion, what a patch reaches"
            ]
        return rows

    def shap(self, layer, samples=None):
        """shap's explainer, on the part of the network that it has to know. It is made
        in the first turn, which is not timed; then both have seen the background.
        """
        import shap

        from xai_helpers import keras, tf

        network = self.clf.network if layer is None else self.clf.after(layer)
        model = keras.Model([network.input], network.output)

        inner = None
        if layer is not None:
            first = self.clf.up_to(layer)
            inner = tf.function(partial(first, training=False), reduce_retracing=True)

        def entering(x):
            x = self.clf.preprocess(x)
            return inner(tf.constant(x)).numpy() if inner else x

        @cache
        def explainer():
            return shap.GradientExplainer(model, entering(list(self.others)))

        def run():
            return explainer().shap_values(
                entering(self.photo),
                nsamples=samples or self.samples,
                ranked_outputs=2,
                rseed=0,
            )

        return run

    # --- are they the same? ---

    def same_activations(self) -> str:
        from xai_helpers import keras

        block = BLOCK_2[self.name]
        model = keras.Model([self.softmax.input], self.softmax.get_layer(block).output)
        theirs = model.predict(self.input, verbose=0)[0]
        ours = self.explain.activations(self.clf, self.photo, block).values
        return f"largest difference {relative(ours, theirs):.0e}"

    def same_grad_cam(self) -> str:
        from tf_explain.core.grad_cam import GradCAM

        outputs, slopes = GradCAM.get_gradients_and_filters(
            self.softmax, self.input, LAST[self.name], self.target, False
        )
        theirs = np.maximum(GradCAM.generate_ponderated_output(outputs, slopes)[0], 0)
        ours = self.explain.grad_cam(self.clf, self.photo, TARGET, score="probability")
        return f"largest difference {relative(ours.values, theirs):.0e}"

    def same_gradients(self) -> str:
        from tf_explain.core.vanilla_gradients import VanillaGradients

        theirs = VanillaGradients.compute_gradients(
            self.input, self.softmax, self.target
        )
        theirs = np.asarray(theirs)[0]
        ours = self.explain.gradients(self.clf, self.photo, TARGET, score="probability")
        ours = ours.values / ours.score_value  # of the logarithm, as the cross-entropy
        if self.name == "vgg16":
            theirs = theirs[..., ::-1]
        else:
            theirs = theirs / 127.5
        return f"cosine {abs(cosine(ours, theirs)):.4f}"

    def same_occlusion(self, occlude) -> str:
        short, long = occlude().values, occlude(exhaustive=True).values
        return f"largest difference {np.abs(short - long).max():.0e} of a logit"

    def same_shap(self, ours, layer) -> str:
        found = ours()[0]
        values, order = self.shap(layer)()
        assert order[0, 0] == found.target
        gap = abs(values[..., 0].sum() - found.checks["sum"])
        error = 2**0.5 * found.checks["standard error"]  # both are estimates
        return f"sums {gap / error:.1f} standard errors apart"


def relative(a, b) -> float:
    return float(np.abs(np.asarray(a) - b).max() / np.abs(b).max())


def cosine(a, b) -> float:
    a, b = np.ravel(a), np.ravel(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# --- measuring ------------------------------------------------------------------------


def seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def best_batch(run: Callable, known: dict = {}) -> int:  # noqa: B006  kept on purpose
    """The batch size with the least time for one image."""
    if run in known:
        return known[run]
    times = {}
    for size in BATCHES:
        run(size)  # compiles
        times[size] = min(seconds(lambda s=size: run(s)) for _ in range(2)) / size
    known[run] = min(times, key=times.get)
    return known[run]


def measure(bench: Bench, row: Row, repetitions: int) -> dict:
    """All contenders and the limit, taking turns; the medians."""
    which, times = row.limit
    run, size = bench.passes[which], 1
    if times > 1:  # one image cannot wait for a batch
        size = best_batch(run)
    calls = -(
        -times // size
    )  # as long as the others, so that both meet any disturbance
    turns = {**row.runs, "limit": lambda: [run(size) for _ in range(calls)]}
    spent = {name: [] for name in turns}
    for action in turns.values():
        action()  # compiles
    start = time.perf_counter()
    while len(spent["ours"]) < repetitions or time.perf_counter() - start < LEAST:
        for name, action in turns.items():
            spent[name].append(seconds(action))
    found = {name: statistics.median(values) for name, values in spent.items()}
    found["limit"] *= times / (calls * size)
    return {
        "network": bench.clf.name,
        "technique": row.technique,
        "setting": row.setting,
        "limit": f"{times} × {which}, batches of {size}",
        "seconds": {name: round(value, 4) for name, value in found.items()},
        "spread": {
            name: [round(f(values), 4) for f in (min, max)]
            for name, values in spent.items()
            if name != "limit"
        },
        "target": list(row.target),
        "met": met(found, row.target),
        "agrees": row.agrees() if row.agrees else "",
        "unlike": UNLIKE.get(row.technique, "") if len(row.runs) > 1 else "",
    }


def met(spent: dict, target) -> bool:
    against, ratio = target
    if against == "limit":
        return spent["ours"] <= ratio * spent["limit"]
    return spent[against] >= ratio * spent["ours"]


def images(network: str, quick: bool, only) -> dict:
    """(technique, whose) → how many images passed the network."""
    bench = Bench(network, quick, counting=True)
    found = {}
    for row in bench.rows():
        if only and row.technique not in only:
            continue
        if row.technique == "occlusion, what a patch reaches":
            continue  # no whole images there
        for name, action in row.runs.items():
            if "SHAP" in row.technique:
                action()  # what it keeps of the background is not counted, nor timed
            bench.seen.assign(0)
            action()
            found[row.technique, name] = int(bench.seen.numpy())
    return found


# --- memory, in a process for each ----------------------------------------------------


def peak_mb() -> float:
    """The largest resident memory of this process since ``forget_peak``."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def forget_peak() -> float:
    """Also gives back what is free, or the next step would find room already there."""
    with contextlib.suppress(AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def memory_here(network: str, technique: str, whose: str, quick: bool) -> float:
    bench = Bench(network, quick)
    bench.clf.logits(bench.photo)
    (row,) = [row for row in bench.rows() if row.technique == technique]
    before = forget_peak()
    row.runs[whose]()
    return peak_mb() - before


def memory(network: str, technique: str, whose: str, quick: bool) -> int | None:
    """Megabytes beyond the loaded network; None where Linux's counters are missing."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return None
    asked = [network, technique, whose, "quick" if quick else ""]
    answer = subprocess.run(
        [sys.executable, __file__, "--memory-of", *asked],
        capture_output=True,
        text=True,
        check=True,
    )
    return round(float(answer.stdout.split()[-1]))


# --- sliders and start ----------------------------------------------------------------


def slider(network: str, technique: str) -> dict:
    """Milliseconds for the first picture, for further steps, for another photo."""
    from xai_helpers import load_classifier, widgets

    clf = load_classifier(network, weights="portable", verbose=False)
    made = []
    first = seconds(
        lambda: made.append(widgets.explore_layers(clf, technique=technique))
    )
    explorer = made[0]

    def move(control, value):
        control.value = value

    layers = [value for _, value in explorer.layer.options]
    steps = [seconds(lambda v=v: move(explorer.layer, v)) for v in layers[::-1]]
    photo = seconds(lambda: move(explorer.photo, "dogs"))
    found = {
        "first": first,
        "median step": statistics.median(steps),
        "slowest step": max(steps),
        "next photo": photo,
    }
    found = {name: round(1000 * value) for name, value in found.items()}
    return {"network": clf.name, "technique": technique} | found


def import_ms() -> int:
    """Milliseconds for ``import xai_helpers``, in a fresh Python; median of five."""
    code = "import time; t = time.perf_counter(); import xai_helpers; "
    code += "print(time.perf_counter() - t)"
    start = partial(subprocess.run, capture_output=True, text=True, check=True)
    runs = [float(start([sys.executable, "-c", code]).stdout) for _ in range(5)]
    return round(1000 * statistics.median(runs))


def machine() -> dict:
    from xai_helpers import tf  # its logs silent

    gpus = tf.config.list_physical_devices("GPU")
    cards = [tf.config.experimental.get_device_details(g)["device_name"] for g in gpus]
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = re.search(r"model name\s*: (.*)", info.read_text())
        cpu = cpu[1].strip() if cpu else platform.machine()
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "gpus": cards,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
    }


# --- tables ---------------------------------------------------------------------------


def ratio(value: float) -> str:
    return f"{value:.1f} ×" if value >= 10 else f"{value:.2f} ×"


def duration(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def markdown(found: dict) -> str:
    """The table of one run: seconds as they were, the rest as ratios to ours."""
    lines = [
        "| technique | network | ours | ours ÷ limit | target | others ÷ ours | "
        "memory: ours, others |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        spent = row["seconds"]
        against, wanted = row["target"]
        others = [name for name in spent if name not in ("ours", "limit")]
        compared = " · ".join(f"{n} {ratio(spent[n] / spent['ours'])}" for n in others)
        sign = "≤" if against == "limit" else "≥"
        said = f"{sign} {wanted:.2g} ×" + (
            "" if against == "limit" else f" ({against})"
        )
        said += "" if row["met"] else ": **missed**"
        used = [row["memory"].get(name) for name in ("ours", *others)]
        used = ", ".join("–" if mb is None else f"{mb} MB" for mb in used)
        lines.append(
            f"| {row['technique']} ({row['setting']}) | {row['network']} "
            if row["setting"]
            else f"| {row['technique']} | {row['network']} "
        )
        lines[-1] += (
            f"| {duration(spent['ours'])} | {ratio(spent['ours'] / spent['limit'])} "
            f"| {said} | {compared or '–'} | {used} |"
        )
    return "\n".join(lines)


def sliders_markdown(found: dict) -> str:
    lines = [
        "| slider, milliseconds | first picture | median step | slowest step "
        "| next photo |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in found["sliders"]:
        cells = [row[k] for k in ("first", "median step", "slowest step", "next photo")]
        name = f"{row['network']}, {row['technique']}"
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def readme(text: str) -> str:
    """The README with the tables of the committed run between its two marks."""
    found = json.loads((TABLES / "speed-cpu.json").read_text("utf-8"))
    about = found["machine"]
    missed = [
        f"- {row['technique']}, {row['network']}: "
        + WHY.get((row["network"], row["technique"]), "not explained yet.").format(
            bare=ratio(row["seconds"].get("shap", 0) / row["seconds"]["limit"]),
            over=ratio(row["seconds"]["ours"] / row["seconds"]["limit"]),
            extra=duration(row["seconds"]["ours"] - row["seconds"]["limit"]),
        )
        for row in found["rows"]
        if not row["met"]
    ]
    said = (
        f"{about['processor']}, {about['cores']} cores, no graphics card, TensorFlow "
        f"{about['tensorflow']}; medians of {found['repetitions']} turns or more. "
        f"`import xai_helpers` takes {found['import ms']} ms: TensorFlow waits until "
        "it is needed."
    )
    parts = [
        markdown(found),
        *(["Missed, and why:", "\n".join(missed)] if missed else []),
    ]
    inside = "\n\n".join([BEGIN, said, *parts, sliders_markdown(found), END])
    start, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:start] + inside + text[end:]


# --- from the command line ------------------------------------------------------------


def run(networks, only, quick: bool, repetitions: int, with_memory: bool) -> dict:
    from xai_helpers import keras

    keras.config.disable_interactive_logging()
    warnings.filterwarnings("ignore", "The structure of `inputs`")
    found = {"machine": machine(), "repetitions": repetitions, "rows": []}
    for network in networks:
        counted = images(network, quick, only)
        bench = Bench(network, quick)
        for row in bench.rows():
            if only and row.technique not in only:
                continue
            result = measure(bench, row, repetitions)
            result["images"] = {
                name: counted.get((row.technique, name)) for name in row.runs
            }
            result["memory"] = {
                name: memory(network, row.technique, name, quick)
                if with_memory
                else None
                for name in row.runs
            }
            found["rows"].append(result)
            spent = result["seconds"]
            print(
                f"{result['network']:9} {row.technique:32}",
                *(f"{name} {value:.3f} s" for name, value in spent.items()),
                f"ours/limit {spent['ours'] / spent['limit']:.2f}",
                "" if result["met"] else "MISSED",
                result["agrees"],
                result["images"],
                result["memory"],
                flush=True,
            )
    found["sliders"] = [
        slider(network, technique)
        for network in networks
        for technique in ("grad_cam", "activations")
    ]
    found["import ms"] = import_ms()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 samples, 2 repetitions")
    parser.add_argument("--save", action="store_true", help="write data/tables/")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--only", nargs="+", metavar="TECHNIQUE")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument(
        "--readme", action="store_true", help="write the README's tables"
    )
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory_of:
        network, technique, whose, quick = asked.memory_of
        print(memory_here(network, technique, whose, bool(quick)))
        return
    if asked.readme:
        path = ROOT / "README.md"
        path.write_text(readme(path.read_text("utf-8")), "utf-8")
        return
    found = run(
        asked.network,
        asked.only,
        asked.quick,
        2 if asked.quick else REPETITIONS,
        not asked.no_memory,
    )
    kind = "gpu" if found["machine"]["gpus"] else "cpu"
    print(markdown(found), sliders_markdown(found), sep="\n\n")
    print(f"\nimport xai_helpers: {found['import ms']} ms")
    out = TABLES / f"speed-{kind}.json" if asked.save else asked.out
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
