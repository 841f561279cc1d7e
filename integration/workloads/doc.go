// SPDX-License-Identifier: Apache-2.0

// Package workloads runs the images of integration/images in cells through
// containerd: each does the work it is made for, programs are started in the
// running container, and it is killed.
package workloads
