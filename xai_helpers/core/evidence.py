"""A test for a single map: does its place on the picture matter to the network?

What the map marks is blurred, and so are regions of the same shape at random places.
"""

from collections.abc import Sequence

import numpy as np

from ..engine.batches import Progress
from ..engine.checks import check_count
from ..engine.fills import baseline_image
from ..engine.maps import as_heatmap, centre_map, importance_ranks
from ..engine.random_places import Evidence, random_place
from .attribution import Attribution
from .classifier import Classifier
from .explain import TECHNIQUES
from .query import Query


def evidence(
    classifier: Classifier, attribution: Attribution, *,
    share: Sequence[float] = (0.1, 0.2, 0.3), regions: int = 39,
    fill: str = "blurred", rivals: dict | None = None, seed: int = 0,
    progress: Progress = None,
) -> Evidence:  # fmt: skip
    """Does the score fall further without what the map marks than by chance?

    The null hypothesis: the map's place has nothing to do with the photo, so that the
    map, its mirror images and its transpose, shifted with what leaves on one side
    entering on the other, are equally likely. A random region is what such a map marks,
    drawn in the map's own cells: the values, their smoothness and the number of pixels
    stay. Under the null the map and the draws are exchangeable, so that p ≤ α has at
    most the probability α (Hemerik and Goeman 2018, DOI 10.1007/s11749-017-0571-1). It
    is a test, and not a proof: where the subject stands in the middle, a mirrored map
    passes, too, and so does every other map that marks the subject for a wrong reason.

    Parameters
    ----------
    classifier, progress : see ``explain``
    attribution : Attribution of any technique; only what is positive ranks
    share : of the pixels, those ranked highest; never more than is positive
    regions : int, random ones; p ≥ 1 / (1 + regions), so 19 are the fewest for 0.05
    fill : "blurred", "grey" or "black", in place of a pixel
    rivals : dict of name → Attribution or float array (H, W), to be compared
        None: the strongest other class's map, where the technique can make one again.
    seed : int, of the random places, and of the order of equal pixels

    Returns
    -------
    Evidence
        ``p_value``, ``falls``, ``random_falls``, ``rival_falls``, ``description``

    Examples
    --------
    >>> evidence(classifier, grad_cam(classifier, photo)).p_value
    0.025
    """
    share, regions = tuple(share), check_count("regions", regions)
    if not share or not all(0 < each <= 1 for each in share):
        raise ValueError(f"share is one or more numbers from 0 to 1, not {share}.")
    score = attribution.score or "logit"
    query = Query(classifier, attribution.image, attribution.target, score).ask()
    label = classifier.class_label(query.target)
    subject, none = f"the {score} of {label}", np.zeros((0, len(share)))
    cells, shape = np.maximum(attribution.map, 0), query.square.shape[:2]
    as_heatmap(attribution, shape)  # of this network's size, or an error
    if not cells.any():
        return Evidence(subject, share, np.zeros(len(share)), none, {})
    if rivals is None:
        rivals = _other_class(query, attribution, progress)

    rng = np.random.default_rng(seed)
    mirrored = {
        "its mirror image": cells[:, ::-1],
        "itself upside down": cells[::-1],
        "itself turned by 180°": cells[::-1, ::-1],
    }
    moved = [cells, *(random_place(cells, rng) for _ in range(regions))]
    heatmaps = [attribution.upsample(each) for each in (*moved, *mirrored.values())]
    rivals = {"a bell in the middle": centre_map(query.square)} | rivals
    heatmaps += [np.maximum(as_heatmap(each, shape), 0) for each in rivals.values()]
    most = (cells > 0).mean()  # the same for all places
    limits = [
        max(1, round(min(each, most) * query.square[..., 0].size)) for each in share
    ]
    ranks = [importance_ranks(heatmap, seed) for heatmap in heatmaps]
    masks = np.stack([rank < limit for rank in ranks for limit in limits])
    filled = baseline_image(query.square, fill)

    def pictures(part):
        return np.where(masks[part, ..., None], filled, query.square)

    scores = query.scores_of_pictures(len(masks), pictures, "evidence", progress)
    falls = (query.score_value - scores.astype("float64")).reshape(-1, len(share))
    names, of_rivals = [*mirrored, *rivals], falls[1 + regions :]
    pairs = dict(zip(names, of_rivals, strict=True))
    return Evidence(subject, share, falls[0], falls[1 : 1 + regions], pairs)


def _other_class(query: Query, attribution: Attribution, progress) -> dict:
    """The same technique for the strongest other class, if it can be called again."""
    titles = {technique.title: technique for technique in TECHNIQUES.values()}
    technique = titles.get(attribution.technique)
    own, used = attribution.parameters, attribution.parameters.values()
    if technique is None or not technique.takes("target"):
        return {}
    if technique.takes("background") or any(str(each) == "given" for each in used):
        return {}  # what it was made with is not kept
    order = np.argsort(-query.logits)
    index = next(int(other) for other in order if other != query.target)
    options = {"target": index, "score": query.score, "progress": progress}
    options |= {"layer": attribution.layer} if attribution.layer else {}
    other = technique.call(query.classifier, query.square, **(own | options))
    return {f"the map for {other.label}": other}
