// SPDX-License-Identifier: Apache-2.0

// Package metrics is what the shim's Stats say of a cell, beyond what control
// groups know; metrics.proto describes it.
package metrics

//go:generate go run github.com/paracell/paracell/protos/gen ../.. metrics/v1/metrics.proto
