"""What a survey leaves in its folder: written part by part, and read again.

=====================  ===============================================================
``manifest.json``      network, technique, parameters: what the survey is one of
``parts/*.parquet``    the rows of each part; a part without its file is not done
``photos.parquet``     all rows, sorted by path, duplicates flagged: the result
``maps.zarr``          float16 (places, h, w); each part has a chunk of its own
``changed.zarr``       float32 (places, 1 + changes, classes), probabilities
``upsampling.npz``     two matrices, from the map's cells to the network's pixels
=====================  ===============================================================

A part's arrays are written before its rows, and each file under another name first: so
what a reader finds is whole, whenever the work was stopped.
"""

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from filelock import FileLock, Timeout

from ..core.attribution import Attribution
from ..engine.cropping import crop_to_size
from ..engine.image_files import decode_image
from ..engine.upsampling import Upsampling
from .photos import file_bytes

PACKAGES = ("xai_helpers", "keras", "numpy", "dask", "pillow", "pyarrow", "zarr")
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "label": pa.string(),
        "sha256": pa.string(),
        "bytes": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "duplicate_of": pa.string(),
        "target": pa.string(),
        "target_index": pa.int32(),
        "probability": pa.float32(),
        "logit": pa.float32(),
        "prediction": pa.string(),
        "prediction_index": pa.int32(),
        "prediction_probability": pa.float32(),
        "peak": pa.float32(),
        "positive_sum": pa.float32(),
        "negative_sum": pa.float32(),
        "entropy": pa.float32(),
        "half_area": pa.float32(),
        "rim_share": pa.float32(),
        "screened": pa.bool_(),
        "error": pa.string(),
        "stamp": pa.string(),  # of the file, when it was read
        "place": pa.int64(),  # along the first axis of the arrays
    }
)


class SurveyError(ValueError):
    """A survey that cannot be made, gone on with or read; says what to do."""


def package_versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


class SurveyWriter:
    """The folder of a survey while it grows. One process at a time writes it.

    identity : dict that can be JSON; a folder that holds a survey with another one is
        a ``SurveyError`` that names the first difference
    describe : function () → what else the manifest of a new survey says, and the
        upsampling of its maps or None
    """

    def __init__(self, out: Path, identity: dict, describe: Callable):
        self.out, manifest = Path(out), self.manifest_of(out)
        identity = json.loads(json.dumps(identity))
        for name in identity:
            if manifest and manifest["identity"].get(name) != identity[name]:
                raise SurveyError(
                    f"{out} holds a survey with another {name}: "
                    f"{manifest['identity'].get(name)}, not {identity[name]}. Choose "
                    "another folder, or delete this one."
                )
        begun = {"parts", "upsampling.npz", ".manifest.json.part"}  # and then stopped
        if not manifest and self.out.exists() and {*os.listdir(self.out)} - begun:
            raise SurveyError(f"{out} holds other files; choose an empty folder.")
        manifest = manifest or self._begin(identity, *describe())
        self.part_size = manifest["part_size"]
        self.shapes = {"maps": manifest["map_shape"]}
        if manifest["changes"]:
            probabilities = 1 + len(manifest["changes"]), len(manifest["classes"])
            self.shapes["changed"] = probabilities

    def _begin(self, identity: dict, description: dict, upsampling) -> dict:
        (self.out / "parts").mkdir(parents=True, exist_ok=True)
        if upsampling is not None:
            matrices = {"rows": upsampling.rows, "columns": upsampling.columns}
            np.savez(self.out / "upsampling.npz", **matrices)
        text = json.dumps(
            {"identity": identity, **description}, indent=1, ensure_ascii=False
        )
        with replaced(self.out / "manifest.json") as temporary:
            temporary.write_text(text, "utf-8")
        return json.loads(text)

    @staticmethod
    def manifest_of(out) -> dict | None:
        path = Path(out) / "manifest.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    @contextmanager
    def locked(self):
        """For the time of the work; a second process is refused."""
        try:
            with FileLock(self.out / ".lock", timeout=0):
                yield
        except Timeout as error:
            message = f"Another process is writing to {self.out}; wait for it."
            raise SurveyError(message) from error

    def rows(self) -> pd.DataFrame:
        """The rows of all parts that are done."""
        tables = [pq.read_table(file, schema=SCHEMA) for file in self.part_files()]
        return to_frame(pa.concat_tables(tables) if tables else SCHEMA.empty_table())

    def part_files(self) -> list[Path]:
        return sorted((self.out / "parts").glob("*.parquet"))

    def part_numbers(self) -> set[int]:
        return {int(file.stem) for file in self.part_files()}

    def make_room(self, parts: int) -> None:
        """The arrays for so many parts; those that are there already are kept."""
        for name, shape in self.shapes.items():
            path = str(self.out / f"{name}.zarr")
            length = parts * self.part_size
            if not os.path.exists(path):
                zarr.create_array(
                    path,
                    shape=(length, *shape),
                    chunks=(self.part_size, *shape),
                    dtype="float16" if name == "maps" else "float32",
                    fill_value=0,
                )
            array = zarr.open_array(path, mode="r+")
            if array.shape[0] < length:
                array.resize((length, *shape))

    def write_part(self, number: int, rows: list[dict], arrays: dict) -> None:
        """A part's arrays, then its rows, which say that it is done.

        arrays : "maps", "changed" → one entry for each row
        """
        start = number * self.part_size
        for name, values in arrays.items():
            array = zarr.open_array(str(self.out / f"{name}.zarr"), mode="r+")
            chunk = np.zeros(array.chunks, array.dtype)
            chunk[: len(values)] = values
            array[start : start + self.part_size] = chunk
        places = [{"place": start + k} for k in range(len(rows))] if arrays else []
        rows = [row | place for row, place in zip(rows, places or rows, strict=True)]
        with replaced(self.out / "parts" / f"{number:07d}.parquet") as temporary:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), temporary)

    def finish(self, listed: pd.DataFrame) -> None:
        """Write ``photos.parquet``: the rows of the photos that are listed."""
        rows = self.rows().drop_duplicates("path", keep="last")
        rows = rows[rows.path.isin(listed.path)].sort_values("path", kind="stable")
        first = rows.dropna(subset="sha256").drop_duplicates("sha256")
        first_path = rows.sha256.map(first.set_index("sha256").path)
        rows["duplicate_of"] = first_path.where(first_path != rows.path, None)
        rows["screened"] &= rows.error.isna()
        with replaced(self.out / "photos.parquet") as temporary:
            table = pa.Table.from_pandas(rows, SCHEMA, preserve_index=False)
            pq.write_table(table, temporary)


