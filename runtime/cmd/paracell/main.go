// SPDX-License-Identifier: Apache-2.0

// Command paracell runs single cells by hand and says what a host can do.
package main

import (
	"os"

	"github.com/paracell/paracell/runtime/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
