// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/integration/guestprog"
	"github.com/paracell/paracell/internal/leakcheck"
	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/kvm"
	"github.com/paracell/paracell/vmm/platform"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

// duration is how long hostile kernels run.
func duration(t *testing.T) time.Duration {
	text := os.Getenv("PARACELL_FUZZ_TIME")
	if text == "" {
		return 12 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal("PARACELL_FUZZ_TIME: ", err)
	}
	return d
}

// build makes the hostile kernel and the driver, and puts the files beside it
// that it looks for there.
func build(t *testing.T) (kernel, driver string) {
	t.Helper()
	guestprog.Make(t, "integration/hostile/kernel")
	dir := filepath.Join(testenv.Top(), "bin", "hostile")
	kernel, driver = filepath.Join(dir, "kernel"), filepath.Join(dir, "driver")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", driver, "./driver")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the driver: %v\n%s", err, out)
	}
	for _, name := range []string{"paracell-init", "paracell-agent", "paracell-crun"} {
		testenv.Built(t, name)
		// Not by the whole path: the tree may be moved.
		err := os.Symlink(filepath.Join("..", name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	return kernel, driver
}

// variant is one way to run a hostile kernel.
type variant struct{ platform, isolation, kind string }

// variants are all that this machine has.
func variants(t *testing.T) []variant {
	mode := testenv.Isolation()
	testenv.ProcessPlatform(t, mode)
	var list []variant
	for _, kind := range []string{"command", "terminal", "agent"} {
		list = append(list, variant{"process", string(mode), kind})
	}
	if kvm.New().Probe().Err(platform.IsolationPageTable) == nil {
		list = append(list, variant{"kvm", string(platform.IsolationPageTable), "command"})
	}
	return list
}

// TestHostileKernel runs hostile kernels beside a cell that has done nothing.
func TestHostileKernel(t *testing.T) {
	testenv.Root(t)
	kernel, driver := build(t)
	all := variants(t)
	dir := smallDisk(t)
	root := filepath.Join(dir, "root")
	plant(t, dir)
	before := look(t, dir)
	w := startWitness(t)

	// Cells whose parent has died would be ours.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	first := rand.Uint64N(1 << 40)
	t.Logf("first seed %d", first)
	reasons := map[string]int{}
	var sum [4]uint64
	runs := 0
	for end := time.Now().Add(duration(t)); time.Now().Before(end); runs++ {
		v := all[runs%len(all)]
		// Kinds and modes of the kernel (seed modulo 4) in all combinations.
		seed := (first+uint64(runs))<<2 | uint64(runs/len(all))&3
		empty(t, root)
		args := []string{
			"--kernel", kernel, "--dir", root, "--platform", v.platform, "--isolation", v.isolation,
			"--kind", v.kind, "--for", "1s", fmt.Sprint(seed),
		}
		outcome, done := drive(t, driver, args)
		var n [4]uint64
		fmt.Sscanf(done, "calls %d enters %d chains %d scribbles %d", &n[0], &n[1], &n[2], &n[3])
		for i := range n {
			sum[i] += n[i]
		}
		reasons[kindOf(outcome)]++
		if t.Failed() {
			break
		}
		if runs%16 == 15 {
			compare(t, dir, before)
			w.lives(t)
		}
	}
	compare(t, dir, before)
	w.lives(t)
	left(t)
	t.Logf("%d cells: at least %d monitor calls, %d entries, %d chains, %d writes to the control area", runs, sum[0], sum[1], sum[2], sum[3])
	for _, r := range slices.SortedFunc(maps.Keys(reasons), func(a, b string) int { return reasons[b] - reasons[a] }) {
		t.Logf("%6d %s", reasons[r], r)
	}
}

// drive runs one cell. Its driver has to end by itself and to say why the cell
// has, or that it has not.
func drive(t *testing.T, driver string, args []string) (outcome, done string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, driver, args...)
	// A stuck one says where.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNET}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	outcome, done, _ = strings.Cut(out.String(), "\n")
	if err != nil || (outcome != "alive" && !strings.HasPrefix(outcome, "ended: ")) || outcome == "ended: " {
		t.Errorf("driver %s: %v: %q\n%s", strings.Join(args, " "), err, outcome, errOut.String())
	}
	for _, c := range outcome {
		if c < ' ' {
			t.Errorf("driver %s: message %q", strings.Join(args, " "), outcome)
			break
		}
	}
	return outcome, done
}

// kindOf is a reason without its numbers, for the count.
func kindOf(outcome string) string {
	words := strings.FieldsFunc(outcome, func(r rune) bool { return r == ' ' || r == '"' })
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") {
			words[i] = "N"
		}
	}
	return strings.Join(words, " ")
}
