// SPDX-License-Identifier: Apache-2.0

// Xgate-scrub removes instructions from an executable image that only gates
// may have and that stand in it by accident:
//
//	xgate-scrub IN OUT
//
// It fails, and writes nothing, when one cannot be removed.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/paracell/paracell/xgate/scan"
	"github.com/paracell/paracell/xgate/scrub"
)

func main() { os.Exit(run()) }

func run() int {
	verbose := flag.Bool("v", false, "say what was changed")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: xgate-scrub [-v] IN OUT")
		return 2
	}
	data, err := os.ReadFile(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "xgate-scrub:", err)
		return 2
	}
	changes, err := scrub.Image(data, scan.AllKinds)
	if *verbose || err != nil {
		for _, c := range changes {
			fmt.Println(c)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "xgate-scrub: %s: %v\n", flag.Arg(0), err)
		return 1
	}
	if err := os.WriteFile(flag.Arg(1), data, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "xgate-scrub:", err)
		return 2
	}
	return 0
}
