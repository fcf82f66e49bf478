# On a machine with Python 3.11 or newer and make: `make demo` shows what slidecam does, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Windows are tested on a screen that nobody sees; without xvfb-run, on the one that is there.
SCREEN := $(if $(shell command -v xvfb-run 2>/dev/null),xvfb-run -a -s "-screen 0 1400x1000x24",)

# A Groovy 4 runtime for the tests of the QuPath scripts: its jars come inside this npm package; Debian's own is too old.
GROOVY := npm-groovy-lint@15.2.2

.PHONY: demo test test-all lint notebooks docs bench reliability groovy extension manifest clean

demo: $(VENV)/.demo
	$(BIN)/slidecam demo --out demo-output

# As many at once as there are processors and memory for (tests/conftest.py); WORKERS=1 for one.
WORKERS ?= auto
PYTEST := $(SCREEN) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# What the tests bring along; without npm or java the tests that need it are skipped, and say so.
NEEDS := $(VENV)/.test web/node_modules/.done $(if $(shell command -v npm && command -v java),groovy,)

test: $(NEEDS)
	$(PYTEST) --fast

# With those that take long: what CI runs.
test-all: $(NEEDS)
	$(PYTEST)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the tutorials print, for the site's notebooks; `make docs` takes along what is there.
notebooks: $(VENV)/.test
	SLIDECAM_NOTEBOOKS=$(CURDIR)/build/notebooks $(PYTEST) tests/site/test_tutorials.py

# The site, into site/: strictly (a link that leads nowhere fails), complete in itself, nothing fetched.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

groovy: .groovy/.$(GROOVY)

# The extension for QuPath, slidecam-qupath-<version>.jar: javac and Debian's jars, no Gradle.
extension:
	$(PYTHON) qupath-extension/build_extension.py

# napari.yaml names the files that napari asks slidecam for; they follow from the readers.
manifest: $(VENV)/.test
	$(BIN)/python -c "from pathlib import Path; from slidecam.plugin.reading import with_patterns; \
	path = Path('napari.yaml'); path.write_text(with_patterns(path.read_text('utf-8')), 'utf-8')"

bench: $(VENV)/.test
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/explanations.py
	$(BIN)/python benchmarks/score_cam.py
	$(SCREEN) $(BIN)/python benchmarks/viewer.py
	$(BIN)/python benchmarks/cohort.py rate bench-output/cohort
	$(BIN)/python benchmarks/peers/compare.py bench-output/peers --results benchmarks/RESULTS.md

# What breaks it: kills, faults, hostile bytes, hours of the same work. PARTS chooses, as in PARTS="--kills 20 --soak 600".
reliability: $(VENV)/.test
	PYTHONPATH=benchmarks $(SCREEN) $(BIN)/python -m reliability $(PARTS)

clean:
	rm -rf $(VENV) build site .groovy qupath-extension/build demo-output bench-output web/node_modules

.groovy/.$(GROOVY):
	rm -rf .groovy && mkdir .groovy
	cd .groovy && tar -xzf "$$(npm pack --silent $(GROOVY))" --strip-components=3 package/lib/java
	rm .groovy/*.tgz
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml napari.yaml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.test: pyproject.toml napari.yaml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[all,test]"
	touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[docs,server]"
	touch $@

# The page's deep-zoom viewer, by its locked digest. Without npm everything but the page's slides works.
web/node_modules/.done: web/package-lock.json
	if command -v npm >/dev/null; then npm ci --silent --prefix web; else mkdir -p $(@D); echo "no npm: the page will show no slides"; fi
	touch $@
