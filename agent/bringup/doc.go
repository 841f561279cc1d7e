// SPDX-License-Identifier: Apache-2.0

// Package bringup sets what a new kernel leaves unset and every first process of
// a cell wants, whether it runs one command or is the agent of containers.
package bringup
