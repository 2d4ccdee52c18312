"""``run_survey``: the photos in parts, the parts on the workers of Dask.

The process that calls it lists the photos, hands out parts and writes what comes back;
a worker reads the photos of a part, explains them, and returns rows and maps. Nothing
of a photo stays in memory but its row.
"""

import hashlib
import json
import logging
import math
import os
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from functools import partial
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import dask
import fsspec
import numpy as np
import pandas as pd
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, as_completed

from ..core import explain
from ..core.classifier import Classifier
from ..engine.batches import Progress, progress_bar
from ..engine.checks import check_count
from ..engine.keras_files import load_keras_file
from ..engine.tensorflow import tf
from .changes import CHANGES, Change, changed_pictures
from .photos import list_photos, read_photo
from .store import (
    Survey,
    SurveyError,
    SurveyWriter,
    open_survey,
    package_versions,
)

RIM = 0.1  # of the picture's height and width, on each side
OWN_LABEL = "label"  # as the target: the label that the photo's folder has
ANSWER_SECONDS = 15  # that a scheduler has to answer …
WORKER_SECONDS = 60  # … and to have a worker
# Dask's log of events holds the photos of a part; by default, 1,000 events are kept.
KEEP_FEW_EVENTS = {"distributed.admin.low-level-log-length": 20}


def run_survey(
    photos, out, classifier: Classifier, technique: str = "grad_cam", *,
    target: str | int | None = None, changes: Sequence[str | Change] = (),
    screen: int = 25, scheduler: str | None = None, workers: int | None = None,
    part_size: int = 64, seed: int = 0, progress: Progress = None, **parameters,
) -> Survey:  # fmt: skip
    """Explain every photo of a folder, and go on where an earlier run stopped.

    Parameters
    ----------
    photos : str or Path
        A folder or a CSV file, see ``list_photos``; or its address for fsspec, such as
        ``s3://bucket/photos``.
    out : str or Path
        A folder of this machine: a new one, or that of the same survey, of which only
        what is missing is computed.
    classifier : Classifier
    technique : str, one of ``explain.TECHNIQUES``
    target : str, int or None
        The class that is explained: one for all photos, "label" for each photo's own,
        None for the top class of each.
    changes : sequence of names in ``CHANGES``, or of ``Change``
        They are applied to some photos, and the probabilities noted: see
        ``screening.py``.
    screen : int, to how many photos of each label
    scheduler : str or None, the address of a Dask scheduler, "tcp://host:8786"
    workers : int or None
        None: this process computes, with all processors. A number: so many processes
        on this machine; a script then needs ``if __name__ == "__main__":``.
    part_size : int, photos of one part
    seed : int, of techniques and changes that are random
    progress : see ``explain``
    parameters : of the technique

    Returns
    -------
    Survey
        A photo that cannot be read is a row with its error. ``entropy``: that of the
        positive part of the heatmap, 0 (one pixel) to 1 (uniform); ``half_area``: the
        smallest share of the pixels that holds half of its sum; ``rim_share``: the
        share of its sum in the outer tenth of the picture on each side.

    Raises
    ------
    SurveyError, ValueError, FileNotFoundError
        For another survey in ``out``, an unknown name, no photos.

    Examples
    --------
    >>> survey = run_survey("photos", "OUT", classifier, changes=["mirrored"])
    """
    root, listed = list_photos(photos)
    part_size, screen = check_count("part_size", part_size), int(screen)
    if technique not in explain.TECHNIQUES:
        names = ", ".join(explain.TECHNIQUES)
        raise ValueError(f"technique is one of {names}, not {technique!r}.")
    labels = [_class_label(classifier, label) for label in listed.label]
    listed["label"] = pd.Series(labels, dtype=object)  # else None would become NaN
    _check_target(classifier, target, listed.label)
    changes = tuple(_change(change) for change in changes)
    classifier = classifier.with_model(classifier.model)  # nothing compiled yet
    job = Job(root, technique, parameters, target, changes, seed)
    identity = _identity(job, classifier, screen)
    job = job._replace(key=_hash(json.dumps(identity)))
    describe = partial(_description, job, classifier, identity, part_size)
    writer = SurveyWriter(Path(out), identity, describe)
    with writer.locked():
        listed["screened"] = _screened(listed.label, screen if changes else 0)
        missing = _reuse_rows(writer, listed, root)
        parts = _parts(missing, writer)
        writer.make_room(1 + max([*parts, *writer.part_numbers()], default=-1))
        if parts:
            with _cluster(scheduler, workers) as client:
                _compute(client, job, classifier, writer, parts, progress)
        writer.finish(listed)
    return open_survey(out)


