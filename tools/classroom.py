"""One folder with which a class installs the course without a network connection.

    make classroom                            build/classroom, for this kind of computer
    make classroom CLASSROOM="--platform linux windows macos --python 3.11 3.12 3.13"
    make classroom CLASSROOM=--try            and install it where there is no network

It holds the packages of requirements.lock as wheels, the portable weights, the files
that git does not ignore, the installers of classroom/folder, and SHA256SUMS.

``--try`` (Linux, as root or where user namespaces are allowed) copies the folder, and
there, in a network namespace that has 127.0.0.1 and no route, with an empty home:
installs it, runs ``make check``, starts ``make lab`` and asks it for a page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from packaging.markers import Marker, default_environment

ROOT = Path(__file__).parent.parent
INSTALLERS = ROOT / "classroom" / "folder"
sys.path.insert(0, str(INSTALLERS))
import install  # noqa: E402

MANYLINUX = [f"manylinux_2_{minor}" for minor in range(28, 4, -1)]
MANYLINUX += ["manylinux2014", "manylinux2010", "manylinux1"]
# Kind of computer → pip's names for its platform; what markers of packages ask for.
PLATFORMS = {
    "linux": (
        [f"{name}_x86_64" for name in MANYLINUX],
        {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix",
         "platform_system": "Linux"},
    ),
    "linux-arm": (
        [f"{name}_aarch64" for name in MANYLINUX],
        {"sys_platform": "linux", "platform_machine": "aarch64", "os_name": "posix",
         "platform_system": "Linux"},
    ),
    "macos": (
        ["macosx_14_0_arm64", "macosx_14_0_universal2"],
        {"sys_platform": "darwin", "platform_machine": "arm64", "os_name": "posix",
         "platform_system": "Darwin"},
    ),
    "windows": (
        ["win_amd64"],
        {"sys_platform": "win32", "platform_machine": "AMD64", "os_name": "nt",
         "platform_system": "Windows"},
    ),
}  # fmt: skip
PYTHONS = "3.11", "3.12", "3.13"
FIRST, LAST = 0, 99  # Python 3.11.0 or 3.11.99: which one a student has is not known


def requirements(lock: str, kind: str, python: str, patch: int) -> dict[str, str]:
    """What a computer needs of the lock: "name==version" → its lines, no marker.

    pip, asked for another platform, evaluates markers for the computer it runs on.
    """
    environment = default_environment() | PLATFORMS[kind][1]
    environment |= {"python_version": python, "extra": ""}
    environment["python_full_version"] = f"{python}.{patch}"
    environment |= {"implementation_name": "cpython"}
    environment |= {"platform_python_implementation": "CPython"}
    needed = {}
    for block in re.split(r"\n(?=\S)", lock.strip()):
        head, *hashes = block.split(" \\\n")
        pin, _, marker = head.partition(";")
        if not marker or Marker(marker.strip()).evaluate(environment):
            needed[pin.strip()] = " \\\n".join([pin.strip(), *hashes])
    return needed


def download(
    needed: dict[str, str], wheels: Path, kind: str, python: str, patch: int
) -> list[str]:
    """Fetch the wheels, each checked against its hash; return what has no wheel."""
    needed, missing = dict(needed), []
    command = [sys.executable, *"-m pip --disable-pip-version-check".split()]
    command += "download --quiet --no-deps".split()
    command += "--only-binary=:all: --require-hashes".split()
    command += [f"--dest={wheels}", f"--python-version={python}.{patch}"]
    command += ["--implementation=cp"]
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        command.append(f"--abi={abi}")
    command += [f"--platform={name}" for name in PLATFORMS[kind][0]]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        while needed:
            file.write_text("\n".join(needed.values()) + "\n", "utf-8")
            run = subprocess.run(
                [*command, "-r", str(file)], capture_output=True, text=True
            )
            if run.returncode == 0:
                break
            found = re.search(
                r"No matching distribution found for (\S+==\S+)", run.stderr
            )
            if not found or found[1] not in needed:
                raise SystemExit(f"error: pip download failed:\n{run.stderr}")
            missing.append(found[1])
            del needed[found[1]]
    return missing


def project_files(root: Path = ROOT) -> list[str]:
    """The files that git does not ignore, relative to the project."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        run = subprocess.run(command, cwd=root, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(
            "error: make classroom needs a clone of the project, and git, to know "
            "which files belong to it."
        ) from None
    names = sorted(set(filter(None, run.stdout.decode().split("\0"))))
    return [name for name in names if (root / name).is_file()]


