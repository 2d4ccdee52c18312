"""What the benchmark times: every technique as one would call it, and other libraries.

``ROWS_OF`` says for a technique with which options it is timed, against which library,
and which passes it cannot do without. One that has no entry there is timed with its
quick options against the passes that it was seen to make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial

import numpy as np

from xai_helpers import (
    background,
    explain,
    keras,
    load_classifier,
    metrics,
    sample_image,
    tf,
)
from xai_helpers.core.techniques.occlusion import patch_positions

PHOTO, TARGET = "cat", "tabby"
NETWORKS = ("vgg16", "xception")
LAST_LAYER = {"vgg16": "block5_conv3", "xception": "block14_sepconv2_act"}
BLOCK_2 = {"vgg16": "block2_conv2", "xception": "block2_sepconv2_bn"}
MIDDLE = {"vgg16": "block2_pool", "xception": "add_6"}  # VGG16's "layer 7" takes this
BATCH_SIZES = (1, 4, 8)  # tried for the limit


@dataclass(frozen=True)
class Row:
    """A technique with one setting, on one network."""

    title: str
    ours: Callable
    setting: str = ""
    limit: tuple[str, int] | None = None  # of Bench.passes, and how many; None: counted
    target: tuple[str, float] | None = None  # "limit": at most; a library: at least
    others: dict[str, Callable] = field(default_factory=dict)  # by library
    differs: str = ""  # in what the other library's result is another one
    agrees: Callable | None = None  # () → how nearly the results agree, in words
    sends_whole_images: bool = True

    @property
    def contenders(self) -> dict[str, Callable]:
        return {"ours": self.ours} | self.others

    def beside(self, library: str, theirs: Callable, differs: str, agrees=None) -> Row:
        """The row with the same technique of another library."""
        return replace(self, others={library: theirs}, differs=differs, agrees=agrees)


class Bench:
    """A network, the photo, and the passes that no technique can do without."""

    def __init__(self, network: str, quick: bool = False, counting: bool = False):
        self.name = network
        self.clf = load_classifier(network, weights="portable", verbose=False)
        if counting:
            self.clf, self.forward_count, self.backward_count = counting_copy(self.clf)
        self.photo = sample_image(PHOTO)
        self.arguments = self.clf, self.photo
        self.input = self.clf.preprocess(self.photo)
        self.target = self.clf.class_index(TARGET)
        self.samples = 4 if quick else 16
        self.side = min(self.clf.input_size)

    @cached_property
    def background(self) -> np.ndarray:
        return background(self.samples // 4, self.clf.input_size, exclude=PHOTO)

    @cached_property
    def probability_model(self) -> keras.Model:
        return self.clf.probability_model  # one, or each call would be compiled anew

    @property
    def for_tf_explain(self) -> tuple:
        """What its methods are called with first."""
        return (self.input, None), self.probability_model, self.target

    def rows(self, names=explain.TECHNIQUES) -> list[Row]:
        """The rows of these techniques, in the registry's order."""
        rows = []
        for name, technique in explain.TECHNIQUES.items():
            if name in names:
                make_rows = ROWS_OF.get(name, partial(row_by_itself, technique))
                rows += make_rows(self)
        return rows

    @cached_property
    def passes(self) -> dict[str, Callable]:
        """Name → a function of a batch size; what it returns is a NumPy array."""

        def compiled(function):
            return tf.function(
                partial(function), autograph=False, reduce_retracing=True
            )

        def forward_of(model):
            return compiled(lambda x: model(x, training=False))

        def backward_of(model, classes):
            def gradients(x):
                y = model(x, training=False)
                return [tf.gradients(y[:, k], [x])[0] for k in classes]

            return compiled(gradients)

        def on(function, x):
            x = np.repeat(np.asarray(x), BATCH_SIZES[-1], axis=0)
            parts = {size: tf.constant(x[:size]) for size in BATCH_SIZES}
            return lambda size: [
                np.asarray(y) for y in tf.nest.flatten(function(parts[size]))
            ]

        clf, middle = self.clf, MIDDLE[self.name]
        block_2 = clf.submodel_to(BLOCK_2[self.name])
        middle_output = clf.submodel_to(middle)(self.input)
        two = self.target, self.target + 1
        return {
            "forward": on(forward_of(clf.model), self.input),
            "forward to block 2": on(forward_of(block_2), self.input),
            "both": on(backward_of(clf.model, two[:1]), self.input),
            "two classes": on(backward_of(clf.model, two), self.input),
            "two classes from the middle": on(
                backward_of(clf.submodel_from(middle), two), middle_output
            ),
        }


