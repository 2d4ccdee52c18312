"""How time and memory grow with the work: data/tables/scaling.json, docs/scaling.png.

    make scaling                                measure (10 minutes), then draw
    python tools/scaling.py --only rectangles   measure some series again, then draw
    python tools/scaling.py --draw              draw what was measured

Each series runs in a process of its own, from small to large; each size of pictures,
too. Memory is the peak of the resident process beyond the loaded network (Linux only),
so what a series keeps, such as the maps of a thousand images, is in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from benchmark import ROOT, TABLES, machine, peak_mb, reset_peak, seconds
from benchmark_rows import PHOTO, TARGET
from matplotlib.ticker import LogLocator

from xai_helpers import Classifier, explain, keras, load_classifier, sample_image

OUT, FIGURE = TABLES / "scaling.json", ROOT / "docs" / "scaling.png"
PATCH = 28
SIDES = 112, 224, 336, 448, 672  # a process for each: memory once taken is kept
SHAPES = (299, 299), (400, 600), (600, 900), (800, 1200)
TITLES = {
    "patches": "Occlusion, VGG16: patches",
    "whole": "every picture whole",
    "samples": "SmoothGrad, VGG16: samples",
    "pixels": "Grad-CAM, VGG16: pixels",
    "rectangles": "SmoothGrad, Xception: pixels",
    "images": "Grad-CAM, Xception: images",
}
Runs = Iterator[tuple[int, Callable]]  # how much work, and a function that does it


def occlusions(incremental: bool, strides) -> Runs:
    clf = load_classifier("vgg16", weights="portable", verbose=False)
    occlude = partial(explain.occlusion, clf, sample_image(PHOTO), TARGET, patch=PATCH)
    for stride in strides:
        patches = len(range(0, 224 - PATCH + 1, stride)) ** 2
        yield patches, partial(occlude, stride=stride, incremental=incremental)


def patches() -> Runs:
    return occlusions(True, (98, 49, 28, 14, 7))


def whole() -> Runs:
    return occlusions(False, (98, 49, 28, 14))


def samples() -> Runs:
    clf = load_classifier("vgg16", weights="portable", verbose=False)
    smoothgrad = partial(explain.smoothgrad, clf, sample_image(PHOTO), TARGET)
    for count in (1, 4, 16, 64):
        yield count, partial(smoothgrad, samples=count)


def pixels(side: int) -> Runs:
    """VGG16's layers with random weights: the time does not depend on them.

    Not by ``load_classifier``: it asks a model that it does not know a question, and
    the memory for that would be there already.
    """
    model = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(side, side, 3), pooling="avg"
    )
    preprocess = keras.applications.vgg16.preprocess_input
    classes = [("", f"channel {k}") for k in range(512)]
    clf = Classifier("VGG16", model, preprocess, classes, weights_description="random")
    yield side, partial(explain.grad_cam, clf, sample_image(PHOTO), 0)


def rectangles(height: int, width: int) -> Runs:
    size = {"input_size": (height, width)}
    clf = load_classifier("xception", weights="portable", verbose=False, **size)
    smoothgrad = partial(explain.smoothgrad, clf, sample_image(PHOTO), TARGET)
    yield height * width, partial(smoothgrad, samples=4)


def images() -> Runs:
    """The photo with other brightness each time, so that nothing is the same."""
    clf = load_classifier("xception", weights="portable", verbose=False)
    square, _ = clf.crop(sample_image(PHOTO))
    for count in (1, 4, 16, 64, 256, 1000):
        shades = (square * (0.5 + 0.5 * k / count) for k in range(count))
        stack = np.stack([shade.astype("uint8") for shade in shades])
        yield count, partial(explain.grad_cam, clf, stack, TARGET)


SERIES = {f.__name__: f for f in (patches, whole, samples)}
SERIES |= {f"pixels {side}": partial(pixels, side) for side in SIDES}
SERIES |= {f"rectangles {h}x{w}": partial(rectangles, h, w) for h, w in SHAPES}
SERIES |= {"images": images}


def measure(name: str) -> list[list]:
    """[how much, seconds, megabytes beyond the loaded network] from small to large."""
    rows, loaded = [], 0.0
    for count, run in SERIES[name]():
        loaded = loaded or reset_peak()
        if count < 20 or " " in name:  # "pixels 224"
            run()  # compiles
        reset_peak()
        rows.append([count, round(seconds(run), 3), round(peak_mb() - loaded)])
    return rows


def draw(results: dict) -> None:
    axes = plt.subplots(2, 5, figsize=(16, 5.4), sharex="col", layout="constrained")[1]
    columns = {"whole": 0, "patches": 0, "samples": 1, "pixels": 2, "rectangles": 3}
    columns |= {"images": 4}
    for name, column in columns.items():
        counts, times, megabytes = zip(*results[name], strict=True)
        if name == "pixels":
            counts = [side**2 for side in counts]
        label = TITLES[name] if name == "whole" else "what a patch reaches"
        style = {"marker": "o", "ms": 4, "label": label}
        style |= {"color": "0.6", "ls": "--"} if name == "whole" else {"color": "C0"}
        above, below = axes[:, column]
        above.loglog(counts, times, **style)
        below.semilogx(counts, megabytes, **style)
        if name != "whole":
            line = [times[-1] * n / counts[-1] for n in counts]
            above.loglog(counts, line, color="0.4", ls=":", lw=1)
            above.set_title(TITLES[name], fontsize=10)
            above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            above.yaxis.set_major_formatter("{x:g}")
            labels = [str(row[0]) for row in results[name]]
            if name == "pixels":
                labels = [f"{side}²" for side in labels]
            if name == "rectangles":
                labels = [f"{h} ×\n{w}" for h, w in SHAPES]
            below.set_xticks(counts, labels, fontsize=8)
            below.set_ylim(0, None)
    axes[0, 0].set_ylabel("seconds (dotted: in proportion)")
    axes[1, 0].set_ylabel("megabytes, peak")
    axes[0, 0].legend(fontsize=8, reverse=True)
    for axis in axes.flat:
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    plt.savefig(FIGURE, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="only draw")
    parser.add_argument("--only", choices=TITLES, nargs="+", help="these series")
    parser.add_argument("--series", choices=SERIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.series:
        print(json.dumps(measure(args.series)))
        return
    if not args.draw:
        names = [name for name in SERIES if name.split()[0] in (args.only or TITLES)]
        results = json.loads(OUT.read_text("utf-8")) if args.only else {}
        results |= {"machine": machine()} | {name.split()[0]: [] for name in names}
        for name in names:
            command = [sys.executable, __file__, "--series", name]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            rows = json.loads(answer.stdout.splitlines()[-1])
            results[name.split()[0]].extend(rows)
            print(name, rows, flush=True)
        text = json.dumps(results, indent=1, ensure_ascii=False)
        OUT.write_text(text + "\n", "utf-8")
    draw(json.loads(OUT.read_text("utf-8")))


if __name__ == "__main__":
    main()
