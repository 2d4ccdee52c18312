"""What the course asks of a JupyterHub; ``jupyterhub_config.py`` loads it, and so may
The Littlest JupyterHub (docs/classroom.md).
"""

from pathlib import Path

c = get_config()  # noqa: F821  # JupyterHub's own, in every file of settings

FOLDER = Path(__file__).resolve().parent.parent  # that install.sh made
MEMORY_MB = 512  # for one batch of images; the networks come on top

# The environment, the weights and the originals of the notebooks are shared, and belong
# to root: students read them. start_server.py runs as the student.
c.Spawner.cmd = [
    str(FOLDER / "students/bin/python"),
    str(FOLDER / "config/start_server.py"),
]
c.Spawner.default_url = "/lab/tree/xai-course/notebooks/00_start_here.ipynb"
c.Spawner.environment = {
    "XAI_CACHE": str(FOLDER / "weights"),
    "XAI_WEIGHTS": "portable",  # the numbers of the committed outputs, for everybody
    "XAI_MEMORY_MB": str(MEMORY_MB),
}

# A spawner that has cgroups enforces these: systemd's, Docker's, Kubernetes's. The
# local spawner only tells the server. docs/classroom.md has the measured need.
c.Spawner.mem_limit = "3G"
c.Spawner.cpu_limit = 2.0

# Thirty students press the button in the same minute.
c.JupyterHub.concurrent_spawn_limit = 10
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120
