// SPDX-License-Identifier: Apache-2.0

package cell

import (
	"fmt"
	"slices"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
)

const (
	// A block is its first frame, with the order above.
	blockOrder = 48
	// maxOrder is the largest that a guest's kernel has.
	maxOrder = 10
)

// Discard takes back the host's memory behind blocks of frames that the guest
// has set aside (agent.SpareResponse). The guest's word is not trusted: it can
// only lose its own memory.
func (c *Cell) Discard(blocks []uint64) error {
	c.figuresMu.RLock()
	defer c.figuresMu.RUnlock()
	if c.closing {
		return platform.ErrClosed
	}
	ranges, err := blockRanges(blocks)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if err := c.machine.Memory().Discard(r.gpa, r.size); err != nil {
			return err
		}
	}
	return nil
}

type gpaRange struct{ gpa, size uint64 }

// blockRanges joins neighbours: a host call each. No frame may be named twice, so
// that there are not more calls than the cell has frames.
func blockRanges(blocks []uint64) ([]gpaRange, error) {
	blocks = slices.Clone(blocks)
	slices.SortFunc(blocks, func(a, b uint64) int {
		const frame = 1<<blockOrder - 1
		return int(a&frame) - int(b&frame)
	})
	var ranges []gpaRange
	for _, b := range blocks {
		order := b >> blockOrder
		if order > maxOrder {
			return nil, fmt.Errorf("the guest's kernel names a free block of order %d", order)
		}
		r := gpaRange{gpa: (b & (1<<blockOrder - 1)) * memory.PageSize, size: memory.PageSize << order}
		if n := len(ranges); n > 0 {
			last := &ranges[n-1]
			if last.gpa+last.size > r.gpa {
				return nil, fmt.Errorf("the guest's kernel names the free frame at %#x twice", r.gpa)
			}
			if last.gpa+last.size == r.gpa {
				last.size += r.size
				continue
			}
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}
