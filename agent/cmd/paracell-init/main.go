// SPDX-License-Identifier: Apache-2.0

// Command paracell-init is PID 1 of a cell that runs one command.
package main

import "github.com/paracell/paracell/agent/pid1"

func main() {
	pid1.Main()
}
