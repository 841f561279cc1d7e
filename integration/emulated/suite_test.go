// SPDX-License-Identifier: Apache-2.0

package emulated_test

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/emulated"
	"github.com/paracell/paracell/internal/testenv"
)

// suite lists the packages whose tests run inside the machine too. A test
// sees CI=true, so nothing may skip for want of protection keys, and
// PARACELL_EMULATED=1, so that it can do fewer rounds. There are no compiler
// and no go tool inside: what a test needs is an asset or in its testdata.
var suite = []struct {
	name    string        // "" for that of the package
	pkg     string        // relative to the top of the repository
	run     string        // -test.run, "" for all
	assets  []string      // files or folders of the repository, built before
	make    []string      // folders with a Makefile that makes more of them
	modules []string      // kernel modules
	timeout time.Duration // 0: the machine's default
	// cpus is 0 for the machine's default. KVM patches the kernel's scheduler
	// when the first vCPU comes and the last goes; several emulated processors
	// do not always see that in time, and the kernel panics.
	cpus int
}{
	{pkg: "xgate/monitor/process", timeout: 10 * time.Minute},
	{
		name: "kvm_monitor", pkg: "xgate/monitor/kvm", modules: []string{"kvm-amd"}, cpus: 1, timeout: 10 * time.Minute,
		make: []string{"xgate/monitor/process"}, assets: []string{"xgate/monitor/process/testdata/kernel/kernel.elf"},
	},
	{
		name: "kvm_attack", pkg: "integration/attack", run: "TestAttackKVM", modules: []string{"kvm-amd"}, cpus: 1, timeout: 12 * time.Minute,
		make: []string{"integration/attack/programs"}, assets: []string{"bin/paracell", "bin/paracell-init", "bin/paracell-kernel", "bin/attack"},
	},
	{name: "kvm_platform", pkg: "vmm/kvm", modules: []string{"kvm-amd"}, cpus: 1},
	{pkg: "vmm/process", assets: []string{"docs/jail.md"}},
	{pkg: "shim/hostcgroup"}, // with control groups of version 2
	{
		pkg: "integration/run", run: "CommandSees", timeout: 10 * time.Minute,
		assets: []string{"bin/paracell", "bin/paracell-init", "bin/paracell-kernel"},
	},
	{
		pkg: "integration/conformance", run: "InCell", timeout: 20 * time.Minute,
		make: []string{"integration/quirks"}, assets: []string{"bin/paracell", "bin/paracell-init", "bin/paracell-kernel", "bin/quirks"},
	},
	{
		pkg: "integration/rewrite", run: "InCell", timeout: 10 * time.Minute,
		make: []string{"integration/rewrite/programs"}, assets: []string{"bin/paracell", "bin/paracell-init", "bin/paracell-kernel", "bin/rewrite"},
	},
	{
		pkg: "integration/attack", run: "TestAttack$|TestControl$", timeout: 15 * time.Minute,
		make:   []string{"integration/attack/programs", "integration/attack/off"},
		assets: []string{"bin/paracell", "bin/paracell-init", "bin/paracell-kernel", "bin/attack", "bin/attack-off"},
	},
}

func TestEmulatedSuite(t *testing.T) {
	need(t)
	top := testenv.Top()
	for _, s := range suite {
		if s.name == "" {
			s.name = strings.ReplaceAll(s.pkg, "/", "_")
		}
		t.Run(s.name, func(t *testing.T) {
			const guestTop = "/paracell"
			exe := filepath.Join(t.TempDir(), "package.test")
			build := exec.Command("go", "test", "-c", "-trimpath", "-buildvcs=false", "-o", exe, "./"+s.pkg)
			build.Dir = top
			build.Env = append(os.Environ(), "CGO_ENABLED=0") // the machine has no libc
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build the tests of %s: %v\n%s", s.pkg, err, out)
			}
			if _, err := os.Stat(exe); err != nil {
				t.Fatalf("%s has no tests: drop it from the list or add some", s.pkg)
			}
			m := emulated.Machine{
				Files:   map[string]string{},
				Env:     []string{"CI=true", "PARACELL_EMULATED=1"},
				Modules: s.modules,
				CPUs:    s.cpus,
				Output:  t.Output(),
				Timeout: s.timeout,
			}
			if m.Timeout == 0 {
				m.Timeout = emulated.DefaultTimeout
			}
			if end, ok := t.Deadline(); ok {
				m.Timeout = min(m.Timeout, time.Until(end)-20*time.Second)
			}
			// The layout of the repository is kept, so that tests find
			// their data and the assets by the same relative paths.
			dir := path.Join(guestTop, s.pkg)
			m.Files[guestTop+"/go.mod"] = filepath.Join(top, "go.mod")
			m.Files[dir+"/package.test"] = exe
			for _, folder := range s.make {
				makePrograms(t, filepath.Join(top, folder))
			}
			for _, asset := range s.assets {
				if !exists(filepath.Join(top, asset)) {
					unavailable(t, fmt.Errorf("%s is missing: run make build", asset))
				}
				m.Files[path.Join(guestTop, asset)] = filepath.Join(top, asset)
			}
			if data := filepath.Join(top, s.pkg, "testdata"); exists(data) {
				m.Files[dir+"/testdata"] = data
			}
			args := []string{"-test.v", "-test.timeout", (m.Timeout - 10*time.Second).String()}
			if s.run != "" {
				args = append(args, "-test.run", s.run)
			}
			m.Command = append([]string{"sh", "-c", `cd "$0" && exec ./package.test "$@"`, dir}, args...)
			if res := run(t, m); res.ExitCode != 0 {
				t.Errorf("the tests of %s end with status %d", s.pkg, res.ExitCode)
			}
		})
	}
}

// makePrograms runs make, as the tests of the package do on the host, so that it
// does not matter which of them run first.
func makePrograms(t *testing.T, dir string) {
	t.Helper()
	testenv.Program(t, "gcc", "gcc")
	cmd := exec.Command(testenv.Program(t, "make", "make"), "-s", "-C", dir)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "MAKE") })
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make -C %s: %v\n%s", dir, err, out)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
