"""Batches that fit into the memory, progress, and a way to stop."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from tqdm.auto import tqdm

MAX_BATCH = 16  # images; larger batches are not faster on a CPU
WAITED_FOR = 4  # images at a time where somebody watches, at the price of a few percent
DEFAULT_MEMORY_MB = 1024
Progress = Callable | bool | None  # a function (done, total), False, or None: a bar


class Cancelled(Exception):
    """Raised by a ``progress`` function to stop the work that it is told about."""


def memory_limit() -> int:
    """What one batch may take, in bytes: ``XAI_MEMORY_MB``, or 1024 MB."""
    setting = os.environ.get("XAI_MEMORY_MB") or DEFAULT_MEMORY_MB
    try:
        megabytes = float(setting)
    except ValueError:
        megabytes = math.nan
    if not 0 < megabytes < math.inf:
        raise ValueError(
            f"The environment variable XAI_MEMORY_MB is {setting!r}; it is the memory "
            "for one batch in megabytes, such as 1024, or is left unset."
        )
    return int(megabytes * 2**20)


def max_batch_size(
    shapes: Iterable[tuple[int, ...]], *, backward: bool, most: int = MAX_BATCH
) -> int:
    """How many images at a time stay within the memory, given each layer's output.

    A backward pass keeps all outputs, and one more for the layer that it works on; a
    forward pass keeps only a few at a time.
    """
    sizes = [4 * int(np.prod(shape)) for shape in shapes]  # float32
    needed = sum(sizes) + max(sizes) if backward else 4 * max(sizes)
    return int(np.clip(memory_limit() // max(needed, 1), 1, most))


def _is_watched() -> bool:
    """A terminal, or a notebook that a person has open (not nbconvert, not nbval)."""
    if setting := os.environ.get("XAI_PROGRESS"):
        return setting == "1"
    return bool(sys.stderr.isatty() or os.environ.get("JPY_SESSION_NAME"))


def answering_size(size: int, progress: Progress, total: int = 0) -> int:
    """The size of a batch, smaller where a function is told of each one: its bar moves,
    and it hears soon that the work is not wanted any more.

    total : where the images are many and cheap, a sixteenth of them
    """
    return min(size, max(WAITED_FOR, total // 16)) if callable(progress) else size


@contextmanager
def progress_bar(
    total: int, description: str, progress: Progress = None, *, short: bool = False
) -> Iterator[Callable]:
    """A function to be called with how many more are done.

    It takes a better guess of the total, too, and a note to show. ``progress`` None
    shows a bar where somebody watches and the work is not ``short``.
    """
    hidden = progress is not None or short or not _is_watched()
    with tqdm(total=total, desc=description, leave=False, disable=hidden) as bar:
        done = 0

        def advance(more: int, new_total: int | None = None, note: str = "") -> None:
            nonlocal done, total
            done, total = done + more, new_total or total
            bar.total = total
            bar.update(more)
            if note:
                bar.set_postfix_str(note)
            if callable(progress):
                progress(done, total)

        yield advance


def batch_slices(
    total: int, size: int, description: str, progress: Progress = None
) -> Iterator[slice]:
    """``even_slices`` with progress."""
    size = answering_size(size, progress, total)
    with progress_bar(total, description, progress, short=total <= size) as advance:
        yield from even_slices(total, size, advance)


def even_slices(total: int, size: int, advance: Callable) -> Iterator[slice]:
    """Slices of about equal length, at most ``size``: 17 by 16 gives 9 and 8.

    After each, ``advance`` is called with its length.
    """
    size = math.ceil(total / math.ceil(total / size)) if total else size
    for start in range(0, total, size):
        stop = min(start + size, total)
        yield slice(start, stop)
        advance(stop - start)
