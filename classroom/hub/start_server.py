"""Run as a student: the course's files into the home, then the student's own server.

Without a hub around it, as in the container of the Dockerfile, plain JupyterLab.
"""

import os
import shutil
import sys
from pathlib import Path

CONFIG = Path(__file__).resolve().parent
COURSE = CONFIG.parent / "course"


def copy_missing(course: Path, home: Path) -> list[Path]:
    """Copy each file that the home does not have yet; return the copies.

    What is there stays as it is, whoever wrote it. A file that was deleted comes back.
    """
    copies = []
    for source in sorted(course.rglob("*")):
        copy = home / source.relative_to(course)
        if source.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif not os.path.lexists(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(copy.name + ".part")
            shutil.copyfile(source, part)
            part.replace(copy)  # all of it or nothing
            copies.append(copy)
    return copies


def main() -> None:
    home = Path.home() / "xai-course"
    try:
        print(f"{len(copy_missing(COURSE, home))} new files in {home}", flush=True)
    except OSError as error:  # a full disk: the student needs the server to tidy up
        print(f"not all files of the course are in {home}: {error}", file=sys.stderr)
    os.environ["JUPYTER_CONFIG_PATH"] = str(CONFIG)
    name = (
        "jupyterhub-singleuser"
        if "JUPYTERHUB_API_TOKEN" in os.environ
        else "jupyter-lab"
    )
    program = str(Path(sys.executable).with_name(name))
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
