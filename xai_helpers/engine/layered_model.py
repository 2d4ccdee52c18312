"""``LayeredModel``: a model whose layers can be named, cut apart and computed."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import NamedTuple

from . import keras_graph
from .batches import max_batch_size
from .tensorflow import keras, tf
from .upsampling import Upsampling, layer_upsampling


class Layer(NamedTuple):
    """A layer that a map can be drawn for."""

    index: int  # in ``model.layers``
    name: str
    class_name: str  # in Keras
    shape: tuple[int, int, int]  # height, width, channels of its output

    def __str__(self) -> str:
        height, width, channels = self.shape
        return f"{self.index:3d}  {self.name:<28} {height} × {width} × {channels}"


class LayeredModel:
    """The part of a ``Classifier`` that knows the layers.

    model : (N, height, width, 3) preprocessed → (N, classes) logits
    cache : what was derived from the model, by key: compiled functions, upsamplings
    """

    def __init__(self, name: str, model: keras.Model, tensors: dict | None = None):
        self.name, self.model = name, model
        self.input_size = tuple(model.input_shape[1:3])
        self.cache: dict = {}
        self._tensors = tensors or {la.name: la.output for la in model.layers}
        self._layers = []
        for index, layer in enumerate(model.layers):
            tensor, class_name = self._tensors.get(layer.name), type(layer).__name__
            is_map = isinstance(tensor, keras.KerasTensor) and len(tensor.shape) == 4
            if is_map and not isinstance(layer, keras.layers.InputLayer):
                usable = Layer(index, layer.name, class_name, tensor.shape[1:])
                self._layers.append(usable)

    def layers(self) -> list[Layer]:
        """The layers that output maps (height, width, channels), in network order.

        ``Layer.index`` is the place in ``model.layers``, so VGG16's "layer 7" of the
        article is index 7 here.
        """
        return list(self._layers)

    def layer(self, layer: str | int | Layer) -> Layer:
        """One of ``layers()``, by name or index, or a ValueError that lists them."""
        for usable in self._layers:
            if layer in (usable, usable.name, usable.index) and layer is not True:
                return usable
        names = [la.name for la in self.model.layers]
        exists = layer in names or (isinstance(layer, int) and 0 <= layer < len(names))
        why = "outputs no maps (height, width, channels)"
        usable = ", ".join(f"{la.index} {la.name}" for la in self._layers)
        raise ValueError(
            f"Layer {layer!r} of {self.name} {why if exists else 'does not exist'}. "
            f"Usable: {usable or 'none, the network has no layer with maps'}."
        )

    @cached_property
    def default_layer(self) -> Layer:
        """The last layer with more than one cell that is not a pooling layer."""
        layers = [la for la in self._layers if "Pooling" not in la.class_name]
        if not layers:
            raise ValueError(f"{self.name} has no convolution whose maps to weigh.")
        wide = [la for la in layers if la.shape[0] * la.shape[1] > 1]
        return (wide or layers)[-1]

    def layer_or_default(self, layer: str | int | Layer | None) -> Layer:
        """``layer(layer)``, or the default layer for None."""
        return self.default_layer if layer is None else self.layer(layer)

    def layer_tensor(self, layer: str | int | Layer) -> keras.KerasTensor:
        """What this layer outputs in the graph of ``model``."""
        return self._tensors[self.layer(layer).name]

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
        users = [call.layer.name for call in keras_graph.calls(self.model)]
        return tuple(
            layer.name
            for layer in self._layers
            if keras_graph.producer(self.layer_tensor(layer)).key in passed
            and users.count(layer.name) == 1
        )

    def upsampling(self, layer: str | int | Layer) -> Upsampling:
        """From the layer's cells to the pixels of the network's square."""
        key = "upsampling", self.layer(layer).name
        if key not in self.cache:
            tensor = self.layer_tensor(layer)
            self.cache[key] = layer_upsampling(tensor, self.input_size)
        return self.cache[key]

    def batch_size(self, *, backward: bool = False, after: Layer | None = None) -> int:
        """How many images fit the memory, 1 to 16; only layers from ``after`` on."""
        layers = [la for la in self._layers if not after or la.index >= after.index]
        if backward:  # its slope does not depend on what enters a normalisation
            layers = [la for la in layers if la.class_name != "BatchNormalization"]
        shapes = [(*self.input_size, 3), *(layer.shape for layer in layers)]
        return max_batch_size(shapes, backward=backward)

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
