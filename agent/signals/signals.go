// SPDX-License-Identifier: Apache-2.0

// Package signals keeps PID 1 of a cell alive. The kernel drops a signal that
// would end PID 1, unless there is a handler; Go's runtime has one for every
// signal, and it ends the program without a word: with status 2, because killing
// itself, which it tries first, has no effect. So a hang-up that reached the
// agent was the end of the cell.
package signals

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// deadly is what makes Go's runtime end the program when somebody sends it, but
// QUIT: that is for who wants to see the stacks of all goroutines.
var deadly = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE,
	unix.SIGSEGV, unix.SIGTERM, unix.SIGSTKFLT, unix.SIGSYS,
}

// Survive lets the program live on when one of these is sent to it; faults of
// its own still end it, with a trace. Programs that it starts find all signals
// at their default. Each signal is told to heard.
func Survive(heard func(os.Signal)) {
	c := make(chan os.Signal, len(deadly))
	signal.Notify(c, deadly...)
	go func() {
		for s := range c {
			heard(s)
		}
	}()
}
