# Two commands do everything on a machine with only Python 3.11 and make:
#   make demo   environment, install, the main job on a generated sample
#   make test   environment, install, lint, all tests
#   make check  lint and the quick tests
#   make docs   the pages of docs/ and of the API as a site in build/docs
# Variables: PYTHON, VENV, DEVICE (cpu or cuda, default: what the machine has), INDEX (package index),
# TORCH_INDEX (package index for torch alone), DATA (where prepared data goes).

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
DEVICE ?=
INDEX ?=
TORCH_INDEX ?=
DATA ?= data
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_INDEX := $(if $(INDEX),--index-url $(INDEX))

export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test check lint docs bench test-peers reproduce clean

setup: $(READY)

$(READY): pyproject.toml recsys/environment.py
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -P recsys/environment.py install $(if $(DEVICE),--device $(DEVICE)) $(if $(INDEX),--index $(INDEX)) $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet $(PIP_INDEX) -e ".[train,dev]"
	$(BIN)/recsys doctor
	touch $@

demo: setup
	$(BIN)/python data_scripts/criteo.py --sample 100000 --out $(DATA)/sample --overwrite
	$(BIN)/lightning fit -c configs/demo.yaml --data.init_args.path $(DATA)/sample --trainer.default_root_dir $(DATA)/demo
	$(BIN)/recsys evaluate --ckpt_path $$(ls -td $(DATA)/demo/lightning_logs/version_*/checkpoints/last.ckpt | head -1) \
		-c configs/demo.yaml --data.init_args.path $(DATA)/sample --out $(DATA)/demo/report
	@echo
	@echo "That was the main job, on generated data: no number above says anything about real clicks."
	@echo "  pictures of it      $(DATA)/demo/report/report.html"
	@echo "  the training logs   $(BIN)/tensorboard --logdir $(DATA)/demo/lightning_logs"
	@echo "  another table       $(BIN)/lightning fit -c configs/demo.yaml -c configs/tables/unified.yaml --data.init_args.path $(DATA)/sample"
	@echo "  your own clicks     $(BIN)/recsys prepare clicks log.csv --label click --out data/mine --config mine.yaml"
	@echo "  your own model      'In an existing model' in README.md"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# A subset for daily work: no test that starts processes or trains for long.
check: lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile -m "not slow"

docs: setup
	$(BIN)/python -m pip install --quiet $(PIP_INDEX) -e ".[docs]"
	$(BIN)/mkdocs build --strict --site-dir build/docs

# Tables in models of other packages, each in an environment of its own below build/.
test-peers: setup
	$(BIN)/python benchmarks/peers.py

bench: setup
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/data_preparation.py
	$(BIN)/python benchmarks/data_loading.py
	$(BIN)/python benchmarks/training_speed.py --auc
	$(BIN)/python benchmarks/training_speed.py --criteo --only "DLRM naive" "DLRM recsys" --rounds 3 --steps 3
	$(BIN)/python benchmarks/tables.py methods
	$(BIN)/python benchmarks/tables.py vocabularies
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/session_speed.py --size beauty --threads 2
	$(BIN)/python benchmarks/session_speed.py --size ml-1m --threads 2
	$(BIN)/python benchmarks/sharding.py measure
	$(BIN)/python benchmarks/sharding.py predict

# The result tables of docs/, from data prepared as they say.
reproduce: setup
	$(BIN)/recsys compare run configs/compare/movielens.yaml --data $(DATA)/ml-1m --update docs/results.md docs/reproduction-movielens.md
	$(BIN)/recsys compare run configs/compare/criteo.yaml --data $(DATA)/criteo-80k --update docs/results.md docs/reproduction-criteo.md

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache lightning_logs
