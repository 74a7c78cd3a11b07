# People and scripts use these targets: demo, test, check, build, invoke, deploy.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

VENV := .venv
SAM_VENV := .venv-sam
CHECKOV_VENV := .venv-checkov
SAM := SAM_CLI_TELEMETRY=0 $(SAM_VENV)/bin/sam
PIP := bin/python -m pip install --disable-pip-version-check --no-input --no-deps --progress-bar off
# Filters pip's output to one line per downloaded package, as a progress display.
progress = sed -un -e 's/^Collecting \([^ ;]*\).*/  \1/p' -e 's/^Installing collected packages.*/  installing/p' >&2
# botocore, and so sam, reads only AWS_DEFAULT_REGION; tallyman and AWS's command line take AWS_REGION first.
ifneq ($(AWS_REGION),)
export AWS_DEFAULT_REGION := $(AWS_REGION)
endif
NATIVE := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64)
# The processor of `make build`: template.yaml's default. `make invoke` builds for this machine.
ARCHITECTURE ?= arm64
ENV ?= dev
# Test processes: one more than processors, because stack tests often wait; five at most.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 5)))
UV ?= uv
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-header --python-version 3.11

# Runs a command and prints its output only if it fails.
quietly = log=$$(mktemp); $(1) >"$$log" 2>&1 || { cat "$$log" >&2; rm "$$log"; exit 1; }; rm "$$log"

.PHONY: least-privilege help demo test coverage check format build build-native invoke deploy deploy-build aws-smoke requirements clean bench-copy bench-retention faults

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

demo: $(VENV)/.ready ## Run the demo on a local cloud, with each step checked
	@$(VENV)/bin/tallyman demo

least-privilege: $(VENV)/.ready ## Run the stack tests, then list role statements that no test needed
	@rm -rf .least-privilege && mkdir .least-privilege
	@LEAST_PRIVILEGE=$(CURDIR)/.least-privilege $(VENV)/bin/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder tests/stack
	@PYTHONPATH=tests $(VENV)/bin/python -m support.stacks.evidence .least-privilege

test: $(VENV)/.ready ## Run all tests (ARGS='-k name' selects)
	@$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 1 $(ARGS)

coverage: $(VENV)/.ready ## Run the tests with coverage by file (ARGS as for test); a third slower
	@$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 1 --cov --cov-report=term-missing:skip-covered $(ARGS)

check: $(VENV)/.ready ## Check format, lint, types, templates
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/cfn-lint template.yaml spoke.yaml build.yaml chat.yaml page.yaml
	@echo "check: format, lint, types and templates are in order"

.PHONY: checkov
checkov: $(VENV)/.ready $(CHECKOV_VENV)/.ready ## Run checkov on the transformed templates; exceptions are explained in them
	@$(VENV)/bin/python tests/tools/checkov.py $(CHECKOV_VENV)/bin/checkov

format: $(VENV)/.ready ## Format the code
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

build: $(SAM_VENV)/.ready ## Run `sam build` without Docker (ARCHITECTURE=arm64 or x86_64)
	@python=$$(tests/tools/python313.sh); export PATH="$$(dirname "$$python"):$$PATH"
	$(call quietly,$(SAM) build --parameter-overrides Architecture=$(ARCHITECTURE))
	"$$python" layers/core/finish.py .aws-sam/build/CoreLayer/python .aws-sam/build/OriginLayer/python
	echo "layer core: $$(du -sk --apparent-size .aws-sam/build/CoreLayer | cut -f1) KiB ($(ARCHITECTURE), unpacked)"

invoke: $(VENV)/.ready $(SAM_VENV)/.ready ## Run a function in a container: FUNCTION=record_push EVENT=events/record_push/push.json
	@test -n "$(FUNCTION)" -a -n "$(EVENT)" || { echo "make invoke FUNCTION=… EVENT=events/…/….json" >&2; exit 2; }
	$(MAKE) --no-print-directory build-native
	PYTHONPATH=tests $(VENV)/bin/python -m tools.invoke --architecture $(NATIVE) "$(FUNCTION)" "$(EVENT)"

build-native: $(SAM_VENV)/.ready
	@python=$$(tests/tools/python313.sh); export PATH="$$(dirname "$$python"):$$PATH"
	$(call quietly,$(SAM) build --cached --cache-dir .aws-sam/native-cache --build-dir .aws-sam/native \
	  --parameter-overrides Architecture=$(NATIVE))
	"$$python" layers/core/finish.py .aws-sam/native/CoreLayer/python .aws-sam/native/OriginLayer/python

