// SPDX-License-Identifier: Apache-2.0

package bringup

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Loopback switches the loopback interface on, which a new kernel leaves
// off: programs take 127.0.0.1 for granted.
func Loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("switch the loopback interface on: %w", err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("switch the loopback interface on: %w", err)
	}
	return nil
}
