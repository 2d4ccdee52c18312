"""The techniques, against derivations that are not theirs, axioms and known answers."""

import numpy as np
import pytest
from PIL import Image

from xai_helpers import background, explain, keras, load_classifier, sample_image, tf
from xai_helpers.explain import engine, placement

layers = keras.layers
BLUE_CAT, WHITE_CUP = "Egyptian_cat", "espresso"
LAST = {"vgg16": "block5_conv3", "xception": "block14_sepconv2_act"}


@pytest.fixture(params=["vgg16", "xception"])
def network(request):
    return request.param


@pytest.fixture
def clf(network, request):
    return request.getfixturevalue(network)


@pytest.fixture(scope="module")
def cat():
    return sample_image("cat")


def toy(size=(12, 14), seed=0, activation="relu", preprocess=None):
    """Two convolutions and a dense layer over 4 classes, random weights."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            layers.Conv2D(4, 3, activation=activation, name="one"),
            layers.Conv2D(5, 3, 2, "same", activation=activation, name="two"),
            layers.Flatten(name="flat"),
            layers.Dense(4, name="logits"),
        ]
    )
    return load_classifier(
        model, preprocess=preprocess or (lambda x: x / 127.5 - 1), verbose=False
    )


def linear(size=(20, 28), seed=0):
    """logit_k = sum(weights[..., k] * pixels) + k: everything is known about it."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(*size, 3, 3)).astype("float32") / 255
    model = keras.Sequential(
        [keras.Input((*size, 3)), layers.Flatten(), layers.Dense(3, name="logits")]
    )
    model.layers[-1].set_weights([weights.reshape(-1, 3), np.arange(3.0)])
    return load_classifier(model, verbose=False), weights