@contextmanager
def replaced(path: Path):
    """A temporary name to write to; the file gets its own name when it is complete."""
    temporary = path.with_name(f".{path.name}.part")
    yield temporary
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A table as pandas has it: missing text is None, missing numbers are NaN or NA."""
    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    frame = table.to_pandas(types_mapper=nullable.get)
    for field in table.schema:
        if field.type == pa.string():
            text = frame[field.name].astype(object)
            frame[field.name] = text.where(text.notna(), None)
    return frame


def open_survey(out) -> "Survey":
    """The survey in a folder, as ``run_survey`` and ``xai survey`` leave it.

    A ``SurveyError`` if there is none, or not yet all of it.
    """
    manifest = SurveyWriter.manifest_of(out)
    if manifest is None or not (Path(out) / "photos.parquet").exists():
        state = "holds no survey" if manifest is None else "holds a survey not done yet"
        raise SurveyError(f"{out} {state}; run xai survey PHOTOS --out {out}.")
    return Survey(Path(out), manifest)


class Survey:
    """A survey that has been made.

    Attributes
    ----------
    out : Path; manifest : dict
    photos : DataFrame, a row for each photo, sorted by path
        path, label, sha256, bytes, width, height, duplicate_of; target, probability,
        logit; prediction, prediction_probability; figures of the map (``engine.py``
        says what they are); screened; error.
    classes, changes : tuple of str

    Examples
    --------
    >>> open_survey("OUT").photos.groupby("label").rim_share.mean()
    """

    def __init__(self, out: Path, manifest: dict):
        self.out, self.manifest = out, manifest
        self.classes, self.changes = (
            tuple(manifest["classes"]),
            tuple(manifest["changes"]),
        )
        self.photos = to_frame(pq.read_table(out / "photos.parquet", schema=SCHEMA))

    def __repr__(self) -> str:
        errors = int(self.photos.error.notna().sum())
        return (
            f"<Survey {self.manifest['technique']}, {self.manifest['model']['name']}: "
            f"{len(self.photos)} photos, {errors} of them with an error>"
        )

    def maps(self, rows: pd.DataFrame) -> np.ndarray:
        """The maps of some rows of ``photos`` without an error, float32 (n, h, w)."""
        scaled = self._array("maps", rows)
        return scaled * rows.peak.to_numpy("float32")[:, None, None]

    def probabilities(self, rows: pd.DataFrame) -> np.ndarray:
        """Of the classes, float32 (n, 1 + changes, classes), for rows ``screened``.

        The first of the second axis belongs to the photo itself, the others to it under
        each of ``changes``.
        """
        if not self.changes:
            raise SurveyError("This survey changed no photo: give it changes.")
        return self._array("changed", rows)

    def _array(self, name: str, rows: pd.DataFrame) -> np.ndarray:
        array = zarr.open_array(str(self.out / f"{name}.zarr"), mode="r")
        places = rows.place.to_numpy(dtype="int64")
        if not len(places):
            return np.zeros((0, *array.shape[1:]), "float32")
        return np.asarray(array.oindex[places], "float32")

    def photo(self, row) -> np.ndarray:
        """The photo of a row, uint8 (H, W, 3), read from where it was surveyed."""
        files, root = fsspec.url_to_fs(self.manifest["root"])
        location = f"{root.rstrip('/')}/{row.path}"
        return decode_image(file_bytes(files, location, int(row.bytes)), row.path)

    def square(self, row) -> np.ndarray:
        """What the network was given of it, uint8 (height, width, 3)."""
        model = self.manifest["model"]
        return crop_to_size(self.photo(row), model["input_size"], model["fit"])[0]

    def attribution(self, row) -> Attribution:
        """The attribution of a row; ``plots.show`` draws it."""
        model, photo = self.manifest["model"], self.photo(row)
        square, crop = crop_to_size(photo, model["input_size"], model["fit"])
        [values] = self.maps(pd.DataFrame([row]))
        fields = {name: self.manifest[name] for name in ("unit", "signed", "layer")}
        if self.manifest["score"]:
            score = self.manifest["score"]
            value = float(row.logit if score == "logit" else row.probability)
            fields |= {"target": int(row.target_index), "label": row.target}
            fields |= {"score": score, "score_value": value}
        technique = self.manifest["technique_title"]
        return Attribution(
            values, image=square, crop=crop, original_size=photo.shape[:2],
            technique=technique, model=model["name"], upsampling=self._upsampling,
            parameters=self.manifest["parameters"], **fields,
        )  # fmt: skip

    @cached_property
    def _upsampling(self) -> Upsampling | None:
        path = self.out / "upsampling.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as matrices:
            return Upsampling(matrices["rows"], matrices["columns"])
