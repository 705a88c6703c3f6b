# Every target sets up what it needs, and is quick when repeated. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CONFIG ?= config/nplb.yaml
# The Debian packages that tests use: real kubectl, tools for network namespaces, promtool for
# the alert rules, and a browser for the dashboard.
DEBIAN_TEST := kubernetes-client:kubectl iproute2:tc nftables:nft haproxy:haproxy prometheus:promtool systemd:systemd-analyze chromium:chromium
# What the benchmark compares with, and measures with.
DEBIAN_BENCH := iproute2:ip haproxy:haproxy nginx:nginx libnginx-mod-stream:/usr/lib/nginx/modules/ngx_stream_module.so wrk:wrk iperf3:iperf3 nghttp2-client:h2load

.DEFAULT_GOAL := help
.PHONY: help venv venv-dev debian-venv debian-test demo demo-check test fuzz lint format schema bpf man cloud-init wheel wheel-check audit run screenshots bench chaos soak churn clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

venv: $(VENV)/.ready ## make the virtual environment with nplb in it

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory debian-venv
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[top]'
	@touch $@

venv-dev: $(VENV)/.ready-dev

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Debian splits the venv module's parts into a package of their own.
debian-venv:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; \
	  else echo "python3 has no venv module: as root, run 'apt-get install python3-venv'" >&2; exit 1; fi; }

debian-test:
	@tests/install-debian.sh $(DEBIAN_TEST)

demo: venv ## a sandbox cluster with nplb in front of it, until Ctrl-C: make demo [ARGS="--nodes 5"]
	@$(BIN)/nplb demo $(ARGS)

demo-check: venv ## the demo as a script: faults under traffic, exit 0 or 1
	@$(BIN)/nplb demo --check $(ARGS)

# Tests start nplb hundreds of times: compiled once, and not every time, whatever the environment
# says about bytecode.
test: export PYTHONDONTWRITEBYTECODE =
test: venv-dev debian-test ## all tests
	@$(BIN)/python -m pytest -n 4 $(ARGS)

fuzz: venv-dev ## the property tests with new examples, many more of them
	@NPLB_TEST_PROFILE=fuzz $(BIN)/python -m pytest -n 2 --timeout 900 tests/property $(ARGS)

lint: venv-dev ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: venv-dev ## put the code into the house's format
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format .

FAST_PATH := nplb/dataplane/kernel/fastpath/fastpath.bpf

bpf: ## compile the kernel plane's fast path anew (on Debian: apt-get install clang libbpf-dev)
	clang -O2 -target bpf -mcpu=v3 -Wall -Wextra -Werror -I/usr/include/$(shell uname -m)-linux-gnu \
		-DSOURCE_SHA256='"$(shell sha256sum $(FAST_PATH).c | cut -c1-64)"' -c $(FAST_PATH).c -o $(FAST_PATH).o

man: venv ## write the manual pages nplb(1) and nplb.yaml(5) to build/man
	@$(BIN)/python -m nplb.cli.manual build/man

cloud-init: ## carry deploy/systemd into the VM's file
	@$(PYTHON) deploy/cloud-init/embed.py

wheel: man ## build the wheel, with its web files and manual pages, in dist/
	@rm -rf dist build/lib build/bdist.*
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -c constraints.txt -w dist .
	@ls dist/*.whl

wheel-check: wheel ## the demo as a script, from the wheel alone, in a new virtual environment
	@tests/wheel-check.sh $(PYTHON) dist/*.whl

audit: venv-dev ## look for known flaws in the libraries, where the advisories can be reached
	@$(BIN)/python -m pip install -q --disable-pip-version-check pip-audit
	@$(BIN)/pip-audit --strict --disable-pip --no-deps -r constraints.txt

schema: venv ## write config/nplb.schema.json anew
	@$(BIN)/python -m nplb.config.schema

bench: venv-dev ## compare the relay with HAProxy and nginx, as root: make bench [QUICK=1]
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@tests/install-debian.sh $(DEBIAN_BENCH)
	@$(BIN)/python -m tests.bench.compare $(if $(QUICK),--quick,--docs docs/benchmarks.md) $(ARGS)

chaos: venv-dev ## faults under load, of the cluster and of nplb: make chaos [MINUTES=10] [ARGS="--only node"]
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),10) $(ARGS)
	@$(if $(ARGS),true,$(BIN)/python -m tests.chaos --minutes 0 --only nplb: --rounds 20)

soak: venv-dev ## a long run under load: memory and descriptors stay flat: make soak [MINUTES=60]
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) --docs docs/soak.md $(ARGS)

churn: venv-dev ## a day of a busy cluster's changes, compressed: make churn [HOURS=24]
	@$(BIN)/python -m tests.chaos.churn --hours $(or $(HOURS),24)

run: venv ## run the balancer: make run CONFIG=path
	@$(BIN)/nplb run --config $(CONFIG)

clean: ## remove everything that the other targets made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	rm -rf .nplb/demo .nplb/demo-check
	@rmdir .nplb 2>/dev/null || true
	find nplb tests -name __pycache__ -type d -prune -exec rm -rf {} +
