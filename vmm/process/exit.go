// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// ending is what the control area says about the end of the cell, copied once.
// All of it may have been written by the guest.
type ending struct {
	reason uint32
	code   int32
	detail int64
	text   string
}

func readEnding(c *abi.Control) ending {
	return ending{
		reason: atomic.LoadUint32(&c.ExitReason),
		code:   atomic.LoadInt32(&c.ExitCode),
		detail: atomic.LoadInt64(&c.ExitDetail),
		text:   printable(c.ExitMsg),
	}
}

// printable makes one line of harmless text of a NUL-terminated copy of guest
// bytes.
func printable(msg [240]uint8) string {
	b := msg[:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.TrimSpace(string(b)))
}

// decodeExit says in words why the first process of a cell ended.
func decodeExit(ws syscall.WaitStatus, e ending) platform.Exit {
	if ws.Signaled() && e.reason == abi.ReasonNone {
		return platform.Exit{Reason: abi.ReasonChildDied, Message: "cell ended: " + waitStatusText(ws)}
	}
	x := platform.Exit{Reason: e.reason}
	var msg string
	switch e.reason {
	case abi.ReasonNone:
		x.Reason = abi.ReasonMonitor
		msg = "cell ended without a reason: " + waitStatusText(ws)
	case abi.ReasonPowerOff:
		x.Code = int(uint8(e.code))
		x.Message = fmt.Sprintf("guest powered off with status %d", x.Code)
		return x
	case abi.ReasonReboot:
		msg = "guest asked for a reboot"
	case abi.ReasonPanic:
		msg = "guest kernel panic"
	case abi.ReasonDenied:
		msg = fmt.Sprintf("host call %d (%s) is not in the cell's allow-list", e.detail, callName(e.detail))
	case abi.ReasonChildDied:
		msg = waitStatusText(syscall.WaitStatus(uint32(e.detail)))
	case abi.ReasonMonitor:
		msg = fmt.Sprintf("monitor found its own state broken (line %d)", e.detail)
	case abi.ReasonABI:
		msg = fmt.Sprintf("guest kernel and monitor do not have the same ABI version (%d here): use those of one build", abi.Version)
	case abi.ReasonHostCall:
		msg = "host call failed"
		if errno := syscall.Errno(abs(e.detail)); errno != 0 && errno < 4096 {
			msg += ": " + errno.Error()
		}
	default:
		x.Reason = abi.ReasonMonitor
		msg = fmt.Sprintf("cell ended with unknown reason %d", e.reason)
	}
	if e.text != "" {
		msg += ": " + e.text
	}
	x.Message = msg
	return x
}

func abs(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
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
