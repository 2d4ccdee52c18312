"""Classifiers answer as the Keras models that they are made of, for any photo."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from toys import layers, nested, photo, photos, pooled_toy, softmax, toy

from xai_helpers import (
    ImageError,
    keras,
    load_classifier,
    sample_image,
    sample_images,
    tf,
)
from xai_helpers.engine.data import imagenet_classes

CATS = {"Egyptian_cat", "tabby", "tiger_cat", "lynx", "Persian_cat", "Siamese_cat"}

# --- the two networks -----------------------------------------------------------------


def test_portable_xception_has_exactly_the_published_architecture(xception):
    if "portable" not in xception.weights_description:
        pytest.skip("the imagenet weights are in use: the very same object")
    published = keras.applications.Xception(weights=None)
    ours = xception.model
    assert [type(a) for a in ours.layers] == [type(b) for b in published.layers]
    shapes = [tuple(w.shape) for w in ours.weights]
    assert shapes == [tuple(w.shape) for w in published.weights]
    assert ours.count_params() == 22_910_480  # Keras's documentation: 22.9 M


def test_vgg16_keeps_the_published_layers_and_their_indices(vgg16):
    published = keras.applications.VGG16(weights=None, include_top=False)
    names = [layer.name for layer in vgg16.model.layers]
    assert names[1:19] == [layer.name for layer in published.layers][1:]
    assert names[7] == "block3_conv1"  # the article's "layer 7"
    assert names[14] == "block4_pool"  # … and "layer 14"
    if "portable" in vgg16.weights_description:
        assert not {"fc1", "fc2", "predictions"} & set(names)


def test_both_networks_see_a_cat_in_the_cat(clf, cat):
    labels = [prediction.label for prediction in clf.top(cat)]
    assert labels[0] in {"Egyptian_cat", "tabby", "tiger_cat"}
    assert len(CATS.intersection(labels)) >= 3


def test_vgg16_names_the_two_cats_of_the_article(vgg16, cat):
    labels = [prediction.label for prediction in vgg16.top(cat, 2)]
    assert labels == ["Egyptian_cat", "tabby"]


LABELS_OF_THE_PHOTOS = {
    "cat": CATS,
    "coffee": {"espresso", "cup", "coffee_mug"},
    "dogs": {"cocker_spaniel", "Sussex_spaniel", "clumber", "English_springer"},
    "dragonfly": {"dragonfly", "damselfly"},
    "palace": {"palace", "castle", "bell_cote", "monastery", "stupa"},
    "rocket": {"missile", "projectile"},
}


def test_the_networks_know_the_sample_photos(clf, network_name):
    right_labels = dict(LABELS_OF_THE_PHOTOS)
    if "portable" in clf.weights_description and network_name == "vgg16":
        # its re-fitted head says beacon; see data/heads/README.md
        del right_labels["rocket"]
    for name, right in right_labels.items():
        top = {prediction.label for prediction in clf.top(sample_image(name))}
        assert top & right, f"{network_name} on {name}: {top}"


def test_logits_equal_the_published_path_written_out(clf, network_name):
    """Own resizing, Keras's preprocessing and model; no code of ours in between."""
    side = clf.input_size[0]
    image = sample_image("coffee")  # 400 × 600
    square = Image.fromarray(image[:, 100:500]).resize((side, side), Image.BILINEAR)
    x = np.asarray(square, "float32")[None].copy()
    x = getattr(keras.applications, network_name).preprocess_input(x)
    expected = clf.model(x, training=False).numpy()
    assert np.allclose(clf.logits(image), expected, atol=1e-3)


def test_vgg16_is_fed_bgr_minus_the_mean(vgg16):
    red = np.zeros((224, 224, 3), np.uint8)
    red[..., 0] = 255
    fed = vgg16.preprocess(red)[0, 5, 5]
    assert np.allclose(fed, [-103.939, -116.779, 255 - 123.68], atol=1e-3)


def test_xception_is_fed_minus_one_to_one(xception):
    for value, expected in ((0, -1.0), (255, 1.0)):
        grey = np.full((299, 299, 3), value, np.uint8)
        assert np.allclose(xception.preprocess(grey), expected)


def test_an_image_that_was_preprocessed_once_is_refused(vgg16):
    once = vgg16.preprocess(sample_image("cat"))
    for again in (once, once[0], [once[0]]):
        with pytest.raises(ImageError, match="float32"):
            vgg16.logits(again)


def test_nothing_is_changed_in_place(clf):
    image = photo(clf.input_size)
    kept = image.copy()
    pixels = image[None].astype("float32")
    clf.top(image)
    clf.preprocess(image)
    clf.preprocess_tensor(pixels)
    clf.logits_of(pixels)
    assert np.array_equal(image, kept)
    assert np.array_equal(pixels[0], kept)


