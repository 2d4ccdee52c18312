"""The command ``xai``: predictions and maps without a notebook.

    xai predict photo.jpg
    xai layers --model vgg16
    xai explain photo.jpg --technique grad_cam --target tabby --out map.png

Each prints what it found; errors are one line on stderr, with exit code 1 (2 for a
command line that cannot be understood).
"""

from __future__ import annotations

import argparse
import os
import sys
from inspect import signature
from pathlib import Path

import numpy as np

TECHNIQUES = (
    "activations",
    "occlusion",
    "gradients",
    "smoothgrad",
    "integrated_gradients",
    "shap_gradients",
    "grad_cam",
)
BACKGROUND = 20  # photos that shap_gradients compares with
WRITES = (".png", ".jpg", ".jpeg", ".npy")
DRAWS = (".png", ".jpg", ".jpeg", ".svg", ".pdf")


def main(arguments: list[str] | None = None) -> int:
    """``xai …``; 0 on success, 1 with one line on stderr, 130 when interrupted."""
    args = parser().parse_args(arguments)
    from .weights import WeightsError

    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (
        ValueError,
        OSError,
        MemoryError,
        WeightsError,
    ) as error:  # ImageError is a ValueError
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    common = argparse.ArgumentParser(add_help=False)
    model = common.add_argument_group("the network")
    model.add_argument(
        "--model",
        default="xception",
        help="xception (default), vgg16, or a .keras file of your own",
    )
    model.add_argument("--weights", choices=("portable", "imagenet"))
    model.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="of your own model: one label a line",
    )
    model.add_argument(
        "--preprocess",
        metavar="NAME",
        help="of your own model: none (default; it rescales by itself), unit (0 to 1), "
        "xception (-1 to 1) or vgg16",
    )
    model.add_argument(
        "--fit",
        choices=("crop", "squash"),
        default="crop",
        help="photos of another shape: cut the centre (default) or squeeze",
    )

    top = argparse.ArgumentParser(
        prog="xai", description="What does a convolutional network really see?"
    )
    commands = top.add_subparsers(required=True, metavar="command")

    predict = commands.add_parser(
        "predict", parents=[common], help="what is in a photo, and how sure"
    )
    predict.add_argument("photos", nargs="+", metavar="PHOTO", help="file or address")
    predict.add_argument("-k", type=int, default=5, help="how many classes (5)")
    predict.set_defaults(run=_predict)

    layers = commands.add_parser(
        "layers", parents=[common], help="the layers that a map can be drawn for"
    )
    layers.set_defaults(run=_layers)

    explain = commands.add_parser(
        "explain",
        parents=[common],
        help="why: a map over the photo",
        epilog="Example: xai explain cat.jpg --technique occlusion --target tabby "
        "--patch 50 --out map.png map.npy",
    )
    explain.add_argument("photo", metavar="PHOTO", help="file or address")
    explain.add_argument(
        "--technique", choices=TECHNIQUES, default="grad_cam", help="default: grad_cam"
    )
    explain.add_argument(
        "--out",
        nargs="+",
        type=_target_file,
        default=[],
        metavar="FILE",
        help="the map in the photo's own size: .png or .jpg, over the photo; .npy, its "
        "values (float32)",
    )
    explain.add_argument(
        "--figure",
        type=_figure_file,
        metavar="FILE.png",
        help="photo, map and colour bar side by side, as in the notebooks",
    )
    explain.add_argument("--opacity", type=float, default=0.6, help="of the map (0.6)")
    own = explain.add_argument_group("what the technique is called with")
    own.add_argument(
        "--target", help="label, WordNet id or index; else the first answer"
    )
    own.add_argument("--layer", help="name or index, as `xai layers` lists them")
    own.add_argument("--score", choices=("logit", "probability"))
    own.add_argument("--patch", type=int, metavar="PIXELS", help="occlusion")
    own.add_argument("--stride", type=int, metavar="PIXELS", help="occlusion")
    own.add_argument("--fill", type=int, metavar="0-255", help="occlusion: grey level")
    own.add_argument("--noise", type=float, help="smoothgrad: share of the range")
    own.add_argument("--samples", type=int, help="smoothgrad, shap_gradients")
    own.add_argument("--steps", type=int, help="integrated_gradients")
    own.add_argument(
        "--baseline",
        choices=("black", "grey", "blurred", "noise"),
        help="integrated_gradients",
    )
    own.add_argument("--seed", type=int, help="of everything random")
    explain.set_defaults(run=_explain)
    return top


OWN = "target layer score patch stride fill noise samples steps baseline seed".split()


def _target_file(name: str, endings=WRITES) -> Path:
    path = Path(name)
    if path.suffix.lower() not in endings:
        raise argparse.ArgumentTypeError(
            f"{name}: the name ends in {', '.join(endings)}"
        )
    return path


def _figure_file(name: str) -> Path:
    return _target_file(name, DRAWS)


def _classifier(args):
    from .models import load_classifier

    options = {"weights": args.weights, "fit": args.fit, "preprocess": args.preprocess}
    if args.labels:
        options["labels"] = args.labels.read_text("utf-8").split("\n")
        options["labels"] = [line.strip() for line in options["labels"] if line.strip()]
    classifier = load_classifier(args.model, verbose=False, **options)
    print(f"{classifier.name}: {classifier.weights}", file=sys.stderr)
    return classifier


def _predict(args) -> None:
    from .images import load_image

    photos = [(name, load_image(name)) for name in args.photos]
    classifier = _classifier(args)
    for name, photo in photos:
        if len(photos) > 1:
            print(name)
        for prediction in classifier.top(photo, min(args.k, len(classifier.classes))):
            print(prediction)


def _layers(args) -> None:
    for layer in _classifier(args).layers():
        print(layer)


def _explain(args) -> None:
    from . import explain, plots
    from .images import background, load_image

    function = explain.TECHNIQUES[args.technique]
    options = {name: getattr(args, name) for name in OWN}
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in signature(function).parameters:
            raise ValueError(f"--{name} means nothing to {args.technique}.")
    for path in [*args.out, *([args.figure] if args.figure else [])]:
        if not path.parent.is_dir():
            raise ValueError(
                f"There is no folder {path.parent} to write {path.name} to."
            )
    if not 0 <= args.opacity <= 1:
        raise ValueError(f"--opacity is 0 to 1, not {args.opacity}.")
    photo = load_image(args.photo)
    classifier = _classifier(args)
    if options.get("layer", "").isdecimal():
        options["layer"] = int(options["layer"])
    if args.technique == "activations" and "layer" not in options:
        options["layer"] = explain.cam.last_maps(classifier)
    if args.technique == "shap_gradients":
        size = classifier.input_size
        options["background"] = background(BACKGROUND, size, exclude=[photo])
    found = function(classifier, photo, **options)
    print(found.text)
    for path in args.out:
        if path.suffix.lower() == ".npy":
            with path.open("wb") as file:  # np.save would add an ending of its own
                np.save(file, found.on_photo(), allow_pickle=False)
        else:
            plots.save(plots.on_photo(found, photo, args.opacity), path)
    if args.figure:
        plots.attribution(found, opacity=args.opacity).save(args.figure)


if __name__ == "__main__":
    sys.exit(main())
