"""Loading says what it loaded, gives the published networks, and refuses nonsense."""

import logging
import warnings

import numpy as np
import pytest
from toys import convolution, layers, model_with, photo, pooled_logits, saveable, unit

from xai_helpers import background, explain, keras, load_classifier, tf, weights


def test_load_classifier_refuses_nonsense():
    with pytest.raises(ValueError, match="vgg16, xception"):
        load_classifier("resnet50")
    with pytest.raises(ValueError, match=r"keras\.Model"):
        load_classifier(3)
    with pytest.raises(ValueError, match=r"^preprocess, labels, output belong to 'vgg"):
        load_classifier("vgg16", labels=["a"], input_size=(100, 120))
    with pytest.raises(ValueError, match="imagenet or portable"):
        load_classifier("vgg16", weights="best")


@pytest.mark.real
def test_loading_says_which_weights_in_one_line(capsys):
    classifier = load_classifier("xception")
    description = classifier.weights_description
    said = f"Xception: {description}; fed -1 to 1; softmax\n"
    assert capsys.readouterr().out == said
    assert description.split()[0] in ("portable", "imagenet")
    assert description in repr(classifier)


@pytest.mark.real
def test_published_weights_are_loaded_through_keras(monkeypatch, tmp_path):
    """The whole path of weights="imagenet", but for the download itself."""
    keras.utils.set_random_seed(3)
    published = keras.applications.Xception(weights=None)
    stored = tmp_path / "published.weights.h5"
    published.save_weights(stored)
    asked = []

    def get_file(name, *args, file_hash, **kwargs):
        asked.append((name, file_hash))
        return str(stored)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    ours = load_classifier("xception", weights="imagenet", verbose=False)
    record = weights.RECORDS["xception"]
    assert asked == [(record.keras_file, record.keras_md5)]
    assert ours.weights_description.startswith("imagenet")
    image = photo((299, 299))
    own = published(keras.applications.xception.preprocess_input(image[None] * 1.0))
    assert np.allclose(ours.probabilities(image), own, atol=1e-6)
    wide = load_classifier(
        "xception", weights="imagenet", input_size=(80, 100), verbose=False
    )
    assert wide.input_size == (80, 100)
    assert wide.weights_description == ours.weights_description
    for ours, theirs in zip(
        wide.model.get_weights(), published.get_weights(), strict=True
    ):
        assert np.array_equal(ours, theirs)


@pytest.mark.real
def test_a_second_load_has_the_same_layer_names():
    """Keras counts on: ``add_6`` would be ``add_18``, and cells that ran would fail."""
    keras.layers.Conv2D(3, 3), keras.layers.Add()
    expected = {"add", *(f"add_{k}" for k in range(1, 12))}
    expected |= {"conv2d", "conv2d_1", "conv2d_2", "conv2d_3"}
    for _ in range(2):
        clf = load_classifier("xception", weights="portable", verbose=False)
        names = [layer.name for layer in clf.model.layers]
        assert expected <= set(names)
        assert len(set(names)) == len(names)
        assert names.index("add") < names.index("add_6") < names.index("add_11")
        assert (
            clf.model.get_layer("add_6") is clf.model.layers[clf.layer("add_6").index]
        )
        maps = clf.submodel_to("add_6")(clf.preprocess(photo()))
        assert maps.shape == (1, 19, 19, 728)


# --- the published networks at other sizes --------------------------------------------

SIZES = {"xception": [(299, 299), (150, 210)], "vgg16": [(224, 224), (100, 140)]}


