// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Pressure tells whether the host, or the control group of this process, is
// short of memory.
type Pressure struct {
	// Root is where /proc and /sys are; "" is "/".
	Root string
}

const (
	// stallPercent is the share of time, in the last ten seconds, in which some
	// task waited for memory (PSI, Documentation/accounting/psi.rst).
	stallPercent = 5.0
	// fullShare is the part of a control group's limit that counts as full.
	fullShare = 0.95
)

// Short looks once. What cannot be read counts as enough memory.
func (p Pressure) Short() bool {
	return p.stalled("/proc/pressure/memory") || p.full()
}

// CPU tells whether tasks of the host wait for processors.
type CPU struct {
	// Root: see Pressure.
	Root string

	total uint64 // waiting time so far, in microseconds
	at    time.Time
}

// waitShare is the share of time in which some task waited for a processor that
// makes a host busy.
const waitShare = 0.3

// Busy looks at the time since the last call. Not for concurrent use.
func (c *CPU) Busy() bool {
	for line := range strings.Lines(Pressure{c.Root}.read("/proc/pressure/cpu")) {
		_, text, ok := strings.Cut(strings.TrimSpace(line), " total=")
		if !ok || !strings.HasPrefix(line, "some ") {
			continue
		}
		total, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return false
		}
		now := time.Now()
		waited, passed := total-c.total, now.Sub(c.at)
		first := c.at.IsZero()
		c.total, c.at = total, now
		return !first && float64(waited) > waitShare*float64(passed.Microseconds())
	}
	return false
}

func (p Pressure) stalled(path string) bool {
	for line := range strings.Lines(p.read(path)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "some" {
			continue
		}
		text, ok := strings.CutPrefix(fields[1], "avg10=")
		avg, err := strconv.ParseFloat(text, 64)
		return ok && err == nil && avg >= stallPercent
	}
	return false
}

// full compares the memory of our control group with its limit.
func (p Pressure) full() bool {
	for _, f := range memoryGroup(p.Root, p.read("/proc/self/cgroup")) {
		used, ok1 := p.number(f.usage)
		most, ok2 := p.number(f.limit)
		return ok1 && ok2 && most > 0 && used >= most*fullShare
	}
	return false
}

func (p Pressure) number(path string) (float64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(p.read(path)), 10, 64)
	return float64(n), err == nil
}

func (p Pressure) read(path string) string {
	b, err := os.ReadFile(inRoot(p.Root, path))
	if err != nil {
		return ""
	}
	return string(b)
}