# --- what the survey is one of --------------------------------------------------------


class Job(NamedTuple):
    """What a worker has to know, once."""

    root: str
    technique: str
    parameters: dict
    target: str | int | None
    changes: tuple[Change, ...]
    seed: int
    key: str = ""  # the survey's, a hash


def _change(change: str | Change) -> Change:
    if isinstance(change, Change):
        return change
    plain = {_ascii(name): known for name, known in CHANGES.items()}
    if _ascii(change) not in plain:
        raise ValueError(f"No change {change!r}; there are {'; '.join(CHANGES)}.")
    return plain[_ascii(change)]


def _ascii(name: str) -> str:
    """A name as it can be typed: "turned -45"."""
    return name.replace("−", "-").replace("°", "")


def _class_label(classifier: Classifier, label: str | None) -> str | None:
    """The label as the network has it; a folder may be called by the WordNet id."""
    with suppress(ValueError):
        return label and classifier.class_label(label)
    return label


def _check_target(classifier: Classifier, target, labels) -> None:
    for label in sorted({str(label) for label in labels}) * (target == OWN_LABEL):
        try:
            classifier.class_index(label)
        except ValueError as error:
            raise ValueError(
                f"target='label' needs a class for each: {error}"
            ) from error
    if target not in (None, OWN_LABEL):
        classifier.class_index(target)


def _identity(job: Job, classifier: Classifier, screen: int) -> dict:
    """What two runs of one survey have in common."""
    return {
        "technique": job.technique,
        "parameters": {name: _as_json(value) for name, value in job.parameters.items()},
        "target": job.target if job.target is None else str(job.target),
        "network": network_hash(classifier),
        "seed": job.seed,
        "changes": [change.name for change in job.changes],
        "screen": screen,
    }


def _description(job: Job, classifier: Classifier, identity: dict, part_size: int):
    """What else the manifest says, and the upsampling, from a trial on noise.

    So a parameter that makes no sense is an error before the work begins.
    """
    [trial] = _trial(job, classifier, 1)
    names = "name", "description", "input_size", "fit", "activation"
    model = {name: getattr(classifier, name) for name in names}
    return {
        "root": job.root,
        "model": model | {"sha256": identity["network"]},
        "classes": [label for _, label in classifier.classes],
        "technique": job.technique,
        "technique_title": explain.TECHNIQUES[job.technique].title,
        "parameters": identity["parameters"],
        "layer": trial.layer,
        "unit": trial.unit,
        "signed": trial.signed,
        "score": trial.score,
        "map_shape": trial.map.shape,
        "changes": identity["changes"],
        "seed": job.seed,
        "part_size": part_size,
        "versions": package_versions(),
    }, trial.upsampling


def _trial(job: Job, classifier: Classifier, count: int) -> list:
    """The attributions of so many pictures of noise."""
    shape = *classifier.input_size, 3
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    target = 0 if job.target == OWN_LABEL else job.target
    return _attributions(job, classifier, [noise] * count, [target] * count, False)


