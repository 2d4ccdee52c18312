"""The pictures behind the book's sliders, which move without a kernel.

`make render` calls ``write`` at the end of a notebook, in its own kernel, with the
notebook's variables: so the photo, the class and the networks are those of the text.
``SLIDERS`` says which pictures a notebook has; they lie in docs/frames/NN, with the
words for each in frames.json.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from PIL import Image

import xai_helpers as xai  # not its names: the first use of one loads TensorFlow
from xai_helpers.engine.fills import BASELINES

FOLDER = Path(__file__).parent.parent / "docs" / "frames"
FILE = "frames.json"
# Where each of Xception's 14 blocks ends.
ENDS_OF_BLOCKS = ["block1_conv2_act", "add"]
ENDS_OF_BLOCKS += [*(f"add_{k}" for k in range(1, 12)), "block14_sepconv2_act"]


class Frame(NamedTuple):
    """One position of a slider."""

    label: str  # of the position: a layer's name, or a number
    picture: np.ndarray  # uint8 (H, W, 3)
    text: str  # what the picture shows


class Slider(NamedTuple):
    """One range input of the book."""

    control: str  # what it changes
    caption: str  # what stays the same: technique, photo, class, network
    frames: list[Frame]
    start: int = 0  # the position to begin with


def frame(label: str, attribution, over_photo=False) -> Frame:
    """The map over its photo.

    A map with a value for each pixel stands alone, for its detail and the photo's would
    mix; ``over_photo`` is for one that is smooth all the same.
    """
    text = f"{attribution.description} {xai.plots.colour_range_text(attribution)}"
    if "gap" in attribution.checks:
        text += f" Its sum misses by {attribution.checks['gap']:.1%}."
    is_fine = attribution.map.shape == attribution.image.shape[:2]
    opacity = 1.0 if is_fine and not over_photo else 0.6
    return Frame(label, xai.plots.overlay_array(attribution, opacity), text)


def layer_label(classifier, name: str) -> str:
    return f"{name} · {' × '.join(map(str, classifier.layer(name).shape))}"


def channels(classifier, photo, layers: list[str], caption: str) -> Slider:
    """The sixteen strongest channels of each layer."""
    frames = [
        Frame(
            layer_label(classifier, attribution.layer),
            xai.plots.channel_montage(attribution, side=96),
            f"{attribution.description} Each channel has colours of its own.",
        )
        for attribution in xai.explain.activations(classifier, photo, layers)
    ]
    text = f"{caption}, {classifier.name}: the sixteen strongest channels of a layer."
    return Slider("layer", text, frames)


def grad_cam_layers(classifier, photo, target: str, caption: str) -> Slider:
    maps = xai.explain.grad_cam(classifier, photo, target, ENDS_OF_BLOCKS)
    frames = [frame(layer_label(classifier, each.layer), each) for each in maps]
    text = f"Grad-CAM for {target.replace('_', ' ')}, {caption}, {classifier.name}: "
    return Slider("layer", f"{text}the end of each block.", frames, len(frames) - 1)


def techniques(classifier, photo, target: str, caption: str) -> Slider:
    """All of them, with the options that the panel begins with."""
    options = {"target": target, "progress": False}
    options["background"] = xai.background(20, classifier.input_size, exclude=photo)
    frames = []
    for technique in xai.explain.TECHNIQUES.values():
        quick = technique.quick(min(classifier.input_size))
        attribution = technique.call(classifier, photo, **options, **quick)
        over_photo = technique.name == "rise"
        frames.append(frame(technique.title, attribution, over_photo))
    text = f"Every technique for {target.replace('_', ' ')}, {caption}, "
    return Slider("technique", f"{text}{classifier.name}.", frames)


def parameter(control: str, caption: str, maps: dict, start: int) -> Slider:
    """One parameter of a technique, from the attribution at each of its values."""
    frames = []
    for value, attribution in maps.items():
        one = frame(str(value), attribution)
        if control != "layer":  # which a description names
            one = one._replace(text=f"{control} {value}: {one.text}")
        frames.append(one)
    return Slider(control, caption, frames, start)


def occlusion(names) -> list[Slider]:
    sliders = []
    for classifier in (names.xception, names.vgg):
        maps = {
            f"{patch} pixels": xai.explain.occlusion(
                classifier, names.photo, names.TARGET, patch=patch, stride=patch // 2
            )
            for patch in (28, 40, 50, 64, 80, 100, 128)
        }
        caption = f"Occlusion, the cat, Egyptian cat, {classifier.name}: grey patches, "
        sliders.append(
            parameter("patch", f"{caption}moved by half their side.", maps, 2)
        )
    return sliders


def smoothgrad(names) -> list[Slider]:
    def maps(option: str, values) -> dict:
        return {
            value: xai.explain.smoothgrad(
                names.xception,
                names.photo,
                names.TARGET,
                **({"noise": names.NOISE, "samples": names.SAMPLES} | {option: value}),
            )
            for value in values
        }

    caption = "SmoothGrad, the cat, Egyptian cat, Xception: "
    noise = maps("noise", (0.0, 0.05, 0.15, 0.3, 0.5))
    samples = maps("samples", (1, 3, 10, 30))
    return [
        parameter("noise", f"{caption}{names.SAMPLES} noisy copies.", noise, 2),
        parameter("samples", f"{caption}noise of {names.NOISE}.", samples, 3),
    ]


def integrated_gradients(names) -> list[Slider]:
    def attribution(**options):
        question = (names.clf, names.photo, names.TARGET)
        return xai.explain.integrated_gradients(*question, tolerance=None, **options)

    caption = f"Integrated gradients, the cat, Egyptian cat, {names.clf.name}: "
    steps = {n: attribution(steps=n) for n in (2, 4, 8, 16, 32, 64)}
    baselines = {name: attribution(steps=32, baseline=name) for name in BASELINES}
    return [
        parameter("steps", f"{caption}baseline black.", steps, 4),
        parameter("baseline", f"{caption}32 steps.", baselines, 0),
    ]


def expected_gradients(names) -> list[Slider]:
    def attribution(layer, samples):
        question = (names.vgg, names.cat, names.background_images, "Egyptian_cat")
        return xai.explain.expected_gradients(*question, layer=layer, samples=samples)

    caption = "Expected gradients, the cat, Egyptian cat, VGG16: "
    layers = {"the pixels": attribution(None, names.SAMPLES)} | {
        layer_label(names.vgg, name): attribution(name, names.SAMPLES)
        for name in names.vgg.bottlenecks
        if name.startswith("block")
    }
    samples = {n: attribution("block4_conv3", n) for n in (2, 6, 20, 60)}
    middle = len(layers) // 2
    return [
        parameter("layer", f"{caption}{names.SAMPLES} samples.", layers, middle),
        parameter("samples", f"{caption}layer block4_conv3.", samples, 3),
    ]


def every_layer(classifier) -> list[str]:
    return [layer.name for layer in classifier.layers()]


SLIDERS: dict[str, Callable[[SimpleNamespace], list[Slider]]] = {
    "01": lambda names: [
        channels(names.vgg, names.photo, every_layer(names.vgg), "The cat")
    ],
    "02": lambda names: [
        channels(names.xception, xai.sample_image("cat"), ENDS_OF_BLOCKS, "The cat")
    ],
    "03": lambda names: [
        channels(names.xception, xai.sample_image("dogs"), ENDS_OF_BLOCKS, "The dogs")
    ],
    "04": occlusion,
    "05": lambda names: [
        grad_cam_layers(names.xception, names.photo, target, "the cat")
        for target in ("tabby", names.ABSENT)
    ],
    "06": smoothgrad,
    "07": integrated_gradients,
    "08": expected_gradients,
    "09": lambda names: [
        techniques(classifier, names.photo, names.TARGET, "the dogs")
        for classifier in names.networks
    ],
    "10": lambda names: [
        grad_cam_layers(names.xception, names.mosaic, target, "cat and cup")
        for target in names.CLASSES
    ],
    "11": lambda names: [
        techniques(
            names.press_classifier, names.press_cat, "press", "the cat with the stamp"
        )
    ],
}


def webp(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=72, method=6)
    return buffer.getvalue()


def write(number: str, variables: dict) -> None:
    """The frames of a notebook, made anew; ``variables`` are its globals."""
    folder = FOLDER / number
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sliders = []
    for k, slider in enumerate(SLIDERS[number](SimpleNamespace(**variables))):
        entries = []
        for position, (label, picture, text) in enumerate(slider.frames):
            name = f"{k}-{position:02d}.webp"
            (folder / name).write_bytes(webp(picture))
            height, width = picture.shape[:2]
            entries.append({"file": name, "label": label, "text": text})
        size = {"width": width, "height": height}
        sliders.append(slider._asdict() | size | {"frames": entries})
    text = json.dumps(sliders, indent=1, ensure_ascii=False) + "\n"
    (folder / FILE).write_text(text, encoding="utf-8")