def copy_project(folder: Path, root: Path = ROOT) -> None:
    for name in project_files(root):
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy)  # with the permission to execute


def copy_weights(folder: Path) -> None:
    from xai_helpers import weights

    folder.mkdir(parents=True, exist_ok=True)
    for name in weights.RECORDS:
        state, path, _ = weights.weights_state(name, "portable")
        if state != "ready":
            raise SystemExit(f"error: the weights of {name} are {state}: make weights")
        shutil.copy(path, folder)


def add_installers(folder: Path, targets: list[list[str]]) -> None:
    """The installers, and for which computers the folder is."""
    for file in sorted(INSTALLERS.iterdir()):
        if file.is_file():
            shutil.copy(file, folder)
    (folder / "install.sh").chmod(0o755)
    batch = (folder / "install.bat").read_text("utf-8")
    (folder / "install.bat").write_text(batch, "utf-8", newline="\r\n")
    versions = {}
    for kind, python in targets:
        versions.setdefault(kind, []).append(python)
    text = "; ".join(f"{k} with Python {', '.join(v)}" for k, v in versions.items())
    readme = (folder / "README.txt").read_text("utf-8").replace("@TARGETS@", text)
    (folder / "README.txt").write_text(readme, "utf-8", newline="\r\n")
    write_contents(folder, targets)


def write_contents(folder: Path, targets: list[list[str]]) -> None:
    contents = json.dumps({"targets": targets}, indent=1) + "\n"
    (folder / "contents.json").write_text(contents, "utf-8")


def write_sums(folder: Path) -> int:
    """SHA256SUMS of all files, in the form of ``sha256sum``; return how many."""
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / "SHA256SUMS":
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{sha256}  {path.relative_to(folder).as_posix()}\n")
    (folder / "SHA256SUMS").write_text("".join(lines), "utf-8", newline="\n")
    return len(lines)


