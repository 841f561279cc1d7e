// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// sysctls are what crun sets in a namespace that it makes for the container. All
// others are the cell's.
var sysctls = []struct {
	prefix    string
	namespace specs.LinuxNamespaceType
}{
	{"kernel.msgmax", specs.IPCNamespace},
	{"kernel.msgmnb", specs.IPCNamespace},
	{"kernel.msgmni", specs.IPCNamespace},
	{"kernel.sem", specs.IPCNamespace},
	{"kernel.shmall", specs.IPCNamespace},
	{"kernel.shmmax", specs.IPCNamespace},
	{"kernel.shmmni", specs.IPCNamespace},
	{"kernel.shm_rmid_forced", specs.IPCNamespace},
	{"fs.mqueue.", specs.IPCNamespace},
	{"kernel.domainname", specs.UTSNamespace},
	{"kernel.hostname", specs.UTSNamespace},
	{"net.", specs.NetworkNamespace},
}

// setSysctls sets those that are the cell's and takes them out of the
// specification.
func setSysctls(l *specs.Linux, proc string) error {
	for _, key := range slices.Sorted(maps.Keys(l.Sysctl)) {
		if crunSets(key, l.Namespaces) {
			continue
		}
		path, err := sysctlPath(key)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(proc, "sys", path), []byte(l.Sysctl[key]), 0); err != nil {
			return fmt.Errorf("sysctl %s: %w", key, err)
		}
		delete(l.Sysctl, key)
	}
	return nil
}

func crunSets(key string, namespaces []specs.LinuxNamespace) bool {
	for _, s := range sysctls {
		if key == s.prefix || strings.HasSuffix(s.prefix, ".") && strings.HasPrefix(key, s.prefix) {
			return slices.ContainsFunc(namespaces, func(n specs.LinuxNamespace) bool { return n.Type == s.namespace && n.Path == "" })
		}
	}
	return false
}

// sysctlPath is the file of a key. Names with dots in them are written with
// slashes between the parts, as for sysctl(8).
func sysctlPath(key string) (string, error) {
	path := key
	if slash, dot := strings.IndexByte(key, '/'), strings.IndexByte(key, '.'); slash < 0 || dot >= 0 && dot < slash {
		path = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("sysctl %q: %w: not a name", key, errdefs.ErrInvalidArgument)
		}
	}
	return path, nil
}
