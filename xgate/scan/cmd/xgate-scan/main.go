// SPDX-License-Identifier: Apache-2.0

// Xgate-scan fails when an executable image holds instructions that only gates
// may have:
//
//	xgate-scan IMAGE [--allow symbol,...] [--kinds wrpkru,xrstor,syscall,setbase]
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/paracell/paracell/xgate/scan"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("xgate-scan", flag.ContinueOnError)
	allow := flags.String("allow", "", "`functions` that may hold the instructions, separated by commas")
	list := flags.String("kinds", scan.AllKinds.String(), "`kinds` of instructions to look for")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	// Flags may also come after the image.
	path := flags.Arg(0)
	if flags.NArg() > 1 {
		if err := flags.Parse(flags.Args()[1:]); err != nil {
			return 2
		}
		if flags.NArg() > 0 {
			path = ""
		}
	}
	if path == "" {
		fmt.Fprintln(os.Stderr, "xgate-scan: one image is needed")
		return 2
	}
	n, err := report(path, *list, *allow)
	if err != nil {
		fmt.Fprintf(os.Stderr, "xgate-scan: %s: %v\n", path, err)
		return 2
	}
	if n > 0 {
		fmt.Fprintf(os.Stderr, "xgate-scan: %s: %d forbidden instructions; a user could jump to them\n", path, n)
		return 1
	}
	return 0
}

// report prints what is found and returns how much that is.
func report(path, list, allow string) (int, error) {
	kinds, err := scan.ParseKinds(list)
	if err != nil {
		return 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var functions []string
	if allow != "" {
		functions = strings.Split(allow, ",")
	}
	found, err := scan.Image(f, kinds, functions)
	if err != nil {
		return 0, err
	}
	for _, hit := range found {
		fmt.Println(hit)
	}
	return len(found), nil
}
