"""Sliders over one technique, ``explore``, or over all of them, ``panel``.

What was computed once is kept; what takes long runs beside, shows its progress, and can
be cancelled. ``browser_widgets.py`` says how the page draws it.
"""

from __future__ import annotations

import html
import threading
from collections import namedtuple
from functools import partial

import ipywidgets as ipw
import numpy as np

from ..core import explain, metrics
from ..core.attribution import Attribution
from ..core.classifier import Classifier
from ..engine.checks import SCORES
from ..engine.image_files import load_image
from . import browser_widgets as browser
from . import plots, samples
from .controls import PIXELS, STYLE, choice, controls_of, restore, slider

IMAGE_SIZE = 448  # of the picture, in pixels of the screen
BLANK = plots.png(np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 255, "uint8"))

# What a map depends on, as the controls stood when it was asked for. A photo is a name
# and a version, for another one of that name may be uploaded; a network is its place
# among the classifiers; options are pairs of name and value, what the function takes.
Request = namedtuple("Request", "photo version network technique options")


class Explorer(ipw.VBox):
    """Photo, network, class and a technique's controls; the map, and the map in words.

    Made by ``explore`` and ``panel``. The controls are attributes that scripts may set:
    ``photo, network, target, search, technique, layer, score, opacity, upload``, and
    ``options``, a dict of the technique's own. ``attribution`` is what is shown,
    ``image`` its picture (``value``, a PNG), ``message`` its words, or a sentence that
    says what is wrong.
    ``test``, a button, puts what ``metrics.evidence`` says of it into ``test_result``.
    """

    def __init__(self, name, classifiers, photos=None, start=None, background=None):
        several = isinstance(classifiers, (list, tuple))
        self.classifiers = list(classifiers) if several else [classifiers]
        is_usable = [isinstance(each, Classifier) for each in self.classifiers]
        if not is_usable or not all(is_usable):
            raise ValueError("Give a Classifier, of load_classifier, or several.")
        photos = samples.sample_images() if photos is None else photos
        photos = {"photo": photos} if isinstance(photos, np.ndarray) else photos
        if not isinstance(photos, dict) or not photos:
            raise ValueError("photos is a dict of name to image, at least one photo.")
        self.photos = {str(key): photo for key, photo in photos.items()}
        self.background, self.attribution, self.results = background, None, {}
        self._versions, self._top_classes, self._start_parameters = {}, {}, {}
        self._threads, self._stopped = [], threading.Event()
        self._drawing, self._working = threading.Lock(), threading.Lock()
        self._chosen_layer, self._is_filling, self._is_panel = None, False, name is None
        self._make_controls(name or "grad_cam")
        # Each channel alone, from the first layer; the panel compares their sums.
        self._shows_channels = not (self._is_panel or self._technique.takes("target"))
        self._refill() if start is None else self._restore(start)
        own = [each for made in self._made_options.values() for each in made.values()]
        for control in (self.photo, self.network, self.technique):
            control.observe(self._changed, "value")
        for control in (self.layer, self.target, self.score, *own):
            control.observe(self._update, "value")
        self.search.observe(self._searched, "value")
        self.upload.observe(self._uploaded, "value")
        self.opacity.observe(self._draw, "value")
        self.cancel.on_click(lambda button: self.stop())
        self.test.on_click(self._test_map)

    def __repr__(self) -> str:
        title = "All techniques" if self._is_panel else self._technique.title
        return f"{title}: controls and a picture, in a notebook that is running"

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing runs any more; for scripts and tests."""
        for thread in self._threads:
            thread.join(seconds)

    def stop(self) -> None:
        """Cancel what is running; it ends after the batch that it is at."""
        self._stopped.set()

    def _make_controls(self, technique: str) -> None:
        names = [classifier.name for classifier in self.classifiers]
        for k in [k for k, name in enumerate(names) if names.count(name) > 1]:
            names[k] += f" ({k + 1})"
        titles = [(known.title, name) for name, known in explain.TECHNIQUES.items()]
        self.photo, self.target = choice("photo", self.photos), choice("class")
        self.network = choice("network", zip(names, self.classifiers, strict=True))
        self.technique = choice("technique", titles, value=technique)
        self.score, self.search = choice("score", SCORES), ipw.Combobox(**STYLE)
        self.search.description, self.search.placeholder = "other class", "type a name"
        self.search.continuous_update = False
        self.layer = browser.SelectionSlider(options=[""], description="layer", **STYLE)
        sides = [min(classifier.input_size) for classifier in self.classifiers]
        self._made_options = {
            name: controls_of(name).options(min(sides), known.quick(sides[0]))
            for name, known in explain.TECHNIQUES.items()
        }
        opacity = 0.6 if self._is_panel else controls_of(technique).opacity
        self.opacity = slider("opacity", opacity, 0, 1, 0.05, continuous_update=True)
        self.image, self.message = browser.Picture(value=BLANK), browser.Message()
        self.progress, self.cancel = (
            browser.Progress(),
            ipw.Button(description="cancel"),
        )
        tooltip = "Does the score fall further without what is marked than by chance?"
        self.test = ipw.Button(description="Test this map", tooltip=tooltip)
        self.test_result = browser.Message()
        upload = {"accept": "image/*", "description": "a photo of your own"}
        self.upload, self._options_box = browser.PhotoUpload(**upload), ipw.VBox()
        column = [self.photo, self.upload, self.network, self.technique]
        column += [self.target, self.search, self.layer, self.score, self._options_box]
        column += [self.opacity, self.message, self.test, self.test_result]
        progress = ipw.HBox([self.progress, self.cancel])
        picture = ipw.VBox([progress, self.image]).add_class("xai-picture-column")
        columns = ipw.HBox([ipw.VBox(column), picture]).add_class("xai-columns")
        super().__init__([columns])
        self.add_class("xai-panel")

    def _refill(self, target: int | None = None, photo: str = "") -> None:
        """What belongs to this photo, network and technique; then the map."""
        self._is_filling = True  # nothing has to be computed yet
        try:
            if photo:
                self.photo.options, self.photo.value = list(self.photos), photo
            self._show_technique()
            self._fill_targets(target)
        except Exception as error:  # whatever it is, the reader sees it as a sentence
            return self._fail(error)
        finally:
            self._is_filling = False
        self._update()

    def _show_technique(self) -> None:
        """The controls that the technique takes, and its layers at this network."""
        table, takes = controls_of(self.technique.value), self._technique.takes
        self.options = self._made_options[self.technique.value]
        self._options_box.children = tuple(self.options.values())
        shown = {self.technique: self._is_panel, self.network: self.classifiers[1:]}
        shown |= {self.target: takes("target"), self.search: takes("target")}
        shown |= {self.layer: takes("layer"), self.score: takes("score")}
        shown |= {self.opacity: not self._shows_channels}
        for control, is_shown in shown.items():
            control.layout.display = None if is_shown else "none"
        if not takes("layer"):
            return
        classifier, layer = self.network.value, self._chosen_layer
        names = table.layers(classifier) or [""]
        if layer not in names:
            is_first = self._shows_channels or names == [""]
            layer = names[0] if is_first else table.default_layer(classifier, names)
        texts = {PIXELS: "the pixels", "": "no layer has maps"}
        for known in classifier.layers():
            texts[known.name] = f"{known.name} · {' × '.join(map(str, known.shape))}"
        self.layer.options = [(texts[name], name) for name in names]
        self.layer.value = layer

    def _fill_targets(self, index: int | None) -> None:
        """The five top classes of this photo, and another one if it is asked for."""
        key, classifier = self._request()[:3], self.network.value
        if key not in self._top_classes:
            best = classifier.top(self.photos[self.photo.value])
            best = [(f"{p.label}  {p.probability:.0%}", p.index) for p in best]
            self._top_classes[key] = best
        options = list(self._top_classes[key])
        if index is not None and index not in dict(options).values():
            options.append((classifier.class_label(index), index))
        self.search.options = sorted({label for _, label in classifier.classes})
        self.search.value, self.target.options = "", options
        self.target.value = options[0][1] if index is None else index

    def _restore(self, start: Attribution) -> None:
        """Begin with an attribution made before, or say why that cannot be."""
        title, own = getattr(start, "technique", type(start).__name__), self._technique
        if title != own.title:
            raise ValueError(f"start is an Attribution of {own.title}, not {title}.")
        names = [classifier.name for classifier in self.classifiers]
        if start.model not in names:
            raise ValueError(f"start was made with {start.model}: give that one, too.")
        classifier = self.classifiers[names.index(start.model)]
        crops = {name: classifier.crop(photo)[0] for name, photo in self.photos.items()}
        same = [key for key, crop in crops.items() if np.array_equal(crop, start.image)]
        if not same:
            raise ValueError("start's photo is not among the photos; give it as well.")
        self.network.value, self.photo.value = classifier, same[0]
        self.score.value = start.score or "logit"
        self._chosen_layer = start.layer or PIXELS
        self._show_technique()
        self._fill_targets(start.target)
        for name, value in start.parameters.items():
            if name in self.options:
                restore(self.options[name], name, value)
            elif name != "background":  # such as the seed
                self._start_parameters[name] = value
        if not controls_of(own.name).at_once:  # one layer is not all of them
            self._keep(self._request(), start)
        self._update()

    @property
    def _technique(self) -> explain.Technique:
        return explain.TECHNIQUES[self.technique.value]

    def _request(self) -> Request:
        technique, classifier = self._technique, self.network.value
        layer, table = self.layer.value, controls_of(technique.name)
        if table.at_once and layer:
            layer = tuple(table.layers(classifier))
        options = technique.quick(min(classifier.input_size)) | self._start_parameters
        for name, control in self.options.items():
            value = control.value  # of a slider with steps of 0.05: 0.15000000000000002
            options[name] = round(value, 3) if isinstance(value, float) else value
        options |= {"target": self.target.value, "score": self.score.value}
        options["layer"] = None if layer in (PIXELS, "") else layer
        taken = tuple((name, v) for name, v in options.items() if technique.takes(name))
        photo, version = self.photo.value, self._versions.get(self.photo.value, 0)
        return Request(photo, version, self.network.index, technique.name, taken)

    def _changed(self, change) -> None:
        if not self._is_filling:
            self._abandon()
            self._refill(self._kept_target(change))

    def _kept_target(self, change) -> int | None:
        """The chosen class, if the photo is the same and the network has it."""
        target = self.target.value
        if change["owner"] is self.photo or target is None:
            return None
        if change["owner"] is self.network:
            chosen, classes = change["old"].classes[target], change["new"].classes
            return classes.index(chosen) if chosen in classes else None
        return target

    def _searched(self, change) -> None:
        if change["new"].strip():
            try:
                self._refill(self.network.value.class_index(change["new"]))
            except ValueError as error:
                self._say(error)

    def _uploaded(self, change) -> None:
        """The picture becomes one of the photos, under its file's name."""
        for file in change["new"]:
            name, is_running = file["name"], any(t.is_alive() for t in self._threads)
            self._abandon()
            try:
                self.photos[name] = _image_of(file)
            except ValueError as error:
                text = str(error).replace("the bytes given", name)
                self._fail(text) if is_running else self._say(text)
                break
            self._versions[name] = self._versions.get(name, 0) + 1
            self._refill(photo=name)
        if change["new"]:
            change["owner"].value = ()  # so that the same file can be chosen again

    def _abandon(self) -> None:
        """What runs is stopped, and has nothing to say any more."""
        self.stop()
        self._stopped, self.test_result.value = threading.Event(), ""
        self._show_progress(False)

    def _update(self, change=None) -> None:
        if self._is_filling:
            return
        if change and change["owner"] is self.layer:
            self._chosen_layer = change["new"]
        self._abandon()
        self.image.is_old = self.attribution is not None
        request = self._request()
        work = (request, self.photos[request.photo], self._stopped)
        if request in self.results:
            self._keep(request, self.results[request])
            self._draw()
        elif controls_of(request.technique).at_once and not self._is_panel:
            self._run(*work)
        else:
            self._say("Computing …")
            self._start(self._run, work)

    def _start(self, function, arguments: tuple) -> None:
        """Run it beside, with a bar and a button to cancel."""
        self._show_progress(True)
        # Not a daemon: a process that leaves TensorFlow behind in a thread aborts.
        # When the main thread has ended, this one ends after its batch.
        target = partial(self._run_in_turn, function)
        thread = threading.Thread(target=target, args=arguments, daemon=False)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _run_in_turn(self, function, *arguments) -> None:
        """After the work that was abandoned has ended its batch."""
        with self._working:
            function(*arguments)

    def _report(self, stopped: threading.Event, done: int, total: int) -> None:
        """The progress of what runs beside; raises when it has to stop."""
        self._stop_if_abandoned(stopped)
        self.progress.max, self.progress.value = total, done

    def _stop_if_abandoned(self, stopped: threading.Event) -> None:
        if stopped.is_set() or not threading.main_thread().is_alive():
            raise explain.Cancelled

    def _test_map(self, button=None) -> None:
        if self.attribution is not None:
            self._abandon()
            self.test_result.value = "Testing …"
            work = self.attribution, self.network.value, self._stopped
            self._start(self._run_test, work)

    def _run_test(self, attribution, classifier, stopped: threading.Event) -> None:
        try:
            progress = partial(self._report, stopped)
            self._stop_if_abandoned(stopped)
            text = metrics.evidence(classifier, attribution, progress=progress)
        except explain.Cancelled:
            text = "The test was cancelled."
        except Exception as error:  # whatever it is, the reader sees it as a sentence
            text = error
        if stopped is self._stopped:  # else the map is another one by now
            self.test_result.value = html.escape(str(text))
            self._show_progress(False)

    def _run(self, request: Request, photo, stopped: threading.Event) -> None:
        classifier = self.classifiers[request.network]
        technique = explain.TECHNIQUES[request.technique]
        options = dict(request.options) | {"progress": partial(self._report, stopped)}
        try:
            self._stop_if_abandoned(stopped)
            if technique.takes("background"):
                options["background"] = self.background
                if self.background is None:
                    size = classifier.input_size
                    options["background"] = samples.background(20, size, exclude=photo)
            self._keep(request, technique.call(classifier, photo, **options))
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
                self._show_progress(False)

    def _keep(self, request: Request, result) -> None:
        self.results.pop(request, None)
        self.results[request] = result
        name, kept = request.technique, controls_of(request.technique).results_kept
        for oldest in [k for k in list(self.results) if k.technique == name][:-kept]:
            self.results.pop(oldest, None)  # another thread may have been here

    def _draw(self, change=None) -> None:
        with self._drawing:  # in turn: the last one finds all controls set
            shown = self.results.get(self._request())
            try:
                if shown is not None:
                    self._show(shown)
            except Exception as error:
                self._fail(error)

    def _show(self, result) -> None:
        if isinstance(result, list):
            result = next(each for each in result if each.layer == self.layer.value)
        self.attribution, text = result, result.description
        self.test.disabled = False
        if self._shows_channels:
            picture = plots.channel_montage(result, side=IMAGE_SIZE // 4)
            text += " Each channel has colours of its own."
        else:
            picture = plots.overlay_array(result, self.opacity.value)
            text += f" {plots.colour_range_text(result)}"
        if "gap" in result.checks:
            text += f" Its sum misses by {result.checks['gap']:.1%}."
        self.image.value = plots.png(picture, IMAGE_SIZE)
        self.image.alt = f"{self.photo.value}. {result.description}"
        self.image.is_old = False
        self._say(text)

    def _show_progress(self, is_running: bool) -> None:
        self.progress.value = 0
        visibility = "visible" if is_running else "hidden"
        self.progress.layout.visibility = self.cancel.layout.visibility = visibility
        self.test.disabled = is_running or self.attribution is None

    def _fail(self, error) -> None:
        """No picture beside controls that it does not belong to."""
        self.attribution, self.image.value, self.image.alt = None, BLANK, "No picture."
        self.image.is_old = False
        self.test.disabled = True
        self._say(error)

    def _say(self, text) -> None:
        self.message.value = html.escape(str(text))


def _image_of(file: dict) -> np.ndarray:
    """What an upload brought; a file that is no picture is a ``ValueError``."""
    if file["size"] and not file["content"].nbytes:
        raise ValueError(
            f"{file['name']} has {file['size'] / 1e6:.0f} MB and is not a picture that "
            "your browser can read. Save it as JPEG or PNG and choose it again."
        )
    return load_image(bytes(file["content"]))


def explore(
    technique: str, classifiers, photos=None, *, start=None, background=None
) -> Explorer:
    """One technique under sliders: its options, and every layer if it takes one.

    Parameters
    ----------
    technique : str, a name in ``explain.TECHNIQUES``, such as "grad_cam"
    classifiers : Classifier, or several to choose from
    photos : dict of name to uint8 array (H, W, 3); None: the photos of the course
    start : Attribution, made before with this technique
        Its photo, class, layer and options are what the controls begin with.
    background : uint8 array (n, height, width, 3), for expected gradients
        None: crops of the course's other photos.

    A ``start`` that the controls cannot show is a ``ValueError``.
    """
    if technique not in explain.TECHNIQUES:
        names = ", ".join(explain.TECHNIQUES)
        raise ValueError(f"technique is one of {names}, not {technique!r}.")
    return Explorer(technique, classifiers, photos, start, background)


def panel(classifiers, photos=None, *, background=None) -> Explorer:
    """Every technique, each with its quick options to begin with. See ``explore``."""
    return Explorer(None, classifiers, photos, background=background)
