"""xplique, saliency and captum, timed beside the same techniques here.

    make rivals                         makes both environments (6 GB, mostly
                                        PyTorch), then measures
    python tools/rivals.py --readme     write the README's table from what was found

They are no part of the project. xplique and saliency run on our own VGG16, in an
environment that borrows the project's TensorFlow; captum needs PyTorch, which must not
share a process with TensorFlow: there the same VGG16 is built from the same arrays, and
it is compared with the time of PyTorch's own passes. All are given the same number of
samples, steps and patches; the results are compared where they should be equal. Writes
data/tables/rivals.json.
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
OUT = ROOT / "data" / "tables" / "rivals.json"
HOMES = Path(
    os.environ.get("XAI_RIVALS", Path.home() / ".cache" / "xai_helpers-rivals")
)
FOR_TENSORFLOW = (  # without what they depend on: that is in the project already
    "xplique==2.0.2 saliency==0.2.1 deprecated tensorflow-probability tf-keras "
    "decorator dm-tree scikit-image cloudpickle einops lazy_loader"
).split()
FOR_TORCH = "torch captum".split()
SAMPLES, PATCH, REPETITIONS = 16, 28, 3
NAMES = "xplique", "saliency", "captum", "ours, another seed"
BEGIN, END = "<!-- rivals, by tools/rivals.py --readme -->", "<!-- end of rivals -->"


def environment(name: str) -> Path:
    """The Python of the environment, made if it is not there."""
    home = HOMES / name
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


def cosine(a, b) -> float:
    a, b = np.ravel(a).astype("float64"), np.ravel(b).astype("float64")
    return round(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), 4)


def in_tensorflow() -> list[dict]:
    """In the environment's own process: ours, xplique, saliency."""
    import saliency.core as saliency
    import xplique.attributions as xplique

    from xai_helpers import explain, keras, load_classifier, sample_image, tf

    clf = load_classifier("vgg16", weights="portable", verbose=False)
    photo = sample_image("cat")
    target = clf.index("tabby")
    pixels = clf.cut(photo)[0][None].astype("float32")
    entry = keras.Input((224, 224, 3))
    rgb = keras.Model(entry, clf.network(clf._scale(entry)))  # takes grey levels
    asked = np.eye(1000, dtype="float32")[[target]]
    last = "block5_conv3"

    @tf.function(reduce_retracing=True)
    def slope(x):
        return tf.gradients(rgb(x, training=False)[:, target], [x])[0]

    def slopes(images, call_model_args=None, expected_keys=None):
        x = tf.constant(images, tf.float32)
        return {saliency.INPUT_OUTPUT_GRADIENTS: slope(x).numpy()}

    given = clf, photo, "tabby"
    ig = {"steps": SAMPLES, "tolerance": None}
    positions = explain.occlusion(*given, patch=PATCH, stride=PATCH).values.size
    black = np.zeros_like(pixels[0])
    rows = {
        "gradients": {
            "ours": lambda: explain.gradients(*given).values,
            "xplique": lambda: xplique.Saliency(rgb, reducer=None)(pixels, asked),
            "saliency": lambda: saliency.GradientSaliency().GetMask(pixels[0], slopes),
        },
        "SmoothGrad": {
            "ours": lambda: explain.smoothgrad(*given, samples=SAMPLES).values,
            "ours, another seed": lambda: (
                explain.smoothgrad(*given, samples=SAMPLES, seed=1).values
            ),
            "xplique": lambda: xplique.SmoothGrad(
                rgb, nb_samples=SAMPLES, noise=0.15 * 255, reducer=None
            )(pixels, asked),
            "saliency": lambda: saliency.GradientSaliency().GetSmoothedMask(
                pixels[0], slopes, stdev_spread=0.15, nsamples=SAMPLES, magnitude=False
            ),
        },
        "integrated gradients": {
            "ours": lambda: explain.integrated_gradients(*given, **ig).values,
            "xplique": lambda: xplique.IntegratedGradients(
                rgb, steps=SAMPLES, baseline_value=0.0, reducer=None
            )(pixels, asked),
            "saliency": lambda: saliency.IntegratedGradients().GetMask(
                pixels[0], slopes, x_steps=SAMPLES, x_baseline=black, batch_size=8
            ),
        },
        "occlusion": {
            "ours": lambda: explain.occlusion(*given, patch=PATCH, stride=PATCH).values,
            "ours, every picture whole": lambda: (
                explain.occlusion(
                    *given, patch=PATCH, stride=PATCH, exhaustive=True
                ).values
            ),
            "xplique": lambda: xplique.Occlusion(
                rgb, patch_size=PATCH, patch_stride=PATCH, occlusion_value=127.0
            )(pixels, asked),
        },
        "Grad-CAM": {
            "ours": lambda: explain.grad_cam(*given, last).heatmap(),
            "xplique": lambda: xplique.GradCAM(clf.network, conv_layer=last)(
                clf.preprocess(photo), asked
            ),
        },
    }
    found = []
    for technique, actions in rows.items():
        results = {name: np.asarray(action()) for name, action in actions.items()}
        ours = results["ours"]
        if technique == "occlusion":
            ours = np.kron(ours, np.ones((PATCH, PATCH)))
        found.append(
            {
                "technique": technique,
                "seconds": turns(actions),
                "cosine": {
                    name: cosine(np.abs(ours) if (result >= 0).all() else ours, result)
                    for name, result in results.items()
                    if name != "ours" and result.size == ours.size
                },
                "patches": positions if technique == "occlusion" else None,
            }
        )
    return found


