"""Sliders over the techniques: plain ipywidgets, the picture in an ``Image``.

    explore_layers(clf)        Grad-CAM, or activations, at every layer
    explore_occlusion(clf)     size and stride of the patch
    explore_smoothgrad(clf)    noise and samples
    explore_shap(clf)          layer and samples

Each returns an ``Explorer`` that shows itself in a notebook. What was computed once is
kept; what takes long runs beside, shows how far it is, and can be cancelled.
"""

from __future__ import annotations

import html
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import ipywidgets as ipw
import numpy as np

from . import explain, plots
from .images import background as other_photos
from .images import sample_images
from .models import Classifier

SIDE = 448  # of the picture, in pixels of the screen
WIDE = {"layout": {"width": "430px"}, "style": {"description_width": "90px"}}


class Explorer(ipw.VBox):
    """Photo, network, class and what a technique adds; its map, and the map in words.

    The controls are attributes, so that a test or a notebook can set them: ``photo``,
    ``network``, ``target``, ``search``, ``opacity``, and those of the technique. The
    picture is ``image`` (an ``ipywidgets.Image``), the words are ``says.value``;
    ``attribution`` is what is shown. Errors appear in ``says`` as a sentence.
    """

    technique = ""
    slow = False  # takes seconds: runs in a thread, with a bar and a button to cancel
    keeps = 64  # results

    def __init__(self, classifiers, photos=None, start=None):
        networks = (
            classifiers if isinstance(classifiers, (list, tuple)) else [classifiers]
        )
        self.photos = sample_images() if photos is None else dict(photos)
        if not self.photos or not networks:
            raise ValueError("Give at least one photo and one classifier.")
        self.results: OrderedDict = OrderedDict()
        self.attribution = None
        self._thread, self._stopped, self._quiet = None, threading.Event(), False
        self._tops: dict = {}

        self.photo = ipw.Dropdown(
            options=list(self.photos), description="photo", **WIDE
        )
        self.network = ipw.Dropdown(
            options=[(one.name, one) for one in networks], description="network", **WIDE
        )
        self.target = ipw.Dropdown(description="class", **WIDE)
        self.search = ipw.Combobox(
            description="other class",
            placeholder="type a name",
            ensure_option=False,
            continuous_update=False,
            **WIDE,
        )
        self.opacity = ipw.FloatSlider(
            0.6, min=0, max=1, step=0.05, description="opacity", **WIDE
        )
        self.image = ipw.Image(format="png", layout={"width": f"{SIDE}px"})
        self.says = ipw.HTML(layout={"width": "430px"})
        self.progress = ipw.IntProgress(description="", layout={"visibility": "hidden"})
        self.cancel = ipw.Button(description="cancel", layout={"visibility": "hidden"})
        self.cancel.on_click(lambda _: self.stop())
        own = self.controls()
        if len(networks) == 1:
            self.network.layout.display = "none"
        column = [
            self.photo,
            self.network,
            *self.choosers(),
            *own,
            self.opacity,
            ipw.HBox([self.progress, self.cancel]),
            self.says,
        ]
        super().__init__([ipw.HBox([ipw.VBox(column), self.image])])
        if start is not None:
            self._begin_with(start)
        self._photo_changed()
        for control in (self.photo, self.network):
            control.observe(self._photo_changed, "value")
        for control in (self.target, *own):
            control.observe(self._update, "value")
        self.search.observe(self._searched, "value")
        self.opacity.observe(self._draw, "value")

    def __repr__(self) -> str:
        return (
            f"{self.technique}: controls and a picture, in a notebook that is running"
        )

    # --- what a technique adds ---

    def controls(self) -> list[ipw.Widget]:
        """The technique's own controls."""
        return []

    def choosers(self) -> list[ipw.Widget]:
        """The controls for the class."""
        return [self.target, self.search]

    def key(self) -> tuple:
        """What the result depends on."""
        return (self.photo.value, self.classifier.name, self.target.value)

    def work(self, progress: Callable):
        """Compute the result for the present key."""
        raise NotImplementedError

    def shown(self, result) -> explain.Attribution:
        """Of a result, the attribution that the controls ask for."""
        return result

    def begin(self, start: explain.Attribution) -> None:
        """Set the technique's own controls to an attribution made before."""

    def picture(self) -> np.ndarray:
        """What goes into the image, uint8 (H, W, 3)."""
        return plots.blend(self.attribution, self.opacity.value)

    # --- what all have ---

    @property
    def classifier(self) -> Classifier:
        return self.network.value

    @property
    def photograph(self) -> np.ndarray:
        return self.photos[self.photo.value]

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing runs any more; for scripts and tests."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def stop(self) -> None:
        """Cancel what is running; it ends after the batch that it is at."""
        self._stopped.set()

    def _begin_with(self, start: explain.Attribution) -> None:
        for name, photo in self.photos.items():
            if np.array_equal(self.classifier.cut(photo)[0], start.image):
                self.photo.value = name
        self._fill_targets(start.target)
        self.begin(start)
        self._keep(self.key(), start)

    def _fill_targets(self, index: int | None = None) -> None:
        """The five first answers for this photo, and one more if it is asked for."""
        key = self.photo.value, self.classifier.name
        if key not in self._tops:
            best = self.classifier.top(
                self.photograph, min(5, len(self.classifier.classes))
            )
            self._tops[key] = [
                (f"{p.label}  {p.probability:.0%}", p.index) for p in best
            ]
        options = list(self._tops[key])
        if index is not None and index not in [value for _, value in options]:
            options.append((self.classifier.label(index), index))
        self._quiet = True
        self.search.options = sorted({label for _, label in self.classifier.classes})
        self.target.options = options
        self.target.value = options[0][1] if index is None else index
        self._quiet = False

    def _photo_changed(self, change=None) -> None:
        if change is not None or not self.target.options:
            self._fill_targets()
        self._update()

    def _searched(self, change) -> None:
        if not change["new"]:
            return
        try:
            index = self.classifier.index(change["new"])
        except ValueError as error:
            self._say(error)
            return
        self._fill_targets(index)
        self._update()

    def _update(self, change=None) -> None:
        if self._quiet:
            return
        self.stop()
        self._stopped = threading.Event()
        key = self.key()
        if key in self.results:
            self.results.move_to_end(key)
            self._draw()
        elif self.slow:
            self._busy(True)
            self._thread = threading.Thread(
                target=self._run, args=(key, self._stopped), daemon=True
            )
            self._thread.start()
        else:
            self._run(key, self._stopped)

    def _run(self, key, stopped: threading.Event) -> None:
        def progress(done, total):
            if stopped.is_set():
                raise explain.Cancelled
            self.progress.max, self.progress.value = total, done

        try:
            self._keep(key, self.work(progress))
            if not stopped.is_set():
                self._draw()
        except explain.Cancelled:
            if stopped is self._stopped:
                self._say("Cancelled. Move a control to compute again.")
        except Exception as error:  # whatever it is, the reader sees it as a sentence
            if not stopped.is_set():
                self._say(error)
        finally:
            if stopped is self._stopped:
                self._busy(False)

    def _keep(self, key, result) -> None:
        self.results[key] = result
        while len(self.results) > self.keeps:
            self.results.popitem(last=False)

    def _busy(self, busy: bool) -> None:
        shown = "visible" if busy else "hidden"
        self.progress.value = 0
        self.progress.layout.visibility = self.cancel.layout.visibility = shown

    def _draw(self, change=None) -> None:
        if self.key() not in self.results:
            return
        try:
            self.attribution = self.shown(self.results[self.key()])
            self.image.value = plots.png(self.picture(), SIDE)
            self._say(self.attribution.text)
        except Exception as error:
            self._say(error)

    def _say(self, text) -> None:
        self.says.value = html.escape(str(text))