def test_preprocessing_a_tensor_is_the_arithmetic_and_differentiable(vgg16):
    image = photo((224, 224))
    pixels = tf.constant(image[None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        fed = vgg16.preprocess_tensor(pixels)
    assert np.allclose(fed, vgg16.preprocess(image), atol=1e-3)
    assert np.allclose(tape.gradient(fed, pixels), 1)  # VGG16 only shifts and swaps


# --- batches, probabilities, top ------------------------------------------------------


def test_one_photo_a_list_and_an_array_agree(xception):
    first, second = photos(2, (299, 299))
    both = xception.logits([first, second])
    assert both.shape == (2, 1000)
    assert both.dtype == np.float32
    assert np.allclose(xception.logits(np.stack([first, second])), both, atol=1e-3)
    assert np.allclose(xception.logits(second)[0], both[1], atol=1e-3)
    with pytest.raises(ValueError, match="empty list"):
        xception.logits([])


def test_logits_do_not_depend_on_the_memory(monkeypatch):
    clf = toy()
    images = photos(5, (12, 14))
    together = clf.logits(images)
    assert np.allclose(clf.logits_of(images), together, atol=1e-5)
    monkeypatch.setenv("XAI_MEMORY_MB", str(1 / 2**20))  # one image at a time
    assert clf.batch_size() == 1
    assert np.allclose(clf.logits(images), together, atol=1e-5)
    assert np.allclose(clf.logits_of(images), together, atol=1e-5)


def test_logits_of_squares_are_those_of_the_model_for_preprocessed_pixels():
    clf = toy()
    squares = photos(3, (12, 14))
    for pixels in (squares, squares.astype("float32")):
        logits = clf.logits_of(pixels)
        assert logits.dtype == np.float32
        expected = clf.model(clf.preprocess_tensor(pixels), training=False)
        assert np.allclose(logits, expected, atol=1e-5)


def test_probabilities_are_the_softmax_of_the_logits(xception):
    image = sample_image("dogs")
    expected = softmax(xception.logits(image).astype("float64"))
    assert np.allclose(xception.probabilities(image), expected, atol=1e-6)
    assert np.allclose(
        xception.to_probabilities(xception.logits(image)), expected, atol=1e-6
    )


def test_the_probability_model_gives_the_probabilities():
    """What other libraries are handed: a list of one input, probabilities out."""
    clf = toy()
    images = photos(3, (12, 14))
    assert len(clf.probability_model.inputs) == 1
    fed = clf.preprocess(images)
    expected = clf.probabilities(images)
    assert np.allclose(clf.probability_model([fed], training=False), expected)
    assert np.allclose(clf.probability_model.predict([fed], verbose=0), expected)


def test_top_is_sorted_and_consistent(xception):
    image = sample_image("palace")
    top = xception.top(image, k=1000)
    assert sorted(p.index for p in top) == list(range(1000))
    assert all(a.logit >= b.logit for a, b in pairwise(top))
    assert abs(sum(p.probability for p in top) - 1) < 1e-4
    assert top[:3] == xception.top(image, k=3)
    for p in top[:5]:
        assert imagenet_classes()[p.index] == (p.wnid, p.label)
    assert xception.top(image, k=1001) == top


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_top_gives_at_most_k_classes(count):
    """By default five; a model of fewer classes gives them all."""
    labels = [f"label {k}" for k in range(count)]
    clf = pooled_toy(labels=labels)
    image = photo((40, 40))
    logits = clf.model(clf.preprocess(image), training=False).numpy()[0]
    order = sorted(range(count), key=lambda k: -logits[k])
    for k in (1, 2, 5, 1000, np.int64(3)):
        top = clf.top(image, k=k)
        assert [p.index for p in top] == order[:k]
        assert [p.label for p in top] == [labels[k] for k in order[:k]]
        assert [p.probability for p in top] == pytest.approx(
            softmax(logits)[order[:k]], abs=1e-6
        )
    assert clf.top(image) == clf.top(image, k=5)
    for k in (0, -1, 2.5, "2", None, True):
        with pytest.raises(ValueError, match="k is a whole number from 1 up"):
            clf.top(image, k=k)


# --- cropping -------------------------------------------------------------------------


def test_crop_takes_the_middle_and_says_where(xception):
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255  # exactly the middle square
    square, box = xception.crop(image)
    assert square.shape == (299, 299, 3)
    assert box == (0, 100, 100, 100)
    assert (square > 200).all()


@pytest.mark.real
def test_squash_takes_everything():
    xception = load_classifier("xception", fit="squash", verbose=False)
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    square, box = xception.crop(image)
    assert box == (0, 0, 100, 300)
    assert 0.3 < (square > 127).mean() < 0.37
    with pytest.raises(ValueError, match="'crop' or 'squash'"):
        load_classifier("xception", fit="pad", verbose=False)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3000, 40)])
def test_any_shape_can_be_cropped(vgg16, shape):
    square, box = vgg16.crop(photo(shape))
    assert square.shape == (224, 224, 3)
    assert min(box) >= 0
    assert box.top + box.height <= shape[0]
    assert box.left + box.width <= shape[1]


# --- look-ups -------------------------------------------------------------------------


