"""The statistics of a test of one map: regions at random places, and what they cost.

The test itself is ``metrics.evidence``.
"""

from dataclasses import dataclass

import numpy as np

LEVEL = 0.05  # p up to here is called a sign that the map's place matters …
DOUBT = 0.2  # … and from here on none at all; between them, the test leaves it open


@dataclass(frozen=True, repr=False)
class Evidence:
    """How far the score falls without what a map marks, and without other regions."""

    subject: str  # such as "the logit of tabby"
    share: tuple[float, ...]  # of the pixels that were changed
    falls: np.ndarray  # (shares,), of the score, without what the map marks
    random_falls: np.ndarray  # (regions, shares), without the same shape elsewhere
    rival_falls: dict  # name → (shares,), of the mirror images and the other maps

    def p_of(self, falls: np.ndarray) -> float:
        """(1 + random regions whose mean fall is at least this one) / (1 + regions)."""
        means, own = self.random_falls.mean(axis=1), np.mean(falls)
        at_least = (means >= own) | np.isclose(means, own, rtol=1e-4, atol=1e-6)
        return float((1 + at_least.sum()) / (1 + len(means)))

    @property
    def p_value(self) -> float:
        """Of the map itself; 1 if it marks nothing."""
        return self.p_of(self.falls) if len(self.random_falls) else 1.0

    @property
    def passing_rivals(self) -> list[str]:
        """Those that pass as well, with at least half of the map's fall.

        One in twenty passes by accident, but then its fall is seldom that large.
        """
        falls, enough = self.rival_falls.items(), self.falls.mean() / 2
        passing = [name for name, fall in falls if self.p_of(fall) <= LEVEL]
        return [name for name in passing if self.rival_falls[name].mean() >= enough]

    @property
    def description(self) -> str:
        """One sentence for a reader who knows nothing of tests."""
        if not len(self.random_falls):
            return "The map marks nothing, so that there is nothing to test (p = 1)."
        means, own = self.random_falls.mean(axis=1), self.falls.mean()
        shares = ", ".join(f"{share:.0%}" for share in self.share)
        more = round((1 - self.p_value) * (1 + len(means)))
        own_change, others = (
            f"{-fall:+.3g}".replace("-", "−") for fall in (own, means.mean())
        )
        text = (
            f"Hiding what the map marks most ({shares} of the pixels) changes "
            f"{self.subject} by {own_change} on average, at random places by {others}; "
            f"it falls further than at {more} of {len(means)} random places "
            f"(p = {self.p_value:.2g}), "
        )
        if self.p_value > DOUBT:
            return f"{text}so this test finds no sign that the map's place is right."
        if self.p_value > LEVEL:
            return (
                f"{text}which speaks for the map's place, but is not beyond chance; a "
                "place next to the right one often does as well."
            )
        if names := self.passing_rivals:
            listed = f"{', '.join(names[:-1])} and {names[-1]}".removeprefix(" and ")
            return (
                f"{text}but so it does for {listed}: this test cannot tell them apart."
            )
        return f"{text}so the network depends on this place more than on others."

    def __repr__(self) -> str:
        return self.description


def random_place(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w): mirrored, transposed if it is square, and shifted around, at random."""
    turned = (
        cells.T if cells.shape[0] == cells.shape[1] and rng.random() < 0.5 else cells
    )
    turned = turned[:: rng.choice((1, -1)), :: rng.choice((1, -1))]
    return np.roll(turned, tuple(rng.integers(turned.shape)), axis=(0, 1))
