"""``write_report``: a survey as one folder of HTML, which opens from the file.

The pages are in ``templates/``, everything in them is escaped, and no file is named
after a photo. Counted is on all photos; what takes maps is computed from at most
``MOST_MAPS`` of each class, so that memory does not grow with the survey.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

from ..course import plots
from ..engine.image_files import ImageError
from .clusters import Clusters, cluster_maps, figure
from .screening import FEWEST, Finding, Screening, largest_columns, screen, strongest

MOST_MAPS = 300  # of a class
MOST_SCREENED = 2000  # photos
MOST_COLUMNS = 20  # classes in the screening table
MANY_CLASSES = 100  # with more, fewer pictures of each
MOST_ROWS = 200  # of a list of files
SIDE = 144  # pixels, the longer edge of a thumbnail
NO_LABEL = "(no label)"
MARK = "xai_helpers survey report"  # in index.html; a folder without it is not ours


def write_report(survey, out_dir=None, *, seed: int = 0) -> Path:
    """Write the report of a survey; returns the path of its ``index.html``.

    Parameters
    ----------
    survey : Survey, see ``open_survey``
    out_dir : str or Path; ``OUT/report`` if None
        A new or empty folder, or one with an earlier report, which is replaced.
    seed : int, of samples, intervals and groups: the same seed writes the same bytes

    Raises
    ------
    ValueError
        If the folder holds something else.

    Examples
    --------
    >>> write_report(open_survey("OUT"))
    PosixPath('OUT/report/index.html')
    """
    out = Path(survey.out, "report") if out_dir is None else Path(out_dir)
    _make_room(out)
    photos = survey.photos.reset_index(drop=True)
    good = photos[photos.error.isna()]
    labelled = bool(good.label.notna().any())
    groups = good.label.fillna(NO_LABEL) if labelled else good.prediction
    good = good.assign(group=groups, known=good.label.isin(survey.classes))
    names = sorted(good.group.unique())
    pages = _Pages(survey, out, many=len(names) > MANY_CLASSES)
    classes = []
    for number, name in enumerate(names, 1):
        rows = good[good.group == name]
        classes.append(_write_class(pages, number, name, rows, labelled, seed))
    if labelled:  # the worst first
        classes.sort(key=lambda c: (c["right"] is None, c["right"] and c["right"][1]))
    pages.write(
        "index.html", "index.html", mark=MARK, classes=classes, labelled=labelled,
        photos=photos, errors=photos[photos.error.notna()],
        duplicates=photos[photos.duplicate_of.notna()],
        right=_right(good), mean_map=_mean_of_all(pages, classes),
        unknown=int((good.label.notna() & ~good.known).sum()),
        screening=_screening(pages, good, seed), most_rows=MOST_ROWS, good=good,
    )  # fmt: skip
    return out / "index.html"


def _make_room(out: Path) -> None:
    index = out / "index.html"
    if out.exists() and any(out.iterdir()):
        if not (index.exists() and MARK in index.read_text("utf-8")):
            raise ValueError(f"{out} holds something else; choose an empty folder.")
        shutil.rmtree(out / "images", ignore_errors=True)
        for page in out.glob("class-*.html"):
            page.unlink()
    (out / "images").mkdir(parents=True, exist_ok=True)
    style = Path(__file__).with_name("templates") / "style.css"
    shutil.copyfile(style, out / "style.css")


# --- pages and pictures ---------------------------------------------------------------


@dataclass
class Thumbnail:
    """A picture of the report; without a file if the photo could not be read again."""

    row: pd.Series
    src: str | None
    alt: str
    text: str  # beneath it, after the path


@dataclass
class _Pages:
    """Where pages and pictures are written; photos of a class are read once."""

    survey: object
    out: Path
    many: bool  # classes: then fewer pictures of each
    cached: dict = field(default_factory=dict)  # row's name → small pictures or None

    def __post_init__(self):
        loader = jinja2.PackageLoader("xai_helpers.survey", "templates")
        options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True}
        self.templates = jinja2.Environment(
            loader=loader, autoescape=True, lstrip_blocks=True, **options
        )
        self.templates.filters |= {"percent": _percent, "number": _number}
        self.sheet = 6 if self.many else 12  # photos of a contact sheet

    def write(self, file: str, template: str, **values) -> None:
        page = self.templates.get_template(template)
        text = page.render(survey=self.survey, manifest=self.survey.manifest, **values)
        (self.out / file).write_text(text, "utf-8", errors="replace", newline="\n")

    def save(self, name: str, picture: np.ndarray) -> str:
        file = f"images/{name}.jpg"
        Image.fromarray(picture).save(self.out / file, quality=85)
        return file

    def figure(self, name: str, picture: plots.Picture) -> dict:
        (self.out / f"images/{name}.png").write_bytes(picture.png())
        return {"src": f"images/{name}.png", "alt": picture.description}

    def pictures(self, row: pd.Series) -> list[np.ndarray] | None:
        """Photo and overlay, small; None if it has gone or is another file by now."""
        if row.name not in self.cached:
            try:
                attribution = self.survey.attribution(row)
            except (OSError, ImageError):
                self.cached[row.name] = None
            else:
                pictures = attribution.image, plots.overlay_array(attribution)
                self.cached[row.name] = [_shrunk(picture) for picture in pictures]
        return self.cached[row.name]

    def thumbnail(self, row: pd.Series) -> Thumbnail:
        """The photo, and beside it the map over it."""
        target = row.target if pd.notna(row.target) else "no class"
        alt = f"{row.path}: the photo, and beside it its map for {target}."
        pictures = self.pictures(row)
        src = pictures and self.save(f"{row.name:07d}", _side_by_side(pictures))
        return Thumbnail(row, src, alt, _called(row))

    def thumbnails(self, rows: pd.DataFrame) -> list[Thumbnail]:
        return [self.thumbnail(row) for _, row in rows.iterrows()]


def _called(row) -> str:
    text = f"called {row.prediction} ({row.prediction_probability:.2f})"
    if pd.notna(row.target) and row.target != row.prediction:
        text += f"; the map is for {row.target} ({row.probability:.2f})"
    return text


def _shrunk(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    return np.array(image)


def _side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    gap = np.full((len(pictures[0]), 4, 3), 255, "uint8")
    return np.hstack([part for picture in pictures for part in (gap, picture)][1:])


def _percent(share) -> str:
    return "–" if pd.isna(share) else f"{share:.0%}"


def _number(value, digits: int = 3) -> str:
    if pd.isna(value):
        return "–"
    text = f"{value:.{digits}f}".replace("-", "−")
    return text.lstrip("−") if not float(text.replace("−", "-")) else text


def _evenly(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most so many rows, from the first to the last."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    return rows.iloc[places]


# --- a class --------------------------------------------------------------------------


def _right(rows: pd.DataFrame) -> tuple | None:
    """Right answers, their share, its 95 % interval (Wilson); the number of photos."""
    rows = rows[rows.known]
    if not len(rows):
        return None
    right = int((rows.prediction == rows.label).sum())
    interval = stats.binomtest(right, len(rows)).proportion_ci(method="wilson")
    return (
        right,
        right / len(rows),
        float(interval.low),
        float(interval.high),
        len(rows),
    )


def _write_class(pages: _Pages, number, name, rows, labelled, seed) -> dict:
    """Write the page of a class; what the index says of it."""
    sample = rows
    if len(rows) > MOST_MAPS:
        sample = rows.sample(MOST_MAPS, random_state=seed).sort_index()
    maps = pages.survey.maps(sample)
    peaks = np.abs(maps).max(axis=(1, 2), keepdims=True)
    maps = maps / np.where(peaks > 0, peaks, 1)  # each photo counts alike
    alike = _correlations(maps, maps.mean(axis=0))
    order, few = np.argsort(-alike, kind="stable"), min(4, len(sample) // 2)
    wrong = rows[rows.known & (rows.prediction != rows.label)]
    wrong = wrong.sort_values("prediction_probability", ascending=False, kind="stable")
    summary = {
        "name": name,
        "file": f"class-{number:04d}.html",
        "count": len(rows),
        "right": _right(rows),
        "rim_share": rows.rim_share.mean(),
        "half_area": rows.half_area.mean(),
        "alike": float(alike.mean()) if len(alike) > 1 else np.nan,
        "mean": maps.mean(axis=0),
    }
    groups = cluster_maps(maps, seed=seed)
    shown = pages.thumbnails(_evenly(sample, pages.sheet))
    summary["picture"] = _mean_picture(pages, f"mean-{number:04d}", sample, summary)
    pages.write(
        summary["file"], "class.html", summary=summary, labelled=labelled, rows=rows,
        sample=sample, shown=shown, wrong=pages.thumbnails(wrong.head(pages.sheet)),
        confused=wrong.prediction.value_counts(), wrong_count=len(wrong),
        typical=pages.thumbnails(sample.iloc[order[:few]]),
        untypical=pages.thumbnails(sample.iloc[order[::-1][:few]]),
        groups=groups, figures=_cluster_figures(pages, number, groups, sample),
        sheets=list(_cluster_sheets(pages, groups, sample, maps)),
    )  # fmt: skip
    pages.cached.clear()  # memory; a photo is of one class
    return summary


def _correlations(maps: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Pearson's, of each map (n, h, w) with the mean map; 0 for a constant one."""
    flat = maps.reshape(len(maps), -1) - maps.mean(axis=(1, 2))[:, None]
    mean = mean.ravel() - mean.mean()
    sizes = np.linalg.norm(flat, axis=1) * np.linalg.norm(mean)
    return flat @ mean / np.where(sizes > 0, sizes, 1)


