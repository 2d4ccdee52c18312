"""Occlusion sensitivity: cover a part, see how much of the score is lost."""

import numpy as np

from ...engine import incremental as incremental_forward
from ...engine.batches import Progress, batch_slices
from ...engine.checks import check_colour, check_pair, check_patch
from ...engine.fills import GREY_LEVEL
from ...engine.upsampling import Upsampling, patch_upsampling
from ..attribution import Attribution
from ..classifier import Classifier
from ..query import Query


def occlusion(
    classifier: Classifier, image, target=None, *,
    patch: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None, fill=GREY_LEVEL,
    score: str = "logit", incremental: bool = True, progress: Progress = None,
) -> Attribution:  # fmt: skip
    """How much of the score is lost when a patch is covered: Zeiler, Fergus (2014).

    The patch is laid on the *picture* (pixels 0–255), before any preprocessing, and
    moved over it; the last position of each row and column ends at the border.

    Parameters
    ----------
    classifier, image, target, score, progress : see ``explain``
    patch : int or (height, width), in pixels of the network's square
        None: a seventh of the square's shorter side.
    stride : int or (down, across), in pixels
        None: half the patch. Larger than the patch, it leaves pixels that are never
        covered; those are zero in ``heatmap()``.
    fill : number, or (red, green, blue), 0–255
        What the patch is painted with.
    incremental : bool
        Where a plain chain of layers allows it (VGG16), compute again only what the
        patch reaches; the logits are the same to within rounding
        (``explain.multiply_adds``). False: compute every covered picture whole.

    Returns
    -------
    Attribution
        ``values`` float32 (rows, columns), one for each position of the patch: score
        of the picture minus score with the patch. Positive: the patch hid evidence.
        ``heatmap()`` gives each pixel the mean over the patches that covered it.
        ``parameters["rows"]`` and ``["columns"]``: where the patches start.

    Examples
    --------
    >>> occlusion(classifier, photo, "tabby", patch=50, stride=25).values.shape
    (11, 11)
    """
    query, size = Query(classifier, image, target, score), classifier.input_size
    patch = check_pair("patch", max(1, min(size) // 7) if patch is None else patch)
    half = tuple(max(1, side // 2) for side in patch)
    stride = check_pair("stride", half if stride is None else stride)
    check_patch(patch, size, classifier.name)
    colour = check_colour(fill)
    rows = patch_positions(size[0], patch[0], stride[0])
    columns = patch_positions(size[1], patch[1], stride[1])
    positions = [(row, column) for row in rows for column in columns]

    score_value = np.float32(query.ask().score_value)
    scores = _occluded_scores(query, positions, patch, colour, incremental, progress)
    return query.attribution(
        (score_value - scores).reshape(len(rows), len(columns)),
        "occlusion",
        unit=f"drop in {score}",
        parameters={"patch": patch, "stride": stride, "fill": tuple(map(int, colour))}
        | {"rows": rows.tolist(), "columns": columns.tolist()},
        upsampling=Upsampling(
            patch_upsampling(rows, patch[0], size[0]),
            patch_upsampling(columns, patch[1], size[1]),
        ),
    )


def patch_positions(size: int, patch: int, stride: int) -> np.ndarray:
    """First pixels of the patches along one side; the last ends at the border."""
    return np.unique(np.append(np.arange(0, size - patch + 1, stride), size - patch))


def occlude(square: np.ndarray, position, patch, colour) -> np.ndarray:
    """A copy of the square with one patch painted over. Notebook 04."""
    row, column = position
    covered = square.copy()
    covered[row : row + patch[0], column : column + patch[1]] = colour
    return covered


def _occluded_scores(query: Query, positions, patch, colour, incremental, progress):
    """The score with the patch at each position, float32 (positions,)."""
    classifier, square = query.classifier, query.square
    forward = incremental and incremental_forward.plan(
        classifier.model, classifier.preprocess_tensor, classifier.cached_function,
        square, positions, patch, colour,
    )  # fmt: skip

    def logits(part):
        if forward:
            return forward.logits(part)
        covered = [occlude(square, p, patch, colour) for p in positions[part]]
        return classifier.logits_of(np.stack(covered))

    size = forward.batch_size if forward else classifier.batch_size()
    slices = batch_slices(len(positions), size, "occlusion", progress)
    return np.concatenate([query.score_of(logits(part)) for part in slices])
