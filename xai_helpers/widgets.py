"""Sliders over the techniques: plain ipywidgets, the picture in an ``Image``.

    explore_layers(clf)        Grad-CAM, or activations, at every layer
    explore_occlusion(clf)     size and stride of the patch
    explore_smoothgrad(clf)    noise and samples
    explore_path(clf)          baseline and steps of integrated gradients
    explore_shap(clf)          layer and samples
    explore_all([clf, other])  every technique, every control, one panel

Each returns an ``Explorer`` that shows itself in a notebook. What was computed once is
kept; what takes long runs beside, shows how far it is, and can be cancelled.
"""

from __future__ import annotations

import html
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import ipywidgets as ipw
import numpy as np

from . import explain, plots
from .explain.engine import SCORES
from .images import background as other_photos
from .images import load_image, sample_images
from .models import Classifier

SIDE = 448  # of the picture, in pixels of the screen
BLANK = np.full((SIDE, SIDE, 3), 255, "uint8")
WIDE = {"layout": {"width": "430px"}, "style": {"description_width": "90px"}}


class Job(NamedTuple):
    """What a picture depends on, as the controls stood when it was asked for."""

    photo: str
    network: int  # its place among the networks
    target: int | None
    own: tuple  # of the technique
    version: int = 0  # of the photo: one of the same name may be uploaded again