def _mean_picture(
    pages: _Pages, name: str, sample: pd.DataFrame, summary: dict
) -> dict:
    """The mean map over the mean of some photos; by itself if none can be read."""
    text = f"The mean map of {len(sample)} photos of {summary['name']}"
    rows = _evenly(sample, pages.sheet)
    readable = [row for _, row in rows.iterrows() if pages.pictures(row)]
    if not readable:
        return pages.figure(name, _map_picture(summary["mean"], text))
    first = pages.survey.attribution(readable[0])
    image = np.mean([pages.pictures(row)[0] for row in readable], axis=0).astype(
        "uint8"
    )
    size = first.image.shape[1::-1]
    image = np.array(Image.fromarray(image).resize(size, Image.BILINEAR))
    mean = plots.overlay_array(replace(first, values=summary["mean"], image=image))
    alt = f"{text}, over the mean of {len(readable)} photos."
    return {"src": pages.save(name, mean), "alt": alt}


def _map_picture(mean: np.ndarray, text: str) -> plots.Picture:
    colours = "signed" if mean.min() < 0 else "positive"
    drawn = plots.heatmaps([mean], columns=1, colours=colours)
    return plots.Picture(drawn.figure, f"{text}, in its own cells.")


def _mean_of_all(pages: _Pages, classes: list[dict]) -> dict | None:
    if not classes:
        return None
    weights = [summary["count"] for summary in classes]
    mean = np.average([summary["mean"] for summary in classes], 0, weights)
    text = f"The mean map of all {sum(weights)} photos"
    return pages.figure("mean-of-all", _map_picture(mean, text))


