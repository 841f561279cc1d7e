// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// keepCache is the page cache that is left to a guest at rest, in bytes.
const keepCache = 1 << 20

// spare is what the guest's kernel has set aside.
type spare struct {
	mu   sync.Mutex
	file *os.File // nil between Spared and Spare
}

// Spare implements agent.AgentService.
func (s *Service) Spare(_ context.Context, r *agent.SpareRequest) (*agent.SpareResponse, error) {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	if s.spare.file != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("memory is set aside already: %w", errdefs.ErrFailedPrecondition))
	}
	if r.Cache {
		dropCache(s.Cgroups)
	}
	f, err := os.Open(s.Config.Spare)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return &agent.SpareResponse{}, nil
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		f.Close()
		return nil, errgrpc.ToGRPC(err)
	}
	s.spare.file = f
	response := &agent.SpareResponse{}
	for ; len(b) >= 8; b = b[8:] {
		response.Blocks = append(response.Blocks, binary.LittleEndian.Uint64(b))
	}
	return response, nil
}

// Spared implements agent.AgentService.
func (s *Service) Spared(context.Context, *agent.Empty) (*agent.Empty, error) {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	if s.spare.file != nil {
		s.spare.file.Close()
		s.spare.file = nil
	}
	return &agent.Empty{}, nil
}

// dropCache asks the kernel to reclaim inactive page cache, until that is a
// little, or what is left is in use.
func dropCache(cgroups string) {
	for range 4 {
		n := inactiveCache(cgroups)
		if n <= keepCache {
			return
		}
		// An error says that not all of it could be had.
		_ = os.WriteFile(filepath.Join(cgroups, "memory.reclaim"), []byte(strconv.FormatInt(n-keepCache, 10)), 0)
	}
}

// inactiveCache is page cache that has not been used lately, in bytes.
func inactiveCache(cgroups string) int64 {
	b, err := os.ReadFile(filepath.Join(cgroups, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "inactive_file "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}