def counting_copy(clf):
    """A copy that counts the images that pass its first layer with weights.

    Returns
    -------
    Classifier, and two ``tf.Variable``: how many passed forward, and backward
    """
    forward, backward = (tf.Variable(0, trainable=False) for _ in range(2))
    first = next(layer for layer in clf.model.layers if layer.weights)

    @tf.custom_gradient
    def counted(x):
        def gradient(upstream):
            backward.assign_add(tf.shape(upstream)[0])
            return upstream

        forward.assign_add(tf.shape(x)[0])
        return tf.identity(x), gradient

    class Counting(type(first)):
        def call(self, x):
            return super().call(counted(x))

    def copy_of(layer):
        layer_class = Counting if layer is first else type(layer)
        return layer_class.from_config(layer.get_config())

    model = keras.models.clone_model(clf.model, clone_function=copy_of)
    model.set_weights(clf.model.get_weights())
    return clf.with_model(model), forward, backward


# --- the rows -------------------------------------------------------------------------


def row_by_itself(technique: explain.Technique, bench: Bench) -> list[Row]:
    """A technique with its quick options, against the passes that it makes."""
    options = technique.quick(bench.side)
    setting = ", ".join(f"{value} {name}" for name, value in options.items())
    options = options | {"target": TARGET, "progress": False}
    if technique.takes("background"):
        options["background"] = bench.background
    ours = partial(technique.call, *bench.arguments, **options)
    return [Row(technique.title, ours, setting)]


def activation_rows(bench: Bench) -> list[Row]:
    from tf_explain.core.activations import ExtractActivations

    block, (data, model, _) = BLOCK_2[bench.name], bench.for_tf_explain
    ours = partial(explain.activations, *bench.arguments, block)
    theirs = partial(ExtractActivations().explain, data, model, [block])

    def agrees():
        block_output = keras.Model([model.input], model.get_layer(block).output)
        maps = block_output.predict(bench.input, verbose=0)[0]
        return largest_difference(ours().values, maps)

    row = Row("activations", ours, block, ("forward to block 2", 1), ("limit", 1.1))
    differs = "draws one picture of all channels; the numbers in it are compared"
    return [row.beside("tf-explain", theirs, differs, agrees)]


def grad_cam_rows(bench: Bench) -> list[Row]:
    from tf_explain.core.grad_cam import GradCAM

    last, layers = LAST_LAYER[bench.name], [la.name for la in bench.clf.layers()]
    ours = partial(explain.grad_cam, *bench.arguments, TARGET)
    theirs = partial(GradCAM().explain, *bench.for_tf_explain, layer_name=last)

    def agrees():
        maps, gradients = GradCAM.get_gradients_and_filters(
            bench.probability_model, bench.input, last, bench.target, False
        )
        raw = GradCAM.generate_ponderated_output(maps, gradients)[0]
        return largest_difference(ours(score="probability").values, np.maximum(raw, 0))

    row = Row("Grad-CAM", ours, last, ("forward", 1), ("limit", 1.3))
    differs = (
        "of the softmax, not rectified, shown in 255 steps; its raw map with "
        "guided=False is compared with ours of the probability"
    )
    setting = f"{len(layers)} layers, one pass"
    every_layer = partial(ours, layers)
    return [
        row.beside("tf-explain", theirs, differs, agrees),
        Row("Grad-CAM, all layers", every_layer, setting, ("both", 1), ("limit", 1.3)),
    ]


def gradient_rows(bench: Bench) -> list[Row]:
    from tf_explain.core.vanilla_gradients import VanillaGradients

    ours = partial(explain.gradients, *bench.arguments, TARGET)
    theirs = partial(VanillaGradients().explain_score_model, *bench.for_tf_explain)

    def agrees():
        raw = VanillaGradients.compute_gradients(
            bench.input, bench.probability_model, bench.target
        )
        raw = np.asarray(raw)[0]
        if bench.name == "vgg16":
            raw = raw[..., ::-1]
        of_probability = ours(score="probability")
        cosine = metrics.cosine_similarity(of_probability.values, raw)
        return f"cosine {abs(cosine):.4f}"

    row = Row("gradients", ours, "", ("both", 1), ("limit", 1.1))
    differs = "of the cross-entropy; compared with ours of the probability"
    return [row.beside("tf-explain", theirs, differs, agrees)]


def smoothgrad_rows(bench: Bench) -> list[Row]:
    from tf_explain.core.smoothgrad import SmoothGrad

    n = bench.samples
    ours = partial(explain.smoothgrad, *bench.arguments, TARGET, samples=n)
    theirs = partial(SmoothGrad().explain, *bench.for_tf_explain, n, 1.0)
    row = Row("SmoothGrad", ours, f"{n} samples", ("both", n), ("limit", 1.1))
    differs = (
        "other noise, in the preprocessed range; of the cross-entropy, sizes only; not "
        "comparable number by number"
    )
    return [row.beside("tf-explain", theirs, differs)]


