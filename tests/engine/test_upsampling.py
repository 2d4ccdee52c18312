"""A cell lies on the pixels that it sees: where they are, one pixel at a time tells."""

import numpy as np
import pytest
from toys import layers, model_with, photo, pooled_logits, unit

from xai_helpers import explain, keras, load_classifier
from xai_helpers.engine.loading import PREPROCESSING
from xai_helpers.engine.upsampling import interpolation_matrix, patch_upsampling

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


def layer_of(kind, extent, stride, padding):
    if kind == "pad":
        return layers.ZeroPadding2D(((extent, 1), (extent, 2)))
    if kind == "crop":
        return layers.Cropping2D(((extent, 1), (extent, 0)))
    if kind == "pool":
        return layers.MaxPooling2D(extent, stride, padding)
    dilation = 2 if kind == "dilated" else 1
    positive = keras.initializers.Constant(0.1)
    return layers.Conv2D(
        2,
        extent,
        stride,
        padding,
        dilation_rate=dilation,
        kernel_initializer=positive,
    )


def chain(steps, size):
    model = model_with([layer_of(*step) for step in steps], pooled_logits(2), size)
    return load_classifier(model, preprocess=unit, verbose=False)


@pytest.mark.parametrize("steps", CHAINS.values(), ids=CHAINS)
def test_a_cell_lies_at_the_centre_of_the_pixels_that_reach_it(steps):
    """Light one pixel at a time, and see which pixels each cell answers to."""
    size = (55, 52)
    clf = chain(steps, size)
    layer = clf.layers()[-1].name
    pixels = np.zeros((*size, *size, 3), "float32")
    for row, column in np.ndindex(*size):
        pixels[row, column, row, column] = 1
    outputs = clf.submodel_to(layer).predict(
        pixels.reshape(-1, *size, 3), batch_size=256, verbose=0
    )
    reached = outputs.max(axis=-1).reshape(*size, *outputs.shape[1:3]) > 0
    first, step = clf.receptive_field_grid(layer)
    fields = {
        cell: [np.flatnonzero(reached[:, :, *cell].any(axis=a)) for a in (1, 0)]
        for cell in np.ndindex(*outputs.shape[1:3])
    }
    extents = np.array([[np.ptp(side) for side in pair] for pair in fields.values()])
    whole = (extents == extents.max(axis=0)).all(axis=1)  # not cut off by the border
    for (cell, pair), inside in zip(fields.items(), whole, strict=True):
        if inside:
            middle = [(side[0] + side[-1]) / 2 for side in pair]
            assert first + step * cell == pytest.approx(middle)
    assert whole.sum() >= 4


def test_an_upsampled_map_is_linear_between_the_centres():
    clf = chain(CHAINS["Xception's stem"], (33, 30))
    layer = clf.layers()[-1].name
    first, step = clf.receptive_field_grid(layer)
    rows, columns, _ = clf.upsampling(layer)
    height, width = rows.shape[1], columns.shape[1]
    at_the_centres = np.add.outer(
        3 * (first[0] + step[0] * np.arange(height)),
        -2 * (first[1] + step[1] * np.arange(width)),
    )  # the plane 3·row − 2·column
    heatmap = rows @ at_the_centres @ columns.T
    assert heatmap.shape == (33, 30)
    between = [np.arange(f, f + s * (n - 1) + 1).astype(int) for f, s, n in
               zip(first, step, (height, width), strict=True)]  # fmt: skip
    plane = np.add.outer(3.0 * between[0], -2.0 * between[1])
    assert heatmap[np.ix_(*between)] == pytest.approx(plane, abs=1e-3)
    assert np.allclose(rows.sum(axis=1), 1)


def test_interpolation_by_hand():
    """Cells at pixels 1 and 3: their own values there, half of each between them."""
    expected = [[1, 0], [1, 0], [0.5, 0.5], [0, 1], [0, 1]]
    assert interpolation_matrix(1, 2, 2, 5) == pytest.approx(np.array(expected))
    assert interpolation_matrix(1, 2, 1, 3) == pytest.approx(np.ones((3, 1)))


