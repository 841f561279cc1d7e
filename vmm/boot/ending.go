// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// Ending is what the control area says about the end of the cell, copied once.
// All of it may have been written by the guest.
type Ending struct {
	Reason uint32
	Code   int32
	Detail int64
	Text   string
}

// ReadEnding copies it.
func ReadEnding(c *abi.Control) Ending {
	return Ending{
		Reason: atomic.LoadUint32(&c.ExitReason),
		Code:   atomic.LoadInt32(&c.ExitCode),
		Detail: atomic.LoadInt64(&c.ExitDetail),
		Text:   printable(c.ExitMsg),
	}
}

// printable makes one line of harmless text of a NUL-terminated copy of guest
// bytes.
func printable(msg [abi.ExitMsgSize]uint8) string {
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

// Exit says in words what the guest has said. The platform describes the reasons
// that it alone knows.
func (e Ending) Exit(own func(Ending) string) platform.Exit {
	x := platform.Exit{Reason: e.Reason}
	var msg string
	switch e.Reason {
	case abi.ReasonNone:
		x.Reason = abi.ReasonMonitor
		msg = "cell ended without a reason: " + own(e)
	case abi.ReasonPowerOff:
		x.Code = int(uint8(e.Code))
		x.Message = fmt.Sprintf("guest powered off with status %d", x.Code)
		return x
	case abi.ReasonReboot:
		msg = "guest asked for a reboot"
	case abi.ReasonPanic:
		msg = "guest kernel panic"
	case abi.ReasonDenied, abi.ReasonChildDied:
		msg = own(e)
	case abi.ReasonMonitor:
		msg = fmt.Sprintf("monitor found its own state broken (line %d)", e.Detail)
	case abi.ReasonABI:
		msg = fmt.Sprintf("guest kernel and monitor do not have the same definitions (%016x here): use those of one build", abi.Identity)
	case abi.ReasonHostCall:
		msg = "host call failed"
		if errno := syscall.Errno(abs(e.Detail)); errno != 0 && errno < 4096 {
			msg += ": " + errno.Error()
		}
	default:
		x.Reason = abi.ReasonMonitor
		msg = fmt.Sprintf("cell ended with unknown reason %d", e.Reason)
	}
	if e.Text != "" {
		msg += ": " + e.Text
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
