// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The TSC is compared with the clock for minCalibration at least. Both ends are
// read to about 50 ns, so that this bounds the error to 10 ppm. After
// maxCalibration the result is better than its unit and kept.
const (
	minCalibration = 10 * time.Millisecond
	maxCalibration = time.Second
)

// tscClock measures the rate of the TSC against CLOCK_MONOTONIC_RAW. One per
// host process: the longer ago the first sample is the better is the result,
// and starting up and creating a cell take about as long as one calibration.
type tscClock struct {
	mu    sync.Mutex
	first tscSample
	kHz   uint64 // kept result, or 0
}

type tscSample struct{ tsc, raw uint64 }

var hostTSC tscClock

// BeginClock takes the first sample of the clock; the earlier the better.
func BeginClock() { hostTSC.begin() }

// TSCKHz is the rate of the TSC in kHz. It may sleep for a few milliseconds to
// measure it.
func TSCKHz() (uint64, error) { return hostTSC.rate() }

// begin takes the first sample, once.
func (c *tscClock) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first.tsc == 0 {
		c.first = sampleTSC()
	}
}

// rate returns the TSC frequency in kHz; it sleeps for what is missing of
// minCalibration since begin.
func (c *tscClock) rate() (uint64, error) {
	c.begin()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kHz != 0 {
		return c.kHz, nil
	}
	last := sampleTSC()
	if d := minCalibration - time.Duration(last.raw-c.first.raw); d > 0 {
		time.Sleep(d)
		last = sampleTSC()
	}
	ticks, ns := last.tsc-c.first.tsc, last.raw-c.first.raw
	kHz := uint64(float64(ticks)*1e6/float64(ns) + 0.5)
	if last.tsc <= c.first.tsc || kHz < 100_000 || kHz > 20_000_000 {
		return 0, fmt.Errorf("the time stamp counter advanced by %d in %d ns: it cannot be used as a clock", ticks, ns)
	}
	if time.Duration(ns) >= maxCalibration {
		c.kHz = kHz
	}
	return kHz, nil
}

// sampleTSC reads both clocks together: of a few tries, the one that was
// disturbed least.
func sampleTSC() tscSample {
	var best tscSample
	width := ^uint64(0)
	for range 8 {
		before := ReadTSC()
		raw := clockNs(unix.CLOCK_MONOTONIC_RAW)
		after := ReadTSC()
		if after-before < width {
			width = after - before
			best = tscSample{tsc: before + width/2, raw: raw}
		}
	}
	return best
}

// clockNs reads a clock in nanoseconds.
func clockNs(id int32) uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