def _as_json(value):
    """A parameter as JSON has it; an array by its shape and its hash."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} sha256 {_hash(value.tobytes())}"
    return json.loads(json.dumps(value, default=str))


def _hash(content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()


def network_hash(classifier: Classifier) -> str:
    """sha256 of what decides about a map: weights, layers, labels, preprocessing."""
    digest = hashlib.sha256()
    for weight in classifier.model.weights:
        digest.update(f"{weight.shape}".encode() + weight.numpy().tobytes())
    kinds = [type(layer).__name__ for layer in classifier.model.layers]
    size, fit = classifier.input_size, classifier.fit
    facts = kinds, classifier.classes, classifier.activation, size, fit
    digest.update(json.dumps(facts).encode())
    ramp = np.linspace(0, 255, int(np.prod(size)) * 3, dtype="float32")
    fed = classifier.preprocess_tensor(ramp.reshape(1, *size, 3))
    digest.update(np.round(fed.astype("float64"), 3).tobytes())
    return digest.hexdigest()


# --- what is still to be done ---------------------------------------------------------


def _screened(labels: pd.Series, count: int) -> np.ndarray:
    """Which photos are changed, bool: ``count`` of each label, evenly spaced."""
    chosen = np.zeros(len(labels), bool)
    for places in labels.fillna("").groupby(labels.fillna("")).indices.values():
        steps = np.linspace(0, len(places) - 1, min(count, len(places)))
        chosen[places[steps.round().astype(int)]] = True
    return chosen


def _reuse_rows(writer: SurveyWriter, listed: pd.DataFrame, root: str) -> pd.DataFrame:
    """The listed photos without a row; renamed files get the row of their bytes."""
    done = writer.rows()
    if not len(done):
        return listed
    key = ["path", "stamp", "label", "screened"]
    was_read = done.sha256.notna()  # else its place did not answer: tried again
    known = set(done[was_read][key].itertuples(index=False, name=None))
    is_done = [row in known for row in listed[key].itertuples(index=False, name=None)]
    missing = listed[~np.array(is_done)]
    files, _ = fsspec.url_to_fs(root)
    by_content = done[done.error.isna()].set_index("sha256")
    copies = []
    for photo in missing[missing.bytes.isin(by_content.bytes)].itertuples():
        read = read_photo(files, photo, (1, 1), "crop")
        if read.sha256 in by_content.index:
            row = by_content.loc[[read.sha256]].reset_index().iloc[0]
            if (row.label, row.screened) == (photo.label, photo.screened):
                copies.append((photo.Index, {**row, **_file_facts(photo)}))
    if copies:
        number = 1 + max(writer.part_numbers(), default=-1)
        writer.write_part(number, [row for _, row in copies], {})
    return missing.drop(index=[index for index, _ in copies])


def _file_facts(photo) -> dict:
    names = "path", "label", "bytes", "stamp", "screened"
    return {name: getattr(photo, name) for name in names}


def _parts(missing: pd.DataFrame, writer: SurveyWriter) -> dict[int, list]:
    """Number → photos. Those of one list are always parted alike, so that a run that
    was stopped and gone on with computes the same batches as one that was not."""
    taken, parts = writer.part_numbers(), {}
    following = 1 + max([*taken, *(missing.index // writer.part_size)], default=-1)
    for number, group in missing.groupby(missing.index // writer.part_size):
        if number in taken:
            number, following = following, following + 1
        parts[int(number)] = list(group.itertuples(index=False, name="Photo"))
    return parts


# --- Dask -----------------------------------------------------------------------------


@contextmanager
def _cluster(scheduler: str | None, workers: int | None):
    """A client of the scheduler, or of a cluster on this machine."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler is not None:
        try:
            client = Client(scheduler, set_as_default=False, timeout=ANSWER_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            raise SurveyError(f"No Dask scheduler answers at {scheduler}.") from error
        with client:
            try:
                client.wait_for_workers(1, timeout=WORKER_SECONDS)
            except TimeoutError as error:
                raise SurveyError(
                    f"The scheduler {scheduler} has no workers; start some: "
                    f"dask worker {scheduler} --nthreads 1"
                ) from error
            yield client
        return
    count = 1 if workers is None else check_count("workers", workers)
    threads = max(1, (os.cpu_count() or 1) // count)
    options = {
        "n_workers": count,
        "threads_per_worker": 2 if workers is None else threads,
    }
    with (
        dask.config.set(KEEP_FEW_EVENTS),
        LocalCluster(
            processes=workers is not None,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            **options,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _compute(client, job: Job, classifier, writer, parts: dict, progress) -> None:
    """The parts on the workers, a few ahead of those that are being computed."""
    plugin = _plugin_of(job, classifier, client)
    try:
        client.register_plugin(plugin)
        photo_count = sum(map(len, parts.values()))
        waiting = iter(parts.items())
        submit = partial(client.submit, compute_part, job.key, pure=False, retries=2)
        ahead = 2 * max(1, sum(client.nthreads().values()))
        first = [submit(*part) for part in islice(waiting, ahead)]
        with progress_bar(photo_count, f"survey: {job.technique}", progress) as advance:
            results = as_completed(first, loop=client.loop)
            for future in results:
                number, rows, arrays = future.result()
                future.release()
                writer.write_part(number, rows, arrays)
                for part in islice(waiting, 1):
                    results.add(submit(*part))
                advance(len(rows))
    except KilledWorker as error:
        raise SurveyError(
            "A worker process died three times on the same photos, perhaps for lack of "
            "memory: use fewer workers, or XAI_MEMORY_MB=256. What is done is kept."
        ) from error
    finally:
        if in_this_process := _jobs.pop(job.key, None):
            in_this_process.stopped.set()
        with suppress(Exception):  # a scheduler that has gone needs no tidying
            client.unregister_worker_plugin(plugin.name)


# --- on a worker ----------------------------------------------------------------------


class LoadedJob(NamedTuple):
    """A job on a worker, with its network."""

    job: Job
    classifier: Classifier
    lock: threading.Lock  # one part at a time is computed, with all threads
    stopped: threading.Event  # by Ctrl-C in this process


_jobs: dict[str, LoadedJob] = {}  # by key


def _load_job(job: Job, classifier: Classifier) -> None:
    """Also compiles, for one photo and for several, always in this order.

    TensorFlow compiles for the first shape that comes, and then for all others, and the
    two may differ in a map's last digit. So no map depends on what came before it.
    """
    for count in (1, 2):
        attributions = _trial(job, classifier, count)
        if job.changes or attributions[0].logits is None:
            classifier.logits_of(np.stack([each.image for each in attributions]))
    _jobs[job.key] = LoadedJob(job, classifier, threading.Lock(), threading.Event())


class NetworkPlugin(WorkerPlugin):
    """Loads the network on each worker, once, also on one that joins later."""

    def __init__(self, job: Job, content: bytes, fields: dict):
        self.name, self.key = f"xai_helpers {job.key}", job.key
        self.content = content  # of a .keras file
        self.functions = cloudpickle.dumps((job, fields)) if content else b""

    def setup(self, worker) -> None:
        if self.key in _jobs:  # a worker in the process that called run_survey
            return
        with suppress(RuntimeError):  # TensorFlow has begun to compute
            tf.config.threading.set_intra_op_parallelism_threads(worker.state.nthreads)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.keras"
            path.write_bytes(self.content)
            model = load_keras_file(path)
        job, fields = cloudpickle.loads(self.functions)
        _load_job(job, Classifier(model=model, **fields))

    def teardown(self, worker) -> None:
        _jobs.pop(self.key, None)


def _plugin_of(job: Job, classifier: Classifier, client) -> NetworkPlugin:
    """With the network as a file, for workers in processes of their own."""
    schemes = {address.partition("://")[0] for address in client.nthreads()}
    if schemes == {"inproc"}:
        _load_job(job, classifier)
        return NetworkPlugin(job, b"", {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        classifier.model.save(path)
        load_keras_file(path)  # refuses what a worker could not load
        content = path.read_bytes()
    functions = classifier.fields["preprocess"], *(c.apply for c in job.changes)
    with _sent_by_value(functions):
        return NetworkPlugin(job, content, classifier.fields)


@contextmanager
def _sent_by_value(functions):
    """Functions of modules that are not installed, a script's neighbours, are sent as
    they are: a worker elsewhere could not import them."""
    names = {getattr(getattr(f, "func", f), "__module__", None) for f in functions}
    modules = [sys.modules[name] for name in names & set(sys.modules) - {"__main__"}]
    own = [module for module in modules if not _is_installed(module)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_installed(module) -> bool:
    spec = getattr(module, "__spec__", None)
    folders = {*sysconfig.get_paths().values()}
    in_place = Path(getattr(spec, "origin", None) or "").resolve()
    is_ours = module.__name__.partition(".")[0] == __name__.partition(".")[0]
    return is_ours or any(in_place.is_relative_to(folder) for folder in folders)


def compute_part(key: str, number: int, photos: list) -> tuple[int, list[dict], dict]:
    """Rows, maps and probabilities of a part. Runs on a worker."""
    job, classifier, lock, stopped = _jobs[key]
    files, _ = fsspec.url_to_fs(job.root)
    size, fit = classifier.input_size, classifier.fit
    reads = [read_photo(files, photo, size, fit) for photo in photos]
    good = [k for k, read in enumerate(reads) if read.error is None]
    own = job.target == OWN_LABEL
    targets = [photos[k].label if own else job.target for k in good]
    rows, arrays = [_error_row(*pair) for pair in zip(photos, reads, strict=True)], {}
    if not good:
        return number, rows, arrays

    def stop_if_asked(done: int, total: int) -> None:
        if stopped.is_set():
            raise explain.Cancelled

    squares = [reads[k].square for k in good]
    with lock:  # meanwhile, the photos of the next part are read
        attributions = _attributions(job, classifier, squares, targets, stop_if_asked)
        if job.changes:
            shape = len(rows), 1 + len(job.changes), len(classifier.classes)
            arrays["changed"] = np.zeros(shape, "float32")
        for k in good:
            if job.changes and photos[k].screened:
                facts = job.seed, reads[k].sha256
                changed = changed_pictures(reads[k].square, job.changes, *facts)
                logits = classifier.logits_of(changed)
                arrays["changed"][k] = classifier.to_probabilities(logits)
        if attributions[0].logits is None:  # of a technique without a target
            logits = classifier.logits_of(np.stack(squares))
        else:
            logits = [attribution.logits for attribution in attributions]
    arrays["maps"] = np.zeros((len(rows), *attributions[0].map.shape), "float16")
    for k, attribution, answer in zip(good, attributions, logits, strict=True):
        rows[k] |= _result_row(classifier, attribution, answer)
        arrays["maps"][k] = attribution.map / (rows[k]["peak"] or 1)
    return number, rows, arrays


def _attributions(job: Job, classifier: Classifier, squares, targets, progress) -> list:
    """Of all squares; together, where the technique takes a list."""
    technique = explain.TECHNIQUES[job.technique]
    options = {"seed": job.seed} if technique.takes("seed") else {}
    options |= {"progress": progress} if technique.takes("progress") else {}
    unknown = [name for name in job.parameters if not technique.takes(name)]
    if unknown:
        known = ", ".join(signature(technique.function).parameters)
        raise ValueError(f"{technique.name} has no {unknown[0]}, but {known}.")
    options |= job.parameters
    if technique.takes_stacks:
        return technique.call(classifier, squares, target=targets, **options)
    pairs = zip(squares, targets, strict=True)
    return [technique.call(classifier, x, target=t, **options) for x, t in pairs]


def _error_row(photo, read) -> dict:
    row = {**_file_facts(photo), "sha256": read.sha256, "error": read.error}
    if read.size:
        row["height"], row["width"] = read.size
    return row


def _result_row(classifier: Classifier, attribution, logits: np.ndarray) -> dict:
    probabilities = classifier.to_probabilities(logits[None])[0]
    top, target = int(logits.argmax()), attribution.target
    row = {"prediction": classifier.class_label(top), "prediction_index": top}
    row["prediction_probability"] = float(probabilities[top])
    if target is not None:
        row |= {"target": attribution.label, "target_index": target}
        row["probability"] = float(probabilities[target])
        row["logit"] = float(logits[target])
    return row | map_figures(attribution.map, attribution.heatmap())


def map_figures(values: np.ndarray, heatmap: np.ndarray) -> dict[str, float]:
    """A map in numbers: (h, w) in its cells, (H, W) on the picture; see ``run_survey``.

    Shares of a positive part that is zero everywhere are left out.
    """
    figures = {
        "peak": float(np.abs(values).max()),
        "positive_sum": float(np.maximum(values, 0).sum()),
        "negative_sum": float(np.minimum(values, 0).sum()),
    }
    positive = np.maximum(heatmap, 0).astype("float64")
    if not (total := positive.sum()):
        return figures
    shares = positive / total
    largest_first = np.sort(shares, axis=None)[::-1]
    half = np.searchsorted(np.cumsum(largest_first), 0.5) + 1
    down, across = (math.floor(RIM * side) for side in shares.shape)
    inner = shares[down : len(shares) - down, across : shares.shape[1] - across]
    some = largest_first[largest_first > 0]
    return figures | {
        "entropy": float(-(some * np.log(some)).sum() / np.log(shares.size)),
        "half_area": float(half / shares.size),
        "rim_share": float(1 - inner.sum()),
    }
