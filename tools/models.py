"""Every architecture of keras.applications, and vision transformers, × every technique.

    make models                                   all of them, then docs/models.md
    python tools/models.py --only VGG16 Swin      theirs, into the table there
    python tools/models.py --missing              go on where a run was broken off
    python tools/models.py --page                 write the page from the table there

Each model runs in a process of its own; what is compared with what stands in
model_checks.py. Writes data/tables/models.json after every model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from model_checks import (
    BEFORE,
    CASES,
    CLASSES,
    DRAWS,
    FILL,
    LIMITS,
    MASKS,
    ROOT,
    SAMPLES,
    STANDARD_ERRORS,
    STEPS,
    measure,
)

from xai_helpers import explain, keras

OUT, PAGE = ROOT / "data" / "tables" / "models.json", ROOT / "docs" / "models.md"
TITLES = {name: name for name in BEFORE}
TITLES |= {technique.name: technique.title for technique in explain.TECHNIQUES.values()}


def run_alone(name: str) -> dict:
    """``measure`` in a process of its own."""
    command = [sys.executable, __file__, "--case", name]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["killed"])[-1]
        cell = {"verdict": "fails", "says": f"exit {answer.returncode}: {last}"}
        cells = dict.fromkeys(TITLES, cell)
        return {"model": name, "size": CASES[name].size, "seconds": 0, "cells": cells}
    return json.loads(answer.stdout.splitlines()[-1])


def read() -> dict:
    return json.loads(OUT.read_text("utf-8")) if OUT.exists() else {"rows": []}


def save(table: dict, row: dict | None = None) -> None:
    """The table, this row in its place, in the order of ``CASES``."""
    rows = {old["model"]: old for old in table["rows"]}
    rows |= {row["model"]: row} if row else {}
    table["rows"] = [rows[name] for name in CASES if name in rows]
    text = json.dumps(table, indent=1, ensure_ascii=False)
    OUT.write_text(text + "\n", "utf-8")


def run(names, jobs: int) -> None:
    from benchmark import machine

    table, lock = read() | {"machine": machine(), "keras": keras.__version__}, Lock()

    def one(name):
        row = run_alone(name)
        with lock:
            save(table, row)
            bad = {
                column: cell.get("says", cell.get("distance"))
                for column, cell in row["cells"].items()
                if cell["verdict"] != "equal"
            }
            print(f"{name}, {row['seconds']} s: {bad or 'all equal'}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, names))


def shown(cell: dict) -> str:
    far = f" {cell['distance']:.0e}" if cell.get("distance") else ""
    far += f" ({cell['in 64 bits']:.0e})" if "in 64 bits" in cell else ""
    return ("✓" if cell["verdict"] == "equal" else f"**{cell['verdict']}**") + far


def page(table: dict) -> str:
    """docs/models.md."""
    rows = table["rows"]
    cells = [
        (row["model"], column, cell)
        for row in rows
        for column, cell in row["cells"].items()
    ]
    bad = [entry for entry in cells if entry[2]["verdict"] != "equal"]
    head = ["model", "pixels", "fed", "layers", "its default layer", *TITLES.values()]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        fed = {1: "0–255", 256: "0–1"}.get(row.get("divisor"), "")
        grid = " × ".join(map(str, row.get("grid", [])))
        default = f"`{row['default']}` {grid}" if grid else ""
        values = [row["model"], row["size"], fed, row.get("layers", ""), default]
        values += [shown(row["cells"][column]) for column in TITLES]
        lines.append(f"| {' | '.join(map(str, values))} |")
    sentences = [
        f"* {name}, {TITLES[column]}: {cell['verdict']}"
        f"{': ' + ' '.join(cell['says'].split()) if 'says' in cell else ''}"
        for name, column, cell in bad
    ]
    machine = table["machine"]
    parts = {
        "WORST": worst(cells),
        "MINUTES": f"{sum(row['seconds'] for row in rows) / 60:.0f}",
        "MACHINE": f"{machine['processor']}, {machine['cores']} cores, TensorFlow "
        f"{machine['tensorflow']}, Keras {table['keras']}",
        "TABLE": "\n".join(lines),
        "BAD": "\n".join(sentences) or "Nothing.",
    }
    text = TEXT
    for key, value in parts.items():
        text = text.replace(f"<{key}>", value)
    return text


def worst(cells: list) -> str:
    """The first sentence: how many are not equal, and the largest distance."""
    verdicts = [cell["verdict"] for *_, cell in cells]
    models = len({name for name, *_ in cells})
    counts = ", ".join(
        f"{verdicts.count(verdict)} {words}"
        for verdict, words in {
            "differs": "differ", "fails": "end in an error", "refused": "are refused",
            "equal": "are equal",
        }.items()
    )  # fmt: skip
    first = f"Of {len(cells)} cells ({models} models × {len(TITLES)} columns) {counts}."
    exact = [cell["in 64 bits"] for *_, cell in cells if "in 64 bits" in cell]
    decided = [e for e in cells if "distance" in e[2] and "in 64 bits" not in e[2]]
    if decided:
        name, column, cell = max(decided, key=lambda entry: entry[2]["distance"])
        first += f" The largest distance is {cell['distance']:.0e} ({name}, "
        first += f"{TITLES[column]})"
        if exact:
            first += f", beside {len(exact)} cells that were computed again with 64 "
            first += f"bits: there it is {max(exact):.0e}"
        first += "."
    return first


TEXT = f"""# Every architecture × every technique