class Explorer(ipw.VBox):
    """Photo, network, class and what a technique adds; its map, and the map in words.

    The controls are attributes, so that a test or a notebook can set them: ``photo``,
    ``network``, ``target``, ``search``, ``opacity``, ``upload``, and those of the
    technique. The picture is ``image`` (an ``ipywidgets.Image``), the words are
    ``says.value``; ``attribution`` is what is shown. Errors appear in ``says`` as a
    sentence.
    """

    technique = ""
    makes = ""  # the technique's name in an ``Attribution``
    slow = False  # takes seconds: runs in a thread, with a bar and a button to cancel
    keeps = 32  # results

    def __init__(self, classifiers, photos=None, start=None):
        several = isinstance(classifiers, (list, tuple))
        self.networks = list(classifiers) if several else [classifiers]
        self.photos = _photos(photos)
        if not self.networks or not all(
            isinstance(n, Classifier) for n in self.networks
        ):
            raise ValueError(
                "Give a Classifier, as load_classifier makes it, or several."
            )
        self.results: OrderedDict = OrderedDict()
        self.attribution, self.seed = None, 0
        self._threads: list = []
        self._stopped, self._quiet = threading.Event(), False
        self._tops: dict = {}
        self._versions: dict = {}

        names = [one.name for one in self.networks]
        names = [
            name if names.count(name) == 1 else f"{name} ({k + 1})"
            for k, name in enumerate(names)
        ]
        self.photo = ipw.Dropdown(
            options=list(self.photos), description="photo", **WIDE
        )
        self.network = ipw.Dropdown(
            options=list(zip(names, self.networks, strict=True)),
            description="network",
            **WIDE,
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
        self.upload = ipw.FileUpload(
            accept="image/*",
            description="a photo of your own",
            layout={"width": "200px"},
        )
        self.image = ipw.Image(
            value=plots.png(BLANK), format="png", layout={"max_width": f"{SIDE}px"}
        )
        self.says = ipw.HTML(layout={"width": "430px"})
        self.progress = ipw.IntProgress(layout={"visibility": "hidden"})
        self.cancel = ipw.Button(description="cancel", layout={"visibility": "hidden"})
        self.cancel.on_click(lambda _: self.stop())
        if start is not None:
            self._check(start)
            self.network.value = next(n for n in self.networks if n.name == start.model)
        own = self.controls()
        if len(self.networks) == 1:
            self.network.layout.display = "none"
        running = ipw.HBox([self.progress, self.cancel])
        column = [self.photo, self.upload, self.network, *self.choosers(), *own]
        column += [self.opacity]
        column = ipw.VBox([*column, running, self.says])
        super().__init__([ipw.HBox([column, self.image])])
        if start is None:
            self._fill_targets()
        else:
            self._begin_with(start)
        self._update()
        for control in (self.photo, self.network):
            control.observe(self._photo_changed, "value")
        for control in (self.target, *own):
            control.observe(self._update, "value")
        self.search.observe(self._searched, "value")
        self.opacity.observe(self._draw, "value")
        self.upload.observe(self._uploaded, "value")

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

    def own(self) -> tuple:
        """The values of the technique's own controls that the result depends on."""
        return ()

    def work(self, job: Job, progress: Callable):
        """Compute the result. In a thread if ``slow``: nothing here reads controls."""
        raise NotImplementedError

    def shown(self, result) -> explain.Attribution:
        """Of a result, the attribution that the controls ask for."""
        return result

    def begin(self, start: explain.Attribution) -> None:
        """Set the technique's own controls to an attribution made before."""

    def picture(self) -> np.ndarray:
        """What goes into the image, uint8 (H, W, 3)."""
        return plots.blend(self.attribution, self.opacity.value)

    def words(self) -> str:
        """What stands beside it: the finding, and where the colours end."""
        return f"{self.attribution.text} {plots.scale(self.attribution)}"

    # --- what all have ---

    @property
    def classifier(self) -> Classifier:
        return self.network.value

    def job(self) -> Job:
        """What the controls ask for now."""
        place = next(
            k for k, one in enumerate(self.networks) if one is self.network.value
        )
        version = self._versions.get(self.photo.value, 0)
        return Job(self.photo.value, place, self.target.value, self.own(), version)

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing runs any more; for scripts and tests."""
        for thread in self._threads:
            thread.join(seconds)

    def stop(self) -> None:
        """Cancel what is running; it ends after the batch that it is at."""
        self._stopped.set()

    def _check(self, start) -> None:
        """Refuse what cannot be shown under these controls, with a sentence."""
        technique = getattr(start, "technique", type(start).__name__)
        if technique != self.makes:
            raise ValueError(
                f"start is an Attribution of {self.makes}, not {technique}."
            )
        if start.model not in [one.name for one in self.networks]:
            raise ValueError(
                f"start was made with {start.model}: give that classifier."
            )
        if start.score == "probability":
            raise ValueError("start explains the probability; the sliders use logits.")

    def _begin_with(self, start: explain.Attribution) -> None:
        for name, photo in self.photos.items():
            if np.array_equal(self.classifier.cut(photo)[0], start.image):
                self.photo.value = name
                break
        else:
            raise ValueError("start's photo is not among the photos; give it as well.")
        self._fill_targets(start.target)
        self.seed = start.parameters.get("seed", 0)
        self.begin(start)
        self._keep(self.job(), start)

    def _fill_targets(self, index: int | None = None) -> None:
        """The five first answers for this photo, and one more if it is asked for."""
        key = self.job()[:2]
        classes = self.classifier.classes
        if key not in self._tops:
            best = self.classifier.top(
                self.photos[self.photo.value], min(5, len(classes))
            )
            self._tops[key] = [
                (f"{p.label}  {p.probability:.0%}", p.index) for p in best
            ]
        options = list(self._tops[key])
        if index is not None and index not in [value for _, value in options]:
            options.append((self.classifier.label(index), index))
        with self._silently():
            self.search.options = sorted({label for _, label in classes})
            self.search.value = ""
            self.target.options = options
            self.target.value = options[0][1] if index is None else index

    @contextmanager
    def _silently(self):
        """Controls are set by the program: nobody has to compute anything yet."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _abandon(self) -> None:
        """What runs is stopped, and has nothing to say any more."""
        self.stop()
        self._stopped = threading.Event()
        self._busy(False)

    def _photo_changed(self, change=None) -> None:
        if self._quiet:
            return
        self._abandon()
        try:
            self._fill_targets()
        except Exception as error:
            self._fail(error)
        else:
            self._update()

    def _uploaded(self, change) -> None:
        """The picture becomes one of the photos, under its file's name."""
        for file in change["new"]:
            name = file["name"]
            try:
                photo = load_image(bytes(file["content"]))
            except ValueError as error:
                running = any(thread.is_alive() for thread in self._threads)
                self._abandon()
                said = str(error).replace("the bytes given", name)
                self._fail(said) if running else self._say(said)
                break
            self.photos[name] = photo
            self._versions[name] = self._versions.get(name, 0) + 1
            self._tops = {k: v for k, v in self._tops.items() if k[0] != name}
            with self._silently():
                self.photo.options = list(self.photos)
                self.photo.value = name
            self._photo_changed()
        if change["new"]:
            self.upload.value = ()  # so that the same file can be chosen again

    def _searched(self, change) -> None:
        wanted = change["new"].strip()
        if not wanted or self._quiet:
            return
        try:
            index = self.classifier.index(wanted)
        except ValueError as error:
            self._say(error)
        else:
            self._fill_targets(index)
            self._update()

    def _update(self, change=None) -> None:
        if self._quiet:
            return
        self.stop()
        self._stopped = threading.Event()
        job = self.job()
        if job in self.results:
            self.results.move_to_end(job)
            self._busy(False)
            self._draw()
        elif self.slow:
            self._busy(True)
            self._say("Computing …")
            thread = threading.Thread(
                target=self._run, args=(job, self._stopped), daemon=True
            )
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]
            thread.start()
        else:
            self._run(job, self._stopped)

    def _run(self, job: Job, stopped: threading.Event) -> None:
        def progress(done, total):
            if stopped.is_set():
                raise explain.Cancelled
            self.progress.max, self.progress.value = total, done

        try:
            self._keep(job, self.work(job, progress))
            if stopped.is_set():  # a technique that does not report cannot be stopped
                raise explain.Cancelled
            self._draw()
        except explain.Cancelled:
            if stopped is self._stopped:
                self._fail("Cancelled. Move a control to compute again.")
        except Exception as error:  # whatever it is, the reader sees it as a sentence
            if not stopped.is_set():
                self._fail(error)
        finally:
            if stopped is self._stopped:
                self._busy(False)

    def _keep(self, job: Job, result) -> None:
        self.results[job] = result
        while len(self.results) > self.keeps:
            self.results.popitem(last=False)

    def _busy(self, busy: bool) -> None:
        shown = "visible" if busy else "hidden"
        self.progress.value = 0
        self.progress.layout.visibility = self.cancel.layout.visibility = shown

    def _draw(self, change=None) -> None:
        result = self.results.get(self.job())
        if result is None:
            return
        try:
            self.attribution = self.shown(result)
            self.image.value = plots.png(self.picture(), SIDE)
            self._say(self.words())
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """No picture beside controls that it does not belong to."""
        self.attribution, self.image.value = None, plots.png(BLANK)
        self._say(error)

    def _say(self, text) -> None:
        self.says.value = html.escape(str(text))


