"""How much ``metrics.evidence`` detects: data/tables/evidence.csv, docs/evaluation.md.

    python tools/evidence_power.py           measure what is not in the table yet
    python tools/evidence_power.py --readme  write the table into docs/evaluation.md

Right maps of four techniques, and maps that are wrong in the ways of notebook 13, on
the course's eight photos, for the top class. A test with 19 random places, at which p
is 0.05 or more, in place of the default 39. Some 20 minutes for Xception on two idle
cores, and more than twice as many for VGG16. It stops and goes on by photo.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import readme
import tables

from xai_helpers import explain, load_classifier, metrics, sample_images, tf
from xai_helpers.core.layer_maps import layer_maps
from xai_helpers.engine.maps import importance_ranks
from xai_helpers.engine.random_places import DOUBT, LEVEL

TABLE = tables.TABLES / "evidence.csv"
BEGIN, END = "<!-- evidence, by tools/evidence_power.py -->", "<!-- end of evidence -->"
REGIONS = 19
LEVELS = LEVEL, DOUBT  # a map is not sure above the first, and doubted above the second
NEAR = 0.5  # a place that has at least so much of what the map marks is near it
SCORES = ("logit", "probability")
RIGHT = ("Grad-CAM", "Layer-CAM", "occlusion", "integrated gradients")
# Those that are the right Grad-CAM, moved, have the same random places as it has.
MOVED = {
    "transposed": "transposed (exhibit 10)",
    "shifted": "shifted by half the picture",
    "its mirror image": "mirrored, left for right",
    "itself upside down": "upside down",
    "itself turned by 180°": "turned by 180°",
    "a bell in the middle": "a bell in the middle",
}
WRONG = (
    *MOVED.values(),
    "inverted (exhibit 13)",
    "the next class's Grad-CAM",
    "edges of the photo",
    "Grad-CAM of a random network",
    "guided gradients (exhibit 6)",
)
# Noted before the run, of 8 photos and the logit, after a look at the Grad-CAMs of the
# cat (p large) and the dogs (p small): how many maps have a p above 0.05.
PREDICTED = dict(
    zip((*RIGHT, *WRONG), [2, 2, 1, 4, 6, 8, 4, 5, 4, 5, 8, 4, 4, 7, 2], strict=True)
)


def remember_logits(classifier) -> None:
    """Each picture goes through this network once, whichever score is asked for."""
    known, compute = {}, classifier.logits_of

    def logits_of(squares):
        keys = [np.ascontiguousarray(square).tobytes() for square in squares]
        keys = [hash(key) for key in keys]
        new = [k for k, key in enumerate(keys) if key not in known]
        if new:
            results = compute(np.asarray(squares)[new])
            known.update(zip((keys[k] for k in new), results, strict=True))
        return np.stack([known[key] for key in keys])

    classifier.logits_of = logits_of


def guided(activations, gradients):
    """tf-explain's default: only gradients above zero, where the layer is active."""
    kept = tf.nn.relu(gradients) * tf.cast(activations > 0, gradients.dtype)
    alpha = tf.reduce_mean(kept, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(alpha * activations, axis=-1))


def maps_of(classifier, noise_network, photo) -> dict[str, explain.Attribution]:
    """Title → a right or a wrong map, but for the Grad-CAMs that are only moved."""
    first, second = classifier.top(photo, 2)
    titles = {t.title: t for t in explain.TECHNIQUES.values()}
    side = min(classifier.input_size)
    maps = {
        name: titles[name].call(
            classifier, photo, target=first.index, **titles[name].quick(side)
        )
        for name in RIGHT
    }
    cam = maps["Grad-CAM"]
    edges = metrics.edge_map(cam.image)
    settings = photo, first.index
    others = {
        "inverted (exhibit 13)": cam.map.max() - cam.map,
        "the next class's Grad-CAM": explain.grad_cam(classifier, photo, second).map,
        "Grad-CAM of a random network": explain.grad_cam(noise_network, *settings).map,
        "guided gradients (exhibit 6)": layer_maps(
            guided, "guided", classifier, *settings, None, "logit", False
        ).map,
    }
    maps |= {name: replace(cam, values=values) for name, values in others.items()}
    return maps | {"edges of the photo": replace(cam, values=edges, upsampling=None)}


