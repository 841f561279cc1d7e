// SPDX-License-Identifier: Apache-2.0

// Package oci makes containers of rich OCI specifications through a private
// containerd and looks from the inside whether every field has been carried out.
// It also tries what goes wrong for a new user, and reads the messages.
package oci
