"""Maps compared, in order and in words; maps that know nothing of the network.

Compared are arrays, or Attributions by their maps in the layer's own cells.
"""

import numpy as np
from scipy import ndimage, stats

SATURATED = 1e-6  # a probability nearer to 0 or 1 hardly changes in 32 bits


def as_heatmap(heatmap, shape: tuple[int, int] | None = None) -> np.ndarray:
    """An Attribution or an array as a finite float array, or a ``ValueError``."""
    is_array = not hasattr(heatmap, "heatmap")
    values = np.asarray(heatmap, float) if is_array else heatmap.heatmap()
    if shape is not None and values.shape != tuple(shape):
        raise ValueError(f"The map has shape {values.shape}; expected {tuple(shape)}.")
    if not np.isfinite(values).all():
        raise ValueError("The map holds NaN or infinity.")
    return values


def importance_ranks(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """int (H, W): 0 for the largest value; equal values in random order."""
    tie_break = np.argsort(np.random.default_rng(seed).permutation(values.size))
    order = np.lexsort((tie_break, -values.ravel()))
    return np.argsort(order).reshape(values.shape)


def _flat(first, second) -> tuple[np.ndarray, np.ndarray, bool]:
    """Both maps as float64 (n,), and whether one of them is constant."""
    a, b = (np.asarray(getattr(m, "map", m), "float64") for m in (first, second))
    if a.shape != b.shape:
        raise ValueError(f"The maps have shapes {a.shape} and {b.shape}.")
    return a.ravel(), b.ravel(), bool(np.ptp(a) == 0 or np.ptp(b) == 0)


def rank_correlation(first, second) -> float:
    """Spearman's: 1 if two maps order their pixels alike, −1 if the other way round.

    Ties share their ranks. A constant map orders nothing: 0.
    """
    a, b, constant = _flat(first, second)
    return 0.0 if constant else float(stats.spearmanr(a, b).statistic)


def correlation(first, second) -> float:
    """Pearson's: 1 if one is the other, scaled and shifted; 0 for a constant map."""
    a, b, constant = _flat(first, second)
    return 0.0 if constant else float(np.corrcoef(a, b)[0, 1])


def cosine_similarity(first, second) -> float:
    """1 if one map is the other, scaled; 0 if one of them is zero."""
    a, b, _ = _flat(first, second)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) or 1))


def describe_map(heat: np.ndarray, signed: bool) -> str:
    """Where the positive part lies, and its share if signed; "" if the map is zero."""
    if not heat.any():
        return ""
    positive = np.maximum(heat, 0)
    share = f"{positive.sum() / np.abs(heat).sum():.0%} of the map's mass is positive; "
    beginning = share if signed else ""
    if not positive.any():
        return f"{beginning}nothing is positive."
    total = positive.sum(dtype="float64")
    down, across = (  # the centre of mass
        (sums * (np.arange(len(sums)) + 0.5)).sum() / total / len(sums)
        for sums in (positive.sum(axis=1), positive.sum(axis=0))
    )
    mass = np.cumsum(np.sort(positive.ravel().astype("float64"))[::-1])
    area = (np.searchsorted(mass, mass[-1] / 2) + 1) / positive.size
    percent = "under 1%" if area < 0.01 else f"{area:.0%}"
    return (
        f"{beginning}what is positive is centred {down:.0%} down and {across:.0%} "
        f"across, half of it on {percent} of the picture."
    )


def why_zero(signed: bool, label: str, layer, score: str, value: float | None) -> str:
    """A sentence for a map of zeros: no evidence, or a number too small to be held."""
    if score == "probability" and not SATURATED <= value <= 1 - SATURATED:
        return (
            f"The map is zero everywhere because the probability is {value:.3g} to "
            "within the precision of 32 bits, which holds no change of it: that says "
            "nothing about the picture. Explain score='logit'."
        )
    sign, place = "" if signed else "positive ", " at this layer" if layer else ""
    subject = f"{sign}evidence for {label}" if label else "activation"
    return f"No {subject}{place}: the map is zero everywhere."


def random_map(square: np.ndarray, seed: int = 0) -> np.ndarray:
    """Uniform noise, 0–1, float32 (H, W), smoothed to spots of about a sixteenth."""
    shape = square.shape[:2]
    noise = np.random.default_rng(seed).random(shape)
    return ndimage.gaussian_filter(noise, min(shape) / 32).astype("float32")


def edge_map(square: np.ndarray) -> np.ndarray:
    """How steep the picture is (Sobel), float32 (H, W), 0 and up."""
    grey = square.astype("float32").mean(axis=2)
    return np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))


def centre_map(square: np.ndarray) -> np.ndarray:
    """A bell in the middle of the picture, 0–1: photographers aim."""
    rows, columns = (np.linspace(-2, 2, side) for side in square.shape[:2])
    return np.exp(-np.add.outer(rows**2, columns**2) / 2).astype("float32")


REFERENCE_MAPS = {"random": random_map, "edges": edge_map, "centre": centre_map}
