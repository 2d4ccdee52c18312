# What a convolutional network really sees: everything runs from here.
# `make` alone lists the targets. Plain Python and pip suffice; uv is used if present.

PYTHON ?= python3
BIN = .venv/bin
INSTALLED = .venv/.installed
NBVAL ?= --nbval
# For example --no-browser, or --allow-root in a container.
LAB_OPTIONS ?=
# JupyterLab asks the package index for a newer version of itself otherwise.
NO_NEWS = --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.news_url=None
# The same, and --port=8867, for the app.
APP_OPTIONS ?=
# The committed outputs belong to the portable weights; XAI_WEIGHTS=imagenet tests others.
KIND = $(or $(XAI_WEIGHTS),portable)
NBVAL_OPTIONS = --nbval-current-env --nbval-cell-timeout=900 --nbval-sanitize-with=tests/nbval_sanitize.cfg

.DEFAULT_GOAL := help
.PHONY: help install weights lab app assignments tables models run book test check lint render bench scaling scale compare time-to-error readme lines heads lock gpu classroom hub-load clean

help:
	@echo "make lab      set up, prepare the weights, open JupyterLab on the first notebook"
	@echo "make app      set up, open the control panel as a page of its own, no notebook"
	@echo "make assignments  the notebooks for a class: without solutions, and for nbgrader"
	@echo "make run      set up, execute every notebook, make the book of the results"
	@echo "make book     the notebooks and documents as pages, build/book/index.html (1 min)"
	@echo "make test     set up, run every test, the notebooks under nbval included"
	@echo "make check    the fast part of the tests: lint, and the tests on toy models (90 s)"
	@echo "make render   execute the notebooks and write their committed outputs"
	@echo "make bench    how fast each technique and each slider is on this machine (40 min)"
	@echo "make scaling  time and memory with more patches, samples, pixels, images (10 min)"
	@echo "make scale    surveys of 20,000 and of 1,000 photos: speed, memory, kill -9 (15 min)"
	@echo "make compare  xplique, saliency and captum beside ours (6 GB for their packages)"
	@echo "make time-to-error  until a sampled map is right: ours, shap and others (25 min)"
	@echo "make classroom  one folder to install from without a network: build/classroom"
	@echo "make hub-load five students at once on a JupyterHub: docs/classroom.md (15 min)"
	@echo "make readme   write the generated tables of README.md and docs/"
	@echo "make lines    how much there is to read: lines of each storey, longest technique"
	@echo "make weights  fetch the portable weights and show which are present"
	@echo "make gpu      swap the CPU build of TensorFlow for the CUDA one (gigabytes)"
	@echo "make tables   measure the techniques for notebooks 07 and 10 again (over an hour)"
	@echo "make models   every Keras architecture x every technique, checked: docs/models.md"
	@echo "make heads    fit the portable heads again (hours; see CONTRIBUTING.md)"
	@echo "make lock     pin the newest allowed versions in requirements.lock (needs uv)"
	@echo "make clean    remove the environment and what was built, not the weights"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 to 3.13, or name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "error: $$($(PYTHON) --version) will not do; TensorFlow needs Python 3.11 to 3.13: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up .venv (once; some 600 MB to download) ..."
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; echo "error: the venv module does not work; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@if command -v uv >/dev/null && uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock; \
	then true; else $(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock; fi
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

weights: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python -m xai_helpers weights

lab: install
	@if [ "$$XAI_WEIGHTS" = imagenet ]; then $(BIN)/python -m xai_helpers weights fetch --kind imagenet; else $(BIN)/python -m xai_helpers weights fetch; fi
	@$(BIN)/jupyter lab $(LAB_OPTIONS) $(NO_NEWS) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

app: install
	@$(BIN)/python -m xai_helpers weights fetch
	@cd app && JUPYTER_PATH="$(CURDIR)/app/share" ../$(BIN)/voila panel.ipynb $(APP_OPTIONS)

assignments: install
	@$(BIN)/python tools/assignments.py

tables: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/tables.py

models: install
	@$(BIN)/python tools/models.py $(MODELS)

run: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/render_notebooks.py --into build/run
	@$(BIN)/python tools/make_book.py --notebooks build/run

book: install
	@$(BIN)/python tools/make_book.py

test: lint
	@mkdir -p build
	@echo "The notebooks are compared meanwhile: build/notebooks.log"
	@export XAI_WEIGHTS=$(KIND); \
	$(BIN)/python -m pytest notebooks $(NBVAL) $(NBVAL_OPTIONS) > build/notebooks.log 2>&1 & notebooks=$$!; \
	$(BIN)/python -m pytest tests -m "not network"; status=$$?; \
	wait $$notebooks || status=1; cat build/notebooks.log; exit $$status

check: lint
	@XAI_WEIGHTS=$(KIND) $(BIN)/python -m pytest tests --ignore=tests/course/test_notebooks.py -m "not network and not real and not browser"

lint: install
	@$(BIN)/python -m xai_helpers weights fetch
	@if [ $(KIND) = imagenet ]; then $(BIN)/python -m xai_helpers weights fetch --kind imagenet; fi
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python tools/prose.py

render: install
	@$(BIN)/python -m xai_helpers weights fetch
	@XAI_WEIGHTS=portable $(BIN)/python tools/render_notebooks.py
	@$(BIN)/python tools/course_table.py

bench: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/benchmark.py $(BENCH)

scaling: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/scaling.py

scale: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/scale.py

compare: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/compare_libraries.py

time-to-error: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/time_to_error.py $(TIME_TO_ERROR)

classroom: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/classroom.py $(CLASSROOM)

hub-load: install
	@$(BIN)/python -m xai_helpers weights fetch
	@$(BIN)/python tools/hub_load.py

readme: install
	@$(BIN)/python tools/readme.py
	@$(BIN)/python tools/course_table.py
	@$(BIN)/python tools/architecture.py
	@$(BIN)/python tools/benchmark.py --readme
	@$(BIN)/python tools/compare_libraries.py --readme
	@$(BIN)/python tools/time_to_error.py --readme
	@$(BIN)/python tools/scale.py --readme
	@$(BIN)/python tools/hub_load.py --readme

lines: install
	@$(BIN)/python tools/lines.py

gpu: install
	@$(BIN)/python -m pip uninstall --yes --quiet tensorflow-cpu
	@$(BIN)/python -m pip install --quiet "tensorflow[and-cuda]==$$($(BIN)/python -c 'import re; print(re.search(r"^tensorflow==(\S+)", open("requirements.lock").read(), re.M)[1])')"

heads: install
	@$(BIN)/python tools/heads/fit.py $(HEADS)

lock:
	@command -v uv >/dev/null || { echo "error: uv not found; pip install uv"; exit 1; }
	uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 --extra dev pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 -c requirements.lock classroom/hub/requirements.in -o classroom/hub/requirements.txt

clean:
	rm -rf .venv build .pytest_cache .ruff_cache