def integrated_gradients_rows(bench: Bench) -> list[Row]:
    from tf_explain.core.integrated_gradients import IntegratedGradients

    n, title = bench.samples, "integrated gradients"
    options = {"steps": n, "tolerance": None}
    ours = partial(explain.integrated_gradients, *bench.arguments, TARGET, **options)
    theirs = partial(IntegratedGradients().explain, *bench.for_tf_explain, n)
    row = Row(title, ours, f"{n} even steps", ("both", n), ("limit", 1.1))
    differs = (
        "from zero after preprocessing, not multiplied by the way, of the softmax: not "
        "the paper's; not comparable"
    )
    return [row.beside("tf-explain", theirs, differs)]


def occlusion_rows(bench: Bench) -> list[Row]:
    from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity

    patch = bench.side // 8
    n = len(patch_positions(bench.side, patch, patch)) ** 2
    setting, limit = f"{n} patches of {patch} px", ("forward", n)
    options = {"patch": patch, "stride": patch}
    incremental = partial(explain.occlusion, *bench.arguments, TARGET, **options)
    whole = partial(incremental, incremental=False)
    theirs = partial(OcclusionSensitivity(16).explain, *bench.for_tf_explain, patch)

    def agrees():
        gap = np.abs(incremental().values - whole().values).max()
        return f"largest difference {gap:.0e} of a logit"

    title = "occlusion, every picture whole"
    differs = (
        "nearly white patch, 1 - p instead of a drop, partial patches at the rim: not "
        "comparable"
    )
    row = Row(title, whole, setting, limit, ("limit", 1.1))
    rows = [row.beside("tf-explain", theirs, differs)]
    if bench.name == "vgg16":  # a plain chain of layers
        title = "occlusion, what a patch reaches"
        row = Row(title, incremental, setting, limit, ("limit", 1 / 3), agrees=agrees)
        rows.append(replace(row, sends_whole_images=False))
    return rows


def expected_gradients_rows(bench: Bench) -> list[Row]:
    middle = MIDDLE[bench.name]
    return [
        _expected_gradients_row(bench, None, "pixels", "two classes"),
        _expected_gradients_row(
            bench, middle, "middle layer", "two classes from the middle"
        ),
    ]


def _expected_gradients_row(bench: Bench, layer, place: str, passes: str) -> Row:
    n, background_photos = bench.samples, bench.background
    two = [p.index for p in bench.clf.top(bench.photo, 2)]  # as shap ranks them
    options = {"layer": layer, "samples": n}
    given = (*bench.arguments, background_photos, two)
    ours = partial(explain.expected_gradients, *given, **options)
    theirs = shap_explainer(bench, layer)

    def agrees():
        first, (values, order) = ours()[0], theirs()
        assert order[0, 0] == first.target
        gap = abs(values[..., 0].sum() - first.checks["sum"])
        error = 2**0.5 * first.checks["standard error"]  # both are estimates
        return f"sums {gap / error:.1f} standard errors apart"

    setting = f"{layer}, " * bool(layer) + f"{n} samples, 2 classes"
    title, target = f"expected gradients, {place}", ("shap", 1.5)
    row = Row(title, ours, setting, (passes, n), target)
    return row.beside("shap", theirs, "other random pairs: sums compared", agrees)


def shap_explainer(bench: Bench, layer: str | None) -> Callable:
    """shap's explainer, on the part of the network that it has to know.

    It is made in the first turn, which is not timed; then both have read the
    background.
    """
    import shap

    clf = bench.clf
    part = clf.submodel_from(layer) if layer else clf.model
    model = keras.Model([part.input], part.output)
    before = None
    if layer:
        submodel = clf.submodel_to(layer)
        before = tf.function(partial(submodel, training=False), reduce_retracing=True)

    def entering(images):
        x = clf.preprocess(images)
        return before(tf.constant(x)).numpy() if before else x

    @cache
    def explainer():
        return shap.GradientExplainer(model, entering(bench.background))

    def shap_values():
        return explainer().shap_values(
            entering(bench.photo), nsamples=bench.samples, ranked_outputs=2, rseed=0
        )

    return shap_values


def largest_difference(ours, theirs) -> str:
    theirs = np.asarray(theirs)
    relative = np.abs(ours - theirs).max() / np.abs(theirs).max()
    return f"largest difference {relative:.0e}"


ROWS_OF: dict[str, Callable[[Bench], list[Row]]] = {
    "activations": activation_rows,
    "occlusion": occlusion_rows,
    "gradients": gradient_rows,
    "smoothgrad": smoothgrad_rows,
    "integrated_gradients": integrated_gradients_rows,
    "expected_gradients": expected_gradients_rows,
    "grad_cam": grad_cam_rows,
}
