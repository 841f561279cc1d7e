// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Group tells how much memory the control groups of this process still give.
// Binding at their limit would make the host kill a process, and perhaps the one
// that serves the cell. Not for concurrent use.
type Group struct {
	levels []groupFiles
	next   time.Time // when to read again
	room   uint64
}

type groupFiles struct{ usage, limit *os.File }

// unlimited is less than what version 1 says of groups without a limit; version 2
// says "max".
const unlimited = 1 << 60

// groupTime is how long what has been read holds.
const groupTime = time.Millisecond

// OpenGroup opens the files of the group in which this process is, and of those
// above it; none if it is in none that counts memory. Root: see Pressure.
func OpenGroup(root string) (*Group, error) {
	g := &Group{}
	groups, err := os.ReadFile(inRoot(root, "/proc/self/cgroup"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, names := range memoryGroup(root, string(groups)) {
		usage, err := os.Open(inRoot(root, names.usage))
		if err != nil {
			continue // the topmost has no such files
		}
		limit, err := os.Open(inRoot(root, names.limit))
		if err != nil {
			usage.Close()
			continue
		}
		g.levels = append(g.levels, groupFiles{usage, limit})
	}
	return g, nil
}

// Close closes the files.
func (g *Group) Close() error {
	var errs []error
	for _, f := range g.levels {
		errs = append(errs, f.usage.Close(), f.limit.Close())
	}
	g.levels = nil
	return errors.Join(errs...)
}

// Room is how many bytes there are up to the nearest limit, as of a millisecond
// ago.
func (g *Group) Room() uint64 {
	if len(g.levels) == 0 {
		return math.MaxUint64
	}
	now := time.Now()
	if now.Before(g.next) {
		return g.room
	}
	g.room = math.MaxUint64
	for _, f := range g.levels {
		limit, ok := number(f.limit)
		if !ok || limit > unlimited {
			continue
		}
		if usage, ok := number(f.usage); ok {
			g.room = min(g.room, limit-min(limit, usage))
		}
	}
	g.next = now.Add(groupTime)
	return g.room
}

// bound says that so many bytes of the room are used.
func (g *Group) bound(n uint64) {
	if g.room != math.MaxUint64 {
		g.room -= min(g.room, n)
	}
}

// number is what a file of one number holds.
func number(f *os.File) (uint64, bool) {
	var buf [32]byte
	n, _ := f.ReadAt(buf[:], 0)
	v, err := strconv.ParseUint(strings.TrimSpace(string(buf[:n])), 10, 64)
	return v, err == nil
}

// groupNames are the paths of the files of a group, on the host.
type groupNames struct{ usage, limit string }

// memoryGroup finds the group that counts the memory of a process, in either
// version of control groups, and those above it, from its /proc/PID/cgroup.
func memoryGroup(root, groups string) (all []groupNames) {
	for line := range strings.Lines(groups) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		var dir, usage, limit string
		switch {
		case controllers == "":
			dir, usage, limit = "/sys/fs/cgroup", "memory.current", "memory.max"
		case strings.Contains(","+controllers+",", ",memory,"):
			dir, usage, limit = "/sys/fs/cgroup/memory", "memory.usage_in_bytes", "memory.limit_in_bytes"
		default:
			continue
		}
		if _, err := os.Stat(inRoot(root, filepath.Join(dir, path, limit))); err != nil && path != "/" {
			continue
		}
		for path = filepath.Join("/", path); ; path = filepath.Dir(path) {
			all = append(all, groupNames{filepath.Join(dir, path, usage), filepath.Join(dir, path, limit)})
			if path == "/" {
				return all
			}
		}
	}
	return nil
}

func inRoot(root, path string) string { return filepath.Join("/", root, path) }
