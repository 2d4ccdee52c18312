"""Layer-CAM is the paper's two equations, and differs from Grad-CAM as it should."""

import numpy as np
import pytest
from toys import (
    LAST_LAYERS,
    SCORES_OF_CLASS_2,
    difference_quotients,
    photo,
    toy,
    toy_first_maps,
    toy_logits_from,
)

from xai_helpers import explain, metrics, sample_image


@pytest.mark.parametrize("score", SCORES_OF_CLASS_2)
def test_layer_cam_is_the_papers_equations_in_numpy(score):
    clf = toy()
    image = photo((12, 14))
    maps = toy_first_maps(clf, image.astype("float64"))
    gradient = difference_quotients(
        lambda a: SCORES_OF_CLASS_2[score](toy_logits_from(clf, a)), maps
    )
    expected = np.maximum((np.maximum(gradient, 0) * maps).sum(axis=2), 0)
    values = explain.layer_cam(clf, image, 2, "one", score=score).values
    assert expected.any()
    assert np.allclose(values, expected, rtol=1e-3, atol=1e-6 * expected.max())


def test_on_xceptions_last_layer_the_weights_are_those_of_the_classifier(xception, cat):
    """Before a global average, the gradient is weight / cells, in every cell."""
    submodel = xception.submodel_to(LAST_LAYERS["xception"])
    maps = np.array(submodel(xception.preprocess(cat)))[0]
    kernel, _ = xception.model.layers[-1].get_weights()
    weights = kernel[:, xception.class_index("tabby")]
    expected = maps @ np.maximum(weights, 0) / maps[..., 0].size
    values = explain.layer_cam(xception, cat, "tabby").values
    assert np.allclose(values, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cat_left", [True, False])
def test_at_an_early_layer_it_finds_the_right_half_better_than_grad_cam(
    xception, cat, cat_left
):
    """What the paper promises: earlier and finer layers than Grad-CAM's work, too."""
    pair = [cat, sample_image("coffee")]
    mosaic = metrics.mosaic(pair if cat_left else pair[::-1], 299)
    scores = [
        metrics.pointing_game_score(
            technique(xception, mosaic, "Egyptian_cat", "block4_sepconv2_bn"),
            tile=0 if cat_left else 1,
            photos=2,
        )
        for technique in (explain.layer_cam, explain.grad_cam)
    ]
    assert scores[0] > scores[1]
    assert scores[0] > 0.5  # a map that knows nothing
