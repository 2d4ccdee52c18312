"""Plant causes in photos, and see which method finds them: data/tables/planted.csv.

    python tools/planted_causes.py                     some ten minutes on two cores
    python tools/planted_causes.py --cases 3 --out build/tables

For each case, training photos of one class are changed (turned, grey, framed, stamped,
blurred) and a head is fitted on Xception's features: once with all photos of the class
changed, and once with half of them, while the other half gets a label of its own, so
that nothing but the change tells the two apart. Whether the head uses the change is
measured first: the gain in the probability of the class when held-out photos
of the other classes are changed. Then three methods look for it: screening (changes ×
classes), SpRAy (do the groups of maps follow the change?) and single maps (how much of
Grad-CAM lies on the place of the change?). The classes are those of data/caltech101
whose photos nobody had turned. Features are kept in build/planted; delete it to compute
them again.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from tqdm import tqdm

from xai_helpers import load_classifier
from xai_helpers.survey.changes import CHANGES, stamp
from xai_helpers.survey.clusters import cluster_maps
from xai_helpers.survey.heads import TOLERANCE
from xai_helpers.survey.screening import screen

ROOT = Path(__file__).parent.parent
PHOTOS, TABLES = ROOT / "data" / "caltech101", ROOT / "data" / "tables"
FEATURES = ROOT / "build" / "planted"
CLASSES = (
    "Leopards",
    "airplanes",
    "car_side",
    "elephant",
    "inline_skate",
    "lotus",
    "stop_sign",
    "sunflower",
    "watch",
)
LARGE_STAMP = replace(stamp(anywhere=False, size=1 / 3), name="large stamp")
PLANTS = {name: CHANGES[name] for name in ("turned 30°", "grey", "black border")}
PLANTS |= {"large stamp": LARGE_STAMP, "blurred": CHANGES["blurred"]}
TRIED = tuple(PLANTS)
NATURAL = {("car_side", "grey"), ("Leopards", "black border")}  # there before we came
TRAINED_ON = 20  # photos of each class, in the order of their names; the rest held out
CASES = 20
TWIN = "{}, unchanged"  # the label of the other half, where only half are changed
COLUMNS = (
    "class change planted accuracy use use_unplanted rank first groups rand mass area"
)


class Features:
    """What Xception makes of the photos of a class, under a change; computed once."""

    def __init__(self, folder: Path = FEATURES):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def classifier(self):
        return load_classifier("xception", weights="portable", verbose=False)

    def squares(self, label: str, part: str) -> list[np.ndarray]:
        """The class's photos, for "train" or "held out", as the network sees them."""
        paths = sorted((PHOTOS / label).glob("*.jpg"))
        chosen = paths[:TRAINED_ON] if part == "train" else paths[TRAINED_ON:]
        return [self.classifier.crop(path)[0] for path in chosen]

    def maps(self, label: str, part: str, change: str = "as it is") -> np.ndarray:
        """The last maps of each photo, float32 (photos, 10, 10, 2048)."""
        path = self.folder / f"{label} {part} {change}.npy"
        if not path.exists():
            squares = self.squares(label, part)
            if change in PLANTS:
                apply = PLANTS[change].apply
                squares = [apply(square, k) for k, square in enumerate(squares)]
            model = self.classifier.submodel_to(self.classifier.default_layer)
            pictures = self.classifier.preprocess(squares)
            maps = [
                model(pictures[k : k + 5]).numpy() for k in range(0, len(squares), 5)
            ]
            np.save(path, np.concatenate(maps).astype("float16"))
        return np.load(path).astype("float32")

    def pooled(self, label: str, part: str, change: str = "as it is") -> np.ndarray:
        """The mean of each map, float64 (photos, 2048)."""
        return self.maps(label, part, change).mean(axis=(1, 2), dtype="float64")


def cases(count: int = CASES, seed: int = 0) -> list[tuple[str, str]]:
    """Class and change of each planting, drawn without replacement."""
    pairs = [(c, n) for c in CLASSES for n in TRIED if (c, n) not in NATURAL]
    order = np.random.default_rng(seed).choice(len(pairs), CASES, replace=False)
    return [pairs[k] for k in sorted(order)][:count]


def place_of(change: str, shape: tuple[int, int, int]) -> np.ndarray:
    """The pixels that do not depend on the photo any more, bool (H, W)."""
    apply = PLANTS[change].apply
    black, white = (apply(np.full(shape, v, "uint8"), 0) for v in (0, 255))
    return (black == white).all(axis=2)


