"""How a survey scales: data/tables/scale.json, and the tables of docs/surveys.md.

    make scale                        measure (15 minutes on two cores)
    python tools/scale.py --only tiny    measure a part again: tiny, real, kill, workers
    python tools/scale.py --readme    write the tables of docs/surveys.md

tiny     20,000 photos and a network of one small convolution: what a survey adds to a
         photo's time, and the memory after each 2,000 photos
real     1,000 photos, Xception, Grad-CAM: against bare passes in batches over squares
         that are in memory already, before and after
kill     the same 1,000 photos in a process that is killed with signal 9 in the middle
         and started again; its rows and maps are compared with those of ``real``
workers  the tiny network: 4,000 photos by one worker process and by two

The photos are noise of 300 × 200 pixels in JPEG files, all different; the time does not
depend on what is on them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from benchmark import ROOT, TABLES, machine
from PIL import Image
from readme import replace_between, rewrite

from xai_helpers import explain, keras, load_classifier
from xai_helpers.survey import open_survey, run_survey

OUT, PAGE = TABLES / "scale.json", ROOT / "docs" / "surveys.md"
FOLDER = Path(os.environ.get("XAI_SCALE_FOLDER", "/tmp/xai_scale"))
TINY, REAL, FEW = 20_000, 1_000, 4_000
QUIET = {"progress": False}
BEGIN, END = "<!-- scale, by tools/scale.py -->", "<!-- end of scale -->"


def write_photos(count: int) -> Path:
    """Folders of 1,000 photos each: smooth noise, so that the files are like photos."""
    folder = FOLDER / f"photos-{count}"
    for k in range(count):
        path = folder / f"group{k // 1000:02}" / f"{k:06}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(k)
            small = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
            Image.fromarray(small).resize((300, 200)).save(path, quality=85)
    return folder


def tiny_network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(8, 3, 2, activation="relu", name="convolution"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    return load_classifier(model, preprocess="unit", verbose=False)


def new_folder(name: str) -> Path:
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    return FOLDER / name


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


def tiny() -> dict:
    """Seconds a photo beyond bare passes over the same squares, and the memory."""
    photos, classifier, memory = write_photos(TINY), tiny_network(), []

    def note(done, total):
        if done // 2000 > len(memory):
            memory.append(round(resident_mb()))

    start = time.perf_counter()
    run_survey(photos, new_folder("tiny"), classifier, progress=note)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    run_survey(photos, FOLDER / "tiny", classifier, **QUIET)
    again = time.perf_counter() - start
    batch = [np.zeros((32, 32, 3), np.uint8)] * 64
    explain.grad_cam(classifier, batch, **QUIET)
    start = time.perf_counter()
    for _ in range(TINY // 64):
        explain.grad_cam(classifier, batch, **QUIET)
    bare = time.perf_counter() - start
    return {
        "photos": TINY,
        "milliseconds a photo": 1000 * seconds / TINY,
        "bare passes": 1000 * bare / TINY,
        "memory in MB": memory,
        "second run": again,
    }


def real() -> dict:
    """Bare passes: over squares that are in memory, before and after the survey."""
    photos, classifier = write_photos(REAL), load_classifier("xception", verbose=False)
    squares = [classifier.crop(path)[0] for path in sorted(photos.rglob("*.jpg"))[:480]]
    explain.grad_cam(classifier, squares[:32], **QUIET)  # compiled

    def bare_passes() -> float:
        start = time.perf_counter()
        explain.grad_cam(classifier, squares, **QUIET)
        return (time.perf_counter() - start) / len(squares)

    out, before = new_folder("real"), bare_passes()
    start = time.perf_counter()
    run_survey(photos, out, classifier, **QUIET)
    seconds = (time.perf_counter() - start) / REAL
    bare = before, bare_passes()
    return {"photos": REAL, "seconds a photo": seconds, "bare passes": bare}


def kill() -> dict:
    """In the middle of the photos of ``real``, which has to be there."""
    photos, out = write_photos(REAL), new_folder("killed")
    code = (
        "from xai_helpers import load_classifier as load\n"
        "from xai_helpers.survey import run_survey\n"
        f"run_survey({str(photos)!r}, {str(out)!r}, load('xception'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(parts := list((out / "parts").glob("*.parquet"))) < 7:
        if process.poll() is not None:
            raise RuntimeError("The survey ended before it could be killed.")
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    times = {file: file.stat().st_mtime_ns for file in parts}
    classifier = load_classifier("xception", verbose=False)
    again, whole = (
        run_survey(photos, out, classifier, **QUIET),
        open_survey(FOLDER / "real"),
    )
    columns = whole.photos.columns.drop("stamp")
    return {
        "parts done before": len(times),
        "parts": len(list((out / "parts").glob("*.parquet"))),
        "computed twice": sum(f.stat().st_mtime_ns != t for f, t in times.items()),
        "same rows": bool(again.photos[columns].equals(whole.photos[columns])),
        "same maps": bool(
            np.array_equal(again.maps(again.photos), whole.maps(whole.photos))
        ),
    }


def workers() -> dict:
    """The tiny network on one and on two processes; their start is left out."""
    photos, classifier, seconds = write_photos(FEW), tiny_network(), {}
    for count in (1, 2):
        times = []

        def note(done, total, times=times):
            times.append((time.perf_counter(), done))

        run_survey(
            photos, new_folder("workers"), classifier, workers=count, progress=note
        )
        (first, before), (last, done) = times[4], times[-1]
        seconds[str(count)] = (last - first) / (done - before)
    return {"photos": FEW, "seconds a photo": seconds}


PARTS = {"tiny": tiny, "real": real, "kill": kill, "workers": workers}


def tables(results: dict) -> str:
    """Markdown: what was measured, and what follows for more photos and cores."""
    tiny, real, kill = results["tiny"], results["real"], results["kill"]
    workers = results["workers"]["seconds a photo"]
    ours = tiny["milliseconds a photo"]
    bare, memory = np.mean(real["bare passes"]), tiny["memory in MB"]
    rows = [
        ("Survey and tiny network, a photo", f"{ours:.1f} ms"),
        ("… of which the network's own passes", f"{tiny['bare passes']:.1f} ms"),
        (
            f"Memory after 2,000 and after {TINY:,} photos",
            f"{memory[0]:,} and {memory[-1]:,} MB",
        ),
        (
            f"Second run over {TINY:,} photos, nothing to compute",
            f"{tiny['second run']:.0f} s",
        ),
        ("Xception, Grad-CAM, a photo", f"{real['seconds a photo']:.3f} s"),
        ("… bare passes, in batches", f"{bare:.3f} s"),
        (
            "… speed of bare passes that is kept",
            f"{bare / real['seconds a photo']:.2f}",
        ),
        (
            "Killed and started again: parts done before, of all",
            f"{kill['parts done before']} of {kill['parts']}",
        ),
        ("… parts computed twice", f"{kill['computed twice']}"),
        (
            "… the same rows; the same maps",
            f"{kill['same rows']}; {kill['same maps']}".replace("True", "yes").replace(
                "False", "no"
            ),
        ),
        (
            "Tiny network, two worker processes against one",
            f"{workers['1'] / workers['2']:.2f} times as fast",
        ),
    ]
    text = "| measured | |\n| --- | ---: |\n"
    text += "".join(f"| {name} | {value} |\n" for name, value in rows)
    cores = results["machine"]["cores"]
    core_seconds = real["seconds a photo"] * cores
    text += (
        f"\nXception's Grad-CAM takes {core_seconds:.2f} core seconds a photo "
        f"({real['seconds a photo']:.3f} s × {cores} cores). "
        "Photos × core seconds ÷ cores, if reading and the network are fast enough:\n\n"
        "| photos | 1 core | 16 cores | 256 cores |\n| --- | ---: | ---: | ---: |\n"
    )
    for photos in (10**5, 10**7):
        times = (in_words(photos * core_seconds / n) for n in (1, 16, 256))
        text += f"| {photos:,} | {' | '.join(times)} |\n"
    return text


def in_words(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--readme", action="store_true", help="write the page's tables")
    args = parser.parse_args()
    if not args.readme:
        for name in args.only or PARTS:
            code = f"import json, scale; print(json.dumps(scale.{name}()))"
            command = [sys.executable, "-c", code]  # memory of its own
            run = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parent
            )
            results = json.loads(OUT.read_text("utf-8")) if OUT.exists() else {}
            results |= {
                "machine": machine(),
                name: json.loads(run.stdout.splitlines()[-1]),
            }
            OUT.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            print(name, results[name], flush=True)
    results = json.loads(OUT.read_text("utf-8"))
    if missing := PARTS.keys() - results.keys():
        raise SystemExit(f"The page needs {', '.join(sorted(missing))} as well.")
    rewrite(PAGE, lambda text: replace_between(text, BEGIN, END, tables(results)))


if __name__ == "__main__":
    main()
