# make demo   set everything up in .venv and run the main job on a phantom
# make test   set everything up, check style and types and pass the tests but the slow ones (PYTEST=... adds options)
# make test-all   the slow ones as well
# make coverage   with the share of the library's lines that they run
# make docs   the documentation with its API pages, into site/
# make bench  accuracy on real cases and time per stage (needs GLIOMASEG_SHARED, see Testing/bench)

PYTHON ?= $(firstword $(foreach name,python3.12 python3.11 python3.13 python3.10 python3,\
            $(if $(shell $(name) -c 'import sys; print(sys.version_info >= (3, 10) or "")' 2>/dev/null),$(name))))
VENV := .venv
BIN := $(VENV)/bin
export GLIOMASEG_SHARED ?= $(wildcard ../shared)

.PHONY: demo test test-all lint docs coverage bench lock clean

demo: $(VENV)/.run
	$(BIN)/gliomaseg demo

# One process per core: threads inside each would only wait for one another.
test: lint
	OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST)

test-all:
	$(MAKE) test PYTEST="-m 'slow or not slow' $(PYTEST)"

lint: $(VENV)/.develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ and the API from the docstrings, into site/; a warning is an error.
docs: $(VENV)/.develop
	$(BIN)/sphinx-build -q -W --keep-going -b html docs site

# A fifth slower than the tests alone (with Python 3.12 or later less), so it is no part of them.
coverage: $(VENV)/.develop
	$(MAKE) test PYTEST="--cov $(PYTEST)"

bench: $(VENV)/.develop
	$(BIN)/python -m Testing.bench

# Every dependency pinned, for every Python that is supported.
lock: $(VENV)/.develop
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.10 --all-extras --no-header --no-annotate \
	    --upgrade-package torch==2.13.0 -o constraints.txt

clean:
	rm -rf $(VENV) demo-output site

$(VENV)/.run: pyproject.toml constraints.txt
	$(call install,.)

$(VENV)/.develop: pyproject.toml constraints.txt
	$(call install,.[docs$(comma)test$(comma)slicer])

comma := ,
define install
	@test -n "$(PYTHON)" || { echo "GliomaSeg needs Python 3.10 or later; name it with make PYTHON=python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '$(1)'
	touch $@
endef
