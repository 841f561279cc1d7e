// SPDX-License-Identifier: Apache-2.0

package task

import "testing"

func TestGiveBack(t *testing.T) {
	ranges, err := programRanges()
	if err != nil || len(ranges) < 2 {
		t.Fatalf("%d ranges of the program, %v: want its text and its read-only data", len(ranges), err)
	}
	if err := giveBack(); err != nil {
		t.Error(err)
	}
}

func TestRestStops(t *testing.T) {
	var r rest
	r.disturb()
	r.disturb()
	r.stop()
	r.disturb()
	if r.timer.Stop() {
		t.Error("the timer runs after stop")
	}
}