def _slider(description: str, value, low, high, step=1, kind=ipw.IntSlider):
    """A slider that answers when it is let go, for what takes seconds."""
    return kind(
        value,
        min=low,
        max=high,
        step=step,
        description=description,
        continuous_update=False,
        **WIDE,
    )


# --- the techniques -------------------------------------------------------------------


class GradCamExplorer(Explorer):
    technique = "Grad-CAM at every layer"

    def controls(self):
        self.layer = ipw.SelectionSlider(options=[""], description="layer", **WIDE)
        self.network.observe(self._fill_layers, "value")  # before the map is computed
        self._fill_layers()
        return [self.layer]

    def _fill_layers(self, change=None):
        layers = self.classifier.layers()
        options = [
            (f"{la.name} · {' × '.join(map(str, la.shape))}", la.name) for la in layers
        ]
        self._quiet = True
        self.layer.options = options
        self.layer.value = self.first_layer()
        self._quiet = False

    def first_layer(self):
        return explain.cam.last_maps(self.classifier)

    def begin(self, start):
        self.layer.value = start.layer

    def _begin_with(self, start):
        super()._begin_with(start)
        self.results.clear()  # one layer is not all of them

    def work(self, progress):
        names = [layer.name for layer in self.classifier.layers()]
        return explain.grad_cam(
            self.classifier, self.photograph, self.target.value, names
        )

    def shown(self, result):
        return next(one for one in result if one.layer == self.layer.value)