<WORST>

Made by `make models` (`tools/models.py`, with the checks of `tools/model_checks.py`),
which also writes `data/tables/models.json`; <MINUTES> minutes of computing, shared by two
processes (<MACHINE>). `python tools/models.py --only VGG16` does one model again.
What is not equal stands under the table, with its reason.

## What was compared

Every function of `keras.applications` that builds a model, and the vision transformers
of `tests/vision_transformers.py`; {CLASSES} classes, and the smallest input that Keras
allows. At that size the last layers have one cell, so the default layer is an earlier
one than in daily use.

Weights are random, and changed so that answers differ between photos: the batch
normalisations hold the mean and variance of 16 random photos, and shift by 1 (with 0,
deep networks of ReLUs amplify the smallest rounding); the block scales of ConvNeXt are 1
(Keras begins with 0.000001, and a block does nothing); and the last layer is scaled and
shifted to logits of mean 0 and standard deviation 2. A model that does not
rescale is fed pixels / 256: by a power of two, so that both sides are fed the same to
the last bit. A ViT "of blocks" has blocks that are layers with layers in them; its
derivation is the plain ViT with the same weights.

Two photos: the first is asked for its top class (`target=None`), the second for that of
its best three classes with most evidence in the derived Grad-CAM (of all classes, where
these have none). What the package says is compared with a derivation from Keras and TensorFlow alone, on the model as it was
built:

| column | derivation |
| --- | --- |
| loads | probabilities: `model.predict`; logits: what enters the softmax, of a Dense layer by hand from its weights |
| default layer | the last of `model.operations`, with `Sequential`s opened, that outputs (N, h, w, channels) with more than one cell and is no pooling: name (of an operation, its kind) and grid; for the ViTs it is known by name |
| activations | `keras.Model(model.input, tensor)`; tokens on their grid, without the class token |
| Grad-CAM, Layer-CAM | the papers' equations at the default layer, gradients by `tf.GradientTape` |
| gradients | `tf.GradientTape` at the pixels |
| SmoothGrad | the mean over the same {SAMPLES} noisy copies |
| integrated gradients | from black, the gradient in the middle of each of {STEPS} even steps |
| occlusion | every covered picture through `predict`; patches of a third of the side, grey level {FILL} |
| expected gradients | the same {DRAWS} draws from 5 photos; and the sum is the score difference within {STANDARD_ERRORS} standard errors and a thousandth of the largest score |
| RISE | {MASKS} masks, probabilities from `predict`. Only the masks are the package's |

The number is the norm of the difference as a share of the norm of what is expected
(RISE: of what is expected minus its mean), the larger one of the two photos; ✓ alone is
no difference at all. Both sides compute with 32 bits, but not in the same order, since
they are compiled apart. Each layer rounds at 1e-7 and what follows amplifies it, so that
up to {LIMITS["float32"]:g} is called equal. Where rounding moves a unit across the kink
of its ReLU, or makes another cell win a maximum, a gradient jumps, by up to a percent. So
what is above the limit is computed once more, both sides with 64 bits; there up to
{LIMITS["float64"]:g} is equal, and that distance stands in brackets. An error of the
package is no smaller with 64 bits.

"layers" is the number of layers that can be chosen (`clf.layers()`).

<TABLE>

## Not equal

<BAD>
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME")
    parser.add_argument("--missing", action="store_true", help="those without a row")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--jobs", type=int, default=2, help="models at a time")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, CASES[args.case]), ensure_ascii=False))
        return
    if not args.page:
        done = {row["model"] for row in read()["rows"]} if args.missing else ()
        run([name for name in args.only or CASES if name not in done], args.jobs)
    PAGE.write_text(page(read()), "utf-8")


if __name__ == "__main__":
    main()