def arrays(path: Path) -> None:
    """VGG16's weights, the photo as it is fed, and our answers, for PyTorch."""
    from xai_helpers import explain, load_classifier, sample_image

    clf = load_classifier("vgg16", weights="portable", verbose=False)
    photo = sample_image("cat")
    given = clf, photo, "tabby"
    kept = {"x": clf.preprocess(photo), "target": clf.index("tabby")}
    kept["logits"] = clf.logits(photo)
    kept["gradients"] = explain.gradients(*given).values
    for layer in clf.network.layers:
        for k, values in enumerate(layer.get_weights()):
            kept[f"{layer.name}/{k}"] = values
    np.savez(path, **kept)


def in_torch(path: str) -> list[dict]:
    """In PyTorch's own environment: captum, beside PyTorch's passes alone."""
    import torch
    from captum import attr
    from torch import nn

    kept = dict(np.load(path))
    torch.set_num_threads(os.cpu_count())

    class VGG16(nn.Module):
        def __init__(self):
            super().__init__()
            parts = []
            for block, depth in enumerate((2, 2, 3, 3, 3), 1):
                for k in range(1, depth + 1):
                    kernel, bias = (kept[f"block{block}_conv{k}/{i}"] for i in (0, 1))
                    conv = nn.Conv2d(*kernel.shape[2:], 3, padding=1)
                    turned = kernel.transpose(3, 2, 0, 1).copy()
                    conv.weight.data = torch.from_numpy(turned)
                    conv.bias.data = torch.from_numpy(bias)
                    parts += [conv, nn.ReLU()]
                parts.append(nn.MaxPool2d(2))
            self.base = nn.Sequential(*parts)
            kernel, bias = (kept[f"portable_predictions/{k}"] for k in (0, 1))
            self.last = nn.Linear(*kernel.shape)
            self.last.weight.data = torch.from_numpy(kernel.T.copy())
            self.last.bias.data = torch.from_numpy(bias)

        def forward(self, x):
            maps = self.base(x)
            return self.last(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))

    model = VGG16().eval().requires_grad_(False)
    x = torch.from_numpy(kept["x"].transpose(0, 3, 1, 2).copy())
    target = int(kept["target"])
    with torch.no_grad():
        gap = np.abs(model(x).numpy() - kept["logits"]).max()
    assert gap < 1e-3, f"not the same network: logits {gap} apart"

    def forward(size):
        with torch.no_grad():
            return model(x.repeat(size, 1, 1, 1))

    def both(size):
        many = x.repeat(size, 1, 1, 1).requires_grad_()
        return torch.autograd.grad(model(many)[:, target].sum(), many)[0]

    def asked():
        return x.clone().requires_grad_()

    last = model.base[28]  # block5_conv3, before its ReLU
    options = {"target": target}
    rows = {
        "gradients": (
            lambda: attr.Saliency(model).attribute(asked(), abs=False, **options),
            lambda: both(1),
        ),
        "SmoothGrad": (
            lambda: attr.NoiseTunnel(attr.Saliency(model)).attribute(
                asked(), nt_samples=SAMPLES, nt_samples_batch_size=8,
                stdevs=0.15 * 255, abs=False, **options),
            lambda: [both(8) for _ in range(SAMPLES // 8)],
        ),
        "integrated gradients": (
            lambda: attr.IntegratedGradients(model).attribute(
                asked(), n_steps=SAMPLES, internal_batch_size=8, **options),
            lambda: [both(8) for _ in range(SAMPLES // 8)],
        ),
        "occlusion": (
            lambda: attr.Occlusion(model).attribute(
                x, (3, PATCH, PATCH), strides=(3, PATCH, PATCH),
                perturbations_per_eval=16, **options),
            lambda: [forward(16) for _ in range((224 // PATCH) ** 2 // 16)],
        ),
        "Grad-CAM": (
            lambda: attr.LayerGradCam(model, last).attribute(asked(), **options),
            lambda: forward(1),
        ),
    }  # fmt: skip
    found = []
    for technique, (captum, passes) in rows.items():
        seconds = turns({"captum": captum, "passes in PyTorch": passes})
        row = {"technique": technique, "seconds": seconds}
        if technique == "gradients":  # BGR here
            theirs = captum()[0].numpy().transpose(1, 2, 0)[..., ::-1]
            row["cosine"] = {"captum": cosine(theirs, kept["gradients"])}
        found.append(row)
    return found


def markdown(found: dict) -> str:
    """One line for each technique; captum beside the bare passes in PyTorch."""
    from benchmark import duration, ratio

    lines = [
        "| technique | ours | xplique ÷ ours | saliency ÷ ours | captum ÷ its passes "
        "| cosine with ours |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row, torch in zip(found["tensorflow"], found["torch"], strict=True):
        assert row["technique"] == torch["technique"]
        spent, passes = row["seconds"], torch["seconds"]
        others = [
            ratio(spent[name] / spent["ours"]) if name in spent else "–"
            for name in ("xplique", "saliency")
        ]
        others.append(ratio(passes["captum"] / passes["passes in PyTorch"]))
        like = row["cosine"] | torch.get("cosine", {})
        like = ", ".join(f"{n} {value:.2f}" for n, value in like.items() if n in NAMES)
        cells = [row["technique"], duration(spent["ours"]), *others, like or "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def readme(text: str) -> str:
    """The README with the table between its two marks."""
    inside = "\n\n".join([BEGIN, markdown(json.loads(OUT.read_text("utf-8"))), END])
    start, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:start] + inside + text[end:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("tensorflow", "torch"))
    parser.add_argument("--readme", action="store_true", help="write its table")
    asked = parser.parse_args()
    if asked.inside:
        kind, path = asked.inside[0], asked.inside[1:]
        print(json.dumps(in_tensorflow() if kind == "tensorflow" else in_torch(*path)))
        return
    if asked.readme:
        path = ROOT / "README.md"
        path.write_text(readme(path.read_text("utf-8")), "utf-8")
        return
    found = json.loads(OUT.read_text("utf-8")) if OUT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vgg16.npz")
        for kind in [asked.only] if asked.only else ["tensorflow", "torch"]:
            if kind == "torch":
                arrays(path)
            here = [environment(kind), __file__, "--inside", kind]
            here += [path] if kind == "torch" else []
            answer = subprocess.run(here, stdout=subprocess.PIPE, text=True, check=True)
            found[kind] = json.loads(answer.stdout.splitlines()[-1])
            for row in found[kind]:
                print(row, flush=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