def near_places(attribution) -> float:
    """The share of all places whose strongest fifth has much in common with the map's.

    All places: turned over, transposed, and shifted around by whole cells.
    """
    cells, places = np.maximum(attribution.map, 0), []
    forms = (cells, cells.T) if cells.shape[0] == cells.shape[1] else (cells,)
    for form in forms:
        for down, across in itertools.product((1, -1), repeat=2):
            for steps in np.ndindex(form.shape):
                places.append(np.roll(form[::down, ::across], steps, axis=(0, 1)))
    step = max(1, min(attribution.image.shape[:2]) // 75)  # coarser is fine enough
    heatmaps = [attribution.upsample(c)[::step, ::step] for c in (cells, *places)]
    limit = heatmaps[0].size // 5
    own, *others = (importance_ranks(heatmap, 0) < limit for heatmap in heatmaps)
    return float(np.mean([(own & other).sum() >= NEAR * limit for other in others]))


def rows_of_photo(classifier, noise_network, photo) -> Iterator[dict]:
    """The test of every map, with either score."""
    for title, attribution in maps_of(classifier, noise_network, photo).items():
        rivals, cells, near = {}, attribution.map, ""
        if title == "Grad-CAM":
            moved = np.roll(cells, [side // 2 for side in cells.shape], axis=(0, 1))
            rivals = {"transposed": cells.T, "shifted": moved}
            rivals = {name: attribution.upsample(rivals[name]) for name in rivals}
            near = f"{near_places(attribution):.3f}"
        for score in SCORES:
            test = metrics.evidence(
                classifier, replace(attribution, score=score), regions=REGIONS,
                rivals=rivals, progress=False,
            )  # fmt: skip
            random_falls = test.random_falls if test.random_falls.size else [0]
            results = {title: (test.p_value, test.falls)}
            if title == "Grad-CAM":
                for name, falls in test.rival_falls.items():
                    results[MOVED[name]] = test.p_of(falls), falls
            for name, (p_value, falls) in results.items():
                yield {
                    "class": attribution.label,
                    "score": score,
                    "map": name,
                    "right": int(name in RIGHT),
                    "p": f"{p_value:.2f}",
                    "fall": f"{np.mean(falls):.3f}",
                    "random": f"{np.mean(random_falls):.3f}",
                    "near": near if name == "Grad-CAM" else "",
                }


def measure(networks) -> None:
    """Add the rows of the photos that are not in the table yet; save after each."""
    rows = tables.read(TABLE) if TABLE.exists() else []
    done = {(row["network"], row["photo"]) for row in rows}
    for network in networks:
        classifier = load_classifier(network, verbose=False)
        noise_network = metrics.randomise_layers(
            classifier, classifier.layers()[0].name
        )
        remember_logits(classifier)
        for name, photo in sample_images().items():
            if (classifier.name, name) not in done:
                keys = {"network": classifier.name, "photo": name}
                tests = rows_of_photo(classifier, noise_network, photo)
                rows += [keys | test for test in tests]
                tables.write(TABLE, rows)
                print(classifier.name, name, flush=True)


# --- in words -------------------------------------------------------------------------


def doubted(rows, network, score, title, level=DOUBT) -> list[str]:
    """The photos for which p of a map is above the level."""
    key = network, score, title
    return [
        row["photo"]
        for row in rows
        if (row["network"], row["score"], row["map"]) == key and float(row["p"]) > level
    ]


def power_table(rows) -> str:
    """How many maps have a p above each level, for each map, network and score."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    pairs = [(network, score) for network in networks for score in SCORES]
    heads = [f"{n}, {s}: p > {level}" for n, s in pairs for level in LEVELS]
    lines = [f"| map | predicted: p > {LEVEL} | {' | '.join(heads)} |"]
    lines += ["| --- " + "| ---: " * (len(heads) + 1) + "|"]
    for title in (*RIGHT, *WRONG):
        name = f"right: {title}" if title in RIGHT else title
        counts = [
            str(len(doubted(rows, *pair, title, level)))
            for pair in pairs
            for level in LEVELS
        ]
        lines.append(f"| {name} | {PREDICTED[title]} | {' | '.join(counts)} |")
    return "\n".join(lines)


def falls(rows, network, score, title) -> dict[str, float]:
    """Photo → how far the score falls."""
    key = network, score, title
    return {
        row["photo"]: float(row["fall"])
        for row in rows
        if (row["network"], row["score"], row["map"]) == key
    }


def summary(rows) -> str:
    """For which photos the test can say nothing, and the sums over the maps."""
    lines, mirrored = [], "mirrored, left for right"
    for network in dict.fromkeys(row["network"] for row in rows):
        photos = {row["photo"] for row in rows if row["network"] == network}
        for score in SCORES:
            sums = []
            for titles in (RIGHT, WRONG):
                counts = [len(doubted(rows, network, score, t)) for t in titles]
                sums.append(f"{sum(counts)} of {len(photos) * len(titles)}")
            lost = set(doubted(rows, network, score, "Grad-CAM"))
            own = falls(rows, network, score, "Grad-CAM")
            mirror = falls(rows, network, score, mirrored)
            told = {name for name in photos if mirror[name] < own[name] / 2}
            told |= set(doubted(rows, network, score, mirrored))
            lines.append(
                f"- {network}, {score}: it doubts (p > {DOUBT}) {sums[0]} right maps "
                f"and {sums[1]} wrong ones. It doubts the right Grad-CAM of "
                f"{listed(lost)}, and does not tell it from its mirror image for "
                f"{listed(photos - lost - told)}."
            )
        near = [float(r["near"]) for r in rows if r["network"] == network and r["near"]]
        lines.append(
            f"- {network}: {min(near):.0%} to {max(near):.0%} of all places have at "
            "least half of the pixels that the right Grad-CAM marks (the strongest "
            "fifth)."
        )
    return "\n".join(lines)


def listed(names) -> str:
    names = sorted(names)
    if not names:
        return "no photo"
    return f"{', '.join(names[:-1])} and {names[-1]}".removeprefix(" and ")


def evaluation(text: str) -> str:
    """docs/evaluation.md with the table of today's measurements."""
    rows = tables.read(TABLE)
    return readme.replace_between(text, BEGIN, END, power_table(rows), summary(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=["xception"])
    parser.add_argument("--readme", action="store_true", help="write the page's table")
    args = parser.parse_args()
    if args.readme:
        readme.rewrite(readme.EVALUATION, evaluation)
    else:
        measure(args.networks)


if __name__ == "__main__":
    main()
