# Every target does its own set-up; a second run starts in seconds.

VENV    := .venv
PYTHON  := $(VENV)/bin/python
STAMP   := $(VENV)/.installed
BASE    ?= python3
IMAGE   ?=
OUTPUT  ?= demo/output
EXECUTIONS ?= 40000
SECONDS ?= 120
SEED    ?= 0
CASES   ?= 300
FAULTS  ?= 1
GROUPS  ?=
COMMANDS ?= plan train evaluate publish experiment baseline torchrun
RUNS    ?= 500
KILLS   ?= 100
JOBS    ?= 3
RESUME  ?=
PART    ?=

.DEFAULT_GOAL := help
.PHONY: help setup docs demo test truth faults soak reproduce-tiny guide fuzz server-proof lint audit format pictures bench memory bench-smoke bench-gpu \
	heads department department-kills department-ray department-archive department-schedule department-study release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the virtual environment .venv with everything pinned

$(STAMP): pyproject.toml constraints.txt .ci/debian-packages hatch_build.py $(wildcard MedNeXtSegmentation/native/* MedNeXtSegmentation/native/*/*)
	sh .ci/debian-packages
	$(BASE) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables cmake ninja
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation -e '.[test,training]'
	@touch $@

demo: $(STAMP) ## segment a head with the default model: make demo [IMAGE=head.nii.gz]
	$(PYTHON) demo/run_demo.py --output $(OUTPUT) $(if $(IMAGE),--image "$(IMAGE)")

# Three processes keep two cores busy while tests wait for others. The files are begun in their order, since xdist
# would put those with few tests, the slowest ones, last. Hundreds of programs share the compiled code of the engine.
test: $(STAMP) ## run the tests, in three processes: make test [JOBS=3]
	PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0

truth: $(STAMP) ## compare sides and places in all 48 orientations and all formats, by the readers of others: make truth [PART="oblique and nrrd"]
	MEDNEXT_ALL_ORIENTATIONS=1 $(PYTHON) -m pytest Testing/truth $(if $(PART),-k "$(PART)")

faults: $(STAMP) ## inject faults, and count the outcomes: make faults [GROUPS="worker saving"] [FAULTS=1]
	PYTHONPATH=. $(PYTHON) Testing/faults --share $(FAULTS) $(GROUPS)

soak: $(STAMP) ## segment in one session for a long time, and compare its end with its beginning: make soak [RUNS=500]
	rm -f build/soak.jsonl && mkdir -p build
	MEDNEXT_SOAK=$(RUNS) MEDNEXT_SOAK_TABLE=$(CURDIR)/build/soak.jsonl $(PYTHON) -m pytest Testing/soak
	$(PYTHON) Testing/soak/write_table.py build/soak.jsonl "$$(uname -sm), $$(nproc) cores"

reproduce-tiny: $(STAMP) ## make a model of phantoms for each challenge, from its files to a published zip
	MEDNEXT_ALL_TASKS=1 $(PYTHON) -m pytest Testing/training/test_reproduction.py

guide: $(STAMP) ## run the commands of docs/training.md on phantoms, with a tiny budget: make guide [COMMANDS="plan train"]
	MEDNEXT_GUIDE="$(COMMANDS)" $(PYTHON) -m pytest Testing/training/test_training_guide.py

fuzz: $(STAMP) ## read mutated files: make fuzz [EXECUTIONS=40000] [SECONDS=120] [SEED=0], for each reader; a second call continues
	PYTHONPATH=.:Testing:MedNeXtSegmentation:training $(PYTHON) -m fuzzing \
		--executions $(EXECUTIONS) --seconds $(SECONDS) --seed $(SEED) --page

server-proof: $(STAMP) ## try a real server with all that can go wrong: make server-proof [RESUME=1 after an interruption]
	MEDNEXT_RAY=1 $(PYTHON) -m pytest Testing/server/test_ray_engines.py
	PYTHONPATH=.:Testing:MedNeXtSegmentation $(PYTHON) -m server_proof $(if $(RESUME),--resume)

lint: $(STAMP) ## check style, types, imports, copied code, and every use of Slicer's widgets
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	PYTHONPATH=MedNeXtSegmentation:Testing $(VENV)/bin/lint-imports
	$(PYTHON) -m pylint MedNeXtSegmentation/mednext MedNeXtSegmentation/MedNeXtSegmentationLib training/mednext_training benchmarks
	PYTHONPATH=Testing $(PYTHON) -m slicer_contract MedNeXtSegmentation Testing/example_module

audit: ## ask PyPI's vulnerability service about the pinned packages; needs that service
	$(BASE) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

format: $(STAMP) ## rewrite the code in the project's style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: $(STAMP) ## build the documentation as a site in dist/site; every link is checked
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

pictures: $(STAMP) ## draw the documentation's pictures anew
	$(PYTHON) docs/draw_house.py
	$(PYTHON) docs/make_model_pages.py
	$(PYTHON) docs/make_pictures.py

bench: $(STAMP) ## measure against MONAI and nnU-Net in one run
	$(PYTHON) -m benchmarks

memory: $(STAMP) ## compare the memory plan with the peaks of real runs; a second call continues
	$(PYTHON) -m benchmarks.memory --page

bench-smoke: $(STAMP) ## run every part of the benchmarks on something tiny
	$(PYTHON) -m benchmarks --smoke --rounds 1

bench-gpu: $(STAMP) ## measure everything on a CUDA card
	$(PYTHON) -m benchmarks.gpu

release: $(STAMP) ## make and try a release in dist/: packages, archive for Slicer, checksums, checklist
	$(PYTHON) -m release

heads: $(STAMP) ## find the hippocampi of random whole heads: make heads [CASES=300] [HARD=1]; a second call continues
	$(PYTHON) -m benchmarks.heads --cases $(CASES) $(if $(HARD),--hard)

department: department-kills department-ray department-archive department-schedule department-study ## prove batches with many workers: kills, a Ray cluster that loses a node, an archive, 10,000 cases

department-kills: $(STAMP)
	MEDNEXT_KILLS=$(KILLS) $(PYTHON) -m pytest Testing/batch/test_killed_batches.py

department-ray: $(STAMP)
	MEDNEXT_RAY_NODES=3 $(PYTHON) -m pytest Testing/batch/test_ray_workers.py

department-archive: $(STAMP)
	$(PYTHON) -m pytest Testing/dicomweb

department-schedule: $(STAMP)
	$(PYTHON) -m benchmarks.department

department-study: $(STAMP)
	$(PYTHON) -m benchmarks.department.study

clean: ## remove the environment and all caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo/output
