// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"io"
	"runtime/debug"

	"github.com/containerd/containerd/api/types"
	_ "github.com/containerd/containerd/v2/core/runtime" // names the type of features
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Info implements shim.Shim. The options make no difference.
func (manager) Info(context.Context, io.Reader) (*types.RuntimeInfo, error) {
	f, err := typeurl.MarshalAnyToProto(recognised())
	if err != nil {
		return nil, err
	}
	version, revision := Version()
	return &types.RuntimeInfo{
		Name: Name, Version: &types.RuntimeVersion{Version: version, Revision: revision}, Features: f,
	}, nil
}

// recognised is what of the OCI specification containers can have; docs/oci.md
// has all of it, field by field.
func recognised() *features.Features {
	yes, no := true, false
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		MountOptions:  mountOptions,
		Hooks:         []string{"prestart", "createRuntime", "startContainer", "poststart", "poststop"},
		Linux: &features.Linux{
			Namespaces: []string{"cgroup", "ipc", "mount", "network", "pid", "user", "uts"},
			Cgroup:     &features.Cgroup{V1: &yes, V2: &yes, Systemd: &no, SystemdUser: &no, Rdma: &no},
			Seccomp:    &features.Seccomp{Enabled: &yes},
			Apparmor:   &features.Apparmor{Enabled: &no},
			Selinux:    &features.Selinux{Enabled: &no},
			IntelRdt:   &features.IntelRdt{Enabled: &no},
			MountExtensions: &features.MountExtensions{
				IDMap: &features.IDMap{Enabled: &no},
			},
		},
	}
}

// mountOptions are those of the guest's crun.
var mountOptions = []string{
	"async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "mand", "noatime", "nodev",
	"nodiratime", "noexec", "nomand", "norelatime", "nostrictatime", "nosuid", "private", "rbind", "rdev",
	"rdiratime", "relatime", "remount", "rexec", "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime",
	"rnostrictatime", "rnosuid", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave",
	"rstrictatime", "rsuid", "runbindable", "rw", "shared", "slave", "strictatime", "suid", "sync", "tmpcopyup",
	"unbindable",
}

// Version is that of the build: a release or "(devel)", and the revision of the
// source if the build knew it.
func Version() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)", ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return info.Main.Version, revision
}
