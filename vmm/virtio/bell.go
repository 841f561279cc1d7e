// SPDX-License-Identifier: Apache-2.0

package virtio

import "sync"

// Bell wakes a goroutine that serves a queue. Rings before the goroutine looks
// are one ring.
type Bell chan struct{}

// NewBell returns a bell that has not been rung.
func NewBell() Bell { return make(Bell, 1) }

// Ring never blocks.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// Runner keeps the goroutines of an active device and stops them.
//
// Start and Stop are called by the owner of the device, one at a time.
type Runner struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

// Start begins a new activation.
func (r *Runner) Start() { r.stop = make(chan struct{}) }

// Go runs f, which returns soon after the channel it is given is closed.
func (r *Runner) Go(f func(stop <-chan struct{})) {
	stop := r.stop
	r.wg.Go(func() { f(stop) })
}

// Serve calls f whenever the bell rings, until Stop.
func (r *Runner) Serve(b Bell, f func()) {
	r.Go(func(stop <-chan struct{}) {
		for {
			select {
			case <-stop:
				return
			case <-b:
				f()
			}
		}
	})
}

// Stop ends all goroutines and waits for them. It does nothing when none runs.
func (r *Runner) Stop() {
	if r.stop == nil {
		return
	}
	close(r.stop)
	r.wg.Wait()
	r.stop = nil
}
