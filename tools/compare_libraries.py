"""xplique, saliency and captum, timed beside the same techniques here.

    make compare                                  makes both environments (6 GB,
                                                  mostly PyTorch), then measures
    python tools/compare_libraries.py --readme    write its table into
                                                  docs/speed.md

They are no part of the project. xplique and saliency run on our own VGG16, in an
environment that borrows the project's TensorFlow; captum needs PyTorch, which must not
share a process with TensorFlow: there the same VGG16 is built from the same arrays, and
it is compared with the time of PyTorch's own passes. All are given the same number of
samples, steps and patches; the results are compared where they should be equal. Writes
data/tables/libraries.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
OUT = ROOT / "data" / "tables" / "libraries.json"
CACHE = Path.home() / ".cache" / "xai_helpers-libraries"
ENVIRONMENTS = Path(os.environ.get("XAI_LIBRARIES", CACHE))
FOR_TENSORFLOW = (  # without what they depend on: that is in the project already
    "xplique==2.0.2 saliency==0.2.1 deprecated tensorflow-probability tf-keras "
    "decorator dm-tree scikit-image cloudpickle einops lazy_loader"
).split()
FOR_TORCH = "torch==2.13.0 captum==0.9.0".split()
SAMPLES, PATCH, REPETITIONS = 16, 28, 3
NAMES = "xplique", "saliency", "captum", "ours, another seed"
BEGIN = "<!-- libraries, by tools/compare_libraries.py --readme -->"
END = "<!-- end of libraries -->"


def environment(name: str) -> Path:
    """The Python of the environment, made if it is not there."""
    home = ENVIRONMENTS / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (home / "ready").exists():
        return python
    print(f"making {home} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    install = [python, "-m", "pip", "install", "--quiet"]
    if name == "torch":
        subprocess.run([*install, *FOR_TORCH], check=True)
    else:
        subprocess.run([*install, "--no-deps", *FOR_TENSORFLOW], check=True)
        code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        there, ours = (
            subprocess.run(
                [p, "-c", code], check=True, capture_output=True, text=True
            ).stdout.strip()
            for p in (python, sys.executable)
        )
        Path(there, "project.pth").write_text(f"{ours}\n{ROOT}\n")
    (home / "ready").touch()
    return python


def turns(actions: dict) -> dict[str, float]:
    """Seconds, the median of some turns; the first, which compiles, does not count."""
    spent = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(REPETITIONS):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            spent[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(s), 3) for name, s in spent.items()}


def cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    from xai_helpers import metrics

    return round(metrics.cosine_similarity(ours, theirs.reshape(ours.shape)), 4)


def model_of_pixels(clf):
    """The network with its preprocessing: grey levels (N, h, w, 3) → logits."""
    from xai_helpers import keras

    shape = (*clf.input_size, 3)
    pixels = keras.Input(shape)
    preprocess = keras.layers.Lambda(clf.preprocess_tensor, shape)
    return keras.Model(pixels, clf.model(preprocess(pixels)))


def gradients_for_saliency(model, target: int):
    """The function that saliency calls for the gradients of a class."""
    import saliency.core as saliency

    from xai_helpers import tf

    @tf.function(reduce_retracing=True)
    def gradient(x):
        return tf.gradients(model(x, training=False)[:, target], [x])[0]

    def answer(images, call_model_args=None, expected_keys=None):
        x = tf.constant(images, tf.float32)
        return {saliency.INPUT_OUTPUT_GRADIENTS: gradient(x).numpy()}

    return answer


def in_tensorflow() -> list[dict]:
    """In the environment's own process: ours, xplique, saliency."""
    import saliency.core as saliency
    import xplique.attributions as xplique

    from xai_helpers import explain, load_classifier, sample_image

    clf = load_classifier("vgg16", weights="portable", verbose=False)
    photo = sample_image("cat")
    target = clf.class_index("tabby")
    pixels = clf.crop(photo)[0][None].astype("float32")
    rgb_model = model_of_pixels(clf)
    one_hot = np.eye(1000, dtype="float32")[[target]]
    last = "block5_conv3"
    for_saliency = gradients_for_saliency(rgb_model, target)

    arguments = clf, photo, "tabby"
    even = {"steps": SAMPLES, "tolerance": None}
    grid = {"patch": PATCH, "stride": PATCH}
    positions = explain.occlusion(*arguments, **grid).values.size
    black = np.zeros_like(pixels[0])
    calls = {
        "gradients": {
            "ours": lambda: explain.gradients(*arguments).values,
            "xplique": lambda: xplique.Saliency(rgb_model, reducer=None)(
                pixels, one_hot
            ),
            "saliency": lambda: saliency.GradientSaliency().GetMask(
                pixels[0], for_saliency
            ),
        },
        "SmoothGrad": {
            "ours": lambda: explain.smoothgrad(*arguments, samples=SAMPLES).values,
            "ours, another seed": lambda: (
                explain.smoothgrad(*arguments, samples=SAMPLES, seed=1).values
            ),
            "xplique": lambda: xplique.SmoothGrad(
                rgb_model, nb_samples=SAMPLES, noise=0.15 * 255, reducer=None
            )(pixels, one_hot),
            "saliency": lambda: saliency.GradientSaliency().GetSmoothedMask(
                pixels[0],
                for_saliency,
                stdev_spread=0.15,
                nsamples=SAMPLES,
                magnitude=False,
            ),
        },
        "integrated gradients": {
            "ours": lambda: explain.integrated_gradients(*arguments, **even).values,
            "xplique": lambda: xplique.IntegratedGradients(
                rgb_model, steps=SAMPLES, baseline_value=0.0, reducer=None
            )(pixels, one_hot),
            "saliency": lambda: saliency.IntegratedGradients().GetMask(
                pixels[0], for_saliency, x_steps=SAMPLES, x_baseline=black, batch_size=8
            ),
        },
        "occlusion": {
            "ours": lambda: explain.occlusion(*arguments, **grid).values,
            "ours, every picture whole": lambda: (
                explain.occlusion(*arguments, **grid, incremental=False).values
            ),
            "xplique": lambda: xplique.Occlusion(
                rgb_model, patch_size=PATCH, patch_stride=PATCH, occlusion_value=127.0
            )(pixels, one_hot),
        },
        "Grad-CAM": {
            "ours": lambda: explain.grad_cam(*arguments, last).heatmap(),
            "xplique": lambda: xplique.GradCAM(clf.model, conv_layer=last)(
                clf.preprocess(photo), one_hot
            ),
        },
    }
    rows = []
    for technique, actions in calls.items():
        results = {name: np.asarray(action()) for name, action in actions.items()}
        ours = results["ours"]
        if technique == "occlusion":
            ours = np.kron(ours, np.ones((PATCH, PATCH)))
        cosines = {
            name: cosine(np.abs(ours) if (result >= 0).all() else ours, result)
            for name, result in results.items()
            if name != "ours" and result.size == ours.size
        }
        row = {"technique": technique, "seconds": turns(actions), "cosine": cosines}
        rows.append(row | {"patches": positions if technique == "occlusion" else None})
    return rows


