// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// Rest takes back memory that the cell does not use; with cache, page cache that
// it has not used lately too. A cell with a pager does so by itself.
func (s *Sandbox) Rest(ctx context.Context, cache bool) error {
	// The guest keeps a few MiB for itself, and the next time others.
	for range 2 {
		spare, err := s.agent.Spare(ctx, &agent.SpareRequest{Cache: cache})
		if err != nil {
			return err
		}
		if len(spare.Blocks) == 0 {
			return nil
		}
		err = s.cell.Discard(spare.Blocks)
		// Not with ctx, which may have ended: the guest cannot use them until then.
		_, ended := s.agent.Spared(context.WithoutCancel(ctx), &agent.Empty{})
		if err := errors.Join(err, ended); err != nil {
			return err
		}
		cache = false
	}
	return nil
}
