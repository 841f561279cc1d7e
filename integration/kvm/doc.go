// SPDX-License-Identifier: Apache-2.0

// Package kvm runs containers and hostile programs in cells of platform kvm: with
// two page tables where there is /dev/kvm, with protection keys where those work
// in virtual machines (in the machine of integration/emulated they do).
package kvm
