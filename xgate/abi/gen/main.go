// SPDX-License-Identifier: Apache-2.0

// Command gen writes the C view of packages abi and ring (pager/ring), once for
// everyone who includes it. Run it through go generate, in the package's folder.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// source is a package that C sees through a header.
type source struct {
	// name of the Go package, and its folder from the top of the tree.
	name, dir string
	// prefix of every name in C, in small letters.
	prefix string
	copies []headerCopy
}

// headerCopy is a checked-in header, by path relative to the package, with the
// licence that the code around it has.
type headerCopy struct{ path, licence string }

var sources = []source{
	{"abi", "xgate/abi", "paracell", []headerCopy{
		{"../monitor/process/paracell_abi.h", "Apache-2.0"},
		{"../../kernel/src/arch/um/include/asm/paracell_abi.h", "GPL-2.0 OR Apache-2.0"},
	}},
	{"ring", "pager/ring", "pager", []headerCopy{
		{"../../kernel/src/arch/um/include/asm/paracell_ring.h", "GPL-2.0 OR Apache-2.0"},
	}},
}

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// generate writes the headers of the package in dir.
func generate(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if filepath.Base(abs) != s.name {
			continue
		}
		for _, c := range s.copies {
			text, err := header(dir, s, c.licence)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, c.path), text, 0o644); err != nil {
				return err
			}
		}
		if s.name != identified {
			// Its definitions count in the identity of all.
			return generate(filepath.Join(dir, "../../xgate", identified))
		}
		text, err := identityGo(dir)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, identityFile), text, 0o644)
	}
	return fmt.Errorf("%s is the folder of no package with a header", abs)
}
