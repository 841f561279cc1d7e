// SPDX-License-Identifier: Apache-2.0

package virtionet

import (
	"os"

	"golang.org/x/sys/unix"
)

// Tap is a Port: a tap of the host, as the package runtime/network makes it.
type Tap struct{ *os.File }

// SetOffload implements Port.
func (t Tap) SetOffload(flags int) error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, flags) }); err != nil {
		return err
	}
	return failed
}