def pooled_by_hand(name, size, x):
    """What the portable head is given: keras.applications, and the mean in NumPy."""
    build = {"xception": "Xception", "vgg16": "VGG16"}[name]
    base = getattr(keras.applications, build)(
        weights=None, include_top=False, input_shape=(*size, 3)
    )
    base.set_weights(list(weights.portable_base(name).values()))
    module = getattr(keras.applications, name)
    maps = np.float64(base(module.preprocess_input(np.float32(x)), training=False))
    pooled = [maps.mean((1, 2)), maps.max((1, 2))]
    return pooled[0] if name == "xception" else np.concatenate(pooled, axis=1)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in SIZES for size in SIZES[name]]
)
def test_a_network_takes_other_sizes_with_the_same_weights(name, size):
    options = {"weights": "portable", "verbose": False}
    clf = load_classifier(name, input_size=size, **options)
    assert clf.input_size == size
    square = photo(size)
    head, _ = weights.portable_head(name)
    expected = pooled_by_hand(name, size, square[None]) @ head["kernel"] + head["bias"]
    assert clf.logits(square) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    default = load_classifier(name, **options)
    assert clf.weights_description == default.weights_description
    if size == SIZES[name][0]:
        assert default.input_size == size
        assert np.array_equal(default.logits(square), clf.logits(square))
    shapes = [[layer.name for layer in each.layers()] for each in (clf, default)]
    assert shapes[0] == shapes[1]


@pytest.fixture(scope="module")
def wide_xception():
    return load_classifier("xception", input_size=(80, 110), verbose=False)


@pytest.mark.real
@pytest.mark.parametrize("name", explain.TECHNIQUES)
def test_every_technique_explains_a_wide_picture(wide_xception, name, cat):
    technique, clf = explain.TECHNIQUES[name], wide_xception
    others = background(2, clf.input_size, exclude="cat")
    assert others.shape == (2, 80, 110, 3)
    options = technique.quick(80) | {"background": others}
    attribution = technique.call(clf, cat, **options)
    assert attribution.image.shape == (80, 110, 3)
    assert attribution.heatmap().shape == (80, 110)
    assert attribution.heatmap_on_original().shape == cat.shape[:2]
    assert np.isfinite(attribution.values).all() and attribution.values.any()
    if name == "grad_cam":
        assert attribution.values.shape == clf.default_layer.shape[:2] == (3, 4)


@pytest.mark.real
def test_the_portable_vgg16_explains_a_wide_picture(cat):
    clf = load_classifier(
        "vgg16", weights="portable", input_size=(64, 100), verbose=False
    )
    assert explain.grad_cam(clf, cat).values.shape == (4, 6)  # the photo is larger
    boxes = {"patch": 12, "stride": 20}
    short = explain.occlusion(clf, cat, **boxes).values
    whole = explain.occlusion(clf, cat, **boxes, incremental=False).values
    assert short.shape == (4, 6)  # in 64 − 12 and 100 − 12 pixels, and at the ends
    assert short == pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize(("name", "least"), [("xception", 71), ("vgg16", 32)])
def test_a_size_too_small_for_the_layers_is_refused(name, least):
    for size in ((least - 1, 300), (300, least - 1), least - 1):
        with pytest.raises(ValueError, match=f"from {least} pixels a side up, not"):
            load_classifier(name, weights="portable", input_size=size)
    for size in (0, (300, 300, 3), "large", True):
        with pytest.raises(ValueError, match="input_size is "):
            load_classifier(name, weights="portable", input_size=size)


@pytest.mark.real
@pytest.mark.parametrize(("name", "least"), [("xception", 71), ("vgg16", 32)])
def test_the_smallest_size_works(name, least):
    clf = load_classifier(name, weights="portable", input_size=least, verbose=False)
    assert np.isfinite(clf.logits(photo())).all()


def test_the_published_vgg16_takes_its_own_size_only():
    with pytest.raises(ValueError, match=r"weight for each cell; weights='portable'"):
        load_classifier("vgg16", weights="imagenet", input_size=(224, 256))


# --- what a network is fed ------------------------------------------------------------

RESCALED = {
    "rescaling": (layers.Rescaling(1 / 127.5, -1), "-1 to 1"),
    "normalization": (layers.Normalization(mean=100.0, variance=2500.0), "-2 to 3.1"),
    "arithmetic": (layers.Lambda(lambda x: x / 51), "0 to 5"),
}


