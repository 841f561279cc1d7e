// SPDX-License-Identifier: Apache-2.0

// Command gen writes the C view of package abi, paracell_abi.h, once for the
// monitor and once for the guest kernel. Run it through go generate.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// copies are the checked-in headers, by path relative to xgate/abi, with the
// licence that the code around them has.
var copies = []struct{ path, licence string }{
	{"../monitor/process/paracell_abi.h", "Apache-2.0"},
	{"../../kernel/src/arch/um/include/asm/paracell_abi.h", "GPL-2.0 OR Apache-2.0"},
}

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(dir string) error {
	for _, c := range copies {
		text, err := header(dir, c.licence)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, c.path), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
