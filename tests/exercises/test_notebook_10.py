"""The checks of notebook 10: right answers pass, each mistake gets its own hint."""

import numpy as np
import pytest

from xai_helpers import check, explain, metrics, sample_image
from xai_helpers.engine.fills import baseline_image
from xai_helpers.exercises.notebook_10 import TARGET, map_of_a_colleague


@pytest.fixture(scope="module")
def occlusion_map(xception):
    mosaic = metrics.mosaic([sample_image("cat"), sample_image("coffee")], side=299)
    return explain.occlusion(xception, mosaic, "espresso", patch=60).heatmap()


def share(values, right=True):
    part = values[:, 150:] if right else values[:, :150]
    return part.sum() / values.sum()


def test_share_of_a_signed_map(occlusion_map):
    assert check("10-1", share(np.maximum(occlusion_map, 0)))


WRONG_SHARES = {
    "left": (lambda heat: share(np.maximum(heat, 0), right=False), "the left half"),
    "absolute": (lambda heat: share(np.abs(heat)), "absolute values"),
    "signed": (share, "cancel"),
    "counted": (lambda heat: share(heat > 0), "counted"),
}


@pytest.mark.parametrize("mistake", WRONG_SHARES)
def test_mistakes_in_the_share(mistake, occlusion_map):
    compute, hint = WRONG_SHARES[mistake]
    verdict = check("10-1", compute(occlusion_map))
    assert not verdict
    assert hint in verdict.hint


@pytest.mark.parametrize("level", [0, 127, 200, 255])
def test_images_without_edges_win(cat, level):
    assert check("10-2", np.full_like(cat, level))


def test_images_that_do_not_win(cat):
    ramp = np.linspace(0, 255, cat.shape[1]).astype("uint8")
    noise = np.random.default_rng(0).integers(0, 256, cat.shape, dtype="uint8")
    quiet = np.full_like(cat, 100)
    quiet[:, ::60] = 160
    answers = {
        "more edges": noise,
        "not nearly": sample_image("coffee"),
        "almost": np.clip(quiet + noise // 28, 0, 255).astype("uint8"),
        "uint8": np.full(cat.shape, 0.5),
        "shape": cat[..., 0],
    }
    hints = {expected: check("10-2", image).hint for expected, image in answers.items()}
    assert None not in hints.values()
    for expected, hint in hints.items():
        assert expected in hint, hint
    assert len(set(hints.values())) == len(hints)
    assert check("10-2", np.broadcast_to(ramp[None, :, None], cat.shape))


@pytest.mark.parametrize("number, right", [("10-3", "a"), ("10-5", "c")])
def test_claims(number, right):
    assert check(number, right)
    hints = {check(number, wrong).hint for wrong in {*"abcd"} - {right}}
    assert len(hints) == 3 and None not in hints


def test_numbers_support_the_claim_about_noise(xception):
    mosaic = metrics.mosaic([sample_image("cat"), sample_image("coffee")], side=299)
    cat, espresso = (
        metrics.pointing_game_score(
            explain.smoothgrad(xception, mosaic, name, samples=12), tile=0, photos=2
        )
        for name in ("Egyptian_cat", "espresso")
    )
    assert cat > 0.65
    assert 0.4 < espresso < 0.5


@pytest.fixture(scope="module")
def by_hand(xception):
    """Probabilities while ``new`` replaces ``old``, for a fill and an order."""
    cat = sample_image("cat")
    square, _ = xception.crop(cat)
    heat = explain.grad_cam(xception, cat, TARGET).heatmap()

    def compute(delete=False, fill="blurred", sign=-1, logits=False):
        order = np.argsort(sign * heat, axis=None)
        old, new = baseline_image(square, fill), square
        old, new = (new, old) if delete else (old, new)
        images = []
        for fraction in np.linspace(0, 1, 11):
            changed = order[: round(fraction * len(order))]
            image = old.reshape(-1, 3).copy()
            image[changed] = new.reshape(-1, 3)[changed]
            images.append(image.reshape(square.shape))
        scores = xception.logits if logits else xception.probabilities
        return scores(images)[:, xception.class_index(TARGET)]

    return compute


def test_insertion_by_hand(by_hand):
    assert check("10-4", by_hand())


WRONG_CURVES = {
    "deletion": (lambda curve: curve(delete=True), "deletion curve"),
    "reversed": (lambda curve: curve()[::-1], "reverse order"),
    "lowest first": (lambda curve: curve(sign=1), "lowest"),
    "black": (lambda curve: curve(fill="black"), "black"),
    "grey": (lambda curve: curve(fill="grey"), "grey"),
    "logits": (lambda curve: curve(logits=True), "logits"),
    "ten numbers": (lambda curve: curve()[1:], "so 11"),
}


@pytest.mark.parametrize("mistake", WRONG_CURVES)
def test_mistakes_in_insertion(mistake, by_hand):
    compute, hint = WRONG_CURVES[mistake]
    verdict = check("10-4", compute(by_hand))
    assert not verdict
    assert hint in verdict.hint


def test_the_colleague_s_map_wins_the_drop_and_nothing_else(xception, cat):
    square, _ = xception.crop(cat)
    suspect = map_of_a_colleague(square)
    cam = explain.grad_cam(xception, cat, TARGET)
    drops = [
        metrics.average_drop(xception, [cat], [heat], [TARGET])[0]
        for heat in (suspect, cam)
    ]
    areas = [
        metrics.insertion(xception, cat, heat, TARGET, steps=10).auc
        for heat in (suspect, cam)
    ]
    assert drops[0] < 0.05 < 0.2 < drops[1]
    assert areas[0] < areas[1] - 0.2
