// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"github.com/paracell/paracell/shim/manager"
)

func init() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
			if err != nil {
				return nil, err
			}
			stop, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			p, ok := publisher.(shim.Publisher)
			if !ok {
				return nil, fmt.Errorf("publisher is a %T", publisher)
			}
			s, ok := stop.(shutdown.Service)
			if !ok {
				return nil, fmt.Errorf("shutdown is a %T", stop)
			}
			// Read now: containerd may remove the bundle before the shim ends.
			if address, err := shim.ReadAddress(manager.AddressFile); err == nil {
				s.RegisterCallback(func(context.Context) error { return shim.RemoveSocket(address) })
			}
			return New(ic.Context, p, s, boot), nil
		},
	})
}
