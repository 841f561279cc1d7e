// SPDX-License-Identifier: Apache-2.0

package cell

import (
	"slices"
	"testing"
)

func TestBlockRanges(t *testing.T) {
	block := func(frame, order uint64) uint64 { return order<<blockOrder | frame }
	got, err := blockRanges([]uint64{block(16, 2), block(4, 0), block(20, 0), block(5, 0), block(1<<48-1, 10)})
	want := []gpaRange{{4 << 12, 2 << 12}, {16 << 12, 5 << 12}, {(1<<48 - 1) << 12, 1 << 22}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v: want %v", got, err, want)
	}
	if _, err := blockRanges([]uint64{block(0, 11)}); err == nil {
		t.Error("a block of order 11 was taken")
	}
	for _, twice := range [][]uint64{{block(4, 0), block(4, 0)}, {block(5, 0), block(4, 1)}} {
		if _, err := blockRanges(twice); err == nil {
			t.Errorf("%#x were taken", twice)
		}
	}
	if got, err := blockRanges(nil); got != nil || err != nil {
		t.Errorf("%v, %v for none", got, err)
	}
}
