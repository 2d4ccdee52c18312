"""How time and memory grow with the work: data/tables/growth.json, docs/growth.png.

    make growth                       measure (10 minutes), then draw
    python tools/growth.py --draw     draw what was measured

Each series runs in a process of its own, from small to large. Memory is the peak of the
resident process beyond the loaded network (Linux only), so what a series keeps, such as
the maps of a thousand images, is in it.
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
from benchmark import (
    PHOTO,
    ROOT,
    TABLES,
    TARGET,
    forget_peak,
    machine,
    peak_mb,
    seconds,
)
from matplotlib.ticker import LogLocator

OUT, FIGURE = TABLES / "growth.json", ROOT / "docs" / "growth.png"
PATCH = 28
SIDES = 112, 224, 336, 448, 672  # a process for each: memory once taken is kept
TITLES = {
    "patches": "Occlusion, VGG16: patches",
    "whole": "every picture whole",
    "samples": "SmoothGrad, VGG16: samples",
    "pixels": "Grad-CAM, VGG16: side in pixels",
    "images": "Grad-CAM, Xception: images",
}


def occlusions(exhaustive: bool, strides) -> Iterator[tuple[int, Callable]]:
    from xai_helpers import explain, load_classifier, sample_image

    clf = load_classifier("vgg16", weights="portable", verbose=False)
    for stride in strides:
        run = partial(
            explain.occlusion,
            *(clf, sample_image(PHOTO), TARGET),
            patch=PATCH,
            stride=stride,
            exhaustive=exhaustive,
        )
        yield len(range(0, 224 - PATCH + 1, stride)) ** 2, run


def patches():
    return occlusions(False, (98, 49, 28, 14, 7))


def whole():
    return occlusions(True, (98, 49, 28, 14))


def samples():
    from xai_helpers import explain, load_classifier, sample_image

    clf = load_classifier("vgg16", weights="portable", verbose=False)
    for count in (1, 4, 16, 64):
        yield (
            count,
            partial(
                explain.smoothgrad, clf, sample_image(PHOTO), TARGET, samples=count
            ),
        )


def pixels(side: int):
    """VGG16's layers with random weights: the time does not depend on them.

    Not by ``load_classifier``: it asks a model that it does not know a question, and
    the memory for that would be there already.
    """
    from xai_helpers import Classifier, explain, keras, sample_image

    network = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(side, side, 3), pooling="avg"
    )
    scale = keras.applications.vgg16.preprocess_input
    classes = [("", f"channel {k}") for k in range(512)]
    clf = Classifier("VGG16", network, scale, classes, weights="random")
    yield side, partial(explain.grad_cam, clf, sample_image(PHOTO), 0)


def images():
    """The photo with other brightness each time, so that nothing is the same."""
    from xai_helpers import explain, load_classifier, sample_image

    clf = load_classifier("xception", weights="portable", verbose=False)
    square, _ = clf.cut(sample_image(PHOTO))
    for count in (1, 4, 16, 64, 256, 1000):
        shades = (square * (0.5 + 0.5 * k / count) for k in range(count))
        stack = np.stack([shade.astype("uint8") for shade in shades])
        yield count, partial(explain.grad_cam, clf, stack, TARGET)


SERIES = {f.__name__: f for f in (patches, whole, samples)}
SERIES |= {f"pixels {side}": partial(pixels, side) for side in SIDES}
SERIES |= {"images": images}


def measure(name: str) -> list[list]:
    """[how much, seconds, megabytes beyond the loaded network] from small to large."""
    found, loaded = [], 0.0
    for count, run in SERIES[name]():
        loaded = loaded or forget_peak()
        if count < 20 or "pixels" in name:
            run()  # compiles
        forget_peak()
        found.append([count, round(seconds(run), 3), round(peak_mb() - loaded)])
    return found


def draw(found: dict) -> None:
    axes = plt.subplots(2, 4, figsize=(13, 5.4), sharex="col", layout="constrained")[1]
    columns = {"patches": 0, "whole": 0, "samples": 1, "pixels": 2, "images": 3}
    for name, column in columns.items():
        counts, times, megabytes = zip(*found[name], strict=True)
        label = TITLES[name] if name == "whole" else "what a patch reaches"
        style = {"marker": "o", "ms": 4, "label": label}
        if name == "whole":
            style |= {"color": "0.6", "ls": "--"}
        above, below = axes[:, column]
        above.loglog(counts, times, **style)
        below.semilogx(counts, megabytes, **style)
        if name != "whole":
            power = 2 if name == "pixels" else 1
            line = [times[-1] * (n / counts[-1]) ** power for n in counts]
            above.loglog(counts, line, color="0.4", ls=":", lw=1)
            above.set_title(TITLES[name], fontsize=10)
            above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            above.yaxis.set_major_formatter("{x:g}")
    shown = ("patches", "samples", "pixels", "images")
    for axis, name in zip(axes[1], shown, strict=True):
        counts = [row[0] for row in found[name]]
        axis.set_xticks(counts, map(str, counts), fontsize=8)
        axis.set_ylim(0, None)
    axes[0, 0].set_ylabel("seconds (dotted: in proportion)")
    axes[1, 0].set_ylabel("megabytes, peak")
    axes[0, 0].legend(fontsize=8)
    for axis in axes.flat:
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    plt.savefig(FIGURE, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="only draw")
    parser.add_argument("--series", choices=SERIES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.series:
        print(json.dumps(measure(asked.series)))
        return
    if not asked.draw:
        found = {"machine": machine()}
        for name in SERIES:
            here = [sys.executable, __file__, "--series", name]
            answer = subprocess.run(here, capture_output=True, text=True, check=True)
            rows = json.loads(answer.stdout.splitlines()[-1])
            found.setdefault(name.split()[0], []).extend(rows)
            print(name, rows, flush=True)
        OUT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    draw(json.loads(OUT.read_text("utf-8")))


if __name__ == "__main__":
    main()