def test_a_pixel_gets_the_mean_of_the_patches_that_cover_it():
    expected = [[1, 0], [0.5, 0.5], [0, 1], [0, 0]]
    matrix = patch_upsampling(np.array([0, 1]), 2, 4)
    assert matrix == pytest.approx(np.array(expected))


def centre_only(network_name):
    """The published architecture with kernels that pass on their centre pixel."""
    make = {"vgg16": keras.applications.VGG16, "xception": keras.applications.Xception}
    model = make[network_name](weights=None, classifier_activation=None)
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
        if isinstance(layer, layers.BatchNormalization):
            arrays = [
                np.full_like(array, value)
                for array, value in zip(arrays, (1, 0, 0, 1), strict=True)
            ]
        layer.set_weights(arrays)
    scale = PREPROCESSING[network_name]
    return load_classifier(
        model, preprocess=lambda p: scale(p) - scale(p * 0), verbose=False
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 5)])
def test_a_spot_is_found_where_it_was_put_at_every_resolution(network_name, shape):
    """In photos of any aspect: one pixel of the network's square is lit."""
    clf = centre_only(network_name)
    side = clf.input_size[0]
    size = (side * shape[0] // min(shape), side * shape[1] // min(shape))
    image = np.zeros((*size, 3), np.uint8)
    _, box = clf.crop(image)
    spot = (box.top + side // 4 | 1, box.left + 2 * side // 3 | 1)
    image[spot] = 255
    resolutions = set()
    for layer in clf.layers():
        is_pool = "pool" in layer.name + layer.class_name.lower()
        if layer.shape[0] in resolutions or not is_pool:
            continue
        resolutions.add(layer.shape[0])
        heatmap = explain.activations(clf, image, layer.name).heatmap_on_original()
        assert heatmap.shape == size
        rows, columns = np.nonzero(heatmap > 0.5 * heatmap.max())
        _, step = clf.receptive_field_grid(layer)
        assert abs(rows.mean() - spot[0]) <= step[0] / 2 + 1
        assert abs(columns.mean() - spot[1]) <= step[1] / 2 + 1
    assert len(resolutions) >= 4


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121"]
)
def test_every_cell_of_other_networks_lies_on_the_photo(name):
    """Padding layers, squeeze-and-excite branches, concatenations: all are passed."""
    model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3))
    clf = load_classifier(model, verbose=False)
    for layer in clf.layers():
        if layer.class_name == "ZeroPadding2D":  # its cells do lie beside the photo
            continue
        first, step = clf.receptive_field_grid(layer)
        last = first + step * (np.array(layer.shape[:2]) - 1)
        assert (first > -step).all() and (last < 96 + step).all(), layer
    heatmap = explain.grad_cam(clf, photo((96, 96)), 0).heatmap()
    assert heatmap.shape == (96, 96)


CROPPING_LAYERS = {
    "CenterCrop": lambda: layers.CenterCrop(16, 16),
    "Resizing, cropped": lambda: layers.Resizing(16, 24, crop_to_aspect_ratio=True),
    "Resizing, padded": lambda: layers.Resizing(16, 24, pad_to_aspect_ratio=True),
}


@pytest.mark.parametrize("name", CROPPING_LAYERS)
def test_a_spot_is_found_behind_layers_that_crop(name):
    model = model_with([CROPPING_LAYERS[name]()], pooled_logits(2))
    clf = load_classifier(model, preprocess=unit, verbose=False)
    image = np.zeros((32, 32, 3), np.uint8)
    image[12:15, 17:20] = 255
    attribution = explain.activations(clf, image, clf.layers()[-1].name)
    heatmap = attribution.heatmap()
    rows, columns = np.nonzero(heatmap > 0.5 * heatmap.max())
    assert (rows.mean(), columns.mean()) == pytest.approx((13, 18), abs=1)
    assert not attribution.notes


def test_an_operation_that_moves_cells_unpredictably_is_named_in_the_description():
    inputs = keras.Input((32, 32, 3))
    x = keras.ops.roll(inputs, 5, axis=1)
    x = layers.Conv2D(2, 3, name="conv")(x)
    clf = load_classifier(keras.Model(inputs, pooled_logits(2)(x)), preprocess="none")
    attribution = explain.activations(clf, photo((32, 32)), "conv")
    assert "is a guess: roll" in attribution.description