class ActivationExplorer(GradCamExplorer):
    technique = "activations of every layer"
    keeps = 2  # photos; all layers of one take some 100 MB

    def choosers(self):
        self.opacity.layout.display = "none"
        return []

    def first_layer(self):
        return self.classifier.layers()[0].name

    def key(self):
        return (self.photo.value, self.classifier.name)

    def work(self, progress):
        names = [layer.name for layer in self.classifier.layers()]
        return explain.activations(self.classifier, self.photograph, names)

    def picture(self):
        return plots.tiles(self.attribution, side=SIDE // 4)


class OcclusionExplorer(Explorer):
    technique, slow = "occlusion", True

    def controls(self):
        side = min(min(one.input_size) for _, one in self.network.options)
        self.patch = _slider("patch, px", side // 5, max(1, side // 16), side // 2)
        self.stride = _slider("stride, px", side // 5, max(1, side // 16), side // 2)
        self.fill = ipw.Dropdown(
            options=[("grey", 127), ("black", 0), ("white", 255)], description="fill",
            **WIDE,
        )  # fmt: skip
        return [self.patch, self.stride, self.fill]

    def begin(self, start):
        self.patch.value, self.stride.value = (
            start.parameters[name][0] for name in ("patch", "stride")
        )
        self.fill.value = start.parameters["fill"][0]

    def key(self):
        own = self.patch.value, self.stride.value, self.fill.value
        return (*super().key(), *own)

    def work(self, progress):
        *_, patch, stride, fill = self.key()
        return explain.occlusion(
            self.classifier, self.photograph, self.target.value,
            patch=patch, stride=stride, fill=fill, progress=progress,
        )  # fmt: skip


class SmoothGradExplorer(Explorer):
    technique, slow = "SmoothGrad", True

    def controls(self):
        self.opacity.value = 1  # a map as fine as the photo would mix with it
        self.noise = _slider("noise", 0.15, 0, 0.5, 0.05, ipw.FloatSlider)
        self.samples = _slider("samples", 10, 1, 100)
        return [self.noise, self.samples]

    def begin(self, start):
        self.noise.value = start.parameters["noise"]
        self.samples.value = start.parameters["samples"]

    def key(self):
        return (*super().key(), round(self.noise.value, 3), self.samples.value)

    def work(self, progress):
        *_, noise, samples = self.key()
        return explain.smoothgrad(
            self.classifier, self.photograph, self.target.value,
            noise=noise, samples=samples, progress=progress,
        )  # fmt: skip


class ShapExplorer(Explorer):
    technique, slow = "expected gradients", True

    def __init__(self, classifiers, photos=None, start=None, background=None):
        self.background = background
        super().__init__(classifiers, photos, start)

    def controls(self):
        self.layer = ipw.SelectionSlider(options=[""], description="layer", **WIDE)
        self.samples = _slider("samples", 10, 1, 200)
        self.network.observe(self._fill_layers, "value")
        self._fill_layers()
        return [self.layer, self.samples]

    def _fill_layers(self, change=None):
        found = [self.classifier.layer(name) for name in self.classifier.bottlenecks]
        options = [
            (f"{la.name} · {' × '.join(map(str, la.shape))}", la.name) for la in found
        ]
        self._quiet = True
        self.layer.options = [("the pixels", ""), *options]
        self.layer.value = found[len(found) // 2].name if found else ""
        self._quiet = False

    def begin(self, start):
        self.layer.value = start.layer or ""
        self.samples.value = start.parameters["samples"]

    def key(self):
        return (*super().key(), self.layer.value, self.samples.value)

    def work(self, progress):
        *_, layer, samples = self.key()
        others = self.background
        if others is None:
            size, name = self.classifier.input_size, self.photo.value
            own = sample_images()
            here = name in own and np.array_equal(own[name], self.photograph)
            others = other_photos(20, size, exclude=[name] if here else [])
        return explain.shap_gradients(
            self.classifier, self.photograph, others, self.target.value,
            layer=layer or None, samples=samples, progress=progress,
        )  # fmt: skip


# --- for notebooks --------------------------------------------------------------------


def explore_layers(
    classifiers: Classifier | Sequence[Classifier],
    photos: dict[str, np.ndarray] | None = None,
    *,
    technique: str = "grad_cam",
    start: explain.Attribution | None = None,
) -> Explorer:
    """Every layer of a network under one slider.

    Parameters
    ----------
    classifiers : Classifier, or several to choose from
    photos : dict of name to uint8 array (H, W, 3)
        None: the photos of the course.
    technique : "grad_cam" or "activations"
        One forward (and backward) pass serves all layers.
    start : Attribution
        Photo, class and layer to begin with.

    Raises
    ------
    ValueError
        For another technique.
    """
    known = {"grad_cam": GradCamExplorer, "activations": ActivationExplorer}
    if technique not in known:
        raise ValueError(f"technique is {' or '.join(known)}, not {technique!r}.")
    return known[technique](classifiers, photos, start)


def explore_occlusion(classifiers, photos=None, *, start=None) -> Explorer:
    """Size, stride and colour of the patch. Arguments as in ``explore_layers``.

    ``start``, an ``occlusion`` made before, is shown at once.
    """
    return OcclusionExplorer(classifiers, photos, start)


def explore_smoothgrad(classifiers, photos=None, *, start=None) -> Explorer:
    """Noise and samples. Arguments as in ``explore_layers``.

    ``start``, a ``smoothgrad`` made before, is shown at once.
    """
    return SmoothGradExplorer(classifiers, photos, start)


def explore_shap(classifiers, photos=None, *, background=None, start=None) -> Explorer:
    """Layer and samples of expected gradients. Arguments as in ``explore_layers``.

    ``background`` : uint8 array (n, height, width, 3); None: crops of the course's
    other photos. ``start``, a ``shap_gradients`` made before, is shown at once.
    """
    return ShapExplorer(classifiers, photos, start, background)
