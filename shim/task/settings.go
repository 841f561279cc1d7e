// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"

	"github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/config"
)

// cellOf is the cell for the first container of a group.
func cellOf(name string, o *anypb.Any, b *bundle.Bundle) (config.Cell, error) {
	s, err := settings(o, b.Annotations)
	var c config.Cell
	if err == nil {
		c, err = s.Cell(name, b.MemoryLimit)
	}
	if err != nil {
		return c, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return c, nil
}

// settings reads the configuration that a container's runtime options name,
// else the host's, and applies the container's annotations.
func settings(o *anypb.Any, annotations map[string]string) (*config.Settings, error) {
	s, err := fromOptions(o)
	if err != nil {
		return nil, err
	}
	return s.Annotate(annotations)
}

// fromOptions takes what containerd's clients and its CRI plugin pass.
func fromOptions(o *anypb.Any) (*config.Settings, error) {
	if o == nil || o.TypeUrl == "" {
		return config.LoadFile("")
	}
	v, err := typeurl.UnmarshalAny(o)
	if err != nil {
		return nil, fmt.Errorf("runtime options: %w", err)
	}
	switch v := v.(type) {
	case *runtimeoptions.Options:
		if v.ConfigPath == "" && len(v.ConfigBody) != 0 {
			return config.Parse(v.ConfigBody, "runtime options")
		}
		return config.LoadFile(v.ConfigPath)
	case *options.Options:
		// Some clients pass those of runc to every runtime.
		return config.LoadFile("")
	}
	return nil, fmt.Errorf("runtime options of type %s: %s with the path of a configuration file is needed",
		o.TypeUrl, "runtimeoptions.v1.Options")
}
