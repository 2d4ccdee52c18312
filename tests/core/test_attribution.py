"""An attribution describes its map in words, and keeps what it is made of."""

import numpy as np
import pytest
from toys import linear, photo, toy

from xai_helpers import Attribution, explain


def spot_attribution(**fields):
    """A map of zeros with a spot, on the network's square of a photo 20 × 40."""
    clf, _ = linear((20, 40))
    image, crop = clf.crop(photo((20, 40)))
    values = np.zeros((20, 40), "float32")
    values[4:6, 28:32] = 1
    defaults = {
        "image": image,
        "crop": crop,
        "original_size": (20, 40),
        "technique": "occlusion",
        "model": "m",
        "unit": "x",
        "target": 0,
        "label": "thing",
        "score": "logit",
        "score_value": 2.0,
    }
    return Attribution(**({"values": values} | defaults | fields))


def test_the_description_says_where_the_map_is_positive():
    description = spot_attribution().description
    assert "thing (logit 2.0)" in description
    assert "centred 25% down and 75% across" in description
    assert "half of it on under 1% of the picture" in description
    assert "100% of the map's mass is positive" in description


def test_only_a_signed_map_speaks_of_its_positive_mass():
    """What a map is stands in its field, and is not guessed from its title."""
    for technique in ("Grad-CAM", "occlusion"):
        signed, positive = (
            spot_attribution(technique=technique, signed=signed).description
            for signed in (True, False)
        )
        assert "of the map's mass is positive" in signed
        assert "of the map's mass is positive" not in positive
        assert "centred 25% down" in positive


def test_an_empty_map_says_that_it_is_zero_everywhere():
    empty = np.zeros((20, 40), "float32")
    notes = spot_attribution(values=empty, signed=True).notes
    assert notes == ["No evidence for thing: the map is zero everywhere."]
    (note,) = spot_attribution(values=empty, signed=False).notes
    assert note == "No positive evidence for thing: the map is zero everywhere."


def test_the_title_holds_technique_model_and_target():
    assert spot_attribution().title == "occlusion · m · thing (logit 2.0)"


def test_a_map_of_channels_is_their_sum():
    values = np.random.default_rng(0).normal(size=(20, 40, 3)).astype("float32")
    attribution = spot_attribution(values=values)
    assert np.allclose(attribution.map, values.sum(axis=2))
    assert np.allclose(attribution.heatmap(), attribution.map)


def test_one_channel_is_upsampled_as_the_map_is():
    attribution = explain.activations(toy(), photo((12, 14)), "two")
    channels = np.moveaxis(attribution.values, 2, 0)
    together = sum(attribution.upsample(channel) for channel in channels)
    assert np.allclose(together, attribution.heatmap(), atol=1e-5)


def test_the_heatmap_on_the_original_is_zero_where_the_network_saw_nothing():
    attribution = explain.gradients(toy((20, 20)), photo((20, 30)), 1)
    heatmap = attribution.heatmap_on_original()
    assert heatmap.shape == attribution.original_size == (20, 30)
    assert not heatmap[:, :5].any() and not heatmap[:, 25:].any()
    assert np.allclose(heatmap[:, 5:25], attribution.heatmap(), atol=1e-6)


def test_values_and_image_cannot_be_changed():
    attribution = spot_attribution()
    for array in (attribution.values, attribution.image):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
