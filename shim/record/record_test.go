// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestWriteRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a record: %v", err)
	}
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	r.Task, r.Exit = 7, &Exit{Status: 3, At: time.Unix(1, 2).UTC()}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil || got.Shim != os.Getpid() || got.Start == 0 || got.Task != 7 || *got.Exit != *r.Exit {
		t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	}
}

func TestKillShim(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := startOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := (Record{Shim: cmd.Process.Pid, Start: start + 1}).KillShim(time.Second); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatalf("another process was killed: %v", err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	if err := (Record{Shim: cmd.Process.Pid, Start: start}).KillShim(10 * time.Second); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("it was not killed")
	}
	if err := (Record{Shim: cmd.Process.Pid, Start: start}).KillShim(time.Second); err != nil {
		t.Error(err)
	}
	if err := (Record{}).KillShim(time.Second); err != nil {
		t.Error(err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 20"))
	f.Add([]byte(")"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseStat(b) })
}
