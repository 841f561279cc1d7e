// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strconv"
)

// On platform process an address space of the guest is a process of the host.
// A cell has at most as many as would fit into its memory if each was of a small
// process of the guest with nothing of its own; what the guest has beyond them
// takes turns.
const (
	minProcesses     = 16
	maxProcesses     = 8191 // what the ABI has room for (platform.Config.MaxSpaces)
	leastProcesses   = 256
	memoryPerProcess = 512 << 10
)

// Processes is how many processes of the host the address spaces of the cell's
// programs may take.
func (c *Cell) Processes() int {
	if c.HostProcesses != 0 {
		return c.HostProcesses
	}
	return int(min(max(c.Memory/memoryPerProcess, leastProcesses), maxProcesses))
}

// checkProcesses says whether it is a value of Cell.HostProcesses.
func checkProcesses(n int) error {
	if n != 0 && (n < minProcesses || n > maxProcesses) {
		return fmt.Errorf("%d: 0 or a number from %d to %d is needed", n, minProcesses, maxProcesses)
	}
	return nil
}

var processesKey = Key{
	Name: "host_processes", Kind: KindNumber, Values: fmt.Sprintf("0, or %d to %d", minProcesses, maxProcesses),
	Help:       "processes of the host that a cell's address spaces may take; 0: one for each 512K of its memory, 256 at least",
	Annotation: HonourListed,
	set: func(s *Settings, v value) error {
		n, err := strconv.Atoi(v.text)
		if err != nil {
			return fmt.Errorf("%q: a number is needed", v.text)
		}
		s.HostProcesses = n
		return checkProcesses(n)
	},
	get: func(s *Settings) value { return value{text: strconv.Itoa(s.HostProcesses)} },
}
