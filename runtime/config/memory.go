// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// MinLimit is the smallest memory limit of a container, in bytes: what
	// makes the container in the guest runs under it too.
	MinLimit = 6 << 20
	// MinMemory is the smallest memory of a cell with containers, in bytes:
	// the guest's kernel, the agent and a small container.
	MinMemory = 64 << 20
	// tableShare is the part of guest memory that the guest's kernel needs to
	// know the rest by: 64 bytes per page and a little.
	tableShare = 56
	// sizeUnit is what the memory of a cell is a multiple of.
	sizeUnit = 1 << 20
)

// hostMemory is the memory of the host in bytes.
var hostMemory = func() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("memory of the host: %w", err)
	}
	return info.Totalram * uint64(info.Unit), nil
}

// Cell is a cell with an agent for a container, or a group of containers, with
// this memory limit in bytes; 0 is none.
func (s *Settings) Cell(name string, limit uint64) (Cell, error) {
	c := Default()
	c.Name, c.Agent = name, true
	c.Platform, c.Isolation, c.Vcpus = s.Platform, s.Isolation, s.Vcpus
	c.Kernel, c.KernelArgs, c.Verbose = s.Kernel, s.KernelArgs, s.Debug
	c.Pager, c.ColdCache, c.Rewriting = s.Pager, s.ColdCache, s.Rewriting
	c.HostProcesses = s.HostProcesses
	var err error
	if c.Memory, err = s.cellMemory(limit); err != nil {
		return c, err
	}
	c.Overhead = s.MemoryOverhead
	c.PagerLimit = c.Bound(limit)
	return c, c.Validate()
}

// Bound is the host memory in bytes that the cell may have when its containers may
// use so much; 0 is no limit. A cell may be larger than that.
func (c *Cell) Bound(limit uint64) uint64 {
	if limit == 0 {
		return 0
	}
	return min(c.Memory, withOverhead(min(limit, c.Memory), c.Overhead))
}

// withOverhead is what a cell needs for containers that use so much.
func withOverhead(limit, overhead uint64) uint64 { return limit + overhead + limit/tableShare }

// cellMemory is the guest memory of a cell.
func (s *Settings) cellMemory(limit uint64) (uint64, error) {
	if limit != 0 && limit < MinLimit {
		return 0, fmt.Errorf("memory limit of %d KiB is too small: the minimum of a container in a cell is %d MiB", limit>>10, MinLimit>>20)
	}
	memory, key := s.Memory, "memory"
	if limit != 0 && !s.annotated("memory") {
		host, err := hostMemory()
		if err != nil {
			return 0, err
		}
		key = "memory_overhead"
		memory = withOverhead(min(limit, host), s.MemoryOverhead) // nowhere near 2^64
		// A limit beyond the host's memory means the host's memory; the
		// guest's tables of what it can never get would cost real memory.
		memory = min(memory, max(host, MinMemory))
	}
	if memory < MinMemory {
		return 0, fmt.Errorf("%s: %s make a cell of %d MiB: the minimum is %d MiB", key, FormatSize(s.get(key)), memory>>20, MinMemory>>20)
	}
	return (memory + sizeUnit - 1) / sizeUnit * sizeUnit, nil
}

// get is the value of a key that is a size.
func (s *Settings) get(name string) uint64 {
	if name == "memory" {
		return s.Memory
	}
	return s.MemoryOverhead
}