def build(folder: Path, targets: list[list[str]]) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "contents.json").is_file():
            raise SystemExit(f"error: {folder} holds other files.")
        kept = folder / "wheels"  # pip does not fetch again what is there
        for path in folder.iterdir():
            if path != kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_contents(folder, [])  # an interrupted build is known, and is for nobody
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    wheels, problems, pins = folder / "wheels", [], set()
    wheels.mkdir(parents=True, exist_ok=True)
    for kind, python in targets:
        needed = requirements(lock, kind, python, FIRST)
        newer = requirements(lock, kind, python, LAST)
        newer = {pin: lines for pin, lines in newer.items() if pin not in needed}
        for part, patch in ((needed, FIRST), (newer, LAST)):  # pip takes one version
            pins |= {normal(pin) for pin in part}
            missing = download(part, wheels, kind, python, patch)
            problems += [f"{pin} ({kind}, Python {python})" for pin in missing]
        count = len(needed | newer)
        print(f"{kind}, Python {python}: {count} packages", flush=True)
    for wheel in wheels.glob("*.whl"):  # of an older lock
        name, version, *_ = wheel.name.split("-")
        if normal(f"{name}=={version}") not in pins:
            wheel.unlink()
    if problems:
        raise SystemExit(f"error: there is no wheel of {', '.join(problems)}.")
    copy_project(folder / "course")
    if (folder / "course" / "requirements.lock").read_text("utf-8") != lock:
        raise SystemExit(
            "error: requirements.lock has changed meanwhile; again, please."
        )
    copy_weights(folder / "weights")
    add_installers(folder, targets)
    count = write_sums(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {count} files, {size / 1e6:,.0f} MB. README.txt is for students.")


def normal(pin: str) -> str:
    """Name and version, however the name is spelt."""
    name, _, version = pin.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


# --- the trial without a network ------------------------------------------------------


def try_folder(folder: Path) -> None:
    """Go into a network namespace without a route, and install there."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        raise SystemExit("error: --try needs Linux and unshare (util-linux).")
    with tempfile.TemporaryDirectory(prefix="classroom-") as place:
        copy, home = Path(place, "stick"), Path(place, "home")
        shutil.copytree(folder, copy)
        home.mkdir()
        python = getattr(sys, "_base_executable", sys.executable)
        env = {"HOME": str(home), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        env |= {"PYTHON": python, "LANG": "C.UTF-8"}
        namespace = ["--net"] if os.geteuid() == 0 else ["--net", "--map-root-user"]
        inside = [sys.executable, __file__, "--inside", str(copy)]
        run = subprocess.run(["unshare", *namespace, *inside], env=env)
        raise SystemExit(run.returncode)


def inside(folder: Path) -> None:
    """In the namespace: install, ``make check``, ``make lab``; a line for each."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with socket.socket() as probe:
        try:
            probe.connect(("192.0.2.1", 80))  # an address that is kept for examples
        except OSError as error:
            print(f"no route: {error}", flush=True)
        else:
            raise SystemExit("error: there is a network here.")
    target = Path.home() / "xai-course"

    def step(*command, **options) -> None:
        start = time.perf_counter()
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip
        name = " ".join(Path(word).name for word in command)
        if run.returncode:
            raise SystemExit(f"{run.stdout}\nerror: {name} failed")
        seconds = time.perf_counter() - start
        print(f"{name}: done in {seconds:.0f} s. Its last lines:", flush=True)
        for line in run.stdout.strip().splitlines()[-4:]:
            print(f"    {line.replace(str(Path.home()), '~')}", flush=True)

    step("sh", str(folder / "install.sh"))
    step("make", "check", cwd=target)
    step("make", "weights", cwd=target)
    start = time.perf_counter()
    options = "LAB_OPTIONS=--no-browser --allow-root --port=8898 --ip=127.0.0.1"
    with (Path.home() / "lab.log").open("w") as log:
        lab = subprocess.Popen(
            ["make", "lab", options], cwd=target, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            print(
                f"make lab: {first_page(lab)}", f"({time.perf_counter() - start:.0f} s)"
            )
        finally:
            os.killpg(lab.pid, signal.SIGTERM)
            lab.wait(60)


def first_page(lab: subprocess.Popen, seconds: int = 180) -> str:
    """What JupyterLab answers; the token stands in its log."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and lab.poll() is None:
        token = re.search(r"token=(\w+)", (Path.home() / "lab.log").read_text("utf-8"))
        if token:
            address = "http://127.0.0.1:8898/lab/tree/notebooks/00_start_here.ipynb"
            with urllib.request.urlopen(f"{address}?token={token[1]}") as page:
                title = re.search(r"<title>(.+?)</title>", page.read().decode())
                return f"answers on 127.0.0.1 with {page.status}, page {title[1]!r}"
        time.sleep(0.5)
    raise SystemExit((Path.home() / "lab.log").read_text("utf-8"))


def main() -> None:
    kind, python = install.this_computer()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--platform", nargs="+", choices=PLATFORMS, default=[kind])
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=[python])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "classroom")
    parser.add_argument(
        "--try", action="store_true", dest="is_tried", help="install it offline (Linux)"
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return inside(args.inside)
    targets = [[kind, python] for kind in args.platform for python in args.python]
    build(args.folder, targets)
    if args.is_tried:
        try_folder(args.folder)


if __name__ == "__main__":
    main()