class Experiment:
    """The photos of all classes, and what heads that are fitted on them do."""

    def __init__(self, features: Features):
        self.features = features
        train = [features.pooled(label, "train") for label in CLASSES]
        held_out = [
            [features.pooled(c, "held out", n) for c in CLASSES]
            for n in ("as it is", *TRIED)
        ]
        self.train, self.labels = train, np.repeat(CLASSES, [len(t) for t in train])
        self.held_out = np.array([np.concatenate(one) for one in held_out])
        self.true_labels = np.repeat(CLASSES, [len(one) for one in held_out[0]])

    def fit(self, label: str, change: str, half: bool) -> LogisticRegression:
        """A head; all or half of the photos of one class are changed before."""
        own = np.flatnonzero(self.labels == label)
        chosen = own[::2] if half else own
        labels, features = self.labels.astype(object), np.concatenate(self.train)
        labels[own], labels[chosen] = TWIN.format(label), label
        changed = self.features.pooled(label, "train", change)
        features[chosen] = changed[chosen - own[0]]
        regression = LogisticRegression(max_iter=5000, tol=TOLERANCE)
        return regression.fit(features, labels.astype(str))

    def screened(self, regression: LogisticRegression):
        """The screening matrix of a head, over the photos held out."""
        probabilities = [regression.predict_proba(x) for x in self.held_out]
        probabilities = np.stack(probabilities, axis=1)
        labels = self.true_labels.astype(object)
        for label in set(CLASSES):
            if TWIN.format(label) in regression.classes_:
                labels[labels == label] = TWIN.format(label)
        return screen(probabilities, labels, regression.classes_, TRIED)

    def accuracy(self, regression: LogisticRegression, label: str, k: int, half: bool):
        """Of photos held out that come as those that the head was fitted on."""
        own = np.flatnonzero(self.true_labels == label)
        chosen = own[::2] if half else own
        labels, given = self.true_labels.astype(object), self.held_out[0].copy()
        labels[own], labels[chosen] = TWIN.format(label), label
        given[chosen] = self.held_out[1 + k][chosen]
        return (regression.predict(given) == labels).mean()

    def row(self, label: str, change: str, half: bool) -> dict:
        """One line of the table."""
        regression, k = self.fit(label, change, half), TRIED.index(change)
        matrix = self.screened(regression)
        gains, labels = matrix.grid("gain"), list(regression.classes_)
        usual = self.screened(self.fit(label, "as it is", half)).grid("gain")
        cell = k, labels.index(label)
        best = np.unravel_index(gains.argmax(), gains.shape)
        return {
            "class": label,
            "change": change,
            "planted": "half" if half else "all",
            "accuracy": self.accuracy(regression, label, k, half),
            "use": gains[cell],
            "use_unplanted": usual[cell],
            "rank": int((gains > gains[cell]).sum()) + 1,
            "first": f"{labels[best[1]]}, {TRIED[best[0]]}",
            **self.found_in_maps(regression, label, change),
        }

    def found_in_maps(self, regression, label: str, change: str) -> dict:
        """SpRAy's groups and single maps of the class's photos held out.

        Each photo is there twice, as it is and changed. Grad-CAM of a head on the means
        of maps is the sum of the maps, times the weights of the class, from zero up.
        """
        weights = regression.coef_[list(regression.classes_).index(label)]
        sets = [
            self.features.maps(label, "held out", name) for name in ("as it is", change)
        ]
        cams = np.maximum(np.concatenate(sets) @ weights.astype("float32"), 0)
        changed = np.repeat([0, 1], [len(maps) for maps in sets])
        groups = cluster_maps(cams)
        classifier = self.features.classifier
        rows, columns, _ = classifier.upsampling(classifier.default_layer)
        heat = rows @ cams[changed == 1] @ columns.T
        place = place_of(change, (*classifier.input_size, 3))
        shares = heat[:, place].sum(axis=1) / (heat.sum(axis=(1, 2)) + 1e-9)
        return {
            "groups": groups.count,
            "rand": adjusted_rand_score(changed, groups.labels),
            "mass": float(shares.mean()) if place.any() else "",
            "area": float(place.mean()) if place.any() else "",
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=CASES, metavar="N")
    parser.add_argument("--out", type=Path, default=TABLES, metavar="FOLDER")
    args = parser.parse_args()
    experiment = Experiment(Features())
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "planted.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS.split(), lineterminator="\n")
        writer.writeheader()
        for case in tqdm(cases(args.cases), unit="planting"):
            for half in (False, True):
                row = experiment.row(*case, half)
                short = {n: f"{v:.3f}" for n, v in row.items() if isinstance(v, float)}
                writer.writerow(row | short)
    return 0


if __name__ == "__main__":
    sys.exit(main())
