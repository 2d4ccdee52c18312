"""A JupyterHub for a class on one Linux server; docs/classroom.md has the steps.

The hub listens on 127.0.0.1 only. A web server in front of it (nginx, Caddy, Apache)
brings the certificate. Students log in with their accounts on the server.
"""

import sys
from pathlib import Path

c = get_config()  # noqa: F821  # JupyterHub's own, in every file of settings

FOLDER = Path(__file__).resolve().parent.parent  # that install.sh made
load_subconfig(str(FOLDER / "config/course_config.py"))  # noqa: F821

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"
c.JupyterHub.db_url = f"sqlite:///{FOLDER / 'state/jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(FOLDER / "state/cookie_secret")

# Accounts: members of these groups of the operating system, and nobody else.
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {"students", "teachers"}
c.PAMAuthenticator.admin_groups = {"teachers"}

# One unit of systemd for each student: it enforces mem_limit and cpu_limit.
c.JupyterHub.spawner_class = "systemd"
c.SystemdSpawner.isolate_tmp = True
c.SystemdSpawner.disable_user_sudo = True

# The proxy is a process of its own, and servers outlive the hub: so a restart of the
# hub interrupts nobody. Both read CONFIGPROXY_AUTH_TOKEN.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
c.JupyterHub.cleanup_servers = False

# A server that nobody has used for two hours ends. Kernels end earlier, after an hour
# (jupyter_server_config.py): they are what takes the memory.
IDLE_SECONDS = 2 * 3600
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [
            sys.executable,
            "-m",
            "jupyterhub_idle_culler",
            f"--timeout={IDLE_SECONDS}",
            f"--cull-every={IDLE_SECONDS // 12}",
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "scopes": [
            "list:users",
            "read:users:activity",
            "read:servers",
            "delete:servers",
        ],
        "services": ["idle-culler"],
    }
]
