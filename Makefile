# Working on gatekit. `make` or `make help` lists the targets.
# Variables may be given on the command line: make fuzz FUZZTIME=5s

GO          ?= go
STATICCHECK ?= $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK ?= $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The vulnerability database, when it is not the public one: file://DIR or a URL.
GOVULNDB ?=
# on: a database that can't be reached is a failure. auto: it is skipped, and said so. off: not looked up.
VULN ?= on

# The race detector needs cgo and a C compiler. RACE= (empty) tests without it.
RACE      ?= -race
TESTFLAGS ?=
# Of each fuzz target that reads what strangers send; the others share twice that time.
FUZZTIME  ?= 30s

# The nested modules, which ./... stops at. They are built and tested by their own go.mod, which names the lowest
# versions that work; go.work raises all to the highest, with which the root module is tested once more.
NESTED := $(dir $(wildcard adapters/*/go.mod examples/go.mod examples/*/go.mod))
ALONE  := GOWORK=off

export GO GOVULNCHECK GOVULNDB FUZZTIME

.PHONY: help quick test lint bench fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

# All modules by go.work in one run: tests mostly wait, so more packages than processors run at once.
quick: ## the fast loop: every test but the long ones, without the race detector
	@bash .ci/needs redis
	$(GO) test -short -p 4 $(TESTFLAGS) ./... $(NESTED:%=./%...)

# The kit's own tests come last: theirs are the lines that tell how it went.
# -count=1: the test cache doesn't know which redis-server a result came from.
# Without a browser the tests in one are skipped, but with CI set they fail.
test: ## install Redis where that is possible, then run every test with the race detector
	@bash .ci/needs redis $(if $(RACE),cc) $(if $(CI),chromium)
	@set -e; for dir in $(NESTED); do echo "$$dir:"; (cd $$dir && $(ALONE) $(GO) test $(RACE) -count=1 $(TESTFLAGS) ./...); done
	@# The race detector allocates: what bounds allocations is skipped with it.
	$(if $(RACE),$(GO) test -count=1 -run Allocations ./internal/store ./session ./adapters/...)
	@set -e; for dir in $(NESTED); do (cd $$dir && $(ALONE) $(GO) test -count=1 -run Allocations ./...); done
	@# With the lowest versions that go.mod names; all else runs with the highest.
	$(ALONE) $(GO) test -count=1 -short ./internal/store
	@# Only the number of interleavings finds what is left, and the race detector would take minutes for it.
	$(if $(CI),$(GO) test -count=1 -run '^TestSessionRaces$$' ./internal/store -interleavings=100)
	$(GO) test $(RACE) -count=1 $(TESTFLAGS) ./...

lint: ## gofmt, vet, staticcheck, known vulnerabilities, go.mod and go.sum
	@files=$$(gofmt -l .) && test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	$(ALONE) $(GO) vet ./...
	$(ALONE) $(GO) mod tidy -diff
	$(ALONE) $(GO) mod verify
	$(STATICCHECK) ./...
	@set -e; for dir in $(NESTED); do \
		echo "$$dir:"; (cd $$dir && export $(ALONE) && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) mod verify && $(STATICCHECK) ./...); \
	done
	@bash .ci/vuln $(VULN)
	@set -e; for dir in $(NESTED); do echo "$$dir:"; (cd $$dir && $(ALONE) bash $(CURDIR)/.ci/vuln $(VULN)); done

bench: ## benchmarks, and the server time of a decision beside other algorithms, and of the session scripts
	@bash .ci/needs redis
	$(GO) test -run '^$$' -bench . -benchmem ./...
	cd adapters/foreigntest && $(ALONE) $(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) test -run TestSessionCosts -v -count=1 ./internal/store

fuzz: ## every fuzz target, FUZZTIME each (30s) for what strangers send, a share for the others
	@bash .ci/needs redis
	@bash .ci/fuzz
	@set -e; for dir in $(NESTED); do grep -rqs '^func Fuzz' --include=*_test.go $$dir || continue; echo "$$dir:"; (cd $$dir && $(ALONE) bash $(CURDIR)/.ci/fuzz); done