def test_the_class_index_is_that_of_keras():
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert len({wnid for wnid, _ in classes}) == 1000
    published = {0: "tench", 281: "tabby", 282: "tiger_cat", 285: "Egyptian_cat"}
    published |= {287: "lynx", 504: "coffee_mug", 967: "espresso"}
    published |= {999: "toilet_tissue"}
    assert {i: classes[i][1] for i in published} == published


def test_a_target_is_looked_up_by_label_wordnet_id_or_index(xception):
    for target in ("tabby", "Tabby ", "n02123045", 281, np.int64(281)):
        assert xception.class_index(target) == 281
    assert xception.class_label("n02124075") == "Egyptian_cat"
    assert xception.class_index("egyptian cat") == 285


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        ("taby", "tabby"),
        ("cat", "Egyptian_cat"),
        ("crane", "n02012849 or n03126707"),
        ("qqqqqq", "tench"),
        ("", "tench"),
        (1000, "0 to 999"),
        (-1, "0 to 999"),
        (True, "No class"),
    ],
)
def test_an_unknown_target_is_refused_with_close_labels(xception, target, advice):
    with pytest.raises(ValueError, match=advice):
        xception.class_index(target)


def test_layers_are_those_with_maps_in_network_order(vgg16, xception):
    assert [layer.index for layer in vgg16.layers()] == list(range(1, 19))
    assert vgg16.layer("block5_conv3").shape == (14, 14, 512)
    assert vgg16.layer("block5_conv3").class_name == "Conv2D"
    assert vgg16.layer(7).name == "block3_conv1"
    shapes = {layer.name: layer.shape for layer in xception.layers()}
    assert shapes["block14_sepconv2_act"] == (10, 10, 2048)
    assert {f"block{n}" for n in range(1, 15)} <= {s.partition("_")[0] for s in shapes}


def test_an_unusable_layer_is_refused_with_the_usable_ones(vgg16):
    last = vgg16.model.layers[-1].name
    with pytest.raises(ValueError, match=r"no maps.*18 block5_pool"):
        vgg16.layer(last)
    with pytest.raises(ValueError, match=r"does not exist.*block1_conv1"):
        vgg16.layer("block9_conv9")
    with pytest.raises(ValueError, match="no maps"):
        vgg16.layer(0)


def test_a_submodel_gives_what_the_layer_computes(vgg16):
    x = vgg16.preprocess(photo((224, 224)))
    weights, bias = vgg16.model.get_layer("block1_conv1").get_weights()
    window = x[0, 9:12, 19:22]
    by_hand = np.maximum(np.tensordot(window, weights, 3) + bias, 0)
    maps, pooled = vgg16.submodel_to("block1_conv1", "block1_pool")(x)
    assert np.allclose(maps[0, 10, 20], by_hand, atol=1e-3)
    assert pooled.shape == (1, 112, 112, 64)


def test_the_two_parts_of_the_network_are_the_network():
    clf = toy()
    x = clf.preprocess(photo((12, 14)))
    maps, logits = clf.submodel_to("two", logits=True)(x)
    assert np.allclose(logits, clf.model(x), atol=1e-5)
    assert np.allclose(clf.submodel_from("two")(maps), logits, atol=1e-5)
    assert tuple(clf.layer_tensor("two").shape[1:]) == clf.layer("two").shape


def test_a_network_after_every_bottleneck_of_xception_can_be_had(xception):
    for name in xception.bottlenecks[::6]:
        xception.submodel_from(name)


# --- another model under the same labels ----------------------------------------------


def test_another_model_gets_the_same_labels_and_preprocessing():
    clf, other = toy(seed=0), toy(seed=1)
    image = photo((30, 20))
    exchanged = clf.with_model(other.model, name="other", weights_description="seed 1")
    assert np.array_equal(exchanged.logits(image), other.logits(image))
    assert not np.allclose(exchanged.logits(image), clf.logits(image))
    assert (exchanged.name, exchanged.weights_description) == ("other", "seed 1")
    assert exchanged.classes == clf.classes
    assert (exchanged.fit, exchanged.activation) == (clf.fit, clf.activation)


def test_another_preprocessing_is_used():
    clf = toy()
    image = photo((12, 14))
    inverted = clf.with_model(
        clf.model, preprocess=lambda pixels: -clf.preprocess_tensor(pixels)
    )
    assert np.allclose(inverted.preprocess(image), -clf.preprocess(image))
    assert inverted.name == clf.name


def test_the_layers_of_a_nested_model_stay_within_reach():
    clf = load_classifier(nested(layers.Dense(3)), verbose=False)
    again = clf.with_model(clf.model)
    x = clf.preprocess(photo((32, 32)))
    expected = clf.submodel_to("inner_conv")(x)
    assert np.allclose(again.submodel_to("inner_conv")(x), expected)


# --- one photo after the other --------------------------------------------------------


def test_a_second_photo_compiles_nothing(xception, trace_count):
    xception.logits(photo((60, 50), 1))
    before = trace_count()
    assert before
    xception.logits(photo((300, 200), 2))
    assert trace_count() == before


def test_all_photos_of_the_course_can_be_asked(xception):
    assert xception.logits(list(sample_images().values())).shape[1] == 1000
