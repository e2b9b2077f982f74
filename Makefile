# Every target sets up .venv by itself. All paths are relative: the clone may lie anywhere, spaces included.

.POSIX:
.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-large chaos mutants promises inspector conformance image pin clean \
	environment environment-bench environment-check

ARGS =
PYTHON = .venv/bin/python
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--annotation-style line --custom-compile-command 'make pin'

# A Python that is new enough and able to make virtual environments.
FIND_PYTHON = for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	python=; \
	done; \
	if [ -z "$$python" ]; then \
	echo 'agent-messaging needs Python 3.11 or newer with its venv module on PATH, and found none.' >&2; \
	echo 'Debian, Ubuntu: apt install python3 python3-venv.  Fedora: dnf install python3.  macOS: brew install python.' >&2; \
	exit 1; \
	fi

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

demo: environment ## Watch agents hold a conversation and a meeting, on a database of its own
	@$(PYTHON) examples/demo.py $(ARGS)

test: environment ## Run the tests (ARGS="-k inbox" chooses)
	@$(PYTHON) -m pytest --numprocesses=4 $(ARGS)

check: environment-check ## Lint, check formatting, types and the layers
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m pyright --pythonpath $(PYTHON)
	@.venv/bin/lint-imports --no-logo

format: environment-check ## Fix what the linter can fix, and the formatting
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

bench: environment-bench ## Measure the product beside its floors and write docs/benchmarks.md (ARGS="--only P1,P4")
	@$(PYTHON) -m benchmarks $(ARGS)

bench-large: environment-bench ## The same with 5 million messages and 10,000 waits; prints, writes nothing
	@$(PYTHON) -m benchmarks --large $(ARGS)

chaos: environment ## Break real processes for 60 s and see that nothing is lost (ARGS="--duration 30m --seed 7")
	@$(PYTHON) -m chaos $(ARGS)

mutants: environment ## Plant one bug after the other; each must be caught
	@$(PYTHON) -m tools.mutants $(ARGS)

promises: environment ## Try every promise as often as docs/promises.md says, and write the figures there
	@$(PYTHON) -m tools.promises $(ARGS)

inspector: environment ## List and call the tools with the MCP Inspector, in both eras (needs npm)
	@PYTHON=$(PYTHON) sh tools/inspector.sh

conformance: environment ## Run the official conformance suite, in both eras (needs npm)
	@$(PYTHON) -m tools.conformance $(ARGS)

image: environment ## Carry out the Dockerfile's steps without an engine, and start what comes out
	@$(PYTHON) -m tools.dockerfile_dry_run $(ARGS)

pin: ## Choose the newest allowed versions again, for every Python and platform (needs uv)
	$(COMPILE) --group test --output-file constraints.txt pyproject.toml
	$(COMPILE) --group check --constraint constraints.txt --output-file constraints-check.txt
	$(COMPILE) --group bench --constraint constraints.txt --output-file constraints-bench.txt

clean: ## Remove the environment and every cache
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist

environment:
	@$(FIND_PYTHON); "$$python" tools/bootstrap.py

environment-bench:
	@$(FIND_PYTHON); "$$python" tools/bootstrap.py bench

environment-check:
	@$(FIND_PYTHON); "$$python" tools/bootstrap.py check
