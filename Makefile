# SPDX-License-Identifier: Apache-2.0
#
# make build    everything a user needs, in bin/
# make kernel   the guest kernel (kernel/build/build.sh, cached by its inputs)
# make monitor  the code below the guest kernel, embedded into the Go programs
# make run      CMD (default: uname -a) in a cell, to see that it works; ISOLATION=none where there are no keys
# make test     all tests that this machine can run
# make lint     formatting, vet, staticcheck, generated files
# make generate write generated files anew
# make clean    remove what make made (not the kernel's build cache)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

GO      ?= go
GOFLAGS ?= -trimpath -buildvcs=false
LDFLAGS ?= -s -w
export CGO_ENABLED := 0

.PHONY: build go crun kernel monitor run test lint generate clean

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

ISOLATION ?= auto
CMD       ?= uname -a

# A root file system of busybox; make run CMD='...' runs another command in it.
build/rootfs/bin/busybox:
	@command -v busybox >/dev/null || { echo "make run: install Debian's busybox-static" >&2; exit 1; }
	@mkdir -p $(@D) build/rootfs/{dev,proc,sys,tmp,etc,root}
	@cp "$$(command -v busybox)" $@
	@$@ --install $(@D)

run: build build/rootfs/bin/busybox
	bin/paracell run --isolation $(ISOLATION) --rootfs build/rootfs -- $(CMD)

test: go
	$(GO) test ./...

lint:
	./.ci/lint

generate:
	$(GO) generate ./...

clean:
	rm -rf bin build
	$(MAKE) --no-print-directory -C xgate/monitor/process clean