def _cluster_figures(
    pages: _Pages, number: int, groups: Clusters, sample
) -> list[dict]:
    if groups.note:
        return []
    places = np.linspace(0, len(sample) - 1, 12 if pages.many else 40).astype(int)
    small = {int(k): pages.pictures(sample.iloc[k]) for k in places}
    pictures = {k: pair[1] for k, pair in small.items() if pair}
    return [
        pages.figure(f"{panel}-{number:04d}", figure(groups, pictures, panels=[panel]))
        for panel in ("eigenvalues", "embedding")
    ]


def _cluster_sheets(pages: _Pages, groups: Clusters, sample, maps) -> Iterator[tuple]:
    """Of each group its size and the photos nearest to its mean; none of one group."""
    for group in range(groups.count if groups.count > 1 else 0):
        members = np.flatnonzero(groups.labels == group)
        alike = _correlations(maps[members], maps[members].mean(axis=0))
        nearest = members[np.argsort(-alike, kind="stable")[:6]]
        yield len(members), pages.thumbnails(sample.iloc[nearest])


# --- the screening table --------------------------------------------------------------


def _screening(pages: _Pages, good: pd.DataFrame, seed: int) -> dict | None:
    """What the template needs; None if no photo was changed."""
    survey = pages.survey
    rows = good[good.screened.fillna(False).astype(bool) & good.duplicate_of.isna()]
    if not (len(rows) and survey.changes):
        return None
    if len(rows) > MOST_SCREENED:
        rows = rows.sample(MOST_SCREENED, random_state=seed).sort_index()
    labels = [label if pd.notna(label) else None for label in rows.label]
    probabilities = survey.probabilities(rows)
    matrix = screen(probabilities, labels, survey.classes, survey.changes, seed=seed)
    columns = largest_columns(matrix, MOST_COLUMNS)
    return {
        "matrix": matrix,
        "classes": [survey.classes[k] for k in columns],
        "lines": [
            (change, [_cell(matrix, r, c) for c in columns])
            for r, change in enumerate(survey.changes)
        ],
        "findings": [
            (
                finding,
                [_moved(pages, rows, finding, k) for k in range(len(finding.photos))],
            )
            for finding in strongest(matrix)
        ],
        "photos": len(rows),
        "enough": bool((matrix.cells.photos >= FEWEST).any()),
    }


