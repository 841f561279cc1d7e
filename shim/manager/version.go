// SPDX-License-Identifier: Apache-2.0

package manager

import "runtime/debug"

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
