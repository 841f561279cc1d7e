// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// execute adds a process and returns its output and status.
func (h *harness) execute(t *testing.T, task client.Task, spec *specs.Process, opts ...cio.Opt) (string, uint32) {
	t.Helper()
	var out buffer
	p, err := task.Exec(h.ctx, "executed", spec, h.streams(nil, &out, nil, opts...))
	must(t, err)
	exit, err := p.Wait(h.ctx)
	must(t, err)
	must(t, p.Start(h.ctx))
	code := status(t, exit)
	remove(t, h, p)
	return out.String(), code
}

// TestTerminals: megabytes through one terminal of a cell after the other, each
// byte of which arrives. PARACELL_TERMINALS is how many.
func TestTerminals(t *testing.T) {
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("PARACELL_TERMINALS")); err == nil {
		rounds = n
	}
	h := start(t, daemon.Options{})
	task := h.running(t)
	for i := range rounds {
		spec := processSpec("/bin/seq", "-s", " ", "1000000")
		spec.Terminal = true
		s, code := h.execute(t, task, spec, cio.WithTerminal)
		if code != 0 {
			t.Errorf("status %d", code)
		}
		const size = 6888897 // of the numbers, what is between them, and the end
		if len(s) != size || !strings.HasSuffix(s, " 999999 1000000\r\n") {
			t.Errorf("round %d: %d bytes that end with %q, want %d", i, len(s), s[max(0, len(s)-20):], size)
		}
	}
}

// TestTerminalOfRequest: for an added process the request decides, whatever its
// specification says; for the first one they have to agree.
func TestTerminalOfRequest(t *testing.T) {
	h := start(t, daemon.Options{})
	task := h.running(t)
	for _, terminal := range []bool{true, false} {
		var opts []cio.Opt
		if terminal {
			opts = append(opts, cio.WithTerminal)
		}
		spec := processSpec("/bin/sh", "-c", "test -t 0")
		spec.Terminal = !terminal
		if _, code := h.execute(t, task, spec, opts...); (code == 0) != terminal {
			t.Errorf("terminal %t: status %d", terminal, code)
		}
	}
	if _, err := h.container(t, command("true"), oci.WithTTY).NewTask(h.ctx, cio.NullIO); err == nil || !strings.Contains(err.Error(), "process.terminal is true") {
		t.Errorf("a terminal that the request does not have: %v", err)
	}
}

// TestSignalsToTheAgent: one that comes to the agent is not the end of the cell.
func TestSignalsToTheAgent(t *testing.T) {
	h := start(t, daemon.Options{})
	task := h.running(t, oci.WithHostNamespace(specs.PIDNamespace), oci.WithPrivileged)
	for range 3 {
		h.output(t, task, "/bin/sh", "-c", "for s in HUP INT ABRT TERM SEGV SYS; do kill -$s 1 || exit; done")
	}
	if got := h.output(t, task, "/bin/echo", "alive"); got != "alive\n" {
		t.Errorf("%q", got)
	}
}
