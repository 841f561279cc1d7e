// SPDX-License-Identifier: Apache-2.0

// Package containerd runs containers in cells through a real containerd: a
// private instance with its own root, state and sockets, built from its Go
// module, and an image made from Debian's busybox. Nothing of the system's is
// touched.
package containerd
