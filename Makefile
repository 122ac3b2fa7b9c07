# One environment for everything but vLLM, one for vLLM, each rebuilt only when what it is made from has changed.
PYTHON ?= python3
BIN := .venv/bin
ENV := .venv/.built
RUN := runs/demo

.PHONY: demo test check bench bench-env vllm test-vllm clean env
.DELETE_ON_ERROR:

demo: $(ENV)
	$(BIN)/eosin demo --out $(RUN)

env: $(ENV)

$(ENV): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Eosin needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $@

check: $(ENV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/link_namespace.py
	$(BIN)/mypy
	PYTHONPATH=.namespace $(BIN)/lint-imports --no-cache

vllm: $(ENV)
	$(BIN)/eosin doctor --install-vllm

test: check vllm
	$(BIN)/pytest

test-vllm: vllm
	$(BIN)/pytest -m vllm

# tiatoolbox (a peer of benchmarks/tiling.py, 6 GB) holds back numpy, Pillow and torch: it lives apart. All other peers are in $(BIN).
TIATOOLBOX := .venv-tiatoolbox/.built

bench-env: $(ENV) $(TIATOOLBOX)

$(TIATOOLBOX):
	test -x .venv-tiatoolbox/bin/python || $(PYTHON) -m venv .venv-tiatoolbox
	.venv-tiatoolbox/bin/python -m pip install --quiet "tiatoolbox==2.1.3" "opencv-python-headless"
	.venv-tiatoolbox/bin/python -c "from tiatoolbox.wsicore.wsireader import WSIReader"
	touch $@

bench: bench-env
	@set -e; for script in $$(ls benchmarks/*.py | grep -v '/_'); do echo "== $$script"; $(BIN)/python $$script; done

clean:
	rm -rf .venv .venv-vllm .venv-tiatoolbox .namespace .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info runs