deploy: $(VENV)/.ready ## Check, build, show the change set and deploy (ENV=dev or prod, see samconfig.toml)
	@$(VENV)/bin/python -m tallyman_cli.setup.preflight $(ENV)
	$(VENV)/bin/tallyman policy check layers/policy/tallyman.yaml
	first=$$($(VENV)/bin/python -m tallyman_cli.setup.preflight $(ENV) --overrides)
	$(MAKE) --no-print-directory build
	# Protected tables would block the rollback of a failed first deployment: protect them afterwards.
	if [ -n "$$first" ]; then $(SAM) deploy --config-env $(ENV) --parameter-overrides "$$first"; fi
	# Ends here if somebody declined the first change set: the next one would create protected tables.
	stack=$$($(VENV)/bin/python -m tallyman_cli.setup.preflight $(ENV) --beside)
	$(SAM) deploy --config-env $(ENV)
	# The policy is in a layer of the functions; the first function that runs activates it.
	$(VENV)/bin/tallyman --stack "$$stack" reconcile --json >/dev/null
	echo "deployed $$stack; its policy is active"
	if [ "$$stack" != tallyman ]; then echo "tallyman finds it by its name: export TALLYMAN_STACK=$$stack"; fi

deploy-build: $(VENV)/.ready $(SAM_VENV)/.ready ## Deploy one application's builds: NAME=widget-server PARAMETERS="BuildSource=github …"
	@test -n "$(NAME)" || { echo 'make deploy-build NAME=widget-server PARAMETERS="BuildSource=github …"' >&2; exit 2; }
	$(VENV)/bin/python -m tallyman_cli.setup.preflight $(ENV) --build $(NAME)
	stack=$$($(VENV)/bin/python -m tallyman_cli.setup.preflight $(ENV) --beside)
	$(SAM) deploy --template-file build.yaml --stack-name "$$stack-build-$(NAME)" --no-fail-on-empty-changeset \
	  --capabilities CAPABILITY_IAM --parameter-overrides HubStack="$$stack" BuildName=$(NAME) $(PARAMETERS)

.PHONY: publish image
publish: build $(VENV)/.ready ## Upload the packaged template to your bucket and print its launch link: BUCKET=…
	@test -n "$(BUCKET)" || { echo "make publish BUCKET=…: a bucket that the users who launch the stack may read" >&2; exit 2; }
	$(SAM) package --template-file .aws-sam/build/template.yaml --s3-bucket "$(BUCKET)" --s3-prefix tallyman/code \
	  --output-template-file .aws-sam/packaged.yaml >/dev/null
	$(VENV)/bin/python -m tallyman_cli.setup.publish "$(BUCKET)" .aws-sam/packaged.yaml

image: ## Build the container image of the command: IMAGE=tallyman, BASE=python:3.13-slim
	@docker build -t $(or $(IMAGE),tallyman) $(if $(BASE),--build-arg BASE=$(BASE)) .

.PHONY: deploy-chat deploy-page
deploy-chat: $(VENV)/.ready $(SAM_VENV)/.ready ## Deploy notices to one chat channel: NAME=releases PARAMETERS="SlackWorkspaceId=… …"
	@test -n "$(NAME)" || { echo 'make deploy-chat NAME=releases PARAMETERS="SlackWorkspaceId=… SlackChannelId=…"' >&2; exit 2; }
	stack=$$($(VENV)/bin/python -m tallyman_cli.setup.preflight $(ENV) --beside)
	$(SAM) deploy --template-file chat.yaml --stack-name "$$stack-chat-$(NAME)" --no-fail-on-empty-changeset \
	  --capabilities CAPABILITY_IAM --parameter-overrides HubStack="$$stack" ChannelName=$(NAME) $(PARAMETERS)

deploy-page: .page/.ready $(SAM_VENV)/.ready ## Deploy the page for a team: PARAMETERS="PageAccess=oidc …" (ARCHITECTURE=arm64 or x86_64)
	@stack=$$($(VENV)/bin/python -m tallyman_cli.setup.preflight $(ENV) --beside)
	$(SAM) deploy --template-file page.yaml --stack-name "$$stack-page" --no-fail-on-empty-changeset --resolve-s3 \
	  --capabilities CAPABILITY_NAMED_IAM --parameter-overrides HubStack="$$stack" Architecture=$(ARCHITECTURE) $(PARAMETERS)

# The code of page.yaml's function: our packages, and wheels for the runtime's processor.
.page/.ready: $(VENV)/.ready requirements/page.txt $(shell find cli/tallyman_cli layers/core/src/tallyman -name '*.py' -o -name '*.html')
	@rm -rf .page && mkdir .page
	$(VENV)/$(PIP) --quiet --require-hashes --target .page --only-binary :all: --python-version 3.13 --implementation cp \
	  --platform manylinux2014_$(subst arm64,aarch64,$(ARCHITECTURE)) --platform manylinux_2_28_$(subst arm64,aarch64,$(ARCHITECTURE)) \
	  -r requirements/page.txt
	cp -r cli/tallyman_cli layers/core/src/tallyman .page/
	find .page -name __pycache__ -type d -prune -exec rm -rf {} +
	touch $@

aws-smoke: $(VENV)/.ready ## Test everything on a test account: ACCOUNT=111111111111 (ARGS="--spoke-account … --spoke-profile …")
	@test -n "$(ACCOUNT)" || { echo "make aws-smoke ACCOUNT=111111111111: the account that your credentials belong to" >&2; exit 2; }
	PYTHONPATH=tests $(VENV)/bin/python -m aws.smoke --account "$(ACCOUNT)" $(ARGS)

