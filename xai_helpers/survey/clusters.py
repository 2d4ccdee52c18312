"""SpRAy: the maps of a class in groups. Lapuschkin et al. (2019), Nature Communications
10, 1096, https://doi.org/10.1038/s41467-019-08987-4.

If a network looks at different places in different photos of one class, the maps fall
into groups; a group may be one that goes by a watermark instead of the horse.

>>> groups = cluster_maps(survey.maps(rows))
>>> groups.count, groups.labels
(2, array([0, 1, 0, …]))
"""

import warnings
from dataclasses import dataclass

import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from scipy.sparse.csgraph import laplacian
from sklearn.cluster import spectral_clustering
from sklearn.manifold import TSNE
from sklearn.neighbors import kneighbors_graph

from ..course import plots

NEIGHBOURS = 10  # as CoRelAy, the authors' own program
FEWEST = 8  # maps; of fewer, groups are not looked for
MOST = 8  # groups
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # with the shapes: 8 groups
COLOURS += ("#56b4e9", "#e69f00", "#444444", "#8a7a00")
SHAPES = "os^DvPX*"


@dataclass(eq=False)
class Clusters:
    """The groups that maps fall into. Shows itself in words.

    Attributes
    ----------
    labels : int (n,), the group of each map, 0 the largest; −1 if it is zero everywhere
    eigenvalues : float (up to 9,), the smallest ones of the Laplacian, 0–2, ascending
    count : int, the number of groups: eigenvalues before the widest gap
    embedding : float (n, 2), t-SNE: like maps lie near each other; NaN if zero
    note : str, why groups were not looked for; or ""
    """

    labels: np.ndarray
    eigenvalues: np.ndarray
    count: int
    embedding: np.ndarray
    note: str = ""

    @property
    def description(self) -> str:
        """Groups, their sizes and the widest gap, in a sentence or two."""
        zeros = int((self.labels < 0).sum())
        text = f"{len(self.labels)} maps"
        text += f", {zeros} of them zero everywhere and left out. " if zeros else ". "
        if self.note:
            return text + self.note
        gaps = np.sort(np.diff(self.eigenvalues))[::-1]
        sizes = np.bincount(self.labels[self.labels >= 0], minlength=self.count)
        groups = f"{self.count} groups (of {', '.join(map(str, sizes))} maps)"
        text += "1 group" if self.count == 1 else groups
        text += f": the widest gap between eigenvalues, {gaps[0]:.2f}, follows number "
        text += str(self.count)
        return text + f"; the next widest is {gaps[1]:.2f}."

    def __repr__(self) -> str:
        return self.description