def _photos(photos) -> dict:
    if photos is None:
        return sample_images()
    if isinstance(photos, np.ndarray):
        photos = {"photo": photos}
    if not isinstance(photos, dict) or not photos:
        raise ValueError("photos is a dict of name to image, with at least one photo.")
    return {str(name): photo for name, photo in photos.items()}


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


def _set(slider, value) -> None:
    """Move a slider, beyond its end if need be."""
    slider.min, slider.max = min(slider.min, value), max(slider.max, value)
    slider.value = value


def _layer_options(layers) -> list[tuple[str, str]]:
    return [(f"{la.name} · {' × '.join(map(str, la.shape))}", la.name) for la in layers]


# --- the techniques -------------------------------------------------------------------


class GradCamExplorer(Explorer):
    technique, makes = "Grad-CAM at every layer", "Grad-CAM"

    def controls(self):
        self.layer = ipw.SelectionSlider(options=[""], description="layer", **WIDE)
        self.network.observe(self._fill_layers, "value")  # before the map is computed
        self._fill_layers()
        return [self.layer]

    def _fill_layers(self, change=None):
        with self._silently():
            options = self.choices() or [("no layer has maps", "")]
            self.layer.options = options
            self.layer.value = self.first_layer() if options[0][1] else ""

    def choices(self) -> list[tuple[str, str]]:
        return _layer_options(self.classifier.layers())

    def first_layer(self) -> str:
        return explain.cam.last_maps(self.classifier)

    def begin(self, start):
        self.layer.value = start.layer

    def _begin_with(self, start):
        super()._begin_with(start)
        self.results.clear()  # one layer is not all of them

    def names(self, job) -> list[str]:
        found = [layer.name for layer in self.networks[job.network].layers()]
        if not found:
            raise ValueError("This network has no layer with maps to show.")
        return found

    def work(self, job, progress):
        network, photo = self.networks[job.network], self.photos[job.photo]
        return explain.grad_cam(network, photo, job.target, self.names(job))

    def shown(self, result):
        return next(one for one in result if one.layer == self.layer.value)

    def words(self):
        return f"{super().words()} {self.cells()}"

    def cells(self) -> str:
        """The layer's shape, for which the slider has no room."""
        if self.attribution.layer is None:
            return ""
        height, width, channels = self.classifier.layer(self.attribution.layer).shape
        return f"The layer: {height} × {width} cells, {channels} channels."


