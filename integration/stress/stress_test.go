// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/sidebyside"
	"github.com/paracell/paracell/internal/testenv"
)

const patience = 20 * time.Minute

// short is what is run unless PARACELL_STRESS names classes of stress-ng, as in
// PARACELL_STRESS=os,vm,scheduler,pipe, which takes 5 minutes: one stressor of
// each kind of thing that the kernel port does by itself.
var short = strings.Fields(`
	affinity bad-altstack brk clock clone context daemon fault fork futex itimer
	madvise malloc membarrier mincore mlock mmap mmapfork mmapmany mprotect mremap msync mutex
	nanosleep pagemove pipe pipeherd poll pthread remap rmap schedpolicy seccomp
	sigabrt signal sigfpe sigq sigrt sigsegv sigsuspend sigtrap splice stackmmap switch
	sysbadaddr syscall timer timerfd userfaultfd vdso vfork vforkmany vm vm-addr vm-rw vm-segv
	vm-splice wait x86syscall yield zombie`)

// harmful are stressors that end the test and more: stress-ng 0.15 sends
// signals to process 0 and to what is in uninitialised memory, on the host too.
var harmful = []string{"resources"}

// differences are stressors that find no work in a cell, or fail, and why.
var differences = map[string]string{
	"cyclic":       "its deadline task wants more than the 95% that Linux grants of one processor; the host has more",
	"iomix":        "wants a file system with more room than /tmp of the test has",
	"netlink-proc": "the process events connector is not configured",
	"numa":         "a cell has no memory nodes",
	"pci":          "a cell has no PCI bus",
	"swap":         "a swap file cannot be on tmpfs",
}

// script runs stressors one after the other, each for a second, and prints
// name and status, then what is said about a failure.
const script = `for s in %s; do
	timeout -s KILL 60 stress-ng --$s 1 --verify -t 1 --temp-path . >out 2>&1 </dev/null
	echo "@@@ $s $?"
	grep fail: out | head -5
done`

type result struct {
	status string
	said   string
}

// failed is stress-ng's verdict; it calls some failures successful runs.
func (r result) failed() bool { return r.status != "0" || strings.Contains(r.said, "fail:") }

func parse(output string) map[string]result {
	all := map[string]result{}
	for block := range strings.SplitSeq(output, "@@@ ") {
		first, said, _ := strings.Cut(block, "\n")
		if name, status, ok := strings.Cut(strings.TrimSpace(first), " "); ok {
			all[name] = result{status, said}
		}
	}
	return all
}

// stressors returns what to run.
func stressors(t *testing.T) []string {
	classes := os.Getenv("PARACELL_STRESS")
	if classes == "" {
		return short
	}
	var all []string
	for class := range strings.SplitSeq(classes, ",") {
		out, err := exec.Command("stress-ng", "--class", class+"?").CombinedOutput()
		_, names, ok := strings.Cut(string(out), ":")
		if !ok {
			t.Fatalf("stress-ng --class %s?: %v\n%s", class, err, out)
		}
		all = append(all, strings.Fields(names)...)
	}
	slices.Sort(all)
	all = slices.DeleteFunc(all, func(name string) bool { return slices.Contains(harmful, name) })
	return slices.Compact(all)
}

func TestStress(t *testing.T) {
	testenv.Root(t)
	if testenv.Emulated() {
		t.Skip("the emulated machine has no stress-ng")
	}
	testenv.Program(t, "stress-ng", "stress-ng")
	names := stressors(t)
	files := t.TempDir()
	r := sidebyside.Cell(t, files, fmt.Sprintf(script, strings.Join(names, " ")), patience)
	if r.Status != 0 && !strings.Contains(r.Output, "@@@ "+names[len(names)-1]+" ") {
		t.Fatalf("the cell ended early, status %d\n%s", r.Status, r.Output)
	}
	cell := parse(r.Output)
	var suspects []string
	for _, name := range names {
		if r, ok := cell[name]; !ok {
			t.Errorf("%s: the cell did not get so far", name)
		} else if r.failed() {
			suspects = append(suspects, name)
		}
	}
	t.Logf("%d stressors, failures in the cell: %q", len(names), suspects)
	if len(suspects) == 0 {
		return
	}
	host := parse(sidebyside.Host(t, files, fmt.Sprintf(script, strings.Join(suspects, " ")), patience).Output)
	for _, name := range suspects {
		if why, ok := differences[name]; ok {
			t.Logf("%s: %s", name, why)
		} else if h, c := host[name], cell[name]; !h.failed() {
			t.Errorf("%s: passes on the host; in the cell status %s\n%s", name, c.status, c.said)
		}
	}
}