def photo(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def convolve(x, kernel, bias, stride=1, same=False):
    """A convolution written out in NumPy, float64: (h, w, c) → (h', w', m)."""
    k = kernel.shape[0]
    if same:
        pads = []
        for side in x.shape[:2]:
            total = max((-(-side // stride) - 1) * stride + k - side, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, (*pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(0, 1))
    windows = windows[::stride, ::stride]  # (h', w', c, k, k)
    return np.einsum("hwcij,ijcm->hwm", windows, kernel) + bias


def toy_rest(clf, first):
    """The toy's logits from what its first layer puts out, in NumPy, float64."""
    _, two, _, dense = clf.network.layers[1:]
    second = np.maximum(
        convolve(first, *map(np.float64, two.get_weights()), 2, True), 0
    )
    kernel, bias = map(np.float64, dense.get_weights())
    return second.reshape(-1) @ kernel + bias


def toy_first(clf, pixels):
    kernel, bias = map(np.float64, clf.network.layers[1].get_weights())
    return np.maximum(convolve(pixels / 127.5 - 1, kernel, bias), 0)


def difference_quotients(function, x, step=1e-6):
    """Central differences of a scalar function at every element of x."""
    gradient = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


SCORE = {"logit": lambda z: z[2], "probability": lambda z: softmax(z)[2]}


# --- Grad-CAM -------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORE)
def test_grad_cam_is_equations_1_and_2_in_numpy(score):
    clf = toy()
    image = photo((12, 14))
    maps = toy_first(clf, image.astype("float64"))
    gradient = difference_quotients(lambda a: SCORE[score](toy_rest(clf, a)), maps)
    expected = np.maximum((gradient.mean(axis=(0, 1)) * maps).sum(axis=2), 0)
    found = explain.grad_cam(clf, image, 2, "one", score=score)
    assert expected.any()
    assert np.allclose(found.values, expected, rtol=1e-3, atol=1e-6 * expected.max())


def test_grad_cam_on_xceptions_last_convolution_is_cam(xception, cat):
    """Zhou et al. 2016: sum of the maps weighted by the classifier's weights."""
    maps = np.array(xception.up_to(LAST["xception"])(xception.preprocess(cat)))[0]
    weights, _ = xception.network.layers[-1].get_weights()
    for target in ("tabby", "Egyptian_cat"):
        cam = np.maximum(maps @ weights[:, xception.index(target)], 0)
        found = explain.grad_cam(xception, cat, target).values
        assert np.allclose(found * maps[..., 0].size, cam, rtol=1e-3, atol=1e-3)


def by_tape_at(clf, image, target, layer):
    """What a layer puts out, and the gradient there, by an eager tape."""
    with tf.GradientTape() as tape:
        x = tf.constant(clf.preprocess(image))
        tape.watch(x)
        maps, logits = clf.with_logits(layer)(x, training=False)
        y = logits[0, clf.index(target)]
    return maps.numpy()[0], tape.gradient(y, maps).numpy()[0]


def rounding(maps, gradient):
    """What float32 can spoil: equation 1 is a mean in which nearly all may cancel."""
    return 1e-3 * (np.abs(gradient).mean(axis=(0, 1)) * np.abs(maps)).sum(axis=2)


def test_grad_cam_by_tape_on_a_layer_within_a_branch(xception, cat):
    maps, gradient = by_tape_at(xception, cat, "tabby", "block4_sepconv1")
    expected = np.maximum((gradient.mean(axis=(0, 1)) * maps).sum(axis=2), 0)
    found = explain.grad_cam(xception, cat, "tabby", "block4_sepconv1").values
    assert (np.abs(found - expected) <= rounding(maps, gradient)).all()


def test_many_layers_in_one_pass_are_each_layer_alone(clf, cat):
    names = [known.name for known in clf.layers()][2::7]
    together = explain.grad_cam(clf, cat, "tabby", names)
    for name, one in zip(names, together, strict=True):
        alone = explain.grad_cam(clf, cat, "tabby", name)
        assert one.layer == name
        allowed = rounding(*by_tape_at(clf, cat, "tabby", name))
        assert (np.abs(one.values - alone.values) <= allowed).all()


def test_the_default_layer_is_the_last_before_the_pooling(clf, network):
    assert explain.grad_cam(clf, photo((50, 50)), 0).layer == LAST[network]


@pytest.mark.parametrize("layer", [None, ["one", "two"]])
def test_a_stack_gives_what_each_image_gives_alone(layer, monkeypatch):
    clf = toy()
    images = np.stack([photo((12, 14), seed) for seed in range(5)])
    monkeypatch.setattr(engine, "MEMORY", 2 * 2**13)  # a few at a time
    for targets in (None, 2, [0, None, 3, "class 1", 2]):
        listed = targets if isinstance(targets, list) else [targets] * 5
        alone = [
            explain.grad_cam(clf, image, target, layer)
            for image, target in zip(images, listed, strict=True)
        ]
        for stack in (images, list(images)):
            together = explain.grad_cam(clf, stack, targets, layer)
            assert len(together) == 5
            for found, expected in zip(together, alone, strict=True):
                if layer is None:
                    found, expected = [found], [expected]
                for a, b in zip(found, expected, strict=True):
                    assert (a.target, a.layer) == (b.target, b.layer)
                    assert a.score_value == pytest.approx(b.score_value, abs=1e-5)
                    assert np.allclose(a.values, b.values, atol=1e-6)
                    assert np.array_equal(a.image, b.image)


def test_a_stack_of_photos_of_any_size():
    clf = toy()
    images = [photo((30, 20)), photo((12, 14)), photo((13, 50))]
    sizes = [one.photo_size for one in explain.grad_cam(clf, images)]
    assert sizes == [(30, 20), (12, 14), (13, 50)]


def traced(clf):
    return sum(f.experimental_get_tracing_count() for f in clf._functions.values())


@pytest.mark.parametrize("target", [None, 1])
def test_a_second_image_compiles_nothing(target):
    """Batches of 16 and a rest, so that two shapes occur."""
    clf = toy((40, 40))
    others = np.stack([photo((40, 40), seed) for seed in range(20)])

    def all_of_them(seed):
        image = photo((40, 40), seed)
        explain.activations(clf, image, ["one", "two"])
        explain.grad_cam(clf, image, target)
        explain.grad_cam(clf, [image] * 19, target)
        explain.gradients(clf, image, target)
        explain.smoothgrad(clf, image, target, samples=19)
        explain.integrated_gradients(clf, image, target, steps=19)
        explain.occlusion(clf, image, target, patch=8, exhaustive=True)
        explain.occlusion(clf, image, target, patch=4)
        explain.shap_gradients(clf, image, others, target, samples=19)
        explain.shap_gradients(clf, image, others, target, layer="one", samples=19)
        return traced(clf)

    assert all_of_them(0) == all_of_them(1) > 8


def tall_halves(left, right, height=300):
    """Two photos side by side, each kept in shape and cut to its middle."""
    halves = []
    for image in (left, right):
        width = round(image.shape[1] * height / image.shape[0])
        image = np.array(Image.fromarray(image).resize((width, height)))
        start = (width - height // 2) // 2
        halves.append(image[:, start : start + height // 2])
    return np.hstack(halves)


@pytest.mark.parametrize("cat_left", [True, False])
def test_two_objects_have_their_maps_on_their_own_half(clf, cat, cat_left):
    """The share of the positive mass on the object's half: at least 85 %."""
    pair = [cat, sample_image("coffee")]
    mosaic = tall_halves(*(pair if cat_left else pair[::-1]))
    for target, left in ((BLUE_CAT, cat_left), (WHITE_CUP, not cat_left)):
        heat = explain.grad_cam(clf, mosaic, target).heatmap()
        on_left = heat[:, : heat.shape[1] // 2].sum() / heat.sum()
        assert (on_left if left else 1 - on_left) >= 0.85


# --- activations ----------------------------------------------------------------------


def test_activations_are_the_layers_outputs_in_numpy():
    clf = toy()
    image = photo((12, 14))
    found = explain.activations(clf, image, "one")
    expected = toy_first(clf, image.astype("float64"))
    assert found.values == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert found.map == pytest.approx(expected.sum(axis=2), rel=1e-4, abs=1e-4)


def test_activations_of_many_layers_keep_their_order(xception, cat):
    names = ["block2_sepconv1", "block1_conv1", "block2_sepconv1"]
    many = explain.activations(xception, cat, names)
    assert [one.layer for one in many] == names
    assert np.array_equal(many[0].values, many[2].values)
    alone = explain.activations(xception, cat, "block1_conv1")
    assert np.allclose(many[1].values, alone.values, atol=1e-4)


# --- gradients and SmoothGrad ---------------------------------------------------------


@pytest.mark.parametrize("score", SCORE)
def test_gradients_are_difference_quotients_in_pixels(score):
    clf = toy()
    image = photo((12, 14))

    def y(pixels):
        return SCORE[score](toy_rest(clf, toy_first(clf, pixels)))

    expected = difference_quotients(y, image.astype("float64"), step=1e-4)
    found = explain.gradients(clf, image, 2, score=score).values
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def by_tape(clf, network, image, target):
    """Gradients by an eager tape over Keras's own preprocessing."""
    published = getattr(keras.applications, network)
    with tf.GradientTape() as tape:
        x = tf.Variable(clf.cut(image)[0][None].astype("float32"))
        logits = clf.network(published.preprocess_input(x * 1.0), training=False)
        y = logits[0, target]
    return tape.gradient(y, x).numpy()[0]


def distance(found, expected):
    """Relative. Rounding opens and closes some ReLUs of a deep network, so two ways to
    one gradient differ a little: by 0.03 % here, by 0.4 % if each pixel changes by a
    ten-thousandth of a grey level. The bugs below change it by half and more."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def check_gradients(clf, network, image):
    expected = by_tape(clf, network, image, 285)
    found = explain.gradients(clf, image, 285).values
    assert distance(found, expected) < 0.01
    score = explain.gradients(clf, image, 285).score_value
    published = getattr(keras.applications, network).preprocess_input
    x = published(clf.cut(image)[0][None].astype("float32"))
    assert score == pytest.approx(float(clf.network(x)[0, 285]), abs=1e-3)


def test_a_map_whose_colours_cancel_says_that_it_is_zero():
    """Red minus green: the slopes are 1 and -1 everywhere, and add up to nothing."""
    clf, weights = linear()
    weights[:] = 0
    weights[..., 0, :], weights[..., 1, :] = 1, -1
    clf.network.layers[-1].set_weights([weights.reshape(-1, 3), np.zeros(3)])
    found = explain.gradients(clf, photo((20, 28)), 1)
    assert found.values.any() and not found.map.any()
    assert "the map is zero everywhere" in " ".join(found.notes)


def test_gradients_of_the_networks_by_tape(clf, network, cat):
    check_gradients(clf, network, cat)


TWICE = "preprocessed twice"
SWAPPED = "RGB and BGR swapped"


@pytest.mark.parametrize("bug", [TWICE, SWAPPED])
def test_a_bug_in_the_preprocessing_is_caught(clf, network, cat, bug, monkeypatch):
    """The check above fails when the bug is put in."""
    right = clf._scale
    wrong = {TWICE: lambda x: right(right(x)), SWAPPED: lambda x: right(x[..., ::-1])}
    monkeypatch.setattr(clf, "_scale", wrong[bug])
    monkeypatch.setattr(clf, "_functions", {})  # nothing compiled with the right one
    with pytest.raises(AssertionError):
        check_gradients(clf, network, cat)


def every_technique(clf, image, squares):
    few = {"samples": 2}
    layer = clf.layers()[0].name
    return [
        explain.activations(clf, image, layer),
        explain.grad_cam(clf, image),
        explain.gradients(clf, image),
        explain.smoothgrad(clf, image, **few),
        explain.occlusion(clf, image, patch=clf.input_size, fill=(1, 2, 3)),
        explain.shap_gradients(clf, image, squares, **few),
        explain.shap_gradients(clf, image, squares, layer=layer, **few),
    ]


def check_unchanged(clf):
    image, squares = (
        photo((40, 30)),
        np.stack([photo(clf.input_size, k) for k in (1, 2)]),
    )
    before = image.copy(), squares.copy()
    for one in every_technique(clf, image, squares):
        assert np.array_equal(image, before[0]), one.technique
        assert np.array_equal(squares, before[1]), one.technique
        assert not np.shares_memory(one.image, image), one.technique
        for array in (one.image, one.values):  # nor can what is kept be spoiled
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


def test_the_callers_arrays_are_not_changed():
    check_unchanged(toy())


def test_a_change_of_the_callers_arrays_is_caught(monkeypatch):
    clf = toy()
    cut = clf.cut

    def spoiling(image):
        image += 1
        return cut(image)

    monkeypatch.setattr(clf, "cut", spoiling)
    monkeypatch.setattr("xai_helpers.images.load_image", lambda image: image)
    with pytest.raises(AssertionError):
        check_unchanged(clf)


def test_smoothgrad_without_noise_is_the_gradient(clf, cat):
    plain = explain.gradients(clf, cat, "tabby").values
    smooth = explain.smoothgrad(clf, cat, "tabby", noise=0, samples=2).values
    assert distance(smooth, plain) < 0.01


def test_smoothgrad_is_the_gradient_where_the_score_is_linear():
    clf, weights = linear()
    found = explain.smoothgrad(clf, photo((20, 28)), 1, samples=5).values
    assert found == pytest.approx(weights[..., 1], rel=1e-4)


def test_the_noise_has_the_size_that_was_asked_for():
    """With the score ½ Σ x² the gradient is x: one noisy copy shows its noise."""
    squares = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Flatten(),
            layers.Lambda(lambda x: keras.ops.sum(x**2, axis=1, keepdims=True) / 2),
            layers.Lambda(lambda x: keras.ops.concatenate([x, -x], axis=1)),
        ]
    )
    clf = load_classifier(squares, preprocess=lambda x: x / 255, verbose=False)
    image = photo((32, 32))
    found = explain.smoothgrad(clf, image, 0, noise=0.2, samples=1, seed=3).values
    noise = found * 255**2 - image
    count = noise.size
    assert abs(noise.mean()) < 4 * 51 / np.sqrt(count)
    assert abs(noise.std() / 51 - 1) < 4 / np.sqrt(2 * count)
    mean = explain.smoothgrad(clf, image, 0, noise=0.2, samples=64, seed=3).values
    rest = (mean * 255**2 - image).std()
    assert abs(rest / (51 / 8) - 1) < 4 / np.sqrt(2 * count)


# --- occlusion ------------------------------------------------------------------------

PATCHES = [((4, 4), (4, 4)), ((5, 3), (2, 4)), ((20, 28), (1, 1)), ((1, 1), (3, 5))]


@pytest.mark.parametrize(("patch", "stride"), PATCHES)
@pytest.mark.parametrize("fill", [127, (10, 200, 30)])
def test_occlusion_is_exact_where_the_score_is_linear(patch, stride, fill):
    clf, weights = linear((20, 28))
    image = photo((20, 28))
    found = explain.occlusion(clf, image, 2, patch=patch, stride=stride, fill=fill)
    lost = (weights[..., 2] * (image.astype(float) - np.array(fill))).sum(axis=2)
    rows, columns = found.parameters["rows"], found.parameters["columns"]
    assert (rows[0], columns[0]) == (0, 0)
    assert (rows[-1] + patch[0], columns[-1] + patch[1]) == (20, 28)
    total, covers = np.zeros((20, 28)), np.zeros((20, 28))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            area = np.s_[row : row + patch[0], column : column + patch[1]]
            assert found.values[i, j] == pytest.approx(lost[area].sum(), abs=1e-3)
            total[area] += lost[area].sum()
            covers[area] += 1
    expected = total / np.maximum(covers, 1)
    assert found.heatmap() == pytest.approx(expected, abs=1e-3)


def test_occlusion_of_probabilities_is_the_drop_of_the_probability():
    clf = toy()
    image = photo((12, 14))
    found = explain.occlusion(
        clf, image, 1, patch=(12, 14), fill=0, score="probability"
    )
    black = np.zeros_like(image)
    whole, covered = clf.probabilities([image, black])[:, 1]
    assert found.values == pytest.approx(whole - covered, abs=1e-5)


def test_occlusion_finds_the_only_patch_that_matters():
    """A detector of red at one place; the photo has another shape than the network."""
    model = keras.Sequential(
        [keras.Input((40, 40, 3)), layers.Flatten(), layers.Dense(2, use_bias=False)]
    )
    weights = np.zeros((40, 40, 3, 2))
    weights[30:34, 8:12, 0, 1] = 1
    model.layers[-1].set_weights([weights.reshape(-1, 2)])
    clf = load_classifier(model, verbose=False)
    image = np.full((40, 60, 3), 255, np.uint8)
    found = explain.occlusion(clf, image, 1, patch=4, stride=2)
    row, column = np.unravel_index(found.on_photo().argmax(), (40, 60))
    assert 30 <= row < 34
    assert 8 + 10 <= column < 12 + 10  # the crop starts at column 10
    assert not found.on_photo()[:, :10].any()


# --- expected gradients ---------------------------------------------------------------


def test_expected_gradients_are_exact_where_the_score_is_linear():
    clf, weights = linear()
    image, other = photo((20, 28)), photo((20, 28), 1)
    found = explain.shap_gradients(clf, image, other[None], 1, samples=3)
    expected = weights[..., 1] * (image.astype(float) - other)
    assert found.values == pytest.approx(expected, abs=1e-3)
    assert found.checks["sum"] == pytest.approx(
        found.checks["score difference"], abs=1e-2
    )


@pytest.mark.parametrize("layer", [None, "one", "two"])
@pytest.mark.parametrize("score", SCORE)
def test_expected_gradients_sum_to_the_score_difference(layer, score):
    clf = toy()
    image = photo((12, 14))
    others = np.stack([photo((12, 14), k) for k in range(1, 9)])
    options = {"layer": layer, "samples": 400, "score": score}
    for one in explain.shap_gradients(clf, image, others, [0, 2], **options):
        scored = clf.logits if score == "logit" else clf.probabilities
        difference = scored(image)[0, one.target] - scored(others)[:, one.target].mean()
        checks = one.checks
        assert checks["score difference"] == pytest.approx(difference, abs=1e-4)
        assert one.values.sum() == pytest.approx(checks["sum"], abs=1e-3)
        assert abs(checks["sum"] - difference) < 4 * checks["standard error"]


def test_the_standard_error_is_that_of_many_repetitions():
    clf = toy()
    image = photo((12, 14))
    others = np.stack([photo((12, 14), k) for k in range(1, 9)])
    runs = [
        explain.shap_gradients(clf, image, others, 2, samples=25, seed=seed).checks
        for seed in range(60)
    ]
    spread = np.std([run["sum"] for run in runs], ddof=1)
    claimed = np.sqrt(np.mean([run["standard error"] ** 2 for run in runs]))
    assert abs(spread / claimed - 1) < 4 / np.sqrt(2 * 59)


@pytest.mark.parametrize("layer", ["block2_pool", "block4_conv3"])
def test_expected_gradients_on_vgg16_keep_their_promise(vgg16, cat, layer):
    others = background(6, 224, exclude="cat")
    found = explain.shap_gradients(vgg16, cat, others, "tabby", layer=layer, samples=24)
    checks = found.checks
    gap = abs(checks["sum"] - checks["score difference"])
    assert gap < 4 * checks["standard error"]


@pytest.mark.parametrize("layer", [None, "one"])
def test_a_background_is_looked_at_once_and_again_when_anything_changed(layer):
    """Another photo in it, another order, other weights: as from a new classifier."""
    clf, image = toy(), photo((12, 14))
    others = np.stack([photo((12, 14), k) for k in range(1, 5)])
    looks, real = [], clf.logits
    clf.logits = lambda images: looks.append(np.ndim(images)) or real(images)

    def check():
        fresh = toy()
        fresh.network.set_weights(clf.network.get_weights())
        ours, theirs = (
            explain.shap_gradients(c, image, others, 1, layer=layer, samples=9)
            for c in (clf, fresh)
        )
        assert ours.checks == theirs.checks
        assert np.array_equal(ours.values, theirs.values)
        return looks.count(4)  # the images (n, h, w, 3) that were asked for

    assert [check(), check()] == [1, 1]
    others[2, 3:6] = 255
    assert [check(), check()] == [2, 2]
    others = others[::-1]
    assert check() == 3
    clf.network.set_weights([-weights for weights in clf.network.get_weights()])
    assert [check(), check()] == [4, 4]


def test_a_batch_is_divided_evenly():
    for total, size, wanted in ((16, 6, [6, 6, 4]), (17, 16, [9, 8]), (3, 5, [3])):
        parts = list(engine.batches(total, size, "", False))
        assert [part.stop - part.start for part in parts] == wanted
        assert np.concatenate([np.r_[part] for part in parts]).tolist() == list(
            range(total)
        )


def test_the_samples_do_not_depend_on_the_memory(monkeypatch):
    clf = toy()
    image, others = photo((12, 14)), photo((12, 14), 1)[None]
    for layer in (None, "one"):
        runs = []
        for memory in (2**30, 1):
            monkeypatch.setattr(engine, "MEMORY", memory)
            runs.append(
                explain.shap_gradients(clf, image, others, 0, layer=layer, samples=7)
            )
        assert np.allclose(runs[0].values, runs[1].values, atol=1e-6)
    for memory in (2**30, 1):
        monkeypatch.setattr(engine, "MEMORY", memory)
        runs.append(explain.smoothgrad(clf, image, 0, samples=7))
    assert np.allclose(runs[-1].values, runs[-2].values, atol=1e-7)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # in shap's colours
@pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # of shap, see 02
@pytest.mark.parametrize("layer", [None, "two"])
def test_expected_gradients_are_those_of_shap(layer):
    """shap.GradientExplainer on the same background, within both sampling errors."""
    import shap

    clf = toy()
    image = photo((12, 14))
    others = np.stack([photo((12, 14), k) for k in range(1, 9)])
    x, b = clf.preprocess(image), clf.preprocess(list(others))
    model = clf.network
    if layer:
        x, b = (np.array(clf.up_to(layer)(part)) for part in (x, b))
        model = clf.after(layer)
    explainer = shap.GradientExplainer(model, b)
    theirs, variance = explainer.shap_values(
        x, nsamples=3000, rseed=1, return_variances=True
    )
    # what shap 0.51 calls the variance is that of one sample divided by √n
    theirs, error = theirs[0][..., 2], np.sqrt(np.asarray(variance)[2][0] / 3000**0.5)
    ours = explain.shap_gradients(clf, image, others, 2, layer=layer, samples=3000)
    scale = np.sqrt(2) * error + 1e-6
    assert np.abs((ours.values - theirs) / scale).max() < 6


# --- placement ------------------------------------------------------------------------

CHAINS = {
    "valid, stride 2": [("conv", 3, 2, "valid"), ("conv", 3, 1, "valid")],
    "same, stride 2": [("conv", 3, 2, "same"), ("conv", 3, 2, "same")],
    "even kernel": [("conv", 2, 2, "valid"), ("conv", 4, 1, "valid")],
    "pools": [("conv", 3, 1, "same"), ("pool", 3, 2, "same"), ("pool", 2, 2, "valid")],
    "Xception's stem": [
        ("conv", 3, 2, "valid"), ("conv", 3, 1, "valid"), ("pool", 3, 2, "same"),
        ("conv", 3, 1, "same"), ("pool", 3, 2, "same"),
    ],
    "padding": [("pad", 3, 1, ""), ("conv", 5, 3, "valid")],
    "cropping": [("crop", 2, 1, ""), ("conv", 3, 2, "valid")],
    "dilated": [("dilated", 3, 1, "same"), ("pool", 2, 2, "valid")],
}  # fmt: skip


def step_layer(kind, reach, stride, padding):
    if kind == "pad":
        return layers.ZeroPadding2D(((reach, 1), (reach, 2)))
    if kind == "crop":
        return layers.Cropping2D(((reach, 1), (reach, 0)))
    if kind == "pool":
        return layers.MaxPooling2D(reach, stride, padding)
    spread = 2 if kind == "dilated" else 1
    positive = keras.initializers.Constant(0.1)
    return layers.Conv2D(
        2, reach, stride, padding, dilation_rate=spread, kernel_initializer=positive
    )


def chain(steps, size):
    x = entry = keras.Input((*size, 3))
    for step in steps:
        x = step_layer(*step)(x)
    end = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    return load_classifier(
        keras.Model(entry, end), preprocess=lambda p: p / 255, verbose=False
    )


@pytest.mark.parametrize("steps", CHAINS.values(), ids=CHAINS)
def test_a_cell_lies_at_the_centre_of_the_pixels_that_reach_it(steps):
    """Light one pixel at a time, and see which pixels each cell answers to."""
    size = (55, 52)
    clf = chain(steps, size)
    layer = clf.layers()[-1].name
    pixels = np.zeros((*size, *size, 3), "float32")
    for row, column in np.ndindex(*size):
        pixels[row, column, row, column] = 1
    answers = clf.up_to(layer).predict(
        pixels.reshape(-1, *size, 3), batch_size=256, verbose=0
    )
    reached = answers.max(axis=-1).reshape(*size, *answers.shape[1:3]) > 0
    first, step = placement.centres(clf._tensors[layer])
    fields = {
        cell: [np.flatnonzero(reached[:, :, *cell].any(axis=a)) for a in (1, 0)]
        for cell in np.ndindex(*answers.shape[1:3])
    }
    reach = np.array([[np.ptp(side) for side in pair] for pair in fields.values()])
    whole = (reach == reach.max(axis=0)).all(axis=1)  # not cut off by the border
    for (cell, pair), inside in zip(fields.items(), whole, strict=True):
        if inside:
            middle = [(side[0] + side[-1]) / 2 for side in pair]
            assert first + step * cell == pytest.approx(middle)
    assert whole.sum() >= 4


def test_a_placed_map_is_linear_between_the_centres():
    clf = chain(CHAINS["Xception's stem"], (33, 30))
    layer = clf.layers()[-1].name
    first, step = placement.centres(clf._tensors[layer])
    rows, columns, _ = placement.of_layer(clf, layer)
    height, width = rows.shape[1], columns.shape[1]
    truth = np.add.outer(
        3 * (first[0] + step[0] * np.arange(height)),
        -2 * (first[1] + step[1] * np.arange(width)),
    )  # the plane 3·row − 2·column, known at the centres only
    heat = rows @ truth @ columns.T
    assert heat.shape == (33, 30)
    between = [np.arange(f, f + s * (n - 1) + 1).astype(int) for f, s, n in
               zip(first, step, (height, width), strict=True)]  # fmt: skip
    plane = np.add.outer(3.0 * between[0], -2.0 * between[1])
    assert heat[np.ix_(*between)] == pytest.approx(plane, abs=1e-3)
    assert np.allclose(rows.sum(axis=1), 1)


def centre_only(network):
    """The published architecture with kernels that pass on their centre pixel."""
    make = {"vgg16": keras.applications.VGG16, "xception": keras.applications.Xception}
    model = make[network](weights=None, classifier_activation=None)
    for layer in model.layers:
        arrays = layer.get_weights()
        for kernel in arrays:
            if kernel.ndim == 4:
                middle = kernel.shape[0] // 2
                passed = 1 / (1 if "depthwise" in layer.name else kernel.shape[2])
                if kernel.shape[3] == 1 and kernel.shape[0] > 1:
                    passed = 1  # a depthwise kernel
                kernel[:] = 0
                kernel[middle, middle] = passed
        if isinstance(layer, keras.layers.BatchNormalization):
            arrays = [np.full_like(array, k) for array, k in zip(arrays, (1, 0, 0, 1),
                      strict=True)]  # fmt: skip
        layer.set_weights(arrays)
    scale = load_classifier.__globals__["_SCALE"][network]
    return load_classifier(
        model, preprocess=lambda p: scale(p) - scale(p * 0), verbose=False
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 5)])
def test_a_spot_is_found_where_it_was_put_at_every_resolution(network, shape):
    """In photos of any aspect: one pixel of the network's square is lit."""
    clf = centre_only(network)
    side = clf.input_size[0]
    whole = (side * shape[0] // min(shape), side * shape[1] // min(shape))
    image = np.zeros((*whole, 3), np.uint8)
    _, cut = clf.cut(image)
    spot = (cut.top + side // 4 | 1, cut.left + 2 * side // 3 | 1)
    image[spot] = 255
    seen = set()
    for known in clf.layers():
        if known.shape[0] in seen or "pool" not in known.name + known.kind.lower():
            continue
        seen.add(known.shape[0])
        heat = explain.activations(clf, image, known.name).on_photo()
        assert heat.shape == whole
        rows, columns = np.nonzero(heat > 0.5 * heat.max())
        _, step = placement.centres(clf._tensors[known.name])
        assert abs(rows.mean() - spot[0]) <= step[0] / 2 + 1
        assert abs(columns.mean() - spot[1]) <= step[1] / 2 + 1
    assert len(seen) >= 4


# --- what is said, and when something is wrong ----------------------------------------


def test_no_positive_evidence_is_said_in_words():
    clf = toy()
    weights = clf.network.layers[-1].get_weights()
    clf.network.layers[-1].set_weights([-np.abs(weights[0]), weights[1]])
    clf.network.layers[2].set_weights(
        [np.abs(array) for array in clf.network.layers[2].get_weights()]
    )
    found = explain.grad_cam(clf, photo((12, 14)), 1, "one")
    assert not found.values.any()
    assert "No positive evidence for class 1 at this layer" in found.text
    picture = found._repr_mimebundle_()
    assert "zero everywhere" in picture[0]["text/plain"]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_numbers_that_are_none_are_said_and_not_drawn(broken):
    clf = toy()
    weights = clf.network.layers[-1].get_weights()
    weights[0][0, 1] = broken
    clf.network.layers[-1].set_weights(weights)
    found = explain.gradients(clf, photo((12, 14)), 1)
    assert np.isfinite(found.values).all()
    assert "were not finite" in found.text
    assert found._repr_mimebundle_()[0]["image/jpeg"]


def test_the_text_says_where():
    clf, _ = linear((20, 40))
    values = np.zeros((20, 40), "float32")
    values[4:6, 28:32] = 1
    about = {"image": photo((20, 40)), "photo_size": (20, 40), "unit": "x"}
    found = explain.Attribution(
        values, cut=clf.cut(photo((20, 40)))[1], technique="occlusion", model="m",
        target=0, label="thing", score="logit", score_value=2.0, **about,
    )  # fmt: skip
    assert "thing (logit 2.0)" in found.text
    assert "centred 25% down and 75% across" in found.text
    assert "half of it on under 1% of the picture" in found.text
    assert "100% of the map's mass is positive" in found.text


def test_nothing_is_compiled_again_for_a_second_image_or_target():
    clf = toy()
    others = np.stack([photo((12, 14), k) for k in range(1, 4)])
    for seed in range(2):
        every_technique(clf, photo((12, 14), seed), others)
    counts = {key: f.experimental_get_tracing_count() for key, f in
              clf._functions.items()}  # fmt: skip
    every_technique(clf, photo((30, 20), 7), others)
    explain.grad_cam(clf, photo((12, 14)), 3)
    for key, function in clf._functions.items():
        assert function.experimental_get_tracing_count() == counts[key], key


def test_a_progress_function_is_told_and_can_stop_the_work():
    clf, _ = linear()
    told = []
    explain.occlusion(
        clf, photo((20, 28)), patch=4, progress=lambda *now: told.append(now)
    )
    assert told[-1] == (117, 117)  # 9 × 13 positions
    assert [done for done, _ in told] == sorted(done for done, _ in told)

    def stop(done, total):
        raise explain.Cancelled

    with pytest.raises(explain.Cancelled):
        explain.smoothgrad(clf, photo((20, 28)), samples=40, progress=stop)


def test_vgg16_names_the_two_cats_of_the_article(vgg16, cat):
    assert [p.label for p in vgg16.top(cat, 2)] == ["Egyptian_cat", "tabby"]


IMAGE = photo((12, 14))
OTHERS = photo((12, 14), 1)[None]
BAD = {
    "unknown target": (lambda c: explain.grad_cam(c, IMAGE, "clas 1"), "Close labels"),
    "target out of range": (lambda c: explain.gradients(c, IMAGE, 9), "outside 0 to 3"),
    "unknown layer": (lambda c: explain.grad_cam(c, IMAGE, 0, "x"), "Usable: 1 one"),
    "flat layer": (lambda c: explain.activations(c, IMAGE, "flat"), "no maps.*Usable"),
    "targets without a stack": (
        lambda c: explain.grad_cam(c, IMAGE, [0, 1]),
        "A list of 2 targets for one image",
    ),
    "targets for another stack": (
        lambda c: explain.grad_cam(c, [IMAGE] * 3, [0, 1]),
        "A list of 2 targets for 3 image",
    ),
    "no images": (lambda c: explain.grad_cam(c, []), "empty list"),
    "an empty stack": (lambda c: explain.grad_cam(c, IMAGE[None][:0]), "empty stack"),
    "no layers": (lambda c: explain.grad_cam(c, IMAGE, 0, []), "empty list"),
    "large patch": (
        lambda c: explain.occlusion(c, IMAGE, patch=13), "13 × 13 .* larger .* 12 × 14"
    ),
    "stride 0": (lambda c: explain.occlusion(c, IMAGE, stride=0), "stride is a whole"),
    "patch 0": (lambda c: explain.occlusion(c, IMAGE, patch=0), "patch is a whole"),
    "half a patch": (lambda c: explain.occlusion(c, IMAGE, patch=2.5), "patch is a"),
    "three strides": (lambda c: explain.occlusion(c, IMAGE, stride=(1, 2, 3)), "down"),
    "no colour": (lambda c: explain.occlusion(c, IMAGE, fill=300), "0 to 255"),
    "half a colour": (lambda c: explain.occlusion(c, IMAGE, fill=(1, 2)), "red, green"),
    "zero samples": (lambda c: explain.smoothgrad(c, IMAGE, samples=0), "from 1 up"),
    "no shap samples": (
        lambda c: explain.shap_gradients(c, IMAGE, OTHERS, samples=0), "from 1 up"
    ),
    "negative noise": (lambda c: explain.smoothgrad(c, IMAGE, noise=-1), "0 and up"),
    "nan noise": (lambda c: explain.smoothgrad(c, IMAGE, noise=np.nan), "0 and up"),
    "unknown score": (lambda c: explain.gradients(c, IMAGE, score="loss"), "'logit'"),
    "empty background": (
        lambda c: explain.shap_gradients(c, IMAGE, OTHERS[:0]), "background is empty"
    ),
    "other background": (
        lambda c: explain.shap_gradients(c, IMAGE, photo((9, 9))[None]), "12, 14, 3"
    ),
    "float background": (
        lambda c: explain.shap_gradients(c, IMAGE, OTHERS / 255), "wanted uint8"
    ),
    "one class twice": (
        lambda c: explain.shap_gradients(c, IMAGE, OTHERS, [1, "class 1"]), "twice"
    ),
    "float image": (lambda c: explain.gradients(c, IMAGE / 255), "wanted uint8"),
    "preprocessed image": (lambda c: explain.grad_cam(c, IMAGE / 127.5 - 1), "uint8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_use_gets_a_sentence(case):
    call, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        call(toy())


def test_a_layer_that_a_skip_leads_around_gets_a_sentence(xception, cat):
    others = background(2, 299, exclude="cat")
    with pytest.raises(ValueError, match=r"skip connection.*add_3.*block14_sepconv2"):
        explain.shap_gradients(xception, cat, others, layer="block4_sepconv1")
    for name in xception.bottlenecks[::6]:
        xception.after(name)


WITHOUT_GRADIENT = {
    "keras.ops": lambda x: np.asarray(x) / 255,
    "rounds or casts": lambda x: tf.round(x) / 255,
}


@pytest.mark.parametrize("said", WITHOUT_GRADIENT)
def test_a_preprocessing_without_gradient_gets_a_sentence(said):
    clf = toy(preprocess=WITHOUT_GRADIENT[said])
    with pytest.raises(ValueError, match=said):
        explain.gradients(clf, photo((12, 14)), 0)


@pytest.mark.parametrize(
    "name", ["MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121"]
)
def test_every_cell_of_other_networks_lies_on_the_photo(name):
    """Padding layers, squeeze-and-excite branches, concatenations: all are passed."""
    model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3))
    clf = load_classifier(model, verbose=False)
    for known in clf.layers():
        if known.kind == "ZeroPadding2D":  # its cells do lie beside the photo
            continue
        first, step = placement.centres(clf._tensors[known.name])
        last = first + step * (np.array(known.shape[:2]) - 1)
        assert (first > -step).all() and (last < 96 + step).all(), known
    heat = explain.grad_cam(clf, photo((96, 96)), 0).heatmap()
    assert heat.shape == (96, 96)


def test_a_model_with_two_inputs_gets_a_sentence():
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    end = layers.Dense(2)(layers.Flatten()(layers.Add()([one, two])))
    with pytest.raises(ValueError, match="2 inputs"):
        load_classifier(keras.Model([one, two], end))


# --- integrated gradients -------------------------------------------------------------


def test_integrated_gradients_are_exact_where_the_score_is_linear():
    clf, weights = linear()
    image, other = photo((20, 28)), photo((20, 28), 1)
    found = explain.integrated_gradients(clf, image, 1, baseline=other, steps=1)
    expected = weights[..., 1] * (image.astype(float) - other)
    assert found.values == pytest.approx(expected, abs=1e-3)
    assert found.checks["gap"] < 1e-3


def test_integrated_gradients_on_a_square_are_known():
    """y = Σ (x/255)² from black: the share of each pixel is its own square."""
    squares = keras.Sequential(
        [
            keras.Input((8, 9, 3)),
            layers.Flatten(),
            layers.Lambda(lambda x: keras.ops.sum(x**2, axis=1, keepdims=True)),
            layers.Lambda(lambda x: keras.ops.concatenate([x, -x], axis=1)),
        ]
    )
    clf = load_classifier(squares, preprocess=lambda x: x / 255, verbose=False)
    image = photo((8, 9))
    found = explain.integrated_gradients(clf, image, 0, steps=3)
    assert found.values == pytest.approx((image / 255) ** 2, abs=1e-4)
    assert found.checks["sum"] == pytest.approx(found.checks["score difference"])


@pytest.mark.parametrize("baseline", ["black", "grey", "blurred", "noise"])
@pytest.mark.parametrize("score", SCORE)
@pytest.mark.parametrize("tolerance", [None, 0.001])
def test_integrated_gradients_are_complete(baseline, score, tolerance):
    """With more steps the gap closes: midpoints on a piecewise smooth path."""
    clf = toy()
    image = photo((12, 14))
    options = {"baseline": baseline, "score": score, "tolerance": tolerance}
    found = explain.integrated_gradients(clf, image, 2, steps=2000, **options)
    difference = found.checks["score difference"]
    assert abs(found.values.sum() - difference) < 1e-3 + 1e-2 * abs(difference)
    start = explain.path.start(image, baseline)
    scored = clf.logits if score == "logit" else clf.probabilities
    before, after = scored([start, image])[:, 2]
    assert difference == pytest.approx(after - before, abs=1e-4)


def capped(side=8):
    """y = Σ min(x / 255, 0.02): from black, all of the climb is in the first steps."""
    model = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.ReLU(max_value=0.02),
            layers.Flatten(),
            layers.Dense(2, use_bias=False),
        ]
    )
    kernel = np.zeros((side * side * 3, 2), "float32")
    kernel[:, 1] = 1
    model.layers[-1].set_weights([kernel])
    return load_classifier(model, preprocess=lambda x: x / 255, verbose=False)


def test_steps_go_where_the_score_climbs():
    """A known share for each pixel of a white picture: 0.02."""
    image = np.full((8, 8, 3), 255, np.uint8)
    options = {"target": 1, "steps": 64}
    even = explain.integrated_gradients(capped(), image, tolerance=None, **options)
    found = explain.integrated_gradients(capped(), image, tolerance=0.01, **options)
    assert even.checks["gap"] > 0.2
    assert found.checks["gap"] < 0.01
    assert found.checks["steps"] <= 64 == even.checks["steps"]
    assert found.values == pytest.approx(np.full((8, 8, 3), 0.02), rel=0.01)


def test_even_steps_are_the_mean_of_the_gradients_at_their_middles():
    clf, image = toy(), photo((12, 14))
    found = explain.integrated_gradients(clf, image, 2, steps=5, tolerance=None)
    points = tf.constant(
        (np.arange(5)[:, None, None, None] + 0.5) / 5 * image, "float32"
    )
    with tf.GradientTape() as tape:
        tape.watch(points)
        y = clf.network(clf.scale(points))[:, 2]
    slopes = tape.gradient(y, points).numpy().mean(axis=0)
    assert found.values == pytest.approx(image * slopes, abs=1e-5)


@pytest.mark.parametrize("steps", [1, 5, 16, 17, 18, 40])
def test_never_more_steps_than_allowed_and_nothing_left_out(steps, monkeypatch):
    """Where the slope is constant, the pieces together are the whole way."""
    options = {"steps": steps, "tolerance": 1e-9}
    found = explain.integrated_gradients(toy(), photo((12, 14)), 2, **options)
    assert found.checks["steps"] <= steps
    clf, weights = linear()
    image = photo((20, 28))
    found = explain.integrated_gradients(clf, image, 1, **options)
    assert found.values == pytest.approx(weights[..., 1] * image, abs=1e-3)


def test_the_path_does_not_depend_on_the_memory(monkeypatch):
    options = {"target": 2, "steps": 40, "tolerance": None}
    before = explain.integrated_gradients(toy(), photo((12, 14)), **options)
    monkeypatch.setattr(engine, "MEMORY", 1)
    after = explain.integrated_gradients(toy(), photo((12, 14)), **options)
    assert after.values == pytest.approx(before.values, abs=1e-4)


def test_the_mean_of_integrated_gradients_is_expected_gradients():
    """Over the background; within four standard errors of the samples."""
    clf = toy()
    image = photo((12, 14))
    others = np.stack([photo((12, 14), k) for k in range(1, 5)])
    paths = [
        explain.integrated_gradients(clf, image, 2, baseline=b, steps=200).values
        for b in others
    ]
    found = explain.shap_gradients(clf, image, others, 2, samples=800)
    gap = abs(np.mean(paths, axis=0).sum() - found.checks["sum"])
    assert gap < 4 * found.checks["standard error"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"baseline": "pink"}, "black, grey, blurred, noise"),
        ({"baseline": np.zeros((3, 3, 3), np.uint8)}, r"wanted uint8 of shape \(12"),
        ({"baseline": np.zeros((12, 14, 3))}, "is float64"),
        ({"steps": 0}, "from 1 up"),
        ({"tolerance": 0}, "above 0, or None"),
    ],
)
def test_bad_baselines_get_a_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        explain.integrated_gradients(toy(), photo((12, 14)), 0, **options)


# --- models of one's own --------------------------------------------------------------


def small(end, size=(32, 32), base=None):
    x = entry = keras.Input((*size, 3))
    for kind in base or [layers.Conv2D(4, 3, activation="relu", name="one")]:
        x = kind(x)
    return keras.Model(entry, end(x))


def nested_base():
    inner = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, activation="relu", name="inner_conv"),
            layers.MaxPooling2D(name="inner_pool"),
        ]
    )
    pooled = layers.GlobalAveragePooling2D()
    return small(lambda x: layers.Dense(3)(pooled(x)), base=[inner])


OWN = {
    "softmax": lambda: small(lambda x: layers.Dense(3, "softmax")(layers.Flatten()(x))),
    "sigmoid": lambda: small(lambda x: layers.Dense(3, "sigmoid")(layers.Flatten()(x))),
    "softmax layer": lambda: small(
        lambda x: layers.Softmax()(layers.Dense(3)(layers.Flatten()(x)))
    ),
    "nested": nested_base,
    "operations": lambda: small(
        lambda x: layers.Dense(3)(layers.Flatten()(keras.ops.relu(2 * x + 1) + x))
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_the_network_after_a_layer_gives_the_same_logits(name):
    clf = load_classifier(OWN[name](), preprocess=lambda x: x / 255, verbose=False)
    image = photo((32, 32))
    assert clf.bottlenecks
    for layer in clf.bottlenecks:
        maps = clf.up_to(layer)(clf.preprocess(image))
        rest = np.asarray(clf.after(layer)(maps))
        assert rest == pytest.approx(clf.logits(image), abs=1e-4)
        found = explain.shap_gradients(
            clf, image, photo((32, 32), 1)[None], 0, layer=layer, samples=50
        )
        gap = abs(found.checks["sum"] - found.checks["score difference"])
        assert gap < 4 * found.checks["standard error"] + 1e-3


def test_a_layer_that_is_called_twice_is_no_bottleneck():
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    first = layers.Conv2D(4, 3, name="first")
    model = small(
        lambda x: layers.Dense(3)(layers.Flatten()(x)),
        base=[first, twice, twice, layers.ReLU(name="end")],
    )
    clf = load_classifier(model, verbose=False)
    assert clf.bottlenecks == ("first", "end")
    with pytest.raises(ValueError, match="does not depend on it alone"):
        clf.after("twice")


HIDDEN = {
    "operation": lambda x: keras.ops.sigmoid(layers.Dense(1)(x)),
    "before a flatten": lambda x: layers.Flatten()(layers.Dense(1, "sigmoid")(x)),
    "dropout": lambda x: layers.Dropout(0.1)(layers.Dense(4, "sigmoid")(x)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_sigmoid_that_does_not_show_is_refused(name):
    """Taken for logits, its outputs would go through a sigmoid twice."""
    keras.utils.set_random_seed(1)
    model = small(lambda x: HIDDEN[name](layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ValueError, match="look like probabilities"):
        load_classifier(model, preprocess=lambda x: x / 255, verbose=False)


def test_the_default_layer_has_more_than_one_cell():
    """MobileNet ends in a 1 × 1 convolution behind the pooling."""
    model = keras.applications.MobileNet(weights=None, input_shape=(96, 96, 3))
    clf = load_classifier(model, verbose=False)
    found = explain.grad_cam(clf, photo((96, 96)), 0)
    assert found.values.shape == (3, 3)


CROPS = {
    "CenterCrop": lambda: layers.CenterCrop(16, 16),
    "Resizing, cropped": lambda: layers.Resizing(16, 24, crop_to_aspect_ratio=True),
    "Resizing, padded": lambda: layers.Resizing(16, 24, pad_to_aspect_ratio=True),
}


@pytest.mark.parametrize("name", CROPS)
def test_a_spot_is_found_behind_layers_that_crop(name):
    tail = lambda x: layers.Dense(2)(layers.GlobalAveragePooling2D()(x))  # noqa: E731
    model = small(tail, base=[CROPS[name]()])
    clf = load_classifier(model, preprocess=lambda x: x / 255, verbose=False)
    image = np.zeros((32, 32, 3), np.uint8)
    image[12:15, 17:20] = 255
    found = explain.activations(clf, image, clf.layers()[-1].name)
    rows, columns = np.nonzero(found.heatmap() > 0.5 * found.heatmap().max())
    assert (rows.mean(), columns.mean()) == pytest.approx((13, 18), abs=1)
    assert not found.notes


def test_a_layer_that_moves_cells_unaccountably_is_said():
    tail = lambda x: layers.Dense(2)(layers.GlobalAveragePooling2D()(x))  # noqa: E731
    turned = layers.Permute((2, 1, 3), name="turned")
    model = small(tail, base=[turned, layers.Conv2D(2, 3, name="conv")])
    clf = load_classifier(model, verbose=False)
    found = explain.activations(clf, photo((32, 32)), "conv")
    assert "is a guess: turned" in found.text


def test_half_precision_gives_nearly_the_same_grad_cam():
    keras.utils.set_random_seed(0)
    single = small(lambda x: layers.Dense(3)(layers.GlobalAveragePooling2D()(x)),
                   size=(128, 128))  # fmt: skip
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = small(
            lambda x: layers.Dense(3, dtype="float32")(
                layers.GlobalAveragePooling2D()(x)
            ),
            size=(128, 128),
            base=[layers.Conv2D(4, 3, activation="relu", name="one")],
        )
        half.set_weights(single.get_weights())
        clfs = [
            load_classifier(model, preprocess=lambda x: x / 255, verbose=False)
            for model in (single, half)
        ]
        a, b = (explain.grad_cam(c, photo((128, 128)), 1).values for c in clfs)
    finally:
        keras.config.set_dtype_policy("float32")
    assert a.any()  # summed in half precision it would be off by 13 % and more
    assert distance(b, a) < 0.03


@pytest.mark.parametrize(
    "policy, epsilon", [("mixed_float16", 2**-10), ("mixed_bfloat16", 2**-7)]
)
def test_activations_of_half_precision_are_read_as_numbers(policy, epsilon):
    """Input, kernel and output are rounded once each: at most half an epsilon."""
    head = lambda x: layers.Dense(3, dtype="float32")(  # noqa: E731
        layers.GlobalAveragePooling2D()(x)
    )
    maps = []
    for kind in ("float32", policy):
        keras.config.set_dtype_policy(kind)
        try:
            keras.utils.set_random_seed(0)
            model = small(head, base=[layers.Conv2D(4, 3, name="one", use_bias=False)])
            clf = load_classifier(model, preprocess=lambda x: x / 255, verbose=False)
            maps.append(explain.activations(clf, photo((32, 32)), "one").values)
        finally:
            keras.config.set_dtype_policy("float32")
    exact, found = maps
    assert found.dtype == np.float32 and exact.any()
    assert distance(found, exact) < 1.5 * epsilon


def test_the_packages_own_objects_are_taken(xception, cat):
    layer, best = xception.layer("block2_sepconv1"), xception.top(cat, 2)
    found = explain.grad_cam(xception, cat, best[1], layer)
    assert (found.layer, found.target) == (layer.name, best[1].index)


def test_many_targets_take_smaller_batches(monkeypatch):
    clf = toy()
    sizes = []
    real = engine.batches
    monkeypatch.setattr(
        engine, "batches", lambda n, size, *a: sizes.append(size) or real(n, size, *a)
    )
    others = photo((12, 14), 1)[None]
    for targets in ([0], [0, 1, 2, 3]):
        explain.shap_gradients(clf, photo((12, 14)), others, targets, samples=16)
    assert sizes == [16, 6]


def test_sentences_come_without_tracebacks():
    clf = toy(preprocess=lambda x: tf.round(x) / 255)
    with pytest.raises(ValueError, match=r"^No gradient reaches"):
        explain.gradients(clf, photo((12, 14)), 0)
