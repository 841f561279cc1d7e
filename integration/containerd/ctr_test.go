// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

func TestCtrRun(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	t.Run("kernel", func(t *testing.T) {
		out, errOut, status := d.Run(t, "", "kernel", "/bin/uname", "-sr")
		host, _ := exec.Command("uname", "-sr").Output()
		if status != 0 || !strings.HasPrefix(out, "Linux 6.12.") || out == string(host) {
			t.Errorf("status %d: %q, host %q\n%s", status, out, host, errOut)
		}
	})
	t.Run("name", func(t *testing.T) {
		host, err := os.Hostname()
		if out, _, status := d.Run(t, "", "name", "/bin/uname", "-n"); err != nil || status != 0 || strings.TrimSpace(out) != host {
			t.Errorf("status %d: %q, the host is %q, %v", status, out, host, err)
		}
	})
	t.Run("status", func(t *testing.T) {
		for _, want := range []int{0, 1, 7, 255} {
			if _, _, status := d.Run(t, "", fmt.Sprint("status", want), "/bin/sh", "-c", fmt.Sprint("exit ", want)); status != want {
				t.Errorf("status %d, want %d", status, want)
			}
		}
	})
	t.Run("output", func(t *testing.T) {
		out, _, status := d.Run(t, "", "output", "/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if status != 0 || len(lines) != 20000 || lines[len(lines)-1] != "19999" {
			t.Errorf("status %d, %d lines", status, len(lines))
		}
	})
	t.Run("input", func(t *testing.T) {
		if out, _, status := d.Run(t, "first\nlast\n", "input", "/bin/cat"); status != 0 || out != "first\nlast\n" {
			t.Errorf("status %d, %q", status, out)
		}
	})
	if out, _, err := d.CTR(t, "", "task", "ls", "-q"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("tasks are left: %q, %v", out, err)
	}
}
