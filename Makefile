# SPDX-License-Identifier: Apache-2.0
#
# make run      the whole thing: installs what is missing, builds, starts a private containerd and runs a container in a
#               cell; IMAGE (default: debian) is one of integration/images, CMD a shell command
# make test     installs what is missing, builds, checks and runs all tests that this machine can run
# make test-kvm the part of it that runs platform kvm with protection keys, in an emulated machine: conformance, monitor,
#               attacks, and containers through containerd
# make build    everything a user needs, in bin/
# make install  puts it into $(DESTDIR)$(PREFIX)
# make kernel   the guest kernel (kernel/build/build.sh, cached by its inputs)
# make monitor  the code below the guest kernel, embedded into the Go programs
# make lint     formatting, vet, staticcheck, generated files
# make generate write generated files anew
# make clean    remove what make made (not what is in /var/cache/paracell)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

GO      ?= go
GOFLAGS ?= -trimpath -buildvcs=false
LDFLAGS ?= -s -w
export CGO_ENABLED := 0

# Where Go's own archive is unpacked.
export PATH := $(PATH):/usr/local/go/bin

.PHONY: build go crun kernel monitor run test test-kvm install lint generate clean

build: kernel go crun

go: monitor
	@mkdir -p bin
	$(GO) build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o bin/ ./runtime/cmd/paracell ./agent/cmd/paracell-init ./agent/cmd/paracell-agent
	$(GO) build $(GOFLAGS) -tags no_grpc -ldflags '$(LDFLAGS)' -o bin/ ./shim/cmd/containerd-shim-paracell-v2

kernel:
	@mkdir -p bin
	kernel/build/build.sh bin/paracell-kernel

# What makes containers in the guest.
crun:
	@mkdir -p bin
	agent/crun/build.sh bin/paracell-crun

monitor:
	$(MAKE) --no-print-directory -C xgate/monitor/process
	$(MAKE) --no-print-directory -C xgate/monitor/kvm

export CMD IMAGE
run:
	@deploy/setup.sh run
	@echo "run: guest kernel (the first time it takes about 7 minutes)" >&2
	@$(MAKE) -s --no-print-directory kernel
	@echo "run: programs" >&2
	@$(MAKE) -s --no-print-directory go crun
	@$(GO) run $(GOFLAGS) ./integration/demo

# Platform kvm where protection keys work in virtual machines: in an emulated one.
EMULATED_KVM := TestEmulatedSuite/kvm|TestKVMContainers
test-kvm:
	@deploy/setup.sh test
	$(MAKE) --no-print-directory go crun kernel
	$(GO) test -count=1 -timeout 30m -v -run '$(EMULATED_KVM)' ./integration/emulated

# What is quick comes first. One package after the other: tests share the machine.
test:
	@deploy/setup.sh test
	$(MAKE) --no-print-directory go
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory crun
	$(MAKE) --no-print-directory kernel
	$(GO) test -count=1 -p 1 -timeout 60m -skip '$(EMULATED_KVM)' ./...
	$(MAKE) --no-print-directory test-kvm

PREFIX ?= /usr/local
# The shim finds the rest beside itself, so all of it goes into one folder, and
# containerd and people find what they call in bin.
install: build
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/paracell'
	install -m 0755 bin/paracell bin/containerd-shim-paracell-v2 bin/paracell-init bin/paracell-agent bin/paracell-crun '$(DESTDIR)$(PREFIX)/lib/paracell'
	install -m 0644 bin/paracell-kernel '$(DESTDIR)$(PREFIX)/lib/paracell'
	ln -sf ../lib/paracell/paracell ../lib/paracell/containerd-shim-paracell-v2 '$(DESTDIR)$(PREFIX)/bin'

lint:
	./.ci/lint

generate:
	$(GO) generate ./...

clean:
	rm -rf bin build
	$(MAKE) --no-print-directory -C xgate/monitor/process clean
	$(MAKE) --no-print-directory -C xgate/monitor/kvm clean
