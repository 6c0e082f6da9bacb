# Thin on purpose: each target calls one command. `make` lists them.

PYTHON ?= python3
DATA   ?= $(firstword $(wildcard data ../shared/data) data)
ARGS   ?=

BIN := .venv/bin
READY := .venv/ready
LIGHT := .venv/light
NPM := $(shell command -v npm)
WEB := web/build/driver.mjs

.DEFAULT_GOAL := help
.PHONY: help setup demo web wasm test coverage fuzz exactness bench ablations bench-effort bench-looks bench-speed bench-everyday bench-web
.PHONY: bench-edges train lint docs dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS='...' is passed on; DATA=folder holds kodak/ and the *.zip sets (now: $(DATA))"

setup: $(READY) ## make .venv with everything in it

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "obic needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'setting up .venv (PyTorch is a large download) ...'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# The package as a user installs it, into an environment of its own without PyTorch; made anew when its files change.
$(LIGHT): $(READY) $(if $(NPM),$(WEB)) hatch_build.py $(shell find obic weights pyproject.toml -type f -not -path '*/__pycache__/*')
	@rm -rf $@
	$(BIN)/python -m venv $@
	$(LIGHT)/bin/python -m pip install --quiet . hypothesis pytest pytest-xdist
	@touch $@

demo: $(READY) ## code, decode and extract a photograph; writes demo/
	$(BIN)/python examples/demo.py $(ARGS)

web: $(WEB) web/site/models ## the decoder for browsers into web/dist, and the viewer as a static site into web/site

$(WEB): web/node_modules/.package-lock.json $(wildcard web/*.json web/src/*.ts web/test/* web/viewer/*)
	cd web && npm run --silent build

web/node_modules/.package-lock.json: web/package-lock.json
	@test -n '$(NPM)' || { echo 'npm is not installed: the decoder for browsers needs Node 20 or newer'; exit 1; }
	cd web && npm ci --silent

web/site/models: $(WEB) weights/manifest.json obic/web.py | $(READY)
	$(BIN)/python -m obic.web weights --out $@
	@touch $@

wasm: $(READY) ## compile web/native/*.c anew, into web/src/wasm.ts
	$(BIN)/python -m pip install --quiet --editable '.[wasm]'
	$(BIN)/python web/native/build.py

test: $(READY) $(LIGHT) $(if $(NPM),$(WEB)) ## run the tests: first those that need no PyTorch, without it (ARGS=... all of some files, with it; NPM= leaves web/ out)
	$(if $(ARGS),,OMP_NUM_THREADS=1 $(LIGHT)/bin/pytest --numprocesses 2 --dist worksteal)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(or $(ARGS),--rest)

coverage: $(READY) ## run the tests and list the lines that none of them runs (ARGS=tests/segment); writes build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --cov --cov-report term --cov-report html $(ARGS)

fuzz: $(READY) ## 10 minutes of hostile files (ARGS=-max_total_time=60)
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	PYTHONPATH=tests $(BIN)/python tests/fuzz.py $(ARGS)

exactness: $(READY) ## hashes of what this machine reads out of the golden files, to compare with another's
	OBIC_WEIGHTS=tests/golden/v1 $(BIN)/python -m obic.bench.codec.exactness tests/golden/v1/*.obic $(ARGS)

lint: $(READY) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY) ## build the site, with every link checked, into build/site
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

dist: $(READY) $(if $(NPM),$(WEB)) ## build wheel and sdist, and check what is in them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m pytest tests/dist.py

bench: $(READY) data ## obic and others on Kodak and VOC, into docs/ and the README (--quick: a look)
	$(BIN)/python -m obic.bench --data $(DATA) --readme README.md $(ARGS)

ablations: $(READY) data ## what the paper's decisions are worth; writes docs/ablations.md
	$(BIN)/python -m obic.bench.codec.ablation --data $(DATA) $(ARGS)

bench-effort: $(READY) data ## what encode --effort gives and costs; writes docs/effort.md
	$(BIN)/python -m obic.bench.codec.effort --data $(DATA) $(ARGS)

bench-looks: $(READY) data ## what decode --look vivid gives and costs; writes docs/looks.md
	$(BIN)/python -m obic.bench.vivid --data $(DATA) $(ARGS)

bench-speed: $(READY) data ## seconds and memory, stage by stage, small pictures to large; writes docs/speed.md
	$(BIN)/python -m obic.bench.speed --data $(DATA) $(ARGS)

bench-everyday: $(READY) data ## sizes asked for, pixel masks, many pictures; writes docs/ratecontrol.md, alpha.md, throughput.md
	$(BIN)/python -m obic.bench.codec.ratecontrol --data $(DATA) $(ARGS)
	$(BIN)/python -m obic.bench.codec.bilevel --data $(DATA) $(ARGS)
	$(BIN)/python -m obic.bench.speed.throughput --data $(DATA) $(ARGS)

bench-web: $(READY) $(WEB) data ## the decoder for browsers beside the command, in Chromium; writes docs/web.md
	$(BIN)/python -m obic.bench.speed.browser --data $(DATA) $(ARGS)

bench-edges: $(READY) data ## how well the masks' edges follow the objects; writes docs/edges.md
	$(BIN)/python -m obic.bench.segmenter.mask_edges --data $(DATA) $(ARGS)

train: $(READY) data ## train the codec network, see obic/train
	$(BIN)/python -m obic.train --data $(DATA)/train-*.zip $(ARGS)

clean: ## remove what the targets made, except .venv and trained runs
	rm -rf demo build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: data
data:
	@test -d $(DATA) || { echo "no pictures in '$(DATA)': name their folder, make DATA=/path/to/pictures ..."; exit 1; }
