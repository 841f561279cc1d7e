// SPDX-License-Identifier: Apache-2.0

// Package pods tests several containers in one cell: as clients of containerd
// ask for it with annotations, and through containerd's CRI plugin.
package pods
