"""How fast the explanations are: against their limit, and against other libraries.

    make bench                           time all of it, print the table (40 minutes)
    python tools/benchmark.py --quick    fewer samples and repetitions (10 minutes)
    python tools/benchmark.py --save     and keep it: data/tables/speed-cpu.json
    python tools/benchmark.py --techniques rise --save      its rows, into that file
    python tools/benchmark.py --readme   write the tables of docs/speed.md

One photo (the cat), one class (tabby), portable weights. Within a row everything runs
in one process, taking turns, and the median of the repetitions counts; a machine that
slows down slows down all of them. The *limit* is what cannot be avoided: the forward
and backward passes that the technique consists of, compiled, nothing else, at the batch
size that is best here. `images` counts what went through the network, by a layer that
counts, so that nobody is faster by doing less; `agrees` compares the results. Memory is
the peak of a process of its own, beyond the network loaded and asked once. What is
timed, with which options, stands in benchmark_rows.py.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from benchmark_rows import BATCH_SIZES, NETWORKS, Bench, Row
from readme import SPEED, replace_between, rewrite

from xai_helpers import explain, keras, load_classifier, tf, widgets
from xai_helpers.course.controls import controls_of

ROOT = Path(__file__).parent.parent
TABLES = ROOT / "data" / "tables"
REPETITIONS, LEAST = 4, 2  # turns, and seconds for all of them: short ones more often
BEGIN, END = "<!-- speed, by tools/benchmark.py --readme -->", "<!-- end of speed -->"
SHARED_REASON = (
    "for a sample ours needs one forward and two backward passes, shap two of each: "
    "4/3 where both kinds cost the same. The bare passes are {bare} faster than shap; "
    "ours takes {over} as long as they"
)
MISSED_BECAUSE = {  # targets that the committed run missed
    (network, technique): SHARED_REASON + end
    for network in ("VGG16", "Xception")
    for technique, end in {
        "expected gradients, pixels": ".",
        "expected gradients, middle layer": ": it also asks about the photo itself, "
        "and looks whether background and weights are those of the last call.",
    }.items()
} | {
    ("Xception", "activations"): "so short a pass that {extra} count: ours "
    "also cuts the photo to the network's square and scales its colours."
}


# --- measuring ------------------------------------------------------------------------


def seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@cache
def best_batch_size(passes: Callable) -> int:
    """The batch size with the least time for one image."""
    times = {}
    for size in BATCH_SIZES:
        passes(size)  # compiles
        turns = [seconds(partial(passes, size)) for _ in range(2)]
        times[size] = min(turns) / size
    return min(times, key=times.get)


def measure(bench: Bench, row: Row, counts: dict, repetitions: int) -> dict:
    """All contenders and the limit, taking turns; the medians.

    counts : contender → images that passed forward and backward, as ``image_counts``
    """
    pass_name, times = row.limit or limit_as_counted(*counts["ours"])
    passes, size = bench.passes[pass_name], 1
    if times > 1:  # one image cannot wait for a batch
        size = best_batch_size(passes)
    calls = -(-times // size)  # as long as the others: both meet any disturbance
    turns = row.contenders | {"limit": lambda: [passes(size) for _ in range(calls)]}
    spent = {name: [] for name in turns}
    for action in turns.values():
        action()  # compiles
    start = time.perf_counter()
    while len(spent["ours"]) < repetitions or time.perf_counter() - start < LEAST:
        for name, action in turns.items():
            spent[name].append(seconds(action))
    medians = {name: statistics.median(values) for name, values in spent.items()}
    medians["limit"] *= times / (calls * size)
    return {
        "network": bench.clf.name,
        "technique": row.title,
        "setting": row.setting,
        "limit": f"{times} × {pass_name}, batches of {size}",
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "spread": {
            name: [round(f(values), 4) for f in (min, max)]
            for name, values in spent.items()
            if name != "limit"
        },
        "target": list(row.target) if row.target else None,
        "met": target_is_met(medians, row.target),
        "agrees": row.agrees() if row.agrees else "",
        "unlike": row.differs,
        "images": {name: counts.get(name, [None])[0] for name in row.contenders},
    }


def limit_as_counted(forward: int, backward: int) -> tuple[str, int]:
    """The passes of a technique for which no limit is given."""
    return ("both", backward) if backward else ("forward", forward)


def target_is_met(seconds: dict, target) -> bool:
    """Without a target nothing can be missed."""
    if not target:
        return True
    against, ratio = target
    if against == "limit":
        return seconds["ours"] <= ratio * seconds["limit"]
    return seconds[against] >= ratio * seconds["ours"]


def image_counts(bench: Bench, names) -> dict[str, dict[str, tuple[int, int]]]:
    """Row → contender → how many images passed the network, forward and backward.

    bench : one that counts
    """
    counts = {}
    for row in bench.rows(names):
        counts[row.title] = {}
        for name, action in row.contenders.items() if row.sends_whole_images else ():
            action()  # what it keeps of the background is not counted, nor timed
            bench.forward_count.assign(0)
            bench.backward_count.assign(0)
            action()
            passed = bench.forward_count.numpy(), bench.backward_count.numpy()
            counts[row.title][name] = tuple(map(int, passed))
    return counts


# --- memory, in a process for each ----------------------------------------------------


def peak_mb() -> float:
    """The largest resident memory of this process since ``reset_peak``."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def reset_peak() -> float:
    """Also gives back what is free, or the next step would find room already there."""
    with contextlib.suppress(AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def memory_here(network: str, title: str, contender: str, quick: bool) -> float:
    bench = Bench(network, quick)
    bench.clf.logits(bench.photo)
    (row,) = [row for row in bench.rows() if row.title == title]
    before = reset_peak()
    row.contenders[contender]()
    return peak_mb() - before


def memory(network: str, title: str, contender: str, quick: bool) -> int | None:
    """Megabytes beyond the loaded network; None where Linux's counters are missing."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return None
    arguments = [network, title, contender, "quick" if quick else ""]
    answer = subprocess.run(
        [sys.executable, __file__, "--memory-of", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return round(float(answer.stdout.split()[-1]))


# --- sliders and start ----------------------------------------------------------------


def slider_techniques() -> list[str]:
    """Those that the explorer computes for all layers at once, while the user waits."""
    return [name for name in explain.TECHNIQUES if controls_of(name).at_once]


def slider(network: str, technique: str) -> dict:
    """Milliseconds for the first picture, for further steps, for another photo."""
    clf = load_classifier(network, weights="portable", verbose=False)
    explorers = []
    first = seconds(lambda: explorers.append(widgets.explore(technique, clf)))
    explorer = explorers[0]
    layers = [value for _, value in explorer.layer.options]
    steps = [
        seconds(partial(setattr, explorer.layer, "value", layer))
        for layer in layers[::-1]
    ]
    times = {
        "first": first,
        "median step": statistics.median(steps),
        "slowest step": max(steps),
        "next photo": seconds(partial(setattr, explorer.photo, "value", "dogs")),
    }
    milliseconds = {name: round(1000 * value) for name, value in times.items()}
    return {"network": clf.name, "technique": technique} | milliseconds


def import_ms() -> int:
    """Milliseconds for ``import xai_helpers``, in a fresh Python; median of five."""
    code = "import time; t = time.perf_counter(); import xai_helpers; "
    code += "print(time.perf_counter() - t)"
    start = partial(subprocess.run, capture_output=True, text=True, check=True)
    runs = [float(start([sys.executable, "-c", code]).stdout) for _ in range(5)]
    return round(1000 * statistics.median(runs))


def machine() -> dict:
    gpus = tf.config.list_physical_devices("GPU")
    cards = [tf.config.experimental.get_device_details(g)["device_name"] for g in gpus]
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = re.search(r"model name\s*: (.*)", info.read_text())
        cpu = cpu[1].strip() if cpu else platform.machine()
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "gpus": cards,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
    }


# --- tables ---------------------------------------------------------------------------


def ratio(value: float) -> str:
    return f"{value:.1f} ×" if value >= 10 else f"{value:.2f} ×"


def duration(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def markdown(results: dict) -> str:
    """The table of one run: seconds as they were, the rest as ratios to ours."""
    lines = [
        "| technique | network | ours | ours ÷ limit | target | others ÷ ours | "
        "memory: ours, others |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        times = row["seconds"]
        others = [name for name in times if name not in ("ours", "limit")]
        ratios = [f"{name} {ratio(times[name] / times['ours'])}" for name in others]
        used = [row["memory"].get(name) for name in ("ours", *others)]
        setting = f" ({row['setting']})" if row["setting"] else ""
        cells = [
            row["technique"] + setting,
            row["network"],
            duration(times["ours"]),
            ratio(times["ours"] / times["limit"]),
            target_text(row),
            " · ".join(ratios) or "–",
            ", ".join("–" if mb is None else f"{mb} MB" for mb in used),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def target_text(row: dict) -> str:
    if not row["target"]:
        return "–"
    against, factor = row["target"]
    text = (
        f"≤ {factor:.2g} ×" if against == "limit" else f"≥ {factor:.2g} × ({against})"
    )
    return text if row["met"] else f"{text}: **missed**"


def sliders_markdown(results: dict) -> str:
    lines = [
        "| slider, milliseconds | first picture | median step | slowest step "
        "| next photo |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in results["sliders"]:
        cells = [row[k] for k in ("first", "median step", "slowest step", "next photo")]
        name = f"{row['network']}, {row['technique']}"
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def speed_page(text: str) -> str:
    """docs/speed.md with the tables of the committed run between its two marks."""
    results = json.loads((TABLES / "speed-cpu.json").read_text("utf-8"))
    computer = results["machine"]
    paragraphs = [
        f"{computer['processor']}, {computer['cores']} cores, no graphics card, "
        f"TensorFlow {computer['tensorflow']}; medians of {results['repetitions']} "
        f"turns or more. `import xai_helpers` takes {results['import ms']} ms: "
        "TensorFlow waits until it is needed.",
        markdown(results),
    ]
    if missed := [row for row in results["rows"] if not row["met"]]:
        paragraphs += ["Missed, and why:", "\n".join(map(reason_line, missed))]
    return replace_between(text, BEGIN, END, *paragraphs, sliders_markdown(results))


def reason_line(row: dict) -> str:
    times = row["seconds"]
    reason = MISSED_BECAUSE.get((row["network"], row["technique"]))
    return f"- {row['technique']}, {row['network']}: " + (
        reason or "not explained yet."
    ).format(
        bare=ratio(times.get("shap", 0) / times["limit"]),
        over=ratio(times["ours"] / times["limit"]),
        extra=duration(times["ours"] - times["limit"]),
    )


# --- from the command line ------------------------------------------------------------


def run(networks, names, quick: bool, with_memory: bool) -> dict:
    keras.config.disable_interactive_logging()
    warnings.filterwarnings("ignore", "The structure of `inputs`")
    repetitions = 2 if quick else REPETITIONS
    results = {"machine": machine(), "repetitions": repetitions, "rows": []}
    for network in networks:
        counts = image_counts(Bench(network, quick, counting=True), names)
        bench = Bench(network, quick)
        for row in bench.rows(names):
            result = measure(bench, row, counts[row.title], repetitions)
            result["memory"] = {
                name: memory(network, row.title, name, quick) if with_memory else None
                for name in row.contenders
            }
            results["rows"].append(result)
            report(result)
    results["sliders"] = [
        slider(network, technique)
        for network in networks
        for technique in slider_techniques()
        if technique in names
    ]
    return results | {"import ms": import_ms()}


def report(result: dict) -> None:
    times = result["seconds"]
    print(
        f"{result['network']:9} {result['technique']:32}",
        *(f"{name} {value:.3f} s" for name, value in times.items()),
        f"ours/limit {times['ours'] / times['limit']:.2f}",
        "" if result["met"] else "MISSED",
        result["agrees"],
        result["images"],
        result["memory"],
        flush=True,
    )


def merge(earlier: dict, results: dict) -> dict:
    """An earlier run with the rows of this one in their places, or after them."""
    for key in ("machine", "repetitions"):
        if earlier[key] != results[key]:
            raise SystemExit(f"Not the same {key}: measure everything again.")
    merged = earlier | results
    for key in ("rows", "sliders"):
        rows = [*earlier[key], *results[key]]
        networks = list(dict.fromkeys(row["network"] for row in rows))
        latest = {(row["network"], row["technique"]): row for row in rows}
        merged[key] = sorted(
            latest.values(), key=lambda row: networks.index(row["network"])
        )
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 samples, 2 repetitions")
    parser.add_argument("--save", action="store_true", help="write data/tables/")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument(
        "--techniques",
        nargs="+",
        choices=explain.TECHNIQUES,
        metavar="NAME",
        help="these only; the other rows of a file that is there stay as they are",
    )
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument(
        "--readme", action="store_true", help="write the tables of docs/speed.md"
    )
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        *which, quick = args.memory_of
        print(memory_here(*which, bool(quick)))
        return
    if args.readme:
        rewrite(SPEED, speed_page)
        return
    names = args.techniques or list(explain.TECHNIQUES)
    results = run(args.network, names, args.quick, not args.no_memory)
    print(markdown(results), sliders_markdown(results), sep="\n\n")
    print(f"\nimport xai_helpers: {results['import ms']} ms")
    kind = "gpu" if results["machine"]["gpus"] else "cpu"
    out = TABLES / f"speed-{kind}.json" if args.save else args.out
    if out:
        is_part = args.techniques or set(args.network) != set(NETWORKS)
        if is_part and out.exists():
            results = merge(json.loads(out.read_text("utf-8")), results)
        out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(results, indent=1, ensure_ascii=False)
        out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