class ActivationExplorer(GradCamExplorer):
    technique, makes = "activations of every layer", "activations"
    keeps = 2  # photos; all layers of one take some 100 MB

    def choosers(self):
        self.opacity.layout.display = "none"
        return []

    def first_layer(self):
        return self.classifier.layers()[0].name

    def job(self):
        return super().job()._replace(target=None)

    def work(self, job, progress):
        network, photo = self.networks[job.network], self.photos[job.photo]
        return explain.activations(network, photo, self.names(job))

    def picture(self):
        return plots.tiles(self.attribution, side=SIDE // 4)

    def words(self):
        own = "Each channel has colours of its own."
        return f"{self.attribution.text} {own} {self.cells()}"


class OcclusionExplorer(Explorer):
    technique, makes, slow = "occlusion", "occlusion", True

    def controls(self):
        side = min(min(one.input_size) for one in self.networks)
        low, high = max(1, side // 16), max(2, side // 2)
        self.patch = _slider("patch, px", max(low, side // 5), low, high)
        self.stride = _slider("stride, px", max(low, side // 5), low, high)
        self.fill = ipw.Dropdown(
            options=[("grey", 127), ("black", 0), ("white", 255)],
            description="fill",
            **WIDE,
        )
        return [self.patch, self.stride, self.fill]

    def begin(self, start):
        for name, control in (("patch", self.patch), ("stride", self.stride)):
            down, across = start.parameters[name]
            if down != across:
                raise ValueError(
                    f"start has a {name} that is not square; no slider is."
                )
            _set(control, down)
        fill = start.parameters["fill"]
        fill = fill[0] if len(set(fill)) == 1 else fill
        if fill not in [value for _, value in self.fill.options]:
            self.fill.options = [*self.fill.options, (str(fill), fill)]
        self.fill.value = fill

    def own(self):
        return self.patch.value, self.stride.value, self.fill.value

    def work(self, job, progress):
        patch, stride, fill = job.own
        network, photo = self.networks[job.network], self.photos[job.photo]
        options = {"patch": patch, "stride": stride, "fill": fill}
        return explain.occlusion(
            network, photo, job.target, **options, progress=progress
        )


class SmoothGradExplorer(Explorer):
    technique, makes, slow = "SmoothGrad", "SmoothGrad", True

    def controls(self):
        self.opacity.value = 1  # a map as fine as the photo would mix with it
        self.noise = _slider("noise", 0.15, 0, 0.5, 0.05, ipw.FloatSlider)
        self.samples = _slider("samples", 10, 1, 100)
        return [self.noise, self.samples]

    def begin(self, start):
        _set(self.noise, start.parameters["noise"])
        _set(self.samples, start.parameters["samples"])

    def own(self):
        return round(self.noise.value, 3), self.samples.value

    def work(self, job, progress):
        noise, samples = job.own
        network, photo = self.networks[job.network], self.photos[job.photo]
        options = {"noise": noise, "samples": samples, "seed": self.seed}
        return explain.smoothgrad(
            network, photo, job.target, **options, progress=progress
        )


class PathExplorer(Explorer):
    technique = makes = "integrated gradients"
    slow, tolerance = True, 0.02

    def controls(self):
        self.opacity.value = 1
        names = explain.path.BASELINES
        self.baseline = ipw.Dropdown(options=names, description="baseline", **WIDE)
        self.steps = _slider("steps", 32, 16, 256, 16)
        return [self.baseline, self.steps]

    def begin(self, start):
        if start.parameters["baseline"] not in explain.path.BASELINES:
            raise ValueError("start has a baseline of its own; the slider has none.")
        self.tolerance = start.parameters["tolerance"]
        self.baseline.value = start.parameters["baseline"]
        _set(self.steps, start.parameters["steps"])

    def own(self):
        return self.baseline.value, self.steps.value

    def work(self, job, progress):
        baseline, steps = job.own
        network, photo = self.networks[job.network], self.photos[job.photo]
        options = {"baseline": baseline, "steps": steps, "tolerance": self.tolerance}
        options["seed"] = self.seed
        return explain.integrated_gradients(
            network, photo, job.target, **options, progress=progress
        )

    def words(self):
        return (
            f"{super().words()} Its sum misses by {self.attribution.checks['gap']:.1%}."
        )


class ShapExplorer(GradCamExplorer):
    technique, makes, slow = "expected gradients", "expected gradients", True

    def __init__(self, classifiers, photos=None, start=None, background=None):
        self.background = background
        super().__init__(classifiers, photos, start)

    def controls(self):
        self.samples = _slider("samples", 10, 1, 200)
        return [*super().controls(), self.samples]

    def choices(self):
        found = [self.classifier.layer(name) for name in self.classifier.bottlenecks]
        return [("the pixels", "pixels"), *_layer_options(found)]

    def first_layer(self):
        names = ["pixels", *self.classifier.bottlenecks]
        return names[(len(names) + 1) // 2] if len(names) > 1 else names[0]

    def begin(self, start):
        self.layer.value = start.layer or "pixels"
        _set(self.samples, start.parameters["samples"])

    def _begin_with(self, start):
        Explorer._begin_with(self, start)

    def own(self):
        return self.layer.value, self.samples.value

    def work(self, job, progress):
        layer, samples = job.own
        network, photo = self.networks[job.network], self.photos[job.photo]
        others = _others(network, photo, self.background)
        options = {"layer": None if layer == "pixels" else layer, "samples": samples}
        return explain.shap_gradients(
            network, photo, others, job.target, **options, seed=self.seed,
            progress=progress,
        )  # fmt: skip

    def shown(self, result):
        return result


QUICK = {  # what a person will wait for; the functions' defaults are finer
    "occlusion": {"patch": 0.2},  # of the shorter side
    "smoothgrad": {"samples": 10},
    "integrated_gradients": {"steps": 32},
    "shap_gradients": {"samples": 12},
}


class Panel(GradCamExplorer):
    """All techniques under one roof, each with settings that answer in seconds."""

    technique, makes, slow = "All techniques", "", True
    AT_LAYERS = ("grad_cam", "activations", "shap_gradients")

    def __init__(self, classifiers, photos=None, start=None, background=None):
        self.background = background
        super().__init__(classifiers, photos, start)

    def controls(self):
        self.method = ipw.Dropdown(
            options=[(name.replace("_", " "), name) for name in explain.TECHNIQUES],
            value="grad_cam",
            description="technique",
            **WIDE,
        )
        self.score = ipw.Dropdown(options=SCORES, description="score", **WIDE)
        layer = super().controls()
        self.method.observe(self._fill_layers, "value")
        return [self.method, *layer, self.score]

    def _fill_layers(self, change=None):
        super()._fill_layers()
        self.layer.disabled = self.method.value not in self.AT_LAYERS
        self.score.disabled = self.method.value == "activations"

    def choices(self):
        if self.method.value == "shap_gradients":
            return ShapExplorer.choices(self)
        if self.method.value in self.AT_LAYERS:
            return super().choices()
        return [("the whole network", "all")]

    def first_layer(self):
        if self.method.value == "shap_gradients":
            return ShapExplorer.first_layer(self)
        return super().first_layer() if self.method.value in self.AT_LAYERS else "all"

    def own(self):
        layer = self.layer.value if self.method.value in self.AT_LAYERS else None
        return self.method.value, layer, self.score.value

    def work(self, job, progress):
        method, layer, score = job.own
        network, photo = self.networks[job.network], self.photos[job.photo]
        options = dict(QUICK.get(method, {}))
        if method in self.AT_LAYERS:
            options["layer"] = None if layer == "pixels" else layer
        if method == "activations":
            return explain.activations(network, photo, **options)
        options |= {"target": job.target, "score": score}
        if method == "occlusion":
            options["patch"] = max(1, round(options["patch"] * min(network.input_size)))
        if method == "shap_gradients":
            options["background"] = _others(network, photo, self.background)
        if method not in ("gradients", "grad_cam"):
            options["progress"] = progress
        return explain.TECHNIQUES[method](network, photo, **options)

    def shown(self, result):
        return result

    def cells(self) -> str:
        return super().cells() if self.method.value in self.AT_LAYERS else ""


def _others(network, photo, given) -> np.ndarray:
    """The background given, or crops of the course's other photos."""
    if given is not None:
        return given
    same = [name for name, p in sample_images().items() if np.array_equal(p, photo)]
    return other_photos(20, network.input_size, exclude=same)


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


def explore_path(classifiers, photos=None, *, start=None) -> Explorer:
    """Baseline and steps of integrated gradients. Arguments as in ``explore_layers``.

    ``start``, an ``integrated_gradients`` made before, is shown at once.
    """
    return PathExplorer(classifiers, photos, start)


def explore_all(classifiers, photos=None, *, background=None) -> Explorer:
    """Photo, network, class, technique, layer and score in one panel.

    Arguments as in ``explore_layers``; ``background`` as in ``explore_shap``. The
    slower techniques use few samples (``QUICK``), so that each answers in
    seconds.
    """
    return Panel(classifiers, photos, background=background)


def explore_shap(classifiers, photos=None, *, background=None, start=None) -> Explorer:
    """Layer and samples of expected gradients. Arguments as in ``explore_layers``.

    ``background`` : uint8 array (n, height, width, 3); None: crops of the course's
    other photos. ``start``, a ``shap_gradients`` made before, is shown at once.
    """
    return ShapExplorer(classifiers, photos, start, background)
