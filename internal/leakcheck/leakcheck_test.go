// SPDX-License-Identifier: Apache-2.0

package leakcheck

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The checks themselves, on leaks of each kind. find waits for leaks to go away,
// so they are called one by one.

func TestMain(m *testing.M) { Main(m) }

func TestFindsFiles(t *testing.T) {
	before := openFiles()
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if got := files(before, nil); !strings.Contains(got, "/dev/null") {
		t.Errorf("an open file was not found: %q", got)
	}
	if got := files(before, []string{"null"}); got != "" {
		t.Errorf("an allowed file was reported: %q", got)
	}
	f.Close()
	if got := files(before, nil); got != "" {
		t.Errorf("a closed file was reported: %q", got)
	}
}

func TestFindsGoroutines(t *testing.T) {
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		<-stop
		close(done)
	}()
	if got := goroutines(); !strings.Contains(got, "TestFindsGoroutines") {
		t.Errorf("a goroutine was not found: %q", got)
	}
	close(stop)
	<-done
}

func TestFindsChildren(t *testing.T) {
	if got := children(); got != "" {
		t.Fatalf("children before the test: %q", got)
	}
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	if got := children(); got == "" {
		t.Error("a running child was not found")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if got := children(); got != "" {
		t.Errorf("a child that was waited for: %q", got)
	}
}
