# Each target works alone on a fresh checkout with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install run demo test lint image bench regret soak lock

install: $(INSTALLED)

$(INSTALLED): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-build-isolation --no-deps -e .
	touch $(INSTALLED)

run: install
	$(BIN)/kerf serve

demo: install
	$(BIN)/kerf demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install
	./scripts/ensure_package.sh chromium chromium chromium-browser google-chrome google-chrome-stable
	./scripts/ensure_package.sh kubernetes-client kubectl
	./scripts/ensure_package.sh haproxy haproxy /usr/sbin/haproxy
	./scripts/ensure_package.sh prometheus promtool
	$(BIN)/python -m pytest -n auto --dist worksteal

# Some four minutes, as root where there is no Docker daemon.
image: install
	PYTHON=$(BIN)/python ./scripts/build_image.sh
	$(BIN)/python -m tests.deploy.try_image

bench: install
	./scripts/ensure_package.sh wrk wrk
	$(BIN)/python -m benchmarks

# Every cut of some models executed for real, over several links: half an hour.
regret: install
	$(BIN)/python -m benchmarks regret

# The long runs, of which `make test` holds a short form.
soak: install
	KERF_TEST_MUTATIONS=20000 KERF_TEST_EXAMPLES=5000 \
		$(BIN)/python -m pytest -n auto --dist worksteal \
		tests/ingest/test_mutations.py tests/ingest/test_random_models.py
	KERF_TEST_RANDOM_HALVES=700 $(BIN)/python -m pytest -n auto --dist worksteal \
		tests/halves/test_random_cuts.py
	KERF_TEST_MUTATED_UPLOADS=20000 $(BIN)/python -m pytest tests/api/test_mutated_uploads.py
	KERF_TEST_KILLS=50 $(BIN)/python -m pytest tests/api/test_kills.py
	KERF_TEST_RESTARTS=20 $(BIN)/python -m pytest tests/replicas/test_rolling.py
	KERF_TEST_SCHEMATHESIS=200 $(BIN)/python -m pytest tests/api/test_schemathesis.py
	KERF_TEST_SCENARIOS=500 $(BIN)/python -m pytest -n auto --dist worksteal \
		tests/core/test_agreement_on_fixtures.py

# Locks the versions again, from pyproject.toml. Needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links -c requirements.txt --group dev pyproject.toml \
		-o requirements-dev.txt
