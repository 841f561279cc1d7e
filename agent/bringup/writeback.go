// SPDX-License-Identifier: Apache-2.0

package bringup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sysBDI has a folder per backing device (Documentation/ABI/testing/sysfs-class-bdi).
var sysBDI = "/sys/class/bdi"

// FreeWriteback lets the file system mounted on dir have as many dirty pages as
// any other. The kernel holds a FUSE file system to a hundredth of them, and the
// processes that write to it to the speed it believes the server to have, because
// that server may be anybody's; a cell's is its host. Sysfs has to be mounted.
func FreeWriteback(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	device := filepath.Join(sysBDI, fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	for _, limit := range []struct{ name, value string }{{"strict_limit", "0"}, {"max_ratio", "100"}} {
		if err := os.WriteFile(filepath.Join(device, limit.name), []byte(limit.value), 0); err != nil {
			return fmt.Errorf("let %s have dirty pages: %w", dir, err)
		}
	}
	return nil
}
