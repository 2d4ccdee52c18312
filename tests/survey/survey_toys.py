"""Folders of toy photos."""

import toys
from PIL import Image

LABELS = ("cat", "dog", "cup")


def write_photos(folder, count=24, labels=LABELS, size=(40, 50)):
    """Noise photos in class folders: cat/000.png, dog/001.png, …"""
    for k in range(count):
        place = folder / labels[k % len(labels)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(toys.photo(size, k)).save(place / f"{k:03}.png")
    return folder
