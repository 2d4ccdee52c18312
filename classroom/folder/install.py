"""Install the course from this folder alone; install.sh and install.bat start it.

    install.sh [FOLDER]     default: xai-course in your home

It needs Python and nothing from the network. Notebooks that are there already are kept.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = {
    ("linux", "x86_64"): "linux",
    ("linux", "aarch64"): "linux-arm",
    ("darwin", "arm64"): "macos",
    ("win32", "AMD64"): "windows",
}


def this_computer():
    """The kind of computer and the version of Python, as in contents.json."""
    kind = KINDS.get((sys.platform, platform.machine()), "other")
    return [kind, ".".join(map(str, sys.version_info[:2]))]


def refusal():
    """Why this Python will not do, in a sentence; None if it will."""
    targets = json.loads((HERE / "contents.json").read_text("utf-8"))["targets"]
    kind, version = this_computer()
    if sys.maxsize > 2**32 and [kind, version] in targets:
        return None
    versions = [each for name, each in targets if name == kind]
    if not versions:
        kinds = ", ".join(sorted({name for name, _ in targets}))
        return f"The folder is for {kinds}; this computer is {kind}. Ask your teacher."
    return (
        f"The folder is for Python {', '.join(versions)} (64 bits); this is Python "
        f"{version}. Install one of those, or ask your teacher."
    )


def check_files():
    """Compare every file with SHA256SUMS; the damaged ones end the installation."""
    lines = (HERE / "SHA256SUMS").read_text("utf-8").splitlines()
    damaged = []
    for line in lines:
        expected, name = line.split("  ", 1)
        sha = hashlib.sha256()
        try:
            with open(HERE / name, "rb") as file:
                for block in iter(lambda file=file: file.read(2**20), b""):
                    sha.update(block)
        except OSError:
            damaged.append(name)
            continue
        if sha.hexdigest() != expected:
            damaged.append(name)
    if damaged:
        names = ", ".join(damaged[:5]) + (" …" if damaged[5:] else "")
        raise SystemExit(
            f"error: {len(damaged)} of {len(lines)} files are missing or damaged "
            f"({names}). Copy the folder again."
        )
    return len(lines)


def copy_missing(source, target):
    """Copy the course's files; what is there stays."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            if os.access(path, os.X_OK):
                copy.chmod(0o755)


def install(target):
    """The environment in ``target/.venv``, from the folder's packages."""
    bin_folder = "Scripts" if sys.platform == "win32" else "bin"
    python = target / ".venv" / bin_folder / "python"
    env = dict(os.environ, PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    env.update(PIP_FIND_LINKS=str(HERE / "wheels"), PIP_CONFIG_FILE=os.devnull)
    env.pop("PIP_REQUIRE_VIRTUALENV", None)

    def run(*command):
        subprocess.run([str(word) for word in command], check=True, env=env)

    pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    print("Setting up .venv (a few minutes) ...", flush=True)
    run(sys.executable, "-m", "venv", "--clear", target / ".venv")
    lock = target / "requirements.lock"  # it names all: nothing has to be resolved
    run(*pip, "--no-deps", "--require-hashes", "-r", lock)
    run(*pip, "--no-deps", "--no-build-isolation", "--editable", target)
    print("Copying the weights ...", flush=True)
    where = "from xai_helpers import weights; print(weights.cache_folder())"
    output = subprocess.check_output([str(python), "-c", where], env=env)
    cache = Path(output.decode().strip())
    cache.mkdir(parents=True, exist_ok=True)
    for file in sorted((HERE / "weights").glob("*.npz")):
        shutil.copyfile(file, cache / file.name)
    run(python, "-m", "xai_helpers", "weights", "fetch")  # finds them, checks hashes
    (target / ".venv" / ".installed").touch()  # for make


def next_step(target):
    if sys.platform == "win32":
        command = r".venv\Scripts\jupyter lab notebooks\00_start_here.ipynb"
    elif shutil.which("make"):
        command = "make lab"
    else:
        command = ".venv/bin/jupyter lab notebooks/00_start_here.ipynb"
    return f'Next:\n    cd "{target}"\n    {command}'


def main():
    parser = argparse.ArgumentParser(description="Install the course from this folder.")
    default = Path.home() / "xai-course"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument(
        "--suits", action="store_true", help="only: whether this Python will do"
    )
    args = parser.parse_args()
    reason = refusal()
    if args.suits:
        raise SystemExit(reason is not None)
    if reason:
        raise SystemExit("error: " + reason)
    target = args.folder.expanduser().resolve()
    is_ours = (target / "requirements.lock").is_file()
    if target.exists() and any(target.iterdir()) and not is_ours:
        raise SystemExit(f"error: {target} holds other files. Name another folder.")
    if target == HERE or HERE in target.parents:
        raise SystemExit("error: install on the computer, not in this folder.")
    print(f"{check_files()} files are as they should be.", flush=True)
    target.mkdir(parents=True, exist_ok=True)
    copy_missing(HERE / "course", target)
    try:
        install(target)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"error: a step failed: {error}") from None
    print(f"The course is in {target}.")
    print(next_step(target))


if __name__ == "__main__":
    main()
