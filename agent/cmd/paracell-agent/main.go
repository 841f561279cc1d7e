// SPDX-License-Identifier: Apache-2.0

// Command paracell-agent is PID 1 of a cell with containers.
package main

import "github.com/paracell/paracell/agent/service/serve"

func main() { serve.Main() }
