# Owl: `make` builds, `make demo` shows, `make test` checks. `make help` lists all.

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 4s
JOBS     ?= $(shell getconf _NPROCESSORS_ONLN)
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

GOLANGCI    = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The race detector alone needs cgo, and with it a C compiler.
RACE = $(shell command -v gcc >/dev/null 2>&1 && echo CGO_ENABLED=1 $(GO) test -race || echo $(GO) test)

.PHONY: all build demo test test-long interop bench guard compare fuzz lint man install clean help tools vet cross

all: build

build: ## all programs into bin/, static, without cgo
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X owl/internal/command.Version=$(VERSION)' -o bin/ ./cmd/...

demo: build ## measure one-way latency on loopback and show it; DEMO_SECONDS=20 ends by itself
	bin/owagent demo

test: tools vet ## vet, tests under the race detector, guard, each fuzz target for FUZZTIME
	$(RACE) -short -shuffle=on ./...
	@$(MAKE) --no-print-directory guard fuzz

test-long: tools ## also the tests that take minutes
	$(RACE) -shuffle=on -count=1 -timeout 2h ./...

# These tests wait more than they compute.
interop: ## against the C suite, whose programs are in OWAMP_REFERENCE_DIR
	@test -n "$(OWAMP_REFERENCE_DIR)" || { echo 'make interop: set OWAMP_REFERENCE_DIR to the directory that holds owampd and powstream of the C suite 5.2.3'; exit 2; }
	@test -x "$(OWAMP_REFERENCE_DIR)/owampd" || { echo 'make interop: there is no owampd in $(OWAMP_REFERENCE_DIR)'; exit 2; }
	OWAMP_REFERENCE_DIR='$(abspath $(OWAMP_REFERENCE_DIR))' $(GO) test -count=1 -parallel 6 -run Interop ./...

bench: ## all benchmarks, into bench.out as well
	$(GO) test -run '^$$' -bench . -benchmem ./... | tee bench.out

guard: ## no allocation on the hot path; with BASE=REVISION it has not got slower either
	$(GO) run ./bench/guard $(if $(BASE),-base '$(BASE)')

compare: ## side by side with the suite in OWAMP_REFERENCE_DIR, into compare.json and compare.svg as well
	OWAMP_REFERENCE_DIR='$(OWAMP_REFERENCE_DIR)' $(GO) run ./bench/compare -json compare.json -plot compare.svg

# As many targets at once as there are processors, one worker each: the time of
# all of them together grows with targets / processors.
fuzz: ## each fuzz target for FUZZTIME
	@grep -rn --include='*_test.go' '^func Fuzz' . \
	| sed 's,^\./\(.*\)/[^/]*_test\.go:[0-9]*:func \(Fuzz[A-Za-z0-9_]*\).*,./\1 \2,' | sort \
	| GO='$(GO)' FUZZTIME='$(FUZZTIME)' xargs -P $(JOBS) -L 1 .ci/fuzz

lint: ## golangci-lint, which also holds the directions of imports
	@if $(GO) run $(GOLANGCI) version >/dev/null 2>&1; then \
		$(GO) run $(GOLANGCI) run ./...; \
	else \
		echo 'make lint: golangci-lint cannot be fetched; gofmt, vet and staticcheck stand in for it, imports go unchecked'; \
		test -z "$$(gofmt -l . | tee /dev/stderr)" && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...; \
	fi

man: build ## the manual pages in packaging/man, from their sources and from what the programs say
	$(GO) run ./packaging/man bin

install: build ## programs and manual pages into $(DESTDIR)$(PREFIX), owampd into sbin
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/sbin'
	@for p in bin/*; do \
		case $$p in bin/owampd) d=sbin ;; *) d=bin ;; esac; \
		echo install -m 755 "$$p" '$(DESTDIR)$(PREFIX)'/$$d; \
		install -m 755 "$$p" '$(DESTDIR)$(PREFIX)'/$$d || exit; \
	done
	@for s in 1 5 7 8; do \
		echo install -m 644 packaging/man/man$$s/*.$$s '$(DESTDIR)$(PREFIX)'/share/man/man$$s; \
		install -d '$(DESTDIR)$(PREFIX)'/share/man/man$$s || exit; \
		install -m 644 packaging/man/man$$s/*.$$s '$(DESTDIR)$(PREFIX)'/share/man/man$$s || exit; \
	done

clean: ## remove what was built
	rm -rf bin bench.out compare.json compare.svg

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools:
	@.ci/tools

vet: cross
	$(GO) vet ./...

# What computes, and does nothing that a system has to offer.
PURE = ./histogram ./owamp/... ./internal/getopt ./internal/report

# A machine of amd64 runs programs of 386, whose integers have 32 bits, and with
# qemu-user those of arm64.
cross: ## Linux on arm64, and what is to build elsewhere
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build ./...
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) vet ./...
	CGO_ENABLED=0 GOOS=linux GOARCH=386 $(GO) vet ./...
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	CGO_ENABLED=0 GOOS=freebsd $(GO) vet ./...
	CGO_ENABLED=0 GOOS=windows $(GO) vet $(PURE)
	@for os in darwin freebsd netbsd openbsd windows; do \
		echo "$$os: owstats"; CGO_ENABLED=0 GOOS=$$os $(GO) build -o /dev/null ./cmd/owstats || exit; \
	done
	@if CGO_ENABLED=0 GOARCH=386 $(GO) test -run '^$$' ./histogram >/dev/null 2>&1; then \
		CGO_ENABLED=0 GOARCH=386 $(GO) test -short $(PURE) ./cmd/owstats; \
	else \
		echo 'make cross: SKIPPED: this machine runs no programs of 386'; \
	fi
	@if command -v qemu-aarch64-static >/dev/null 2>&1; then \
		CGO_ENABLED=0 GOARCH=arm64 $(GO) test -short -exec qemu-aarch64-static ./histogram ./owamp ./owamp/owp ./owamp/schedule ./owamp/stats ./cmd/owstats; \
	else \
		echo 'make cross: SKIPPED: no qemu-aarch64-static, so programs of arm64 are built and not run'; \
	fi
