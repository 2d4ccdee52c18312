"""How fast a step of a slider answers on this machine: `make bench`.

For each network, `explore_layers` is opened, and its slider moved over every layer.
The first picture computes all layers in one pass; each further step only draws.
"""

from __future__ import annotations

import statistics
import time

from xai_helpers import load_classifier, widgets


def seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def slider(network: str, technique: str) -> dict[str, float]:
    """Milliseconds for the first picture, for further steps, for another photo."""
    clf = load_classifier(network, verbose=False)
    made = []
    first = seconds(
        lambda: made.append(widgets.explore_layers(clf, technique=technique))
    )
    explorer = made[0]

    def move(control, value):
        control.value = value

    layers = [value for _, value in explorer.layer.options]
    steps = [seconds(lambda v=v: move(explorer.layer, v)) for v in layers[::-1]]
    photo = seconds(lambda: move(explorer.photo, "dogs"))
    return {
        "first": first,
        "median step": statistics.median(steps),
        "slowest step": max(steps),
        "next photo": photo,
    }


def main() -> None:
    print(f"{'milliseconds':24}", *(f"{h:>13}" for h in
          ("first", "median step", "slowest step", "next photo")))  # fmt: skip
    for network in ("xception", "vgg16"):
        for technique in ("grad_cam", "activations"):
            found = slider(network, technique).values()
            print(
                f"{network + ', ' + technique:24}",
                *(f"{1000 * t:13.0f}" for t in found),
            )


if __name__ == "__main__":
    main()
