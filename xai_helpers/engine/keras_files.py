"""Loading a stranger's ``.keras`` file without running code from it."""

import json
import zipfile
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
    if path.suffix != ".keras":
        raise WeightsError(
            f"{path.name} is not a .keras file. Other formats can run code when they "
            "are loaded; where you trust it, load it yourself, save it with "
            "model.save('name.keras') and give that."
        )
    check_part = partial(_check_safe, file_name=path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > MAX_CONFIG:
                raise ValueError("its description is too long")
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)  # the loss and the like are not loaded
        json.loads(json.dumps(config), object_hook=check_part)  # with every dict in it
    except WeightsError:
        raise
    except Exception as error:  # whatever is wrong with a stranger's file
        reason = f"{path.name} is damaged or no Keras model ({error})."
        raise WeightsError(reason) from error
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0][:200]
        raise WeightsError(f"Keras cannot load {path.name}: {reason}") from error


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
