// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/testenv"
)

// TestHostileProcesses: a kernel that wants all processes of the host gets those
// of its cell, by the monitor's calls and by the host's own.
func TestHostileProcesses(t *testing.T) {
	testenv.Root(t)
	mode := testenv.Isolation()
	testenv.ProcessPlatform(t, mode)
	kernel, driver := build(t)
	const limit = 64
	for _, c := range []struct {
		name, arg string
		most      int // with the warden, slot 0, and the numbers that the host has set apart
	}{
		{"by the monitor", "grab=1", limit + 3},
		{"by the host's call", "grab=2", limit + 320},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.arg == "grab=2" && !pidLimits(t) {
				t.Skip("this host has no limit of processes for a PID namespace (Linux 6.14)")
			}
			root := t.TempDir()
			most := make(chan int)
			stop := make(chan struct{})
			seed := fmt.Sprint(4 * os.Getpid())
			go func() { most <- mostProcesses("hostile-"+seed, stop) }()
			outcome, done := drive(t, driver, []string{
				"--kernel", kernel, "--dir", root, "--platform", "process", "--isolation", string(mode), "--for", "4s",
				"--host-processes", fmt.Sprint(limit), "--arg", c.arg, seed,
			})
			close(stop)
			n := <-most
			t.Logf("%s, %s, at most %d processes", outcome, done, n)
			var spaces, clones, err int
			fmt.Sscanf(done, "spaces %d clones %d error %d", &spaces, &clones, &err)
			if outcome != "alive" || spaces < limit-8 || spaces > limit || unix.Errno(err) != unix.EAGAIN {
				t.Errorf("%s: %s", outcome, done)
			}
			if n < limit || n > c.most {
				t.Errorf("%d processes, at most %d", n, c.most)
			}
		})
	}
	left(t)
}

func pidLimits(t *testing.T) bool {
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 14
}

// cellProcesses are those below this process that have the memory of a cell whose
// name begins so. They have no command line.
func cellProcesses(name string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if b, _ := os.ReadFile(filepath.Join(d, "comm")); string(b) != "paracell\n" {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(d))
		maps, _ := os.ReadFile(filepath.Join(d, "maps"))
		if bytes.Contains(maps, []byte("/memfd:paracell:"+name)) && isBelow(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isBelow says whether this process is an ancestor of another.
func isBelow(pid int) bool {
	for pid > 1 && pid != os.Getpid() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		var state string
		_, rest, _ := strings.Cut(string(stat), ") ")
		if n, _ := fmt.Sscan(rest, &state, &pid); n != 2 {
			return false
		}
	}
	return pid == os.Getpid()
}

// mostProcesses counts the processes of a cell until it is told to stop.
func mostProcesses(name string, stop chan struct{}) (most int) {
	for {
		most = max(most, len(cellProcesses(name)))
		select {
		case <-stop:
			return most
		case <-time.After(100 * time.Millisecond):
		}
	}
}