def cluster_maps(maps: np.ndarray, *, side: int = 10, seed: int = 0) -> Clusters:
    """Spectral clustering of maps; the eigengap says into how many groups.

    Each map is scaled down to at most ``side`` × ``side`` cells and divided by the sum
    of its sizes, so that its form counts and not its strength. Two maps are neighbours
    if one is among the 10 nearest of the other (among the nearest quarter, if there are
    fewer than 40). The eigenvalues of the normalised Laplacian near 0 count the groups;
    the widest gap after one of the first eight is taken as the end of them.

    The widest gap always exists: maps that vary evenly, as those of a subject that
    stands anywhere, are often cut into pieces too. Look at them before you believe it.

    Parameters
    ----------
    maps : float (n, h, w), finite
    side : int, 1 or more
    seed : int, of k-means and t-SNE

    Returns
    -------
    Clusters
        Of fewer than eight maps that are not zero, one group and a note.

    Raises
    ------
    ValueError
        If the maps are not (n, h, w), or hold NaN or infinity.
    """
    maps = np.asarray(maps, "float32")
    if maps.ndim != 3 or not np.isfinite(maps).all():
        raise ValueError(f"maps are finite and (n, h, w), not {maps.shape}.")
    sizes = np.abs(maps).sum(axis=(1, 2), dtype="float64")
    nonzero = np.flatnonzero(sizes)
    labels, embedding = np.full(len(maps), -1), np.full((len(maps), 2), np.nan)
    labels[nonzero] = 0
    forms = [scaled_down(maps[k] / sizes[k], side).ravel() for k in nonzero]
    different = len(np.unique(forms, axis=0)) if forms else 0
    if different < FEWEST:
        embedding[nonzero] = 0
        note = "maps that differ are too few to look for groups; it takes"
        note = f"{different} {note} {FEWEST}."
        return Clusters(labels, np.zeros(0), min(1, different), embedding, note)
    forms = np.stack(forms)
    neighbours = max(2, min(NEIGHBOURS, len(forms) // 4))
    graph = kneighbors_graph(forms, neighbours).toarray()
    graph = np.maximum(graph, graph.T)
    eigenvalues = np.linalg.eigvalsh(laplacian(graph, normed=True))[: MOST + 1]
    count = int(np.argmax(np.diff(eigenvalues))) + 1
    if count > 1:
        with warnings.catch_warnings():  # groups without a link are what is looked for
            warnings.filterwarnings("ignore", "Graph is not fully connected")
            found = spectral_clustering(graph, n_clusters=count, random_state=seed)
        order = np.argsort(-np.bincount(found, minlength=count), kind="stable")
        labels[nonzero] = np.argsort(order)[found]
    perplexity = min(30, (len(forms) - 1) / 3)
    options = {"perplexity": perplexity, "method": "exact", "max_iter": 500}
    embedding[nonzero] = TSNE(init="pca", random_state=seed, **options).fit_transform(
        forms.astype("float64") / np.abs(forms).max()
    )
    return Clusters(labels, eigenvalues, count, embedding)


def scaled_down(values: np.ndarray, side: int) -> np.ndarray:
    """A map (h, w) as means of blocks, at most (side, side), float32."""
    height, width = (min(edge, side) for edge in values.shape)
    image = Image.fromarray(np.ascontiguousarray(values, "float32"))
    return np.array(image.resize((width, height), Image.BOX))


def figure(
    clusters: Clusters, thumbnails=None, title="", panels=("eigenvalues", "embedding")
) -> plots.Picture:
    """The eigenvalues, and the maps in two dimensions, coloured by group.

    thumbnails : dict of place in the maps → uint8 (h, w, 3), drawn over their points
    panels : which of the two to draw
    """
    size = (9.2, 4.2) if len(panels) > 1 else (4.8, 3.8)
    ratios = [1 + (name == "embedding") for name in panels]
    drawing, [axes] = plots.panel_grid(
        1, len(panels), size, title or None, axes=True, width_ratios=ratios
    )
    for panel, name in zip(axes, panels, strict=True):
        if name == "eigenvalues":
            draw_eigenvalues(panel, clusters)
        else:
            draw_embedding(panel, clusters, thumbnails or {})
    text = f"{title or 'Groups of maps'}: {' and '.join(panels)}."
    return plots.Picture(drawing, f"{text} {clusters.description}")


def draw_eigenvalues(panel, clusters: Clusters) -> None:
    """The smallest eigenvalues in a panel; a line where the groups end."""
    values = clusters.eigenvalues
    panel.plot(1 + np.arange(len(values)), values, "o", color=plots.BLUE)
    if len(values):
        panel.axvline(clusters.count + 0.5, color=plots.ORANGE, lw=1, ls="--")
    panel.set_title("eigenvalues, and the widest gap", fontsize=9)
    panel.set_xlabel("number", fontsize=8)
    panel.set_ylim(bottom=min(-0.02, *values, 0))
    panel.tick_params(labelsize=8)


def draw_embedding(panel, clusters: Clusters, thumbnails: dict) -> None:
    """The maps in two dimensions (t-SNE); a colour and a form for each group."""
    for group in range(clusters.count):
        members = clusters.labels == group
        style = {"color": COLOURS[group % MOST], "marker": SHAPES[group % MOST]}
        style |= {"s": 24, "label": f"group {group + 1}"}
        panel.scatter(*clusters.embedding[members].T, **style)
    for place, picture in thumbnails.items():
        if np.isfinite(clusters.embedding[place]).all():
            box = OffsetImage(picture, zoom=30 / max(picture.shape))
            frame = {"edgecolor": COLOURS[clusters.labels[place] % MOST], "lw": 2}
            style = {"pad": 0.1, "bboxprops": frame}
            panel.add_artist(AnnotationBbox(box, clusters.embedding[place], **style))
    panel.set_title("maps that are alike lie near each other (t-SNE)", fontsize=9)
    panel.set(xticks=[], yticks=[])
    panel.margins(0.1)
    if clusters.count > 1:  # below, where no map lies
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "frameon": False}
        panel.legend(fontsize=8, ncols=5, **place)
