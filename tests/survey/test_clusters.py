"""Groups of maps: planted ones are found, and few or odd maps do no harm."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from xai_helpers.survey.clusters import cluster_maps, figure, scaled_down


def noise(count, seed=0, side=14):
    return np.random.default_rng(seed).random((count, side, side)).astype("float32")


def groups(sizes, seed=0, strength=20):
    """Noise, and in each group a bright square of its own; shuffled, with the truth."""
    rng, truth = np.random.default_rng(seed), np.repeat(range(len(sizes)), sizes)
    rng.shuffle(truth)
    maps = noise(len(truth), seed)
    for values, group in zip(maps, truth, strict=True):
        values[4 * group : 4 * group + 4, :4] += strength
    return maps, truth


@pytest.mark.parametrize("sizes", [(30, 30), (45, 15), (20, 20, 20)])
@pytest.mark.parametrize("seed", range(2))
def test_planted_groups_are_found(sizes, seed):
    maps, truth = groups(sizes, seed)
    clusters = cluster_maps(maps, seed=seed)
    assert clusters.count == len(sizes)
    assert adjusted_rand_score(truth, clusters.labels) == 1
    # Each group is a component of the graph, and each component has an eigenvalue 0.
    np.testing.assert_allclose(clusters.eigenvalues[: len(sizes)], 0, atol=1e-9)
    assert clusters.eigenvalues[len(sizes)] > 0.01
    counted = np.bincount(clusters.labels)
    assert counted.tolist() == sorted(sizes, reverse=True)  # the largest is group 0


@pytest.mark.parametrize("count", [20, 60, 120])
def test_maps_of_one_kind_are_one_group(count):
    for seed in range(3):
        clusters = cluster_maps(noise(count, seed) + groups([count])[0])
        assert clusters.count == 1 and not clusters.labels.any()


def test_the_strength_of_a_map_does_not_matter():
    maps, truth = groups((20, 20))
    factors = np.random.default_rng(1).uniform(0.1, 10, (40, 1, 1))
    assert adjusted_rand_score(truth, cluster_maps(maps * factors).labels) == 1


def test_maps_near_each_other_in_the_embedding_are_of_one_group():
    maps, truth = groups((30, 30))
    points = cluster_maps(maps).embedding
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (truth[distances.argmin(axis=1)] == truth).all()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_few_maps_are_one_group_and_it_says_why(count):
    clusters = cluster_maps(noise(count))
    assert clusters.labels.tolist() == [0] * count and clusters.count == min(1, count)
    assert f"{count} maps that differ are too few" in clusters.description
    assert clusters.embedding.shape == (count, 2)
    assert len(figure(clusters).png()) > 1000


def test_constant_and_zero_maps_do_no_harm():
    constant = cluster_maps(np.full((20, 5, 5), 3.0))
    assert constant.count == 1 and not constant.labels.any()
    assert "1 maps that differ are too few" in constant.note
    zero = cluster_maps(np.zeros((20, 5, 5)))
    assert zero.count == 0 and (zero.labels == -1).all()
    assert "20 of them zero everywhere" in zero.description
    assert len(figure(zero).png()) > 1000
    maps, truth = groups((20, 20))
    mixed = cluster_maps(np.concatenate([maps, np.zeros((3, 14, 14))]))
    assert (mixed.labels[40:] == -1).all() and np.isnan(mixed.embedding[40:]).all()
    assert adjusted_rand_score(truth, mixed.labels[:40]) == 1


def test_many_equal_maps_do_no_harm():
    maps = np.concatenate([np.repeat(noise(1), 30, axis=0), noise(10, 5)])
    clusters = cluster_maps(maps)
    assert len(set(clusters.labels[:30])) == 1 and np.isfinite(clusters.embedding).all()


def test_the_same_seed_is_the_same_answer():
    maps = noise(50)
    first, second = cluster_maps(maps, seed=4), cluster_maps(maps, seed=4)
    assert (first.labels == second.labels).all()
    assert (first.embedding == second.embedding).all()
    assert figure(first).png() == figure(second).png()


def test_blocks_are_averaged():
    values = np.arange(16, dtype="float32").reshape(4, 4)
    np.testing.assert_allclose(scaled_down(values, 2), [[2.5, 4.5], [10.5, 12.5]])
    assert scaled_down(np.ones((3, 5), "float32"), 4).shape == (3, 4)


def test_the_picture_has_eigenvalues_points_and_thumbnails():
    maps, _ = groups((20, 20))
    clusters = cluster_maps(maps)
    thumbnails = {0: np.zeros((8, 8, 3), "uint8"), 5: np.zeros((8, 8, 3), "uint8")}
    picture = figure(clusters, thumbnails, title="horses")
    eigenvalues, embedding = picture.figure.axes
    np.testing.assert_allclose(eigenvalues.lines[0].get_ydata(), clusters.eigenvalues)
    assert sum(len(c.get_offsets()) for c in embedding.collections) == 40
    assert picture.description.startswith(
        "horses: eigenvalues and embedding. 40 maps. 2 groups (of 20, 20 maps)"
    )
    assert len(picture.png()) > 5000


def test_maps_that_are_none_are_refused():
    for maps in (np.zeros((3, 3)), np.full((9, 3, 3), np.nan)):
        with pytest.raises(ValueError, match="finite"):
            cluster_maps(maps)