def arrays(path: Path) -> None:
    """VGG16's weights, the photo as it is fed, and our answers, for PyTorch."""
    from xai_helpers import explain, load_classifier, sample_image

    clf = load_classifier("vgg16", weights="portable", verbose=False)
    photo = sample_image("cat")
    stored = {
        "x": clf.preprocess(photo),
        "target": clf.class_index("tabby"),
        "logits": clf.logits(photo),
        "gradients": explain.gradients(clf, photo, "tabby").values,
    }
    for layer in clf.model.layers:
        for k, values in enumerate(layer.get_weights()):
            stored[f"{layer.name}/{k}"] = values
    np.savez(path, **stored)


def vgg16_in_torch(stored: dict):
    """PyTorch's VGG16 with these arrays (see ``arrays``), and the photo as it is fed.

    Returns
    -------
    torch.nn.Module and tensor float32 (1, 3, 224, 224), BGR
        That both are the same network and photo is checked by the logits.
    """
    import torch
    from torch import nn

    torch.set_num_threads(os.cpu_count())

    class VGG16(nn.Module):
        def __init__(self):
            super().__init__()
            parts = []
            for block, depth in enumerate((2, 2, 3, 3, 3), 1):
                for k in range(1, depth + 1):
                    kernel, bias = (stored[f"block{block}_conv{k}/{i}"] for i in (0, 1))
                    conv = nn.Conv2d(*kernel.shape[2:], 3, padding=1)
                    turned = kernel.transpose(3, 2, 0, 1).copy()
                    conv.weight.data = torch.from_numpy(turned)
                    conv.bias.data = torch.from_numpy(bias)
                    parts += [conv, nn.ReLU()]
                parts.append(nn.MaxPool2d(2))
            self.base = nn.Sequential(*parts)
            kernel, bias = (stored[f"portable_predictions/{k}"] for k in (0, 1))
            self.last = nn.Linear(*kernel.shape)
            self.last.weight.data = torch.from_numpy(kernel.T.copy())
            self.last.bias.data = torch.from_numpy(bias)

        def forward(self, x):
            maps = self.base(x)
            return self.last(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))

    model = VGG16().eval().requires_grad_(False)
    x = torch.from_numpy(stored["x"].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        gap = np.abs(model(x).numpy() - stored["logits"]).max()
    assert gap < 1e-3, f"not the same network: logits {gap} apart"
    return model, x


def in_torch(path: str) -> list[dict]:
    """In PyTorch's own environment: captum, beside PyTorch's passes alone.

    Captum's gradients are left beside the arrays; there is no ``metrics`` in here.
    """
    import torch
    from captum import attr

    stored = dict(np.load(path))
    model, x = vgg16_in_torch(stored)
    target = int(stored["target"])

    def forward(size):
        with torch.no_grad():
            return model(x.repeat(size, 1, 1, 1))

    def both(size):
        many = x.repeat(size, 1, 1, 1).requires_grad_()
        return torch.autograd.grad(model(many)[:, target].sum(), many)[0]

    def fresh_input():
        return x.clone().requires_grad_()

    last = model.base[28]  # block5_conv3, before its ReLU
    options = {"target": target}
    calls = {
        "gradients": (
            lambda: attr.Saliency(model).attribute(fresh_input(), abs=False, **options),
            lambda: both(1),
        ),
        "SmoothGrad": (
            lambda: attr.NoiseTunnel(attr.Saliency(model)).attribute(
                fresh_input(), nt_samples=SAMPLES, nt_samples_batch_size=8,
                stdevs=0.15 * 255, abs=False, **options),
            lambda: [both(8) for _ in range(SAMPLES // 8)],
        ),
        "integrated gradients": (
            lambda: attr.IntegratedGradients(model).attribute(
                fresh_input(), n_steps=SAMPLES, internal_batch_size=8, **options),
            lambda: [both(8) for _ in range(SAMPLES // 8)],
        ),
        "occlusion": (
            lambda: attr.Occlusion(model).attribute(
                x, (3, PATCH, PATCH), strides=(3, PATCH, PATCH),
                perturbations_per_eval=16, **options),
            lambda: [forward(16) for _ in range((224 // PATCH) ** 2 // 16)],
        ),
        "Grad-CAM": (
            lambda: attr.LayerGradCam(model, last).attribute(fresh_input(), **options),
            lambda: forward(1),
        ),
    }  # fmt: skip
    captum_gradients = calls["gradients"][0]()[0].numpy().transpose(1, 2, 0)
    np.save(gradients_file(path), captum_gradients[..., ::-1])  # BGR here
    return [
        {
            "technique": technique,
            "seconds": turns({"captum": captum, "passes in PyTorch": passes}),
        }
        for technique, (captum, passes) in calls.items()
    ]


def gradients_file(path: str | Path) -> Path:
    return Path(path).with_name("captum.npy")


def markdown(results: dict) -> str:
    """One line for each technique; captum beside the bare passes in PyTorch."""
    from benchmark import duration, ratio

    lines = [
        "| technique | ours | xplique ÷ ours | saliency ÷ ours | captum ÷ its passes "
        "| cosine with ours |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row, torch in zip(results["tensorflow"], results["torch"], strict=True):
        assert row["technique"] == torch["technique"]
        times, passes = row["seconds"], torch["seconds"]
        ratios = [
            ratio(times[name] / times["ours"]) if name in times else "–"
            for name in ("xplique", "saliency")
        ]
        ratios.append(ratio(passes["captum"] / passes["passes in PyTorch"]))
        cosines = row["cosine"] | torch.get("cosine", {})
        agreement = [f"{n} {value:.2f}" for n, value in cosines.items() if n in NAMES]
        agreement = ", ".join(agreement) or "–"
        cells = [row["technique"], duration(times["ours"]), *ratios, agreement]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speed_page(text: str) -> str:
    """docs/speed.md with the table between its two marks."""
    from readme import replace_between

    results = json.loads(OUT.read_text("utf-8"))
    return replace_between(text, BEGIN, END, markdown(results))


def run(kind: str) -> list[dict]:
    """The rows of one environment, from a process in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vgg16.npz")
        command = [environment(kind), __file__, "--inside", kind]
        if kind == "torch":
            arrays(path)
            command.append(path)
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = json.loads(answer.stdout.splitlines()[-1])
        if kind == "torch":
            ours, captum = np.load(path)["gradients"], np.load(gradients_file(path))
            (row,) = [row for row in rows if row["technique"] == "gradients"]
            row["cosine"] = {"captum": cosine(ours, captum)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("tensorflow", "torch"))
    parser.add_argument("--readme", action="store_true", help="write its table")
    args = parser.parse_args()
    if args.inside:
        kind, *path = args.inside
        print(json.dumps(in_tensorflow() if kind == "tensorflow" else in_torch(*path)))
        return
    if args.readme:
        from readme import SPEED, rewrite

        rewrite(SPEED, speed_page)
        return
    results = json.loads(OUT.read_text("utf-8")) if OUT.exists() else {}
    for kind in [args.only] if args.only else ["tensorflow", "torch"]:
        results[kind] = run(kind)
        for row in results[kind]:
            print(row, flush=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
