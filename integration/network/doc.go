// SPDX-License-Identifier: Apache-2.0

// Package network tests the network of cells with a private containerd. All of
// it is inside network namespaces that the tests make.
package network
