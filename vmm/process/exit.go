// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// decodeExit says in words why the first process of a cell ended.
func decodeExit(ws syscall.WaitStatus, e boot.Ending) platform.Exit {
	if ws.Signaled() && e.Reason == abi.ReasonNone {
		return platform.Exit{Reason: abi.ReasonChildDied, Message: "cell ended: " + waitStatusText(ws)}
	}
	return e.Exit(func(e boot.Ending) string {
		switch e.Reason {
		case abi.ReasonDenied:
			return fmt.Sprintf("host call %d (%s) is not in the cell's allow-list", e.Detail, callName(e.Detail))
		case abi.ReasonChildDied:
			return waitStatusText(syscall.WaitStatus(uint32(e.Detail)))
		default:
			return waitStatusText(ws)
		}
	})
}

func waitStatusText(ws syscall.WaitStatus) string {
	switch {
	case ws.Signaled():
		s := ws.Signal()
		text := fmt.Sprintf("host process killed by signal %d", int(s))
		if name := unix.SignalName(s); name != "" {
			text += " (" + name + ")"
		}
		if s == syscall.SIGKILL {
			text += ": killed from outside, or by the host's out-of-memory killer"
		}
		return text
	case ws.Exited():
		return fmt.Sprintf("host process exited with status %d", ws.ExitStatus())
	default:
		return fmt.Sprintf("host process ended with wait status %#x", uint32(ws))
	}
}

// callName is the name of an x86-64 system call.
func callName(nr int64) string {
	if nr >= 0 && nr < int64(len(callNames)) && callNames[nr] != "" {
		return callNames[nr]
	}
	return "unknown"
}
