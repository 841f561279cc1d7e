// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/guestprog"
	"github.com/paracell/paracell/internal/testenv"
)

// life is what the witness does: it counts, through a file, and says so.
const life = `i=0; while :; do i=$((i + 1)); echo $i >/tmp/n; read j </tmp/n; [ $i = $j ] || exit 9; echo tick; sleep 0.05; done`

// witness is a cell with the true kernel, beside the hostile ones.
type witness struct {
	ticks chan struct{}
	ended chan error
}

func startWitness(t *testing.T) *witness {
	t.Helper()
	testenv.Built(t, "paracell-kernel")
	root := guestprog.Root(t)
	busybox, err := os.ReadFile(testenv.Program(t, "busybox", "busybox-static"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "sleep"} {
		if err := os.WriteFile(filepath.Join(root, "bin", name), busybox, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(testenv.Built(t, "paracell"), "run", "--platform", "process", "--isolation", string(testenv.Isolation()),
		"--name", "witness", "--rootfs", root, "--", "/bin/sh", "-c", life)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &witness{ticks: make(chan struct{}), ended: make(chan error, 1)}
	stop := make(chan struct{})
	go func() {
		defer close(w.ticks)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if lines.Text() != "tick" {
				continue
			}
			select {
			case w.ticks <- struct{}{}:
			case <-stop:
				return
			default: // nobody looks
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		_ = cmd.Process.Signal(os.Interrupt)
		for range w.ticks { // until the output is at its end
		}
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the witness said: %s", said.String())
		}
	})
	w.lives(t)
	return w
}

// lives waits for the witness to go on.
func (w *witness) lives(t *testing.T) {
	t.Helper()
	for range 3 {
		select {
		case _, ok := <-w.ticks:
			if !ok {
				t.Fatal("the cell beside the hostile ones has ended")
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the cell beside the hostile ones has stopped")
		}
	}
}