@pytest.mark.parametrize("name", RESCALED)
def test_the_load_line_says_what_is_fed_and_what_the_model_makes_of_it(name, capsys):
    layer, expected = RESCALED[name]
    model = model_with([layer, layers.ZeroPadding2D(), convolution()], pooled_logits(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = load_classifier(model)
    line = f"fed 0 to 255, rescaled inside to {expected};"
    assert line in capsys.readouterr().out and line in repr(clf)


def test_a_model_that_nothing_rescales_warns_unless_the_range_is_said():
    model = model_with([layers.RandomFlip(), convolution()], pooled_logits(2))
    with pytest.warns(UserWarning, match="fed 0 to 255.*preprocess='unit'") as caught:
        clf = load_classifier(model, verbose=False)
    assert caught[0].filename == __file__  # where the reader's call is
    assert "fed 0 to 255; softmax" in repr(clf)
    ranges = {"none": "0 to 255", "unit": "0 to 1", "xception": "-1 to 1"}
    ranges |= {"vgg16": "-124 to 151", unit: "0 to 1"}
    for preprocess, expected in ranges.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clf = load_classifier(model, preprocess=preprocess, verbose=False)
        assert f"fed {expected}; softmax" in repr(clf)


def test_accuracy_on_the_wrong_range_is_what_the_warning_is_for():
    """Trained on 0–1 and fed 0–255, half of the answers are wrong, and nothing else
    would show it.
    """
    keras.utils.set_random_seed(0)
    model = model_with([layers.Flatten()], lambda x: layers.Dense(2)(x), (4, 4))
    kernel = np.stack([np.zeros(48), np.ones(48) / 48], 1)  # the mean, above 0.5 ...
    model.layers[-1].set_weights([kernel, np.array([0.5, 0])])  # ... or below
    dark, bright = np.full((4, 4, 3), 60, "uint8"), np.full((4, 4, 3), 200, "uint8")
    right = load_classifier(model, preprocess="unit", verbose=False)
    with pytest.warns(UserWarning, match="nothing before its first weights"):
        wrong = load_classifier(model, verbose=False)
    assert right.logits([dark, bright]).argmax(axis=1).tolist() == [0, 1]
    assert wrong.logits([dark, bright]).argmax(axis=1).tolist() == [1, 1]


def test_ranges_far_from_what_is_usual_warn_as_well():
    normal = layers.Normalization(mean=0.5, variance=0.08)  # of pictures from 0 to 1
    model = model_with([normal, convolution()], pooled_logits(2))
    with pytest.warns(UserWarning, match="first weights are given -1.77 to 900"):
        load_classifier(model, verbose=False)
    rescaled = model_with([layers.Rescaling(1 / 255), convolution()], pooled_logits(2))
    with pytest.warns(UserWarning, match=r"are given 0 to 0\.00392"):
        load_classifier(rescaled, preprocess="unit", verbose=False)


def test_a_preprocess_that_compares_the_pictures_of_a_batch_is_refused():
    model = model_with([convolution()], pooled_logits(2))

    def over_all(x):
        return (x - keras.ops.mean(x)) / 100

    def over_each(x):
        return (x - keras.ops.mean(x, axis=(1, 2, 3), keepdims=True)) / 100

    with pytest.raises(ValueError, match="depends on the others of its batch"):
        load_classifier(model, preprocess=over_all, verbose=False)
    assert load_classifier(model, preprocess=over_each, verbose=False)


def test_a_sequential_without_an_input_is_built_for_any_batch():
    model = keras.Sequential([convolution(), *saveable().layers[2:]])
    image = photo((24, 20))
    clf = load_classifier(model, input_size=(24, 20), preprocess=unit, verbose=False)
    assert tuple(model.inputs[0].shape) == (None, 24, 20, 3)
    own = model.predict(np.repeat(image[None], 3, 0) / np.float32(255), verbose=0)
    assert clf.probabilities(image) == pytest.approx(own[:1], abs=1e-5)


def test_an_input_size_against_the_models_own_is_refused():
    model = model_with([convolution()], pooled_logits(2))
    with pytest.raises(ValueError, match=r"takes 32 × 32 pixels.*leave it out"):
        load_classifier(model, input_size=(64, 64))
    assert load_classifier(model, input_size=(32, 32), preprocess=unit, verbose=False)


# --- refusals that can be followed ----------------------------------------------------


def test_a_grey_model_is_refused_with_a_way_that_works():
    grey = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"rgb = keras\.Input\(\(8, 8, 3\)\)") as error:
        load_classifier(grey)
    for line in ("rgb = keras.Input((8, 8, 3))",
                 "grey = keras.ops.image.rgb_to_grayscale(rgb)"):  # fmt: skip
        assert line in str(error.value)
    rgb = keras.Input((8, 8, 3))
    front = keras.Model(rgb, grey(keras.ops.image.rgb_to_grayscale(rgb)))
    clf = load_classifier(front, preprocess=unit, verbose=False)
    image = photo((8, 8))
    luma = (image / 255) @ [0.2989, 0.587, 0.114]  # ITU-R 601
    expected = grey(luma[None, ..., None].astype("float32"))
    assert clf.logits(image) == pytest.approx(np.asarray(expected), abs=1e-5)


def test_two_inputs_are_refused_with_a_way_that_works():
    picture, number = keras.Input((8, 8, 3)), keras.Input((1,))
    x = layers.Concatenate()([layers.Flatten()(picture), number])
    model = keras.Model([picture, number], layers.Dense(2)(x))
    with pytest.raises(ValueError, match="other inputs held fixed"):
        load_classifier(model)
    fixed = keras.Input((8, 8, 3))
    forty = 0 * fixed[:, 0, 0, :1] + 40
    clf = load_classifier(
        keras.Model(fixed, model([fixed, forty])), preprocess=unit, verbose=False
    )
    image = photo((8, 8))
    inputs = [image[None].astype("float32") / 255, np.array([[40.0]])]
    expected = model.predict(inputs, verbose=0)
    assert clf.logits(image) == pytest.approx(expected, abs=1e-4)


def test_a_program_without_layers_is_refused(tmp_path):
    saveable().export(tmp_path / "exported", verbose=False)
    program = layers.TFSMLayer(tmp_path / "exported", call_endpoint="serve")
    with pytest.raises(ValueError, match="A layer is no model; a SavedModel"):
        load_classifier(program)
    inputs = keras.Input((24, 24, 3))
    with pytest.raises(ValueError, match="holds a TFSMLayer, a compiled program"):
        load_classifier(keras.Model(inputs, program(inputs)))


@pytest.mark.parametrize("name", ["folder", "folder/", "model.dir"])
def test_a_folder_is_refused_by_what_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    with pytest.raises(weights.WeightsError, match=r"model\.save\('name\.keras'\)"):
        load_classifier(name)


def test_a_file_without_an_ending_is_a_file_and_no_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_bytes(b"?")
    with pytest.raises(weights.WeightsError, match=r"mine is not a \.keras file"):
        load_classifier("mine")


def test_grouped_convolutions_are_loaded_without_a_word_of_tensorflow():
    """Run outside a compiled function, each is compiled anew, which it warns about."""
    names = [f"grouped{k}" for k in range(8)]
    grouped = [layers.Conv2D(6, 3, groups=2, name=name) for name in names]
    model = model_with([layers.Conv2D(6, 1), *grouped], pooled_logits(2))
    records, handler = [], logging.Handler()
    handler.emit = records.append
    tf.get_logger().addHandler(handler)
    try:
        load_classifier(model, preprocess=unit, verbose=False)
    finally:
        tf.get_logger().removeHandler(handler)
    assert not records
