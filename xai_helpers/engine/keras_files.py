"""Loading a stranger's ``.keras`` file without running code from it."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .data import WeightsError
from .tensorflow import keras

MAX_CONFIG = 50_000_000  # bytes; Xception's has 200,000
UNSAFE_LAYERS = {"Lambda", "__lambda__", "TFSMLayer"}  # they run code from the file
UNSAFE_LAYERS |= {"TorchModuleWrapper", "FlaxLayer", "JaxLayer"}


def load_keras_file(path: str | Path) -> keras.Model:
    """The model in a ``.keras`` file, if it is nothing but Keras's own layers.

    What would run code from the file is refused before Keras builds anything, and Keras
    loads in its safe mode. ``WeightsError`` says what is wrong and what to do.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path} (looked from {Path.cwd()}).")
    if path.is_dir():
        raise WeightsError(_folder_refusal(path))
    if path.suffix.lower() != ".keras":
        raise WeightsError(
            f"{path.name} is not a .keras file. Other formats can run code when they "
            "are loaded; where you trust it, load it yourself, save it with "
            "model.save('name.keras') and give that."
        )
    check_part = partial(_check_safe, file_name=path.name)
    try:
        config = _read_config(path)
        config.pop("compile_config", None)  # the loss and the like are not loaded
        json.loads(json.dumps(config), object_hook=check_part)  # with every dict in it
    except WeightsError:
        raise
    except Exception as error:  # whatever is wrong with a stranger's file
        reason = f"{path.name} is damaged or no Keras model ({error})."
        raise WeightsError(reason) from error
    try:
        with _named_as_keras_likes(path) as name:
            return keras.models.load_model(name, compile=False, safe_mode=True)
    except Exception as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0][:200]
        raise WeightsError(f"Keras cannot load {path.name}: {reason}") from error


def compiled_loss(path: str | Path) -> str:
    """``loss_name`` of what the model in a ``.keras`` file was trained with.

    It is read as text; nothing of it is built. "" for a damaged file, too.
    """
    try:
        config = _read_config(Path(path).expanduser())
        return loss_name(config["compile_config"]["loss"])
    except Exception:  # whatever is wrong with a stranger's file
        return ""


def loss_name(loss) -> str:
    """The name of a loss's function in Keras, "binary_crossentropy" for "bce".

    loss : as given to ``compile``, or as it is written in a ``.keras`` file
        A name, a function, a ``keras.losses.Loss``, or one in lists and dicts.

    A loss from elsewhere has its own name. "" where there is none, or more than one.
    """
    names = {_known_loss(name) for name in _loss_names(loss)}
    return names.pop() if len(names) == 1 else ""


def _loss_names(loss) -> list[str]:
    if isinstance(loss, dict) and "class_name" in loss:  # as it is written in a file
        kind = loss["class_name"]
        loss = loss["config"] if kind == "function" else kind
    parts = loss.values() if isinstance(loss, dict) else loss
    if isinstance(loss, (dict, list, tuple)):
        return [name for part in parts for name in _loss_names(part)]
    if callable(loss):  # a function or a keras.losses.Loss
        loss = getattr(loss, "__name__", type(loss).__name__)
    is_name = isinstance(loss, str) and loss not in ("__lambda__", "<lambda>")
    return [loss] if is_name else []


def _known_loss(name: str) -> str:
    """Keras's name of a loss that it knows under this one, else the same."""
    try:
        loss = keras.losses.get(name)  # a look-up in a table of its own
        return getattr(loss, "__name__", None) or loss.name
    except (ValueError, TypeError):
        return name


def _read_config(path: Path) -> dict:
    """The description of the model in a ``.keras`` file; raises whatever is wrong."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > MAX_CONFIG:
            raise ValueError("its description is too long")
        return json.loads(archive.read("config.json"))


def _folder_refusal(path: Path) -> str:
    if (path / "saved_model.pb").exists():
        kind = "a SavedModel, a compiled program without layers to look into"
    else:
        kind = "a folder, not a .keras file"
    return (
        f"{path.name} is {kind}; load the original model, save it with "
        "model.save('name.keras') and give that."
    )


@contextmanager
def _named_as_keras_likes(path: Path) -> Iterator[Path]:
    """The path, or one to the same file that ends in ``.keras``, in lower case."""
    if path.suffix == ".keras":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "model.keras"
        try:
            other.symlink_to(path.resolve())
        except OSError:  # Windows has no links for everybody
            shutil.copyfile(path, other)
        yield other


def _check_safe(part: dict, file_name: str) -> dict:
    """The part of a model's description, if it is not of a class outside Keras."""
    class_name = part.get("class_name")
    if not isinstance(class_name, str):
        return part
    kind = class_name.rpartition(".")[2]
    if kind in UNSAFE_LAYERS:
        raise WeightsError(
            f"{file_name} holds a {kind.strip('_')}, which is code that runs when the "
            "model is loaded or used; it is refused. Ask its author for a model of "
            "ordinary layers (Rescaling in place of Lambda, for example)."
        )
    module = str(part.get("module") or "keras").split(".")[0]
    registered = ">" in str(part.get("registered_name"))  # "package>Name"
    if registered or "." in class_name or module != "keras":
        raise WeightsError(
            f"{file_name} holds a {kind!r} that is not part of Keras; its code is not "
            "in the file. Load it where that code is, and give the keras.Model."
        )
    return part
