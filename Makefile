# Attest. `make` lists what can be made; `make run` and `make test` do all the set-up themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Found when a line runs, not when make expands its recipe: that same recipe may have installed it.
UV = "$$(if [ -x $(VENV)-uv/bin/uv ]; then echo $(VENV)-uv/bin/uv; else command -v uv; fi)"

.PHONY: help run test check bench demo-audit screenshots soak lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.run ## set up and start everything on http://127.0.0.1:8080 (ATTEST_* settings apply)
	@exec $(BIN)/python -m gateway up

# Unit tests need no server, so two processes share them; the others start servers, browsers and whole products.
test: $(VENV)/.dev ## set up and run all tests (real servers where installed; CI=true makes a missing one a failure)
ifdef TESTS
	$(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/unit
	$(BIN)/python -m pytest tests --ignore tests/unit
endif

check: $(VENV)/.dev ## lint, format, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Slices of ChatGLM3-6B for two benchmarks, made and thrown away. The third walks through a folder of the true size, which
# takes minutes and 20 GB of disk: BENCH_MODEL=DIR names one (python -m tests.bench.random_weights DIR makes it).
SLICES := data/bench/slices

bench: $(VENV)/.dev ## measure, and write docs/benchmarks.md (BENCH_MODEL=DIR: also a folder of ChatGLM3-6B's size)
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.audit_log
	$(BIN)/python -m tests.bench.inference
	$(BIN)/python -m tests.bench.inference_large --layers 2 --folder=$(SLICES)
	$(BIN)/python -m tests.bench.inference_waits $(SLICES)/int8
	rm -rf $(SLICES)
	$(if $(BENCH_MODEL),$(BIN)/python -m tests.bench.inference_walk $(BENCH_MODEL))
	$(BIN)/python -m tests.bench.safety
	$(BIN)/python -m tests.bench.second_opinion
	$(BIN)/python -m tests.bench.audit_verify
	$(BIN)/python -m tests.bench.audit_search
	$(BIN)/python -m tests.bench.delivery
	$(BIN)/python -m tests.bench.text_search
	$(BIN)/python -m tests.bench.outage --rate 50 --drain 900
	$(BIN)/python -m tests.bench.console

demo-audit: $(VENV)/.dev ## a few turns, a bundle of their records, and its verification where nothing of Attest is installed
	@UV=$(UV) $(BIN)/python -m tests.demo_audit data/demo-audit

screenshots: $(VENV)/.dev ## take pictures of every page in both languages anew, into docs/screenshots (needs chromium)
	$(BIN)/python -m tests.screenshots

soak: $(VENV)/.dev ## send every harmless prompt and 500 labelled ones through the running product
	$(BIN)/python -m tests.bench.soak

lock: $(VENV)/.uv ## resolve requirements/*.lock anew (hashes, no index address: any mirror serves)
	$(UV) pip compile pyproject.toml --extra dev $(LOCK) -o requirements/dev.lock
	$(UV) pip compile pyproject.toml --extra inference $(LOCK) -c requirements/dev.lock -o requirements/inference.lock
	$(UV) pip compile pyproject.toml $(LOCK) -c requirements/dev.lock -o requirements/gateway.lock

clean: ## remove the environment and caches (not ./data)
	rm -rf $(VENV) $(VENV)-uv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

LOCK := --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --quiet

# The checkout itself: importable from anywhere, and the command `attest` beside the environment's python.
define LINK
$(BIN)/python -c 'import pathlib, sys, sysconfig; \
  pathlib.Path(sysconfig.get_path("purelib"), "attest.pth").write_text(str(pathlib.Path.cwd()) + "\n"); \
  script = pathlib.Path(sys.prefix, "bin", "attest"); \
  script.write_text("#!" + sys.prefix + "/bin/python\nfrom gateway.cli import main\n\nif __name__ == \"__main__\":\n    main()\n"); \
  script.chmod(0o755)'
endef

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Attest needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Set PYTHON=/path/to/python3.11."; exit 1; }
	@uv --version >/dev/null 2>&1 \
	  || { $(PYTHON) -m venv $(VENV)-uv 2>/dev/null && $(VENV)-uv/bin/python -m pip install --quiet uv; } \
	  || { rm -rf $(VENV)-uv; $(PYTHON) -m pip install --quiet uv; }
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements/inference.lock pyproject.toml
	@echo "Installing (once; the inference tier brings PyTorch, about 3 GB) ..."
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/inference.lock
	@$(LINK)
	@touch $@

$(VENV)/.dev: $(VENV)/.uv requirements/dev.lock pyproject.toml
	@echo "Installing the development environment (once) ..."
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@$(LINK)
	@touch $@ $(VENV)/.run
