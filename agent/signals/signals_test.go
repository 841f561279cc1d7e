// SPDX-License-Identifier: Apache-2.0

package signals

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// helperVariable makes the test binary survive what it sends to itself.
const helperVariable = "PARACELL_SURVIVE"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) == "" {
		os.Exit(m.Run())
	}
	heard := make(chan os.Signal)
	Survive(func(s os.Signal) { heard <- s })
	for _, s := range deadly {
		if err := unix.Kill(os.Getpid(), s.(syscall.Signal)); err != nil || <-heard != s {
			os.Exit(3)
		}
	}
	if os.Getenv(helperVariable) == "fault" {
		var none *int
		*none = 1
	}
	os.Exit(4)
}

func TestSurvive(t *testing.T) {
	for mode, want := range map[string]struct {
		status int
		text   string
	}{"live": {4, ""}, "fault": {2, "nil pointer dereference"}} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), helperVariable+"="+mode)
		text, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want.status || !strings.Contains(string(text), want.text) {
			t.Errorf("%s: status %d, want %d with %q\n%s", mode, got, want.status, want.text, text)
		}
	}
}
