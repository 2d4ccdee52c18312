"""Measure the techniques: the tables of notebooks 07 and 10, data/tables/*.csv.

    python tools/tables.py                        all of them, over an hour
    python tools/tables.py pointing               one: pointing, curves or completeness
    python tools/tables.py --techniques grad_cam  its rows alone, into the tables there
    python tools/tables.py pointing --only vgg16 --cases 2 --out build/tables

``tests/course/test_tables.py`` computes some of the rows again and compares.

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
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from xai_helpers import (
    background,
    explain,
    load_classifier,
    metrics,
    sample_image,
    sample_images,
)

TABLES = Path(__file__).parent.parent / "data" / "tables"
NETWORKS = ("xception", "vgg16")
CONFIDENT = 0.4  # of its top class: the photos that a network is asked about in mosaics
BACKGROUND_COUNT = 20
MIDDLE_LAYER = {"Xception": "add_6", "VGG16": "block4_conv3"}

# Options of the committed tables: technique → title of its rows → options for a
# classifier. A technique that is not named here has its title, and its quick options.
SETTINGS: dict[str, dict[str, Callable]] = {
    "occlusion": {"occlusion": lambda clf: {"patch": min(clf.input_size) // 5}},
    "smoothgrad": {"SmoothGrad": lambda clf: {"samples": 16}},
    "integrated_gradients": {"integrated gradients": lambda clf: {"steps": 32}},
    "expected_gradients": {
        "expected gradients, pixels": lambda clf: {"samples": 32},
        "expected gradients, middle layer": lambda clf: (
            {"samples": 32, "layer": MIDDLE_LAYER[clf.name]}
        ),
    },
}


def row_settings(technique: explain.Technique) -> dict[str, Callable]:
    """Title of each row of a technique → its options for a classifier."""
    quick = {technique.title: lambda clf: technique.quick(min(clf.input_size))}
    return SETTINGS.get(technique.name, quick)


def map_functions(names=None) -> dict[str, Callable]:
    """Title of each row → a function (classifier, image, target, exclude) → map.

    In the registry's order; then the maps that know nothing of the network.

    Parameters
    ----------
    names : of techniques in ``explain.TECHNIQUES``, or of ``metrics.REFERENCE_MAPS``
        None: all of both.
    """
    functions = {}
    for name, technique in explain.TECHNIQUES.items():
        for title, options in row_settings(technique).items():
            if names is None or name in names:
                functions[title] = partial(_technique_map, technique, options)
    for name, reference in metrics.REFERENCE_MAPS.items():
        if names is None or name in names:
            functions[name] = partial(_reference_map, reference)
    return functions


def _technique_map(technique, options, classifier, image, target, exclude=()):
    settings = options(classifier) | {"target": target}
    if technique.takes("background"):
        settings["background"] = background(
            BACKGROUND_COUNT, classifier.input_size, exclude=list(exclude)
        )
    return technique.call(classifier, image, **settings)


def _reference_map(reference, classifier, image, target, exclude=()):
    return reference(classifier.crop(image)[0])


# --- the tables -----------------------------------------------------------------------


def confident_photos(classifier) -> dict[str, int]:
    """Name of the photo → its top class, where the network is confident of it."""
    top = {name: classifier.top(photo, 1)[0] for name, photo in sample_images().items()}
    return {name: t.index for name, t in top.items() if t.probability >= CONFIDENT}


def mosaics(classifier) -> Iterator[dict]:
    """Each photo beside the next one, once for the class of either."""
    classes = confident_photos(classifier)
    names = list(classes)
    for left, right in zip(names, names[1:] + names[:1], strict=True):
        photos = [sample_image(left), sample_image(right)]
        image = metrics.mosaic(photos, classifier.input_size[0])
        for tile, name in enumerate((left, right)):
            yield {
                "case": f"{left} | {right}",
                "image": image,
                "photos": (left, right),
                "tile": tile,
                "target": classes[name],
            }


def pointing(classifier, functions: dict[str, Callable]) -> Iterator[dict]:
    for case in mosaics(classifier):
        for title, compute in functions.items():
            heatmap = compute(classifier, case["image"], case["target"], case["photos"])
            score = metrics.pointing_game_score(heatmap, case["tile"], 2)
            yield {
                "mosaic": case["case"],
                "class": classifier.class_label(case["target"]),
                "technique": title,
                "share": f"{score:.3f}",
            }


def curves(classifier, functions: dict[str, Callable]) -> Iterator[dict]:
    for name, photo in sample_images().items():
        target = classifier.top(photo, 1)[0].index
        for title, compute in functions.items():
            heatmap = compute(classifier, photo, target, [name])
            settings = (classifier, photo, heatmap, target)
            drop, increase = metrics.average_drop(
                classifier, [photo], [heatmap], [target]
            )
            yield {
                "photo": name,
                "class": classifier.class_label(target),
                "technique": title,
                "deletion": f"{metrics.deletion(*settings, steps=10).auc:.3f}",
                "insertion": f"{metrics.insertion(*settings, steps=10).auc:.3f}",
                "drop": f"{drop:.3f}",
                "increase": int(increase),
            }


def completeness(classifier) -> Iterator[dict]:
    for name, photo in sample_images().items():
        integrate = partial(
            explain.integrated_gradients,
            classifier,
            photo,
            classifier.top(photo, 1)[0].index,
        )
        even = integrate(steps=64, tolerance=None)
        tolerance = 0.01
        while True:  # the errors of the pieces need not cancel
            adaptive = integrate(steps=2048, tolerance=tolerance)
            checks = adaptive.checks
            if checks["gap"] < 0.01 or checks["steps"] > 2000:
                break
            tolerance /= 2
        yield {
            "photo": name,
            "class": adaptive.label,
            "difference": f"{checks['score difference']:.2f}",
            "even steps": 64,
            "even gap": f"{even.checks['gap']:.3f}",
            "tolerance": tolerance,
            "steps": checks["steps"],
            "gap": f"{checks['gap']:.4f}",
        }


BY_TECHNIQUE = {"pointing": pointing, "curves": curves}
ALL_TABLES = (*BY_TECHNIQUE, "completeness")


# --- writing --------------------------------------------------------------------------


def read(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def case_of(row: dict) -> tuple:
    """What a row asks, whatever the technique: network and photos, and the class."""
    return tuple(row.values())[: list(row).index("technique")]


def merge(rows: list[dict], new_rows: list[dict]) -> list[dict]:
    """The rows with the new ones added, or put in the place of those they replace.

    Cases stay in their order; within a case the techniques follow the registry.
    """
    by_key = {(case_of(row), row["technique"]): row for row in [*rows, *new_rows]}
    cases = list(dict.fromkeys(case for case, _ in by_key))
    titles = [*map_functions(), *(title for _, title in by_key)]  # old ones last
    return [
        by_key[key]
        for key in sorted(by_key, key=lambda k: (cases.index(k[0]), titles.index(k[1])))
    ]


def compute_rows(table: str, classifiers, functions, cases: int | None) -> list[dict]:
    rows = []
    for classifier in classifiers:
        if table in BY_TECHNIQUE:
            computed = BY_TECHNIQUE[table](classifier, functions)
        else:
            computed = completeness(classifier)
        for row in islice(tqdm(computed, f"{table}, {classifier.name}"), cases):
            rows.append({"network": classifier.name} | row)
    return rows


def main() -> int:
    names = [*explain.TECHNIQUES, *metrics.REFERENCE_MAPS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="table", help=" ".join(ALL_TABLES))
    parser.add_argument(
        "--techniques",
        nargs="+",
        choices=names,
        metavar="NAME",
        help=f"their rows alone, the others stay as they are: {' '.join(names)}",
    )
    parser.add_argument("--only", choices=NETWORKS, help="one of the networks")
    parser.add_argument("--cases", type=int, help="so many rows of each, then stop")
    parser.add_argument("--out", type=Path, default=TABLES)
    args = parser.parse_args()
    tables = args.tables or (BY_TECHNIQUE if args.techniques else ALL_TABLES)
    if unknown := set(tables) - set(ALL_TABLES):
        parser.error(f"no table {' '.join(unknown)}; there are {' '.join(ALL_TABLES)}")
    if args.techniques and "completeness" in tables:
        parser.error("completeness is about integrated gradients alone")
    if args.cases is not None and args.cases < 1:
        parser.error("--cases is 1 or more")
    is_part = args.only or args.cases
    if is_part and not args.techniques and args.out == TABLES:
        parser.error("a part of a table goes elsewhere: add --out build/tables")
    args.out.mkdir(parents=True, exist_ok=True)
    classifiers = [
        load_classifier(name, weights="portable")
        for name in ([args.only] if args.only else NETWORKS)
    ]
    functions = map_functions(args.techniques)
    for table in tables:
        rows = compute_rows(table, classifiers, functions, args.cases)
        path = args.out / f"{table}.csv"
        if args.techniques and path.exists():
            rows = merge(read(path), rows)
        write(path, rows)
        print(f"{path.name}: {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