def _cell(matrix: Screening, row: int, column: int) -> dict:
    cell = matrix.cells.iloc[row * len(matrix.classes) + column]
    limit = max(0.01, np.abs(matrix.cells.gain).max())
    level = int(np.ceil(3 * abs(cell.gain) / limit - 0.1))  # 0–3
    best = cell.gain > 0 and cell.gain == matrix.grid("gain")[row].max()
    colour = f"{'more' if cell.gain > 0 else 'less'}{level}"
    return {"colour": colour, "best": best, **cell.to_dict()}


def _moved(
    pages: _Pages, rows: pd.DataFrame, finding: Finding, place: int
) -> Thumbnail:
    """A photo that a change moved much, and beside it the same, changed."""
    row = rows.iloc[finding.photos[place]]
    name = f"changed-{finding.change_index}-{row.name:07d}"
    text = f"probability of {finding.label} {finding.gains[place]:+.2f}"
    alt = f"{row.path}: the photo, and beside it the same, changed: {finding.change}."
    thumbnail = Thumbnail(row, None, alt, text)
    try:
        pictures = [pages.survey.square(row)]
    except (OSError, ImageError):
        return thumbnail
    if (
        changed := changed_square(pages.survey, row, finding.change, pictures[0])
    ) is not None:
        pictures.append(changed)
    else:
        thumbnail.alt = f"{row.path}: the photo."
    thumbnail.src = pages.save(name, _side_by_side([_shrunk(p) for p in pictures]))
    return thumbnail


def changed_square(survey, row, name: str, square: np.ndarray) -> np.ndarray | None:
    """The square as the survey changed it; None if the change is not one of ours."""
    from .changes import CHANGES, changed_pictures  # here, for they load TensorFlow

    if name not in CHANGES:
        return None
    facts = survey.manifest["seed"], row.sha256
    return changed_pictures(square, [CHANGES[name]], *facts)[1]
