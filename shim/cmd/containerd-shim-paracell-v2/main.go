// SPDX-License-Identifier: Apache-2.0

// Command containerd-shim-paracell-v2 is how containerd runs containers in cells.
package main

import (
	"context"

	"github.com/containerd/containerd/v2/pkg/shim"

	"github.com/paracell/paracell/shim/manager"
	_ "github.com/paracell/paracell/shim/task"
)

func main() {
	manager.Describe()
	shim.RunShim(context.Background(), manager.New(), func(c *shim.Config) {
		// The platform waits for its processes itself.
		c.NoReaper, c.NoSubreaper = true, true
	})
}
