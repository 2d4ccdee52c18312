"""What every student's own server is told; ``start_server.py`` names this folder."""

c = get_config()  # noqa: F821  # Jupyter's own, in every file of settings

# A kernel that has computed nothing for an hour ends, also when its notebook is still
# open: it holds a gigabyte or more. Notebooks stay as they are; variables are lost.
c.MappingKernelManager.cull_idle_timeout = 3600
c.MappingKernelManager.cull_interval = 300
c.MappingKernelManager.cull_connected = True
c.MappingKernelManager.cull_busy = False

# JupyterLab asks the package index whether there is a newer version, and offers news.
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.news_url = None
