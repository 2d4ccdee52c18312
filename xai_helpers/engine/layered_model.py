"""``LayeredModel``: a model whose layers can be named, cut apart and computed."""

from collections import Counter
from collections.abc import Callable
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from . import keras_graph
from .batches import max_batch_size
from .keras_graph import is_composite
from .layouts import Layout, layouts
from .tensorflow import gradients_of, keras, tf
from .upsampling import Upsampling, layer_upsampling

TOKENS = (
    "Its cells are the tokens of a transformer, {}in which attention has mixed the "
    "patches: a cell's value need not come from its own place."
)
PAST = (
    "Other paths lead to the answer past this layer, for example through {!r}: their "
    "evidence is not in this map."
)


class Layer(NamedTuple):
    """A call of a layer, or of an operation, whose output is maps of the picture."""

    index: int  # among all calls; if each layer is called once, in ``model.layers``
    name: str
    class_name: str  # in Keras
    shape: tuple[int, int, int]  # height, width, channels of its output

    def __str__(self) -> str:
        height, width, channels = self.shape
        return f"{self.index:3d}  {self.name:<28} {height} × {width} × {channels}"


class LayeredModel:
    """The part of a ``Classifier`` that knows the layers.

    model : (N, height, width, 3) preprocessed → (N, classes) logits
    blocks : name of a nested model or block → names of the calls of its last layer
    cache : what was derived from the model, by key: compiled functions, upsamplings
    """

    def __init__(self, name: str, model: keras.Model, blocks: dict | None = None):
        self.name, self.model, self.blocks = name, model, blocks or {}
        self.input_size = tuple(model.input_shape[1:3])
        self.cache: dict = {}
        self._calls = keras_graph.calls(model)
        self._layers: list[Layer] = []
        self._tensors: dict[str, keras.KerasTensor] = {}
        self._layouts: dict[str, Layout] = {}
        known, number = layouts(model), Counter()
        names = [call.operation.name for call in self._calls]
        self._call_counts = Counter(names)
        used = {id(t) for call in self._calls for t in [*call.inputs, model.output]}
        for index, (call, name) in enumerate(zip(self._calls, names, strict=True)):
            number[name] += 1
            if self._call_counts[name] > 1:
                name += f" (call {number[name]})"
            outputs = [t for t in call.outputs if id(t) in used] if call.inputs else []
            for k, tensor in enumerate(outputs):
                if (layout := known.get(id(tensor))) is not None:
                    full_name = name + (f" (output {k + 1})" if outputs[1:] else "")
                    shape = layout.shape(tensor)
                    self._layers.append(Layer(index, full_name, call.kind, shape))
                    self._tensors[full_name] = tensor
                    self._layouts[full_name] = layout

    def layers(self) -> list[Layer]:
        """Those that output maps (height, width, channels), in network order.

        Sums and other operations are among them; a layer that is used twice stands
        there twice, as "conv (call 1)" and "conv (call 2)". Tokens of a vision
        transformer count as maps of their grid. VGG16's "layer 7" of the article has
        ``Layer.index`` 7.
        """
        return list(self._layers)

    def layer(self, layer: str | int | Layer) -> Layer:
        """One of ``layers()``, by name or index, or a ValueError that lists them.

        The name of a nested model or of a block stands for what it outputs.
        """
        candidates = self._named(layer)
        if len(candidates) == 1:
            return candidates[0]
        names = [call.operation.name for call in self._calls]
        exists = layer in names or (isinstance(layer, int) and 0 <= layer < len(names))
        why = "outputs no maps of the picture" if exists else "does not exist"
        why = "has several calls or outputs; say which you mean" if candidates else why
        usable = [f"{la.index} {la.name}" for la in candidates or self._layers]
        usable = ", ".join(usable) or "none, the network has no layer with maps"
        raise ValueError(f"Layer {layer!r} of {self.name} {why}. Usable: {usable}.")

    def _named(self, layer: str | int | Layer) -> list[Layer]:
        """Those that this stands for: one for each call and output of a layer."""
        exact = [la for la in self._layers if layer in (la, la.name, la.index)]
        if exact or not isinstance(layer, str):
            return exact if layer is not True else []
        outputs = self.blocks.get(layer, ())
        return [
            la
            for la in self._layers
            if la.name in outputs
            or la.name.startswith((f"{layer} (call ", f"{layer} (output "))
        ]

    @cached_property
    def default_layer(self) -> Layer:
        """The last layer with more than one cell that is not a pooling layer.

        Weights come before it, and its cells matter to the logits. A ValueError if
        there is none, or if more follows that cannot be looked into, or whose cells
        have no known place.
        """
        learned = [la for la in self._layers if self._layouts[la.name].learned]
        layers = [la for la in learned if "Pool" not in la.class_name]
        wide = [la for la in layers if la.shape[0] * la.shape[1] > 1]
        reached = [la for la in wide if self._reaches_logits(la)]
        if not reached:
            lost = self._kernel_without_place(0)
            fault = f": from {lost!r} on, no place is known" if lost else ""
            raise ValueError(
                f"{self.name} has no convolution whose maps to weigh: no layer has "
                f"learned maps of several cells{fault}. Techniques at the pixels need "
                "none (gradients, SmoothGrad, integrated gradients, occlusion, RISE)."
            )
        layer = reached[-1]
        later = [self._calls[la.index] for la in wide if la.index > layer.index]
        closed = [c.operation.name for c in later if is_composite(c.operation)]
        if closed:
            raise ValueError(
                f"{self.name} has layers inside {closed[-1]!r} that cannot be looked "
                f"into. The last layer before it whose cells matter is {layer.name!r}; "
                "name a layer to explain."
            )
        if unknown := self._kernel_without_place(layer.index):
            raise ValueError(
                f"After {layer.name!r}, the last layer of {self.name} whose cells have "
                f"a known place on the picture, comes {unknown!r}, whose cells have "
                "none; name a layer to explain."
            )
        return layer

    def _reaches_logits(self, layer: Layer) -> bool:
        """Whether the cells of a token layer matter: some heads read one token only."""
        layout = self._layouts[layer.name]
        return not layout.is_tokens or layer.name in self._tokens_that_matter

    @cached_property
    def _tokens_that_matter(self) -> set[str]:
        """The token layers whose cells the logits of a picture of noise depend on."""
        names = [name for name, layout in self._layouts.items() if layout.is_tokens]
        noise = np.random.default_rng(0).random((1, *self.input_size, 3), "float32")
        model = keras.Model(
            self.model.input, [*(self._tensors[n] for n in names), self.model.output]
        )
        with tf.GradientTape() as tape:
            x = tf.constant(noise)
            tape.watch(x)
            *tokens, logits = model(x, training=False)
            score = tf.reduce_sum(logits**2)
        gradients = zip(names, tape.gradient(score, tokens), strict=True)
        return {
            name
            for name, gradient in gradients
            if gradient is not None
            and np.any(self._layouts[name].to_maps(gradient).numpy())
        }

    def _kernel_without_place(self, index: int) -> str:
        """A later call with weights on several cells whose place is unknown, or ""."""
        placed = {id(tensor) for tensor in self._tensors.values()}
        for call in self._calls[index + 1 :]:
            shape = call.outputs[0].shape[1:]
            cells = sum(side is None or side > 1 for side in shape) > 1
            has_kernel = any(len(variable.shape) > 1 for variable in call.variables)
            if cells and has_kernel and id(call.outputs[0]) not in placed:
                return call.operation.name
        return ""

    def _way_past(self, layer: Layer) -> str:
        """A layer with maps that reaches the logits, not through this one; or ""."""
        makers: dict[int, keras_graph.Call] = {}
        for call in self._calls:
            makers |= dict.fromkeys(map(id, call.outputs), call)
        after = {id(self._tensors[layer.name])}  # what is computed from the layer
        for call in self._calls:
            if any(id(tensor) in after for tensor in call.inputs):
                after |= set(map(id, call.outputs))
        reaching, pending = set(), [self.model.output]
        while pending:
            tensor = pending.pop()
            if id(tensor) not in reaching and tensor is not self._tensors[layer.name]:
                reaching.add(id(tensor))
                pending += makers[id(tensor)].inputs
        for other in reversed(self._layers):
            key, (rows, columns, _) = id(self._tensors[other.name]), other.shape
            is_learned = self._layouts[other.name].learned and rows * columns > 1
            if is_learned and key in reaching and key not in after:
                return other.name
        return ""

    def names_from(self, name: str) -> list[str]:
        """Names of the layers and operations from this one to the output, in order.

        Any layer of the network counts, also one that outputs no maps.
        """
        names = [call.operation.name for call in self._calls]
        return names[names.index(name) if name in names else self.layer(name).index :]

    def layer_or_default(self, layer: str | int | Layer | None) -> Layer:
        """``layer(layer)``, or the default layer for None."""
        return self.default_layer if layer is None else self.layer(layer)

    def layer_tensor(self, layer: str | int | Layer) -> keras.KerasTensor:
        """What this layer outputs in the graph of ``model``."""
        return self._tensors[self.layer(layer).name]

    def receptive_field_grid(self, layer: str | int | Layer) -> tuple:
        """The pixel at the centre of what cell (0, 0) sees, and the step to the next.

        Two arrays (row, column); pixel 0's centre is at 0.
        """
        layout = self._layouts[self.layer(layer).name]
        return layout.first, layout.step

    def to_maps(self, layer: str | int | Layer, values):
        """What a layer outputs → float32 (N, height, width, channels).

        Channels become last if they are not, and tokens a grid, without those that
        belong to no place.
        """
        return self._layouts[self.layer(layer).name].to_maps(values)

    def submodel_to(self, *layers: str | int, logits: bool = False) -> keras.Model:
        """The model from its input to what these layers output, and to the logits.

        The way to a layer of a nested model, too: the layer's own ``.output`` belongs
        to the graph that it was first built in.
        """
        outputs = [self.layer_tensor(layer) for layer in layers]
        outputs += [self.model.output] * logits
        outputs = outputs[0] if len(outputs) == 1 else outputs
        return keras.Model(self.model.input, outputs)

    def submodel_from(self, layer: str | int) -> keras.Model:
        """The rest of the model, from what this layer outputs to the logits.

        If a connection bypasses the layer, a ValueError lists the ``bottlenecks``.
        """
        name = self.layer(layer).name
        if name not in self.bottlenecks:
            raise ValueError(
                f"A skip connection bypasses {name!r}, so what follows does not "
                "depend on it alone. Everything passes through: "
                f"{', '.join(self.bottlenecks)}."
            )
        return keras.Model(self.layer_tensor(name), self.model.output)

    @cached_property
    def bottlenecks(self) -> tuple[str, ...]:
        """Names of the layers with maps that every path through the model passes."""
        passed = {call.key for call in keras_graph.bottlenecks(self.model)}
        return tuple(
            layer.name
            for layer in self._layers
            if self._calls[layer.index].key in passed
            and self._call_counts[layer.name] == 1  # not one of several calls
            and len(self._calls[layer.index].outputs) == 1
        )

    def upsampling(self, layer: str | int | Layer) -> Upsampling:
        """From the layer's cells to the pixels of the network's square."""
        layer = self.layer(layer)
        if ("upsampling", layer.name) not in self.cache:
            layout, notes = self._layouts[layer.name], []
            if layout.is_tokens:
                left_out = "those that belong to no patch left out, "
                notes.append(TOKENS.format(left_out if layout.extra else ""))
            if " (call " in layer.name:
                notes.append(
                    "The layer is used several times; this is one of its calls."
                )
            is_default = layer == vars(self).get("default_layer")
            if is_default and not layout.is_tokens and (past := self._way_past(layer)):
                notes.append(PAST.format(past))
            note = " ".join([*filter(None, [layout.note]), *notes])
            upsampling = layer_upsampling(layout, self.input_size, note)
            self.cache["upsampling", layer.name] = upsampling
        return self.cache["upsampling", layer.name]

    def batch_size(self, *, backward: bool = False, after: Layer | None = None) -> int:
        """How many images fit the memory, 1 to 16; only layers from ``after`` on."""
        calls = self._calls[after.index if after else 0 :]
        calls = [call for call in calls if call.inputs]
        if backward:  # its slope does not depend on what enters a normalisation
            calls = [call for call in calls if call.kind != "BatchNormalization"]
        outputs = [tensor.shape[1:] for call in calls for tensor in call.outputs]
        shapes = [shape for shape in outputs if len(shape) > 1 and None not in shape]
        shapes.append((*self.input_size, 3))
        return max_batch_size(shapes, backward=backward)

    @cached_property
    def has_half_precision(self) -> bool:
        """Whether anything is computed in float16, whose small gradients become 0."""
        dtypes = {tensor.dtype for call in self._calls for tensor in call.outputs}
        return "float16" in dtypes

    def gradients_of(self, y, tensors: list, logits) -> list:
        """In a compiled function: d y / d tensor; y (N,) depends on the logits."""
        return gradients_of(y, tensors, logits if self.has_half_precision else None)

    def cached_function(self, key, build: Callable, signature=None) -> Callable:
        """``build()``, a function of tensors, compiled once for this key.

        signature : the ``tf.TensorSpec`` of each argument, or None: then it is compiled
        for the first shapes that occur, and once more for all others.
        """
        if ("function", key) not in self.cache:
            # TensorFlow would warn that one function is compiled over and over, since
            # it tells functions apart by their code; a partial has none.
            function, options = partial(build()), {"input_signature": signature}
            options |= {"reduce_retracing": True, "autograph": False}
            self.cache["function", key] = tf.function(function, **options)
        return self.cache["function", key]
