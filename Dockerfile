# The course in a container: JupyterLab, as a user without rights of its own.
#     docker build --tag xai-course .
#     docker run --rm --publish 127.0.0.1:8888:8888 xai-course
# The address with its token stands in the log. Zero to JupyterHub uses the same image:
# docs/classroom.md.
FROM python:3.12-slim-bookworm AS build
COPY . /src
# The environment from the lock, the weights through pip's index, the notebooks.
RUN /src/classroom/hub/install.sh /opt/xai-course --without-hub

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="What does a convolutional network really see?" \
      org.opencontainers.image.description="A course in Jupyter notebooks" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --create-home --home-dir /srv/student --uid 1000 student
COPY --from=build /opt/xai-course /opt/xai-course
ENV PATH="/opt/xai-course/students/bin:$PATH" \
    HOME=/srv/student \
    XAI_CACHE=/opt/xai-course/weights \
    XAI_WEIGHTS=portable
USER 1000
WORKDIR /srv/student
EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8888/api', timeout=4)"]
CMD ["python", "/opt/xai-course/config/start_server.py", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--LabApp.default_url=/lab/tree/xai-course/notebooks/00_start_here.ipynb"]
