"""Measure the techniques: the tables of notebooks 08 and 10, data/tables/*.csv.

    python tools/make_tables.py                   all of them, over an hour
    python tools/make_tables.py pointing          one: pointing, curves or completeness
    python tools/make_tables.py pointing --only vgg16 --cases 2 --out build/tables

``tests/test_tables.py`` computes some of the rows again and compares.

pointing      the grid pointing game (Böhle et al. 2021) on mosaics of two photos
curves        deletion and insertion (Petsiuk et al. 2018), average drop (Chattopadhay
              et al. 2018) on the photos of the course
completeness  by how much integrated gradients miss the score difference, and in how
              many steps
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from xai_helpers import background, explain, load_classifier, metrics, sample_images

TABLES = Path(__file__).parent.parent / "data" / "tables"
NETWORKS = ("xception", "vgg16")
SURE = 0.4  # of its first answer: the photos that a network is asked about in mosaics
MIDDLE = {"Xception": "add_6", "VGG16": "block4_conv3"}  # for SHAP at a layer
SETTINGS = {
    "Grad-CAM": "last layer with maps",
    "occlusion": "grey patch of a fifth of the side, half a patch apart",
    "gradients": "",
    "SmoothGrad": "16 samples, noise 0.15",
    "integrated gradients": "from black, at most 32 steps",
    "SHAP, pixels": "32 samples, 20 photos",
    "SHAP, middle layer": "32 samples, 20 photos; add_6 and block4_conv3",
    "activations": "last layer with maps, all channels summed; knows no class",
    "random": "knows nothing",
    "edges": "knows the photo only (Sobel)",
    "centre": "knows nothing",
}


def find_map(technique: str, classifier, image, target, exclude=(), seed: int = 0):
    """One map, with the settings of the table: an Attribution or an array."""
    square, _ = classifier.cut(image)
    about = {"classifier": classifier, "image": image}
    if technique in metrics.BASELINES:
        return metrics.BASELINES[technique](square, seed)
    if technique == "activations":
        last = explain.cam.last_maps(classifier)
        return explain.activations(**about, layer=last)
    about["target"] = target
    if technique == "Grad-CAM":
        return explain.grad_cam(**about)
    if technique == "occlusion":
        return explain.occlusion(**about, patch=min(square.shape[:2]) // 5)
    if technique == "gradients":
        return explain.gradients(**about)
    if technique == "SmoothGrad":
        return explain.smoothgrad(**about, samples=16, seed=seed)
    if technique == "integrated gradients":
        return explain.integrated_gradients(**about, steps=32, seed=seed)
    layer = MIDDLE[classifier.name] if "layer" in technique else None
    others = background(20, classifier.input_size, exclude=list(exclude))
    options = {"layer": layer, "samples": 32, "seed": seed}
    return explain.shap_gradients(**about, background=others, **options)


def sure_photos(classifier) -> dict[str, int]:
    """Name of the photo → the class that the network is sure of."""
    found = {}
    for name, photo in sample_images().items():
        first = classifier.top(photo, 1)[0]
        if first.probability >= SURE:
            found[name] = first.index
    return found


def mosaics(classifier) -> Iterator[dict]:
    """Each photo beside the next one, once for the class of either."""
    sure, photos = sure_photos(classifier), sample_images()
    names = list(sure)
    for k, left in enumerate(names):
        right = names[(k + 1) % len(names)]
        whole = metrics.mosaic([photos[left], photos[right]], classifier.input_size[0])
        for tile, name in enumerate((left, right)):
            yield {
                "case": f"{left} | {right}",
                "image": whole,
                "photos": (left, right),
                "tile": tile,
                "target": sure[name],
            }


def pointing(classifier) -> Iterator[dict]:
    for case in mosaics(classifier):
        label = classifier.label(case["target"])
        for technique in SETTINGS:
            heat = find_map(
                technique, classifier, case["image"], case["target"], case["photos"]
            )
            yield {
                "mosaic": case["case"],
                "class": label,
                "technique": technique,
                "share": f"{metrics.share(heat, case['tile'], 2):.3f}",
            }


def curves(classifier) -> Iterator[dict]:
    for name, photo in sample_images().items():
        target = classifier.top(photo, 1)[0].index
        for technique in SETTINGS:
            heat = find_map(technique, classifier, photo, target, [name])
            about = (classifier, photo, heat, target)
            away = metrics.deletion(*about, steps=10)
            back = metrics.insertion(*about, steps=10)
            drop, increase = metrics.average_drop(classifier, [photo], [heat], [target])
            yield {
                "photo": name,
                "class": classifier.label(target),
                "technique": technique,
                "deletion": f"{away.area:.3f}",
                "insertion": f"{back.area:.3f}",
                "drop": f"{drop:.3f}",
                "increase": int(increase),
            }


def completeness(classifier) -> Iterator[dict]:
    for name, photo in sample_images().items():
        options = {"target": classifier.top(photo, 1)[0].index}
        even = explain.integrated_gradients(
            classifier, photo, steps=64, tolerance=None, **options
        )
        tolerance = 0.01
        while True:  # the errors of the pieces need not cancel
            found = explain.integrated_gradients(
                classifier, photo, steps=2048, tolerance=tolerance, **options
            )
            if found.checks["gap"] < 0.01 or found.checks["steps"] > 2000:
                break
            tolerance /= 2
        yield {
            "photo": name,
            "class": found.label,
            "difference": f"{found.checks['score difference']:.2f}",
            "even steps": 64,
            "even gap": f"{even.checks['gap']:.3f}",
            "tolerance": tolerance,
            "steps": found.checks["steps"],
            "gap": f"{found.checks['gap']:.4f}",
        }


KINDS = {"pointing": pointing, "curves": curves, "completeness": completeness}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="table", help=", ".join(KINDS))
    parser.add_argument("--only", choices=NETWORKS, help="one of the networks")
    parser.add_argument("--cases", type=int, help="so many rows of each, then stop")
    parser.add_argument("--out", type=Path, default=TABLES)
    args = parser.parse_args()
    if unknown := set(args.tables) - set(KINDS):
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if args.cases is not None and args.cases < 1:
        parser.error("--cases is 1 or more")
    if (args.only or args.cases) and args.out == TABLES:
        parser.error("a part of a table goes elsewhere: add --out build/tables")
    args.out.mkdir(parents=True, exist_ok=True)
    names = [args.only] if args.only else NETWORKS
    classifiers = [load_classifier(name, weights="portable") for name in names]
    for table in args.tables or KINDS:
        rows = []
        for classifier in classifiers:
            found = tqdm(KINDS[table](classifier), desc=f"{table}, {classifier.name}")
            for k, row in enumerate(found):
                if k == args.cases:
                    break
                rows.append({"network": classifier.name} | row)
        path = args.out / f"{table}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{path.name}: {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
