# Thin names for the usual commands; `make` alone lists them.
PYTHON := .venv/bin/python
DEMO := runs/demo

.PHONY: help install install-test demo demo-cascade study starter ui label-env label-server test test-full lint
.PHONY: real-check test-hard chaos slurm-demo dependency-audit

help:
	@echo "make install       the packages, into .venv; the other targets begin with it"
	@echo "make demo          the main job on a data set that it makes itself, in at most 10 minutes on 2 cores"
	@echo "make demo-cascade  then paper B's cascade on the same data, in at most 20 minutes more"
	@echo "make study         the papers' claims tested on phantoms, in at most 150 minutes on 2 cores: docs/study.md"
	@echo "make starter       weights from synthetic CT alone, with data of ../shared/data, in 2 hours: docs/synthesis.md"
	@echo "make ui            what chains with '--tracking mlflow' have recorded, in the browser (WORK=runs/flare23)"
	@echo "make label-server  MONAI Label with the bundles packed in WORK, for the scans in STUDIES: docs/monai-label.md"
	@echo "make test          the tests (at most 10 minutes)"
	@echo "make test-full     the slow tests (at most 30 minutes more)"
	@echo "make real-check    train and score on one real CT, where ../shared/data holds it (at most 30 minutes)"
	@echo "make test-hard     2,000 malformed inputs (about 20 minutes)"
	@echo "make chaos         kill a chain of both papers 200 times (45 minutes on idle cores)"
	@echo "make slurm-demo    the demo as jobs of a Slurm of this machine (about 15 minutes; root, slurm-wlm, munge)"
	@echo "make lint          ruff"
	@echo "make dependency-audit   ask PyPI for known weaknesses of what is installed"

install: .venv/installed
install-test: .venv/installed-test

# torch is pinned in pyproject.toml and in the constraint, so that no dependency brings a second build of it.
.venv/installed: pyproject.toml
	python3.11 -m venv .venv
	$(PYTHON) -m pip install -q "torch==2.13.0" -e .
	touch $@

.venv/installed-test: .venv/installed
	$(PYTHON) -m pip install -q "torch==2.13.0" -e '.[test]'
	touch $@

# MONAI Label needs NumPy 1, hence an environment of its own. The constraint also binds what pip builds: sam2 would
# bring a second torch.
label-env: .venv-label/installed
.venv-label/installed: tools/label/requirements.txt tools/label/constraints.txt
	python3.11 -m venv .venv-label
	.venv-label/bin/python -m pip install -q -U "pip>=25.3" "setuptools<81" wheel
	SAM2_BUILD_CUDA=0 .venv-label/bin/python -m pip install -q -r tools/label/requirements.txt \
		-c tools/label/constraints.txt --build-constraint tools/label/constraints.txt
	touch $@

DEMO_DATA := --cases 100 --min_strong 20 --difficulty 0
demo: install
	$(PYTHON) -m tools phantom --output_dir $(DEMO)/data $(DEMO_DATA)
	$(PYTHON) -m tools run two_stage --data_dir $(DEMO)/data --work_dir $(DEMO) --preset demo

demo-cascade: demo
	$(PYTHON) -m tools run cascade --data_dir $(DEMO)/data --work_dir $(DEMO) --preset demo

study: install
	$(PYTHON) -m tools study --work_dir runs/study --document docs/study.md --workers 2

# The tissue map example_3mm is of the patient whose CT is a test, and takes no part. Started again, it goes on.
SHARED := ../shared/data
starter: install
	$(PYTHON) -m pip install -q "torch==2.13.0" -e '.[dicom]'
	$(PYTHON) -m tools starter --work_dir runs/starter --anatomies $(SHARED)/tissue_maps --leave_out example_3mm \
		--scans $(SHARED) --outside $(SHARED)/geometry/ge_head_gantry_tilt_variable_spacing_dicom.zip

WORK := $(DEMO)
ui: install
	@test -f "$(WORK)/mlruns.db" || { echo "$(WORK)/mlruns.db does not exist; start a chain with --tracking mlflow first"; exit 1; }
	MLFLOW_DISABLE_TELEMETRY=true $(PYTHON) -m mlflow ui --host 127.0.0.1 --backend-store-uri "sqlite:///$(WORK)/mlruns.db"

STUDIES := $(WORK)/studies
label-server: install label-env
	$(PYTHON) -m tools serve --bundles "$(WORK)" --studies "$(STUDIES)" --work_dir "$(WORK)/label"

test: install-test
	$(PYTHON) -m pytest -m "not slow"

test-full: install-test label-env
	$(PYTHON) -m pytest -m slow

test-hard: install-test
	$(PYTHON) -m pytest -s tests/hard/test_malformed.py --malformed 2000

chaos: install-test
	$(PYTHON) -m pytest -s tests/hard/test_chaos.py --kills 200

slurm-demo: install-test
	$(PYTHON) -m tools phantom --output_dir $(DEMO)/data $(DEMO_DATA)
	$(PYTHON) -m pytest -s tests/hard/test_slurm_demo.py --demo-data $(DEMO)/data

# In an environment of its own, so that it adds nothing to ours.
dependency-audit: install
	python3.11 -m venv .venv-audit
	.venv-audit/bin/python -m pip install -q pip-audit==2.10.1
	.venv-audit/bin/pip-audit --path $$($(PYTHON) -c "import sysconfig; print(sysconfig.get_path('purelib'))")

lint: install-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# The real CT stands there as a training case and, under another id, as a test case; 0.85 is the mean DSC that it must
# reach.
REAL := ../shared/data/ct_example_3mm
CHECK := runs/real-check
real-check: install
	mkdir -p $(addprefix $(CHECK)/data/,imagesTr labelsTr validation truth)
	cp -p $(REAL)/ct.nii.gz $(CHECK)/data/imagesTr/real_0001_0000.nii.gz
	cp -p $(REAL)/ct.nii.gz $(CHECK)/data/validation/real_0002_0000.nii.gz
	cp -p $(REAL)/label_flare.nii.gz $(CHECK)/data/labelsTr/real_0001.nii.gz
	cp -p $(REAL)/label_flare.nii.gz $(CHECK)/data/truth/real_0002.nii.gz
	$(PYTHON) -m tools run overfit --data_dir $(CHECK)/data --work_dir $(CHECK)
	$(PYTHON) -m tools evaluate $(CHECK)/predictions/student $(CHECK)/data/truth --minimum_dsc 0.85
