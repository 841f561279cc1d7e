// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// prefer gives a process and its descendants the highest priority, as far as the
// host lets it: what else runs on the machine would be measured otherwise. The
// processes of a cell make a session of their own, which the scheduler may weigh
// as a group (sched_autogroup). It looks until the cell has all of them, or has
// ended.
func prefer(pid int) {
	const cellProcesses = 3 // the one that serves it, the monitor and a first address space
	seen := map[int]bool{}
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, p := range descendants(pid) {
			if seen[p] {
				continue
			}
			seen[p] = true
			_ = unix.Setpriority(unix.PRIO_PROCESS, p, -20)
			_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", p), []byte("-20"), 0)
		}
		if len(seen) > cellProcesses {
			return
		}
	}
}

// descendants of a process, itself first.
func descendants(pid int) []int {
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", out[i]))
		if err != nil {
			continue
		}
		for _, t := range tasks {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", out[i], t.Name()))
			if err != nil {
				continue
			}
			for f := range strings.FieldsSeq(string(text)) {
				if child, err := strconv.Atoi(f); err == nil {
					out = append(out, child)
				}
			}
		}
	}
	return out
}