bench-copy: $(VENV)/.ready ## Compare copies with skopeo, crane, regctl, oras (TLS=1: with TLS; LATENCY=1: 20 ms a round trip; or both)
	@$(VENV)/bin/python bench/copying.py $(if $(filter 1,$(LATENCY)),--latency 20) $(if $(filter 1,$(TLS)),--tls) $(ARGS)

bench-retention: $(VENV)/.ready ## Time retention plans of 10,000, 100,000 and 1,000,000 images, with peak memory
	@$(VENV)/bin/python bench/retention.py $(ARGS)

.PHONY: bench-load
bench-load: $(VENV)/.ready ## Measure the lag after a burst of pushes, on fakes, with four workers for each queue (ARGS="--images 2000 --svg FILE")
	@$(VENV)/bin/python bench/load.py $(ARGS)

.PHONY: bench-fuzz
bench-fuzz: $(VENV)/.ready ## Test with hostile manifests, events, commands, policies and responses for SECONDS=600 (ARGS="--seed 7 events")
	@$(VENV)/bin/python bench/fuzz.py --seconds $(or $(SECONDS),60) $(ARGS)

.PHONY: bench-page pictures
bench-page: $(VENV)/.ready ## Time the first view of 5,000 images and of 500 repositories, on a local cloud
	@$(VENV)/bin/python bench/page.py $(ARGS)

pictures: $(VENV)/.ready ## Create the pictures of docs/ with the browser tests (needs Chromium and requirements/browser.txt)
	@PICTURES=docs/images $(VENV)/bin/python -m pytest -q tests/browser -k pictures

faults: $(VENV)/.ready ## Run SEEDS=1000 schedules of the entire system with faults; print and replay failures (FIRST=0, ARGS=--guards)
	@PYTHONPATH=tests $(VENV)/bin/python tests/tools/faults.py --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0) $(ARGS)

requirements: ## Compile the hash-pinned requirements from the .in files (needs uv)
	@$(COMPILE) requirements/layer.in -o layers/core/src/requirements.txt
	$(COMPILE) requirements/origin.in -o layers/origin/src/requirements.txt
	$(COMPILE) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) requirements/sam.in -o requirements/sam.txt
	$(COMPILE) requirements/browser.in -o requirements/browser.txt
	$(COMPILE) requirements/checkov.in -o requirements/checkov.txt
	$(COMPILE) requirements/page.in -o requirements/page.txt
	$(COMPILE) requirements/cli.in -o requirements/cli.txt
	$(COMPILE) requirements/docs.in -o requirements/docs.txt

.PHONY: docs reference
docs: .venv-docs/.ready ## Build docs/ as a site in .site/; broken links are errors
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	@echo "the site is in .site/: open .site/start.html"

reference: $(VENV)/.ready ## Generate the pages of docs/ that list every policy key and every command
	@PYTHONPATH=tests $(VENV)/bin/python -m tools.reference
	$(VENV)/bin/tallyman policy schema >docs/tallyman.schema.json

.PHONY: session outputs
outputs: $(VENV)/.ready ## Update the commands' outputs on the pages of docs/ from a local cloud
	@OUTPUTS=docs $(VENV)/bin/python -m pytest -q -n 0 -m heavy tests/stack/test_docs_commands.py

session: $(VENV)/.ready ## Update the terminal sessions of README.md and README.pt-BR.md from a local cloud
	@PYTHONPATH=tests $(VENV)/bin/python -m tools.session

.venv-docs/.ready: requirements/docs.txt
	@python=$$(tests/tools/python311.sh)
	test -x .venv-docs/bin/python || "$$python" -m venv .venv-docs
	.venv-docs/$(PIP) --require-hashes -r requirements/docs.txt | $(progress)
	touch $@

clean: ## Remove everything that the targets created
	@rm -rf $(VENV) $(SAM_VENV) $(CHECKOV_VENV) .venv-docs .aws-sam .page .site .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# One recipe creates .venv for every target; its stamp is newer than its inputs.
$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@echo "setting up $(VENV), once: one to five minutes" >&2
	python=$$(tests/tools/python311.sh)
	test -x $(VENV)/bin/python || "$$python" -m venv $(VENV)
	$(VENV)/$(PIP) --require-hashes -r requirements/dev.txt | $(progress)
	$(VENV)/$(PIP) --no-build-isolation -e . | $(progress)
	touch $@

$(SAM_VENV)/.ready: requirements/sam.txt
	@echo "setting up $(SAM_VENV), once: about a minute" >&2
	python=$$(tests/tools/python311.sh)
	test -x $(SAM_VENV)/bin/python || "$$python" -m venv $(SAM_VENV)
	$(SAM_VENV)/$(PIP) --require-hashes -r requirements/sam.txt | $(progress)
	touch $@

$(CHECKOV_VENV)/.ready: requirements/checkov.txt
	@echo "setting up $(CHECKOV_VENV), once: about a minute" >&2
	python=$$(tests/tools/python311.sh)
	test -x $(CHECKOV_VENV)/bin/python || "$$python" -m venv $(CHECKOV_VENV)
	$(CHECKOV_VENV)/$(PIP) --require-hashes -r requirements/checkov.txt | $(progress)
	touch $@
.ONESHELL:
